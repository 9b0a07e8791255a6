"""Effects in order: read the present state, ask ``core`` what to do, do it through ``ports``.

Every flow is level-triggered. It is handed a key, never an event, and can be cancelled at any await and run again.
"""

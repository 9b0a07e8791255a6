"""Greenroom gives every pull request a running environment of its own, at its own address.

The layers, top to bottom, each of which may use only those below it (import-linter checks):
``cli > app > (web | adapters | local) > flows > runtime > ports > core > model``.
"""

__version__ = "0.1.0"

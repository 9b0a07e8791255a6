"""The gateway on a real API server: how soon a new GatewayRoute serves, what it takes, and how fast Envoy then is.

``__main__`` prints the figures, ``adding`` and ``throughput`` make them; ``site`` is where: the objects of so many
hosts (``hosts``), the control plane (``control_plane``) and Envoy as processes of their own, one application behind all
hosts. ``peers`` are the other proxies.
"""

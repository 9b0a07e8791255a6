"""The one-machine cluster: objects in SQLite, Deployments as processes, images as built commits, Envoy as a child.

It is no Kubernetes emulator. What it does not run it stores, and says so.
"""

"""The one-machine cluster. It is no Kubernetes emulator: what it does not run it stores, and says so.

``storage`` keeps the objects, ``api`` serves them to the command line, ``workloads`` runs Deployments as processes,
``gateway`` runs the Envoys, ``instance`` finds the processes of them all, ``forge`` makes the webhooks that a forge
would send.
"""

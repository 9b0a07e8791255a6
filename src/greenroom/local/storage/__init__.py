"""The object store: Kubernetes' semantics of list, watch, apply and delete, in memory and in a SQLite file."""

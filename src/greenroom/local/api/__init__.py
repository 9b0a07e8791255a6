"""The API server: any ``ports.Cluster`` as Kubernetes REST, for the commands of one user on one machine."""

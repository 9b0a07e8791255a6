"""Controller machinery that knows nothing of pull requests: informers, work queue, controllers."""

"""HTTP servers for people and forges: the webhook, health."""

"""Deployments as processes, images as built commits of a git repository, Services as ports of this machine."""

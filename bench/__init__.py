"""Benchmarks: each figure next to a peer measured in the same run. ``python -m bench`` runs them all."""

"""Finalizers of App Mesh's controller: it is gone, so whoever waits for it to remove them waits for ever."""

from __future__ import annotations

from greenroom.model.manifest import Manifest, is_deleting, items

DEAD = "finalizers.appmesh.k8s.aws/"
"""What they begin with: ``aws-appmesh-resources``, ``mesh-members``, ``virtualgateway-members``,
``aws-cloudmap-resources`` (``pkg/k8s/finalizers.go``)."""


def left_over(manifest: Manifest) -> frozenset[str]:
    """The finalizers to remove from an object that is being deleted. Those of others stay."""
    if not is_deleting(manifest):
        return frozenset()
    found = items(manifest, "metadata", "finalizers")
    return frozenset(each for each in found if isinstance(each, str) and each.startswith(DEAD))

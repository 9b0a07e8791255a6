"""Annotations of PR objects by which one flow tells another what somebody asked for, or told."""

from __future__ import annotations

from greenroom.model.errors import Conflict, NotFound
from greenroom.model.manifest import PR, Manifest, name_of, ref_of, uid_of
from greenroom.ports import Cluster


async def annotate(cluster: Cluster, pr: Manifest, annotations: Manifest, *, manager: str) -> bool:
    """Answers whether the object is still there: one that is gone must not come back by this.

    ``manager`` is a field manager for these annotations alone, so that nothing else that is applied takes them away.
    Raises ClusterError.
    """
    metadata: Manifest = {
        "name": name_of(pr),
        "namespace": ref_of(pr).namespace,
        "uid": uid_of(pr),
        "annotations": annotations,
    }
    try:
        await cluster.apply({"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata}, manager=manager)
    except (Conflict, NotFound):
        return False
    return True

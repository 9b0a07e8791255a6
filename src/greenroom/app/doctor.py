"""What ``greenroom doctor`` knows of a cluster: reads every kind that a check needs, and writes nothing.

Secrets are not among them. A right that is missing costs the checks which need it, and is told with the rule to add.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.core.doctor import Report, diagnose, kinds_read
from greenroom.core.findings import Known
from greenroom.model.errors import Forbidden, UnknownKind
from greenroom.model.manifest import Kind, Manifest
from greenroom.model.permission import explained
from greenroom.ports import Cluster


async def examine(cluster: Cluster) -> Report:
    """Raises ClusterError when the cluster cannot be reached."""
    served = {resource.kind for resource in await cluster.resources()}
    found: dict[Kind, Sequence[Manifest]] = {}
    unread: dict[Kind, str] = {}
    for kind in kinds_read():
        try:
            found[kind] = (await cluster.list(kind)).items
        except UnknownKind:
            found[kind] = ()  # which is a finding of its own
        except Forbidden as error:
            unread[kind] = explained([error.permission]) if error.permission else str(error)
    return diagnose(Known(found, served), unread)

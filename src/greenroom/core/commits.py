"""Which commit a pod shows, as what made it tells.

Kubernetes copies the annotations of a workload to what it makes pods from: to a Deployment's ReplicaSet anew each time,
to the ControllerRevision of a StatefulSet or DaemonSet when it makes one (``newRevision`` of ``stateful_set_utils.go``,
``snapshot`` of ``daemon/update.go``). So a revision tells the commit that it came with, and the one that the workload
asks for while the workload's pods would be no different. ``core.endpoints`` is next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    REPLICA_SET,
    STATEFUL_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    controller_of,
    labels_of,
    name_of,
    number,
    table,
    text,
)

KINDS = (STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION, JOB)
"""What tells of commits only: without the right to look at them, pods serve and tell none."""
_REVISED: Mapping[str, Kind] = {kind.name: kind for kind in (STATEFUL_SET, DAEMON_SET)}
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "controller-revision-hash"


class Lookup(Protocol):
    """Objects by their names, at one moment."""

    def get(self, ref: Ref) -> Manifest | None: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """What a pod was made from."""

    commit: str
    """``""`` when nothing tells one."""
    maker: Ref | None = None
    """The ReplicaSet, or the revision; None for what is made once, and may be as few as it likes."""
    wanted: int = 0
    """As many pods its workload asks for."""
    is_present: bool = False
    """Whether its workload asks for this commit now."""
    revision: int = 0
    created: str = ""
    is_known: bool = True
    """Not so while it has a revision that nobody has seen, or may see."""


def origin_of(pod: Manifest, objects: Lookup) -> Origin | None:
    """None while the ReplicaSet is not known: every operator can see it, so it will be, and no wrong one is shown."""
    controller, namespace = controller_of(pod), text(pod, "metadata", "namespace")
    kind, name = text(controller, "kind"), text(controller, "name")
    if kind == REPLICA_SET.name:
        replica_set = objects.get(Ref(REPLICA_SET, namespace, name))
        return None if replica_set is None else _of_replica_set(replica_set, objects)
    if kind in _REVISED:
        return _of_revision(pod, Ref(_REVISED[kind], namespace, name), objects)
    job = objects.get(Ref(JOB, namespace, name)) if kind == JOB.name else None
    return Origin(_commit(pod) or _commit(job))


def _of_replica_set(replica_set: Manifest, objects: Lookup) -> Origin:
    namespace, controller = text(replica_set, "metadata", "namespace"), controller_of(replica_set)
    owner = Ref(DEPLOYMENT, namespace, text(controller, "name"))
    deployment = objects.get(owner) if text(controller, "kind") == DEPLOYMENT.name else None
    revision = annotations_of(replica_set).get(_REVISION, "")
    return Origin(
        commit=_commit(replica_set),
        maker=Ref(REPLICA_SET, namespace, name_of(replica_set)),
        wanted=number(deployment or replica_set, "spec", "replicas", default=1),
        # After a step back that is an old ReplicaSet.
        is_present=deployment is not None and _commit(deployment) == _commit(replica_set),
        revision=int(revision) if revision.isdecimal() else 0,
        created=text(replica_set, "metadata", "creationTimestamp"),
    )


def _of_revision(pod: Manifest, owner: Ref, objects: Lookup) -> Origin:
    """A StatefulSet's pods are labelled with the name of their ControllerRevision, a DaemonSet's with its last part."""
    label = labels_of(pod).get(_HASH, "")
    name = label if owner.kind == STATEFUL_SET else f"{owner.name}-{label}"
    maker = Ref(CONTROLLER_REVISION, owner.namespace, name)
    workload, revision = objects.get(owner), objects.get(maker)
    if workload is None or revision is None:
        return Origin(_commit(pod), is_known=False)
    is_same = _template(table(revision, "data")) == _template(workload)
    commit = _commit(workload if is_same else revision)
    return Origin(
        commit=commit,
        maker=maker,
        wanted=_replicas(workload, owner.kind),
        is_present=commit == _commit(workload),
        revision=number(revision, "revision"),
        created=text(revision, "metadata", "creationTimestamp"),
    )


def _replicas(workload: Manifest, kind: Kind) -> int:
    if kind == DAEMON_SET:
        return number(workload, "status", "desiredNumberScheduled", default=1)
    return number(workload, "spec", "replicas", default=1)


def _template(workload: Json) -> Json:
    """What pods are made from, without the marks of a patch, which is what a revision holds (``getPatch``)."""
    template = table(workload, "spec", "template")
    metadata = {key: value for key, value in table(template, "metadata").items() if value is not None}
    return {**{key: value for key, value in template.items() if key != "$patch"}, "metadata": metadata}


def _commit(manifest: Manifest | None) -> str:
    return annotations_of(manifest).get(COMMIT_ANNOTATION, "") if manifest is not None else ""

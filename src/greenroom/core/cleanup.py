"""Which environments wait for an image in vain, as the clean-up job judges that many run beside KubeTempura.

A pod tells that it waits, and its owners lead to the environment: ReplicaSet, Deployment, PR object. Whoever may not
read ReplicaSets finds the Deployment by the pod's labels (``likely_deployment``). An owner counts only while it has the
UID that its child names: another object of that name may be a new environment. ``flows.cleanup`` reads and deletes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import (
    PR,
    REPLICA_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    controller_of,
    is_deleting,
    items,
    labels_of,
    name_of,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.mesh import Refused, label_selector

NO_IMAGE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName"})
"""Why a container waits, as the kubelet says it (Kubernetes, ``pkg/kubelet/images``). The first two take turns."""
HASH_LABEL = "pod-template-hash"
"""Of a Deployment's pods. Their ReplicaSet is called ``<deployment>-<hash>`` (``pkg/controller/deployment``)."""


class Stays(GreenroomError):
    """Nothing is to be deleted for a pod, or a PR object is to stay. The message tells why."""


class Owner(NamedTuple):
    ref: Ref
    uid: str


class Result(Enum):
    DELETED = "deleted"
    WOULD_DELETE = "would be deleted"
    LEFT = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of ``ref``: a PR object, or the pod for which none was found. ``why`` it was left, or failed."""

    result: Result
    ref: Ref
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """``waiting`` is how many of the ``pods`` wait in vain."""

    pods: int
    waiting: int
    results: Mapping[Result, int]

    def of(self, result: Result) -> int:
        return self.results.get(result, 0)


def waits_in_vain(pod: Manifest, now: datetime, age: timedelta) -> bool:
    """Whether the pod is at least so old, and a container of it waits for its image.

    A pod that is being deleted says nothing of the environment: it may be of an earlier commit.
    """
    created = _created(pod)
    return created is not None and now - created >= age and not is_deleting(pod) and _lacks_image(pod)


def _lacks_image(pod: Manifest) -> bool:
    statuses = (*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses"))
    return any(text(status, "state", "waiting", "reason") in NO_IMAGE for status in statuses)


def _created(manifest: Manifest) -> datetime | None:
    try:
        created = datetime.fromisoformat(text(manifest, "metadata", "creationTimestamp"))
    except ValueError:
        return None
    return created if created.tzinfo is not None else None


def owner_of(child: Manifest, kind: Kind) -> Owner:
    """Its controller. Raises Stays when that is none of this kind."""
    reference = controller_of(child)
    if not _is_of(kind, reference):
        raise Stays(f"no {kind.name} owns {ref_of(child)}")
    return _owner(child, kind, reference)


def pr_of(deployment: Manifest) -> Owner:
    """The PR object that owns it, whether as its controller or not. Raises Stays unless there is exactly one."""
    references = [each for each in items(deployment, "metadata", "ownerReferences") if _is_of(PR, each)]
    if len(references) != 1:
        raise Stays(f"{'several PRs own' if references else 'no PR owns'} {ref_of(deployment)}")
    return _owner(deployment, PR, references[0])


def _is_of(kind: Kind, reference: Json) -> bool:
    """In whatever version."""
    found = Kind.of(text(reference, "apiVersion"), text(reference, "kind"))
    return (found.group, found.name) == (kind.group, kind.name)


def _owner(child: Manifest, kind: Kind, reference: Json) -> Owner:
    """An owner is in its child's namespace (Kubernetes, "Owners and Dependents")."""
    return Owner(Ref(kind, ref_of(child).namespace, text(reference, "name")), text(reference, "uid"))


def require_same(found: Manifest, uid: str) -> None:
    """Raises Stays unless the object has this UID, and has come to stay."""
    if not uid or uid_of(found) != uid:
        raise Stays(f"{ref_of(found)} is another object by now")
    if is_deleting(found):
        raise Stays(f"{ref_of(found)} is being deleted already")


def likely_deployment(pod: Manifest, deployments: Iterable[Manifest]) -> Manifest:
    """Whose pod it is, for whoever may not read ReplicaSets. ``deployments`` are all of the namespace.

    The name of the ReplicaSet and the pod's labels have to lead to the same one, and the labels to no other. Younger
    than the pod it cannot be its owner: it is that of a later environment of the same name. Raises Stays.
    """
    replica_set = owner_of(pod, REPLICA_SET).ref
    selecting = [each for each in deployments if _may_select(each, pod)]
    if len(selecting) > 1:
        names = ", ".join(sorted(map(name_of, selecting)))
        raise Stays(f"{replica_set} may not be read, and several Deployments select the pod: {names}")
    if not selecting or not _made(selecting[0], replica_set.name, pod):
        raise Stays(f"{replica_set} may not be read, and no Deployment is surely its owner")
    return selecting[0]


def _may_select(deployment: Manifest, pod: Manifest) -> bool:
    """A selector that is not understood may select everything."""
    try:
        return label_selector(table(deployment, "spec", "selector"), "spec.selector").matches(labels_of(pod))
    except Refused:
        return True


def _made(deployment: Manifest, replica_set: str, pod: Manifest) -> bool:
    hash_, older, younger = labels_of(pod).get(HASH_LABEL, ""), _created(deployment), _created(pod)
    is_named_so = bool(hash_) and replica_set == f"{name_of(deployment)}-{hash_}"
    return is_named_so and older is not None and younger is not None and older <= younger


def summary(tally: Tally, namespace: str, age: timedelta) -> str:
    """One line for a person, of counts only."""
    deleted = Result.WOULD_DELETE if tally.of(Result.WOULD_DELETE) else Result.DELETED
    minutes = int(age / timedelta(minutes=1))
    return (
        f"{_count(tally.pods, 'pod')} in {namespace}, {tally.waiting} of them without an image and at least "
        f"{_count(minutes, 'minute')} old: {_count(tally.of(deleted), 'PR')} {deleted.value}, "
        f"{tally.of(Result.LEFT)} left alone, {_count(tally.of(Result.FAILED), 'error')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

"""Whether the objects of an environment are of use yet, and if not, what they wait for.

The rules for workloads are those of ``kubectl rollout status`` and of kstatus (sigs.k8s.io/cli-utils, pkg/kstatus):
the controller has seen the newest generation, every replica is of it, and all are available. What a person wants to
know is in the pods: the image that is missing, the program that crashes. ``core.status`` picks what to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from greenroom.core.http_route_health import Look, unserved
from greenroom.model.gateway import HTTP_ROUTE
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Manifest,
    Ref,
    annotations_of,
    condition_of,
    is_deleting,
    items,
    kind_of,
    name_of,
    number,
    ref_of,
    text,
    uid_of,
)
from greenroom.model.mesh import GATEWAY_ROUTE

ROLLING_OUT = "RollingOut"
WAITING_FOR_IMAGE = "WaitingForImage"
WAITING_FOR_ROUTE = "WaitingForRoute"
UNSCHEDULABLE = "Unschedulable"
NOT_READY = "NotReady"
NOT_LISTENING = "NotListening"
"""Said of a pod by one machine's ``local.workloads``: its process runs, and does not open its port."""
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
JOB_FAILED = "JobFailed"
REPLICA_FAILURE = "ReplicaFailure"

ROUTE_ACTIVE = "GatewayRouteActive"
IMAGE_REASONS = frozenset({"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull"})
CONTAINER_REASONS = frozenset(
    {"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "InvalidImageName", "RunContainerError"}
)
_REVISION = "deployment.kubernetes.io/revision"

Owned: TypeAlias = Callable[[str], Iterable[Manifest]]
"""The known objects whose controller has this UID: ``ports.Reader.owned``."""

Trouble: TypeAlias = tuple[str, str]
"""Reason and message."""


@dataclass(frozen=True, slots=True)
class Health:
    """``reason`` and ``message`` tell what an object that is not ready waits for."""

    ref: Ref
    ready: bool
    reason: str = ""
    message: str = ""


def assess(child: Manifest, owned: Owned, *, look: Look, routed: bool = True) -> Health:
    """An object of a kind that is not known here is ready when it exists, unless its ``Ready`` condition denies it.

    ``look`` finds the Gateway of a route. ``routed`` tells whether a gateway of ours is to say of each route that it
    serves it. Without one, nobody may ever say so, and only what somebody else says of a route counts.
    """
    ref, kind = ref_of(child), kind_of(child)
    if kind == HTTP_ROUTE:
        why = unserved(child, look, routed=routed)
        return Health(ref, False, WAITING_FOR_ROUTE, f"{ref.name}: {why}") if why else Health(ref, True)
    if kind == GATEWAY_ROUTE and not routed and not condition_of(child, ROUTE_ACTIVE):
        return Health(ref, True)
    check = _CHECKS.get((kind.group, kind.name), _by_condition)
    trouble = check(child, owned)
    return Health(ref, True) if trouble is None else Health(ref, False, trouble[0], f"{ref.name}: {trouble[1]}")


def absent(ref: Ref) -> Health:
    """Of an object that was applied, and is not there. A Job may have finished, and been cleaned away."""
    if (ref.kind.group, ref.kind.name) == ("batch", "Job"):
        return Health(ref, True)
    return Health(ref, False, NOT_READY, f"{ref.name}: {ref} is not there")


def shown_commit(children: Iterable[Manifest], owned: Owned) -> str:
    """The commit that visitors see, ``""`` when they see none. Of several Deployments the one that lags behind counts.

    The gateway's rule: the newest ReplicaSet when it is complete, else an older one while it is ready.
    """
    deployments = [child for child in children if kind_of(child) == DEPLOYMENT]
    shown = [(commit, _commit(child)) for child in deployments if (commit := _serving_commit(child, owned))]
    lagging = (commit for commit, wanted in shown if commit != wanted)
    return next(lagging, shown[0][0] if shown else "")


def _deployment(child: Manifest, owned: Owned) -> Trouble | None:
    wanted = number(child, "spec", "replicas", default=1)
    updated, available = number(child, "status", "updatedReplicas"), number(child, "status", "availableReplicas")
    superseded = number(child, "status", "replicas") - updated
    if not _is_observed(child):  # what the pods say now, they say of an earlier version
        return ROLLING_OUT, _new_replicas(0, wanted)
    if updated >= wanted and superseded <= 0 and available >= wanted:
        return None
    newest = _newest_first(child, owned)[:1]
    return (
        _of_pods(newest, owned)
        or _of_condition(child, "ReplicaFailure", "True", REPLICA_FAILURE)
        or _of_condition(child, "Progressing", "False", DEADLINE_EXCEEDED)
        or (ROLLING_OUT, _new_replicas(min(updated, available), wanted))
    )


def _new_replicas(ready: int, wanted: int) -> str:
    return f"{ready} of {wanted} new replicas are ready"


def _stateful_set(child: Manifest, owned: Owned) -> Trouble | None:
    wanted = number(child, "spec", "replicas", default=1)
    ready = min(number(child, "status", "updatedReplicas"), number(child, "status", "readyReplicas"))
    return _all_ready(child, owned, ready, wanted)


def _daemon_set(child: Manifest, owned: Owned) -> Trouble | None:
    wanted = number(child, "status", "desiredNumberScheduled")
    ready = min(number(child, "status", "updatedNumberScheduled"), number(child, "status", "numberAvailable"))
    return _all_ready(child, owned, ready, wanted)


def _all_ready(child: Manifest, owned: Owned, ready: int, wanted: int) -> Trouble | None:
    if _is_observed(child) and ready >= wanted:
        return None
    return _of_pods([child], owned) or (ROLLING_OUT, f"{ready} of {wanted} replicas are ready")


def _job(child: Manifest, owned: Owned) -> Trouble | None:
    """A Job that runs is no reason to wait, one that cannot start or has failed is."""
    if text(condition_of(child, "Complete"), "status") == "True":
        return None
    return _of_condition(child, "Failed", "True", JOB_FAILED) or _of_pods([child], owned)


def _pod(child: Manifest, _: Owned) -> Trouble | None:
    ready = text(child, "status", "phase") == "Succeeded" or text(condition_of(child, "Ready"), "status") == "True"
    return None if ready else _of_pod(child) or (ROLLING_OUT, "the pod is not ready")


def _gateway_route(child: Manifest, _: Owned) -> Trouble | None:
    condition = condition_of(child, ROUTE_ACTIVE)
    if text(condition, "status") == "True":
        return None
    told = ": ".join(part for part in (text(condition, "reason"), text(condition, "message")) if part)
    return WAITING_FOR_ROUTE, told or "no gateway has taken the route yet"


def _by_condition(child: Manifest, _: Owned) -> Trouble | None:
    condition = condition_of(child, "Ready")
    if not condition or text(condition, "status") == "True":
        return None
    return NOT_READY, text(condition, "message") or text(condition, "reason") or f"{ref_of(child)} is not ready"


_CHECKS: Mapping[tuple[str, str], Callable[[Manifest, Owned], Trouble | None]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("appmesh.k8s.aws", "GatewayRoute"): _gateway_route,
}


def _is_observed(child: Manifest) -> bool:
    return number(child, "status", "observedGeneration") >= number(child, "metadata", "generation")


def _of_condition(child: Manifest, condition_type: str, status: str, reason: str) -> Trouble | None:
    condition = condition_of(child, condition_type)
    if text(condition, "status") != status:
        return None
    return reason, _join(text(condition, "reason"), text(condition, "message")) or reason


def _of_pods(owners: Iterable[Manifest], owned: Owned) -> Trouble | None:
    pods = (child for owner in owners for child in owned(uid_of(owner)) if kind_of(child) == POD)
    living = sorted((pod for pod in pods if not is_deleting(pod)), key=name_of)
    return next((trouble for pod in living if (trouble := _of_pod(pod))), None)


def _of_pod(pod: Manifest) -> Trouble | None:
    statuses = (*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses"))
    for status in statuses:
        reason = text(status, "state", "waiting", "reason")
        message = text(status, "state", "waiting", "message")
        if reason in IMAGE_REASONS:
            return WAITING_FOR_IMAGE, _join(f"waiting for image {text(status, 'image')}", message)
        if reason in CONTAINER_REASONS:
            return reason, _join(f"container {text(status, 'name')}", message or reason)
    ready = condition_of(pod, "Ready")
    if text(ready, "reason") == NOT_LISTENING:
        return NOT_LISTENING, text(ready, "message")
    scheduled = condition_of(pod, "PodScheduled")
    if text(scheduled, "status") == "False":
        return UNSCHEDULABLE, text(scheduled, "message") or "no node takes the pod"
    return None


def _join(*parts: str) -> str:
    return ": ".join(part for part in parts if part)


def _serving_commit(deployment: Manifest, owned: Owned) -> str:
    wanted = number(deployment, "spec", "replicas", default=1)
    newest, *older = _newest_first(deployment, owned) or [{}]
    if _ready_replicas(newest) >= max(wanted, 1):
        return _commit(newest)
    serving = [replica_set for replica_set in (*older, newest) if _ready_replicas(replica_set) > 0]
    return _commit(serving[0]) if serving else ""


def _ready_replicas(replica_set: Manifest) -> int:
    return number(replica_set, "status", "readyReplicas")


def _newest_first(deployment: Manifest, owned: Owned) -> list[Manifest]:
    """The Deployment's ReplicaSets. The newest has the Deployment's own annotations; on a real cluster, the highest
    revision, since going back to an earlier template uses its ReplicaSet again."""
    commit = _commit(deployment)
    mine = [child for child in owned(uid_of(deployment)) if kind_of(child) == REPLICA_SET]
    return sorted(mine, key=lambda child: (_commit(child) == commit, *_age(child)), reverse=True)


def _age(replica_set: Manifest) -> tuple[int, str, str]:
    revision = annotations_of(replica_set).get(_REVISION, "")
    created = text(replica_set, "metadata", "creationTimestamp")
    return int(revision) if revision.isdecimal() else 0, created, name_of(replica_set)


def _commit(manifest: Manifest) -> str:
    return annotations_of(manifest).get(COMMIT_ANNOTATION, "")

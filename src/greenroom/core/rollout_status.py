"""What a Deployment says of its rollout: counts, ``Available`` and ``Progressing``, as Kubernetes words them.

``Progressing`` turns False with ``ProgressDeadlineExceeded`` when nothing moved for ``progressDeadlineSeconds``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from greenroom.core.rollout import current_replica_set, is_complete, limits_of, old_replica_sets
from greenroom.model.manifest import Json, Manifest, condition_of, name_of, number, table, text, timestamp

_DEFAULT_DEADLINE_SECONDS = 600


def deployment_status(deployment: Manifest, replica_sets: Sequence[Manifest], now: datetime) -> Mapping[str, Json]:
    """The whole status. An unchanged world gives the status that is there already, times included."""
    limits = limits_of(deployment)
    current = current_replica_set(deployment, replica_sets)
    counts: dict[str, Json] = {
        "replicas": _sum(replica_sets, "replicas"),
        "updatedReplicas": number(current, "status", "replicas"),
        "readyReplicas": _sum(replica_sets, "readyReplicas"),
        "availableReplicas": _sum(replica_sets, "availableReplicas"),
    }
    available = _sum(replica_sets, "availableReplicas")
    complete = is_complete(limits, current, old_replica_sets(deployment, replica_sets))
    moved = _has_moved(deployment, counts)
    return {
        "observedGeneration": number(deployment, "metadata", "generation"),
        **counts,
        "unavailableReplicas": max(0, limits.wanted - available),
        "conditions": [
            _available(deployment, enough=available >= limits.wanted - limits.unavailable, now=now),
            _progressing(deployment, current, complete=complete, moved=moved, now=now),
        ],
    }


def seconds_to_deadline(deployment: Manifest, status: Mapping[str, Json], now: datetime) -> float | None:
    """When to look again, because only time decides what the status will say; None when it does not."""
    progressing = condition_of({"status": status}, "Progressing")
    if text(progressing, "reason") != "ReplicaSetUpdated":
        return None
    remaining = _parse(text(progressing, "lastUpdateTime")) + _deadline(deployment) - now
    return max(0.0, remaining.total_seconds())


def _has_moved(deployment: Manifest, counts: Mapping[str, Json]) -> bool:
    """Whether the rollout got on since the last status, or is a new one."""
    before = table(deployment, "status")
    if number(before, "observedGeneration") != number(deployment, "metadata", "generation"):
        return True
    more = any(
        number(counts, count) > number(before, count)
        for count in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return more or _outdated(counts) < _outdated(before)


def _outdated(counts: Mapping[str, Json]) -> int:
    """How many pods are of an older template."""
    return number(counts, "replicas") - number(counts, "updatedReplicas")


def _was_complete(deployment: Manifest) -> bool:
    """Whether this rollout came to its end: what happens to its pods later is no matter of progress."""
    same = number(deployment, "status", "observedGeneration") == number(deployment, "metadata", "generation")
    return same and text(condition_of(deployment, "Progressing"), "reason") == "NewReplicaSetAvailable"


def _available(deployment: Manifest, *, enough: bool, now: datetime) -> Mapping[str, Json]:
    if enough:
        reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        reason, message = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    return _condition(deployment, "Available", reason, message, status=enough, touched=False, now=now)


def _progressing(
    deployment: Manifest, current: Manifest | None, *, complete: bool, moved: bool, now: datetime
) -> Mapping[str, Json]:
    name = name_of(current) if current is not None else name_of(deployment)
    before = condition_of(deployment, "Progressing")
    if complete or (_was_complete(deployment) and current is not None):
        reason, message = "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
    elif not moved and _is_overdue(deployment, before, now):
        reason, message = "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
    else:
        reason, message = "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'
    progressing = reason != "ProgressDeadlineExceeded"
    return _condition(deployment, "Progressing", reason, message, status=progressing, touched=moved, now=now)


def _is_overdue(deployment: Manifest, progressing: Mapping[str, Json], now: datetime) -> bool:
    if text(progressing, "reason") == "ProgressDeadlineExceeded":
        return True
    updated = text(progressing, "lastUpdateTime")
    return bool(updated) and now >= _parse(updated) + _deadline(deployment)


def _condition(
    deployment: Manifest, kind: str, reason: str, message: str, *, status: bool, touched: bool, now: datetime
) -> Mapping[str, Json]:
    """``touched`` renews ``lastUpdateTime``, from which the deadline counts, though nothing else changed."""
    before = condition_of(deployment, kind)
    wanted: dict[str, Json] = {"type": kind, "status": str(status), "reason": reason, "message": message}
    if not touched and all(before.get(key) == value for key, value in wanted.items()):
        return before
    flipped = before.get("status") != wanted["status"]
    stamp = timestamp(now)
    return {
        **wanted,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp if flipped else before.get("lastTransitionTime", stamp),
    }


def _deadline(deployment: Manifest) -> timedelta:
    seconds = number(deployment, "spec", "progressDeadlineSeconds", default=_DEFAULT_DEADLINE_SECONDS)
    return timedelta(seconds=seconds)


def _sum(replica_sets: Sequence[Manifest], count: str) -> int:
    return sum(number(replica_set, "status", count) for replica_set in replica_sets)


def _parse(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)

"""How a Deployment moves from one pod template to the next: which ReplicaSets it has, and how large each is.

The rules are those of Kubernetes' deployment controller (kube-controller-manager's ``rolling.go`` and ``recreate.go``),
without history: a ReplicaSet of an older template goes when the newer one has taken over. Proportional scaling and
``minReadySeconds`` are left out, so a ready pod counts as available at once.

The sizes are asked for step by step. Whoever applies a plan asks again when a ReplicaSet reports what became of it.
``core.replicas`` turns a ReplicaSet into pods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenroom.model.manifest import (
    REPLICA_SET,
    Json,
    Manifest,
    annotations_of,
    get,
    is_deleting,
    labels_of,
    name_of,
    number,
    owner_reference,
    table,
    text,
    uid_of,
)

HASH_LABEL = "pod-template-hash"
SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names in Kubernetes: no vowels, so no words; nothing that looks like something else."""

_HASH_LENGTH = 10
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_DEFAULT_FRACTION = "25%"


@dataclass(frozen=True, slots=True)
class Size:
    """A ReplicaSet as the planner sees it: pods asked for, and how many of those are available."""

    asked: int
    available: int


@dataclass(frozen=True, slots=True)
class Limits:
    """``wanted`` pods, up to ``surge`` more during a rollout, and up to ``unavailable`` fewer that are available."""

    wanted: int
    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """ReplicaSets to apply, in this order, and ReplicaSets to delete."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Manifest, ...] = ()


def plan(deployment: Manifest, replica_sets: Sequence[Manifest], pods: Mapping[str, int]) -> Rollout:
    """The next step. Nothing to do is an empty Rollout.

    ``replica_sets`` are those that the Deployment controls; ``pods`` tells for the UID of each how many pods exist, the
    terminating ones included.
    """
    old = old_replica_sets(deployment, replica_sets)
    current = current_replica_set(deployment, replica_sets)
    limits = limits_of(deployment)
    sizes = [size_of(replica_set) for replica_set in old]
    if text(deployment, "spec", "strategy", "type") == "Recreate":
        emptied = all(pods.get(uid_of(replica_set), 0) == 0 for replica_set in old)
        asked, asked_of_old = recreate(limits, size_of(current), sizes, emptied=emptied)
    else:
        asked, asked_of_old = roll(limits, size_of(current), sizes)
    writes = [new_replica_set(deployment, asked)] if _differs(deployment, current, asked) else []
    writes += [
        _resized(replica_set, after)
        for replica_set, before, after in zip(old, sizes, asked_of_old, strict=True)
        if after != before.asked
    ]
    if writes or not is_complete(limits, current, old):
        return Rollout(apply=tuple(writes))
    return Rollout(delete=tuple(rs for rs in old if pods.get(uid_of(rs), 0) == 0))


def roll(limits: Limits, current: Size, old: Sequence[Size]) -> tuple[int, list[int]]:
    """RollingUpdate: the size of the current ReplicaSet and those of the old ones, given oldest first.

    Never more than ``wanted + surge`` pods are asked for, and no available pod is taken away that would leave fewer
    than ``wanted - unavailable``.
    """
    total = current.asked + sum(size.asked for size in old)
    room = max(0, limits.wanted + limits.surge - total)
    asked = min(limits.wanted, current.asked + room)
    serving = min(asked, current.available)
    needed = limits.wanted - limits.unavailable
    # Old pods that are not available may come back, so while new ones are missing they are held as a reserve.
    removable = serving + sum(size.asked for size in old) - needed
    kept = _cut([size.asked - size.available for size in old], removable)
    spare = serving + sum(size.available for size in old) - needed
    available = _cut([size.available for size in old], spare)
    return asked, [sum(parts) for parts in zip(kept, available, strict=True)]


def _cut(sizes: Sequence[int], amount: int) -> list[int]:
    """Take ``amount`` away from the sizes, the first ones first."""
    left = []
    for size in sizes:
        taken = max(0, min(size, amount))
        left.append(size - taken)
        amount -= taken
    return left


def recreate(limits: Limits, current: Size, old: Sequence[Size], *, emptied: bool) -> tuple[int, list[int]]:
    """Recreate: the current ReplicaSet gets its pods when the old ones have none left."""
    return (limits.wanted if emptied else current.asked), [0] * len(old)


def is_complete(limits: Limits, current: Manifest | None, old: Sequence[Manifest]) -> bool:
    """Whether the current ReplicaSet serves alone."""
    if current is None or any(number(rs, "spec", "replicas") for rs in old):
        return False
    size = size_of(current)
    return size.asked == limits.wanted and size.available >= limits.wanted


def current_replica_set(deployment: Manifest, replica_sets: Sequence[Manifest]) -> Manifest | None:
    """The ReplicaSet of the Deployment's present template."""
    name = _replica_set_name(deployment)
    return next((rs for rs in replica_sets if name_of(rs) == name and not is_deleting(rs)), None)


def old_replica_sets(deployment: Manifest, replica_sets: Sequence[Manifest]) -> list[Manifest]:
    """Those of earlier templates, oldest first."""
    name = _replica_set_name(deployment)
    old = [rs for rs in replica_sets if name_of(rs) != name and not is_deleting(rs)]
    return sorted(old, key=lambda rs: (text(rs, "metadata", "creationTimestamp"), name_of(rs)))


def limits_of(deployment: Manifest) -> Limits:
    """Percentages of ``maxSurge`` are rounded up, of ``maxUnavailable`` down; both 0 would stand still, so 0 and 1."""
    wanted = max(0, number(deployment, "spec", "replicas", default=1))
    rolling = get(deployment, "spec", "strategy", "rollingUpdate")
    surge = _portion(get(rolling, "maxSurge"), wanted, round_up=True)
    unavailable = min(wanted, _portion(get(rolling, "maxUnavailable"), wanted, round_up=False))
    return Limits(wanted, surge, unavailable or (0 if surge else min(1, wanted)))


def size_of(replica_set: Manifest | None) -> Size:
    """Availability is capped by what is asked for: after a resize the reported number is late."""
    if replica_set is None:
        return Size(0, 0)
    asked = number(replica_set, "spec", "replicas")
    return Size(asked, min(asked, number(replica_set, "status", "availableReplicas")))


def template_hash(template: Mapping[str, Json]) -> str:
    """Ten characters that name a pod template, whatever the order of its keys."""
    canonical = json.dumps(template, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    value = int.from_bytes(hashlib.sha256(canonical.encode()).digest(), "big")
    letters = []
    for _ in range(_HASH_LENGTH):
        value, index = divmod(value, len(SAFE_ALPHABET))
        letters.append(SAFE_ALPHABET[index])
    return "".join(letters)


def new_replica_set(deployment: Manifest, asked: int) -> Manifest:
    """The ReplicaSet of the Deployment's present template, with the Deployment's annotations."""
    template = table(deployment, "spec", "template")
    hashed = {HASH_LABEL: template_hash(template)}
    labels = {**labels_of(template), **hashed}
    metadata: dict[str, Json] = {
        "name": _replica_set_name(deployment),
        "namespace": text(deployment, "metadata", "namespace"),
        "labels": labels,
        "annotations": _copied_annotations(deployment),
        "ownerReferences": [owner_reference(deployment)],
    }
    selector = table(deployment, "spec", "selector")
    spec: dict[str, Json] = {
        "replicas": asked,
        "selector": {**selector, "matchLabels": {**table(selector, "matchLabels"), **hashed}},
        "template": {**template, "metadata": {**table(template, "metadata"), "labels": labels}},
    }
    return {"apiVersion": REPLICA_SET.api_version, "kind": REPLICA_SET.name, "metadata": metadata, "spec": spec}


def _resized(replica_set: Manifest, asked: int) -> Manifest:
    """What to apply to change nothing but the size: everything applied before, or server-side apply would drop it."""
    kept = ("name", "namespace", "labels", "annotations", "ownerReferences")
    metadata = {key: value for key, value in table(replica_set, "metadata").items() if key in kept}
    spec = {**table(replica_set, "spec"), "replicas": asked}
    return {"apiVersion": REPLICA_SET.api_version, "kind": REPLICA_SET.name, "metadata": metadata, "spec": spec}


def _differs(deployment: Manifest, current: Manifest | None, asked: int) -> bool:
    if current is None:
        return True
    return number(current, "spec", "replicas") != asked or annotations_of(current) != _copied_annotations(deployment)


def _copied_annotations(deployment: Manifest) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key != _LAST_APPLIED}


def _replica_set_name(deployment: Manifest) -> str:
    return f"{name_of(deployment)}-{template_hash(table(deployment, 'spec', 'template'))}"


def _portion(value: Json, wanted: int, *, round_up: bool) -> int:
    """An absolute number or a percentage of ``wanted``; anything else is the default."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, value)
    percent = value if isinstance(value, str) and value.removesuffix("%").isdecimal() else _DEFAULT_FRACTION
    hundredfold = int(percent.removesuffix("%")) * wanted
    return -(-hundredfold // 100) if round_up else hundredfold // 100

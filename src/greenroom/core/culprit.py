"""The container whose last words tell why an environment has failed."""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.core import health
from greenroom.core.health import Owned
from greenroom.core.phases import reason_of
from greenroom.model.manifest import (
    POD,
    Json,
    Manifest,
    condition_of,
    get,
    is_deleting,
    items,
    kind_of,
    name_of,
    number,
    text,
    uid_of,
)

TALKATIVE = frozenset(
    {
        "CrashLoopBackOff",
        "RunContainerError",
        health.NOT_LISTENING,
        health.DEADLINE_EXCEEDED,
        health.JOB_FAILED,
    }
)
"""Reasons of a container that has run. One that never did has printed nothing."""
_OWNER_CHAIN = 8
"""Owners between a PR object and a pod, at most. Nothing stops people from writing a circle."""


def culprit(pr: Manifest, owned: Owned) -> tuple[str, str] | None:
    """Pod and container, by their names; None when nobody is to blame, or nobody who has run."""
    reason = reason_of(pr)
    if reason not in TALKATIVE:
        return None
    suspects = [
        (_suspicion(status, reason), text(pod, "metadata", "creationTimestamp"), name_of(pod), text(status, "name"))
        for pod in _pods(uid_of(pr), owned, _OWNER_CHAIN)
        for status in _statuses(pod)
    ]
    suspicion, _, pod_name, container = max(suspects, default=(0, "", "", ""))
    return (pod_name, container) if suspicion else None


def spokesman(pr: Manifest, owned: Owned) -> tuple[str, str] | None:
    """Pod and container whose log is of most interest: who is to blame, or else the first container of the newest pod;
    None while there is none."""
    found = culprit(pr, owned)
    pods = [
        (text(pod, "metadata", "creationTimestamp"), name_of(pod), text(pod, "spec", "containers", 0, "name"))
        for pod in _pods(uid_of(pr), owned, _OWNER_CHAIN)
    ]
    newest = max(pods, default=None)
    return found or (newest and newest[1:])


def _pods(uid: str, owned: Owned, depth: int) -> Iterator[Manifest]:
    for child in owned(uid) if depth else ():
        if kind_of(child) != POD:
            yield from _pods(uid_of(child), owned, depth - 1)
        elif not is_deleting(child):
            yield child


def _statuses(pod: Manifest) -> Iterator[Json]:
    """Of its containers. One machine's kubelet tells of a port that is not open by a condition of the pod."""
    is_silent = text(condition_of(pod, "Ready"), "reason") == health.NOT_LISTENING
    for status in (*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")):
        yield {**status, "ready": False} if is_silent and isinstance(status, dict) else status


def _suspicion(status: Json, reason: str) -> int:
    """How much speaks for a container: it waits for that reason, it has ended badly, it is not ready."""
    if text(status, "state", "waiting", "reason") == reason:
        return 3
    if number(status, "state", "terminated", "exitCode"):
        return 2
    is_running = get(status, "state", "running") is not None
    return 1 if is_running and get(status, "ready") is False else 0

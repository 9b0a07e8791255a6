"""What a Pod says of its containers, in the shape and the words of the kubelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from greenroom.model.manifest import Json, Manifest, condition_of, items, table, text, timestamp

HOST_IP = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """The end of a process. ``code`` is negative for the signal that ended it."""

    code: int
    started_at: datetime
    finished_at: datetime
    message: str = ""
    reason: str = ""


State: TypeAlias = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """``last_state`` is the manifest of how it ended before; ``unready`` says why a running container is not ready."""

    name: str
    image: str
    state: State
    ready: bool = False
    started: bool = False
    restarts: int = 0
    last_state: Mapping[str, Json] | None = None
    unready: Waiting | None = None


def pod_status(
    pod: Manifest, init: Sequence[ContainerStatus], containers: Sequence[ContainerStatus], now: datetime
) -> Mapping[str, Json]:
    """The whole status. The same containers give the same status, whatever the time."""
    phase = _phase(init, containers)
    return {
        "phase": phase,
        "podIP": HOST_IP,
        "hostIP": HOST_IP,
        "startTime": text(pod, "status", "startTime") or timestamp(now),
        "conditions": [_ready(pod, phase, init, containers, now)],
        **({"initContainerStatuses": [_container(status) for status in init]} if init else {}),
        "containerStatuses": [_container(status) for status in containers],
    }


def state_manifest(state: State) -> Mapping[str, Json]:
    if isinstance(state, Waiting):
        told: dict[str, Json] = {"reason": state.reason}
        return {"waiting": {**told, "message": state.message} if state.message else told}
    if isinstance(state, Running):
        return {"running": {"startedAt": timestamp(state.started_at)}}
    ended: dict[str, Json] = {
        "exitCode": state.code if state.code >= 0 else 128 - state.code,
        "reason": state.reason or ("Completed" if state.code == 0 else "Error"),
        "startedAt": timestamp(state.started_at),
        "finishedAt": timestamp(state.finished_at),
    }
    if state.code < 0:
        ended["signal"] = -state.code
    if state.message:
        ended["message"] = state.message
    return {"terminated": ended}


def earlier_status(pod: Manifest, field: str, container: str) -> Mapping[str, Json]:
    """What the stored Pod says of a container, for one that carries on after a restart of Greenroom."""
    statuses = items(pod, "status", field)
    return next((table(status) for status in statuses if text(status, "name") == container), {})


def _phase(init: Sequence[ContainerStatus], containers: Sequence[ContainerStatus]) -> str:
    if not containers:  # it would be done at once, and be replaced for ever
        return "Pending"
    ends = [status.state.code for status in (*init, *containers) if isinstance(status.state, Terminated)]
    if any(isinstance(status.state, Terminated) and status.state.code != 0 for status in init):
        return "Failed"
    if len(ends) == len(init) + len(containers):
        return "Failed" if any(ends) else "Succeeded"
    begun = all(isinstance(status.state, Running | Terminated) or status.last_state for status in containers)
    return "Running" if begun else "Pending"


def _ready(
    pod: Manifest,
    phase: str,
    init: Sequence[ContainerStatus],
    containers: Sequence[ContainerStatus],
    now: datetime,
) -> Mapping[str, Json]:
    why = _why_not_ready(phase, init, containers)
    condition: dict[str, Json] = {"type": "Ready", "status": str(why is None)}
    if why is not None:
        condition |= {"reason": why.reason, "message": why.message}
    before = condition_of(pod, "Ready")
    since = text(before, "lastTransitionTime") if before.get("status") == condition["status"] else ""
    return {**condition, "lastTransitionTime": since or timestamp(now)}


def _why_not_ready(
    phase: str, init: Sequence[ContainerStatus], containers: Sequence[ContainerStatus]
) -> Waiting | None:
    if not containers:
        return Waiting("NoContainers", "the pod has no containers")
    if phase == "Succeeded":
        return Waiting("PodCompleted")
    told = next((status.unready for status in containers if status.unready is not None), None)
    if told is not None:
        return told
    unready = [status.name for status in containers if not status.ready]
    if not unready:
        return None
    return Waiting("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")


def _container(status: ContainerStatus) -> Mapping[str, Json]:
    return {
        "name": status.name,
        "image": status.image,
        "ready": status.ready,
        "started": status.started,
        "restartCount": status.restarts,
        "state": state_manifest(status.state),
        "lastState": status.last_state or {},
    }

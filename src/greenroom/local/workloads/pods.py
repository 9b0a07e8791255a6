"""One pod on this machine: its ports, its init containers in their order, then its containers, and their end.

``workloads.kubelet`` decides which pods there are; ``workloads.containers`` knows what a container does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import structlog

from greenroom.local.workloads.containers import Container
from greenroom.local.workloads.environment import UNDECLARED
from greenroom.local.workloads.launch import Host
from greenroom.local.workloads.logs import LogWriter
from greenroom.local.workloads.podstatus import earlier_status, pod_status
from greenroom.model.manifest import Json, Manifest, annotations_of, items, number, text, uid_of

PORTS_ANNOTATION = "greenroom.dev/ports"

_CRASHED_SECONDS = 10.0

log = structlog.get_logger(__name__)


class PodRun:
    """A pod that runs here, from ``start`` until ``ended``. ``changed`` is called when there is something to report."""

    def __init__(self, pod: Manifest, host: Host, changed: Callable[[], None]) -> None:
        self.pod = pod
        self.ended = False
        self._host = host
        self._changed = changed
        self._ports = host.ports.take_all(_wanted_ports(pod))
        policy = text(pod, "spec", "restartPolicy") or "Always"
        once = "Never" if policy == "Never" else "OnFailure"
        self._init = [self._container(spec, "initContainers", once) for spec in items(pod, "spec", "initContainers")]
        self._containers = [self._container(spec, "containers", policy) for spec in items(pod, "spec", "containers")]
        self._running: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._kill_at = 0.0

    @property
    def images(self) -> set[str]:
        return {container.status.image for container in (*self._init, *self._containers)}

    @property
    def ports(self) -> str:
        """The real port of each declared one, as the Pod's annotation tells it."""
        return json.dumps({str(declared): actual for declared, actual in self._ports.items()})

    def status(self, pod: Manifest, now: datetime) -> Mapping[str, Json]:
        """What the stored ``pod`` should say."""
        init = [container.status for container in self._init]
        return pod_status(pod, init, [container.status for container in self._containers], now)

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name=f"pod-{uid_of(self.pod)}")

    def stop(self, *, drain: float, grace: float) -> None:
        """Begin to end: nothing for ``drain`` seconds, then SIGTERM, and SIGKILL ``grace`` seconds later.

        A second call can only bring the SIGKILL nearer.
        """
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + drain + grace
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(drain, grace), name=f"stop-{uid_of(self.pod)}")
            self._kill_at = kill_at
        elif kill_at < self._kill_at:
            loop.call_at(kill_at, self._kill)
            self._kill_at = kill_at

    async def stopped(self) -> None:
        """Wait for the end that ``stop`` began."""
        if self._stopping is not None:
            await asyncio.wait((self._stopping,))

    async def _run(self) -> None:
        for container in self._init:
            if not await self._guarded(container):
                return
        async with asyncio.TaskGroup() as group:
            for container in self._containers:
                group.create_task(self._guarded(container))

    async def _guarded(self, container: Container) -> bool:
        """A mistake of ours in one container must not end the others, nor be lost."""
        while True:
            try:
                return await container.run()
            except Exception:
                log.exception("container runner crashed, trying again", container=container.status.name)
                await asyncio.sleep(_CRASHED_SECONDS)

    async def _stop(self, drain: float, grace: float) -> None:
        await asyncio.sleep(drain)
        for container in (*self._init, *self._containers):
            container.grace = grace
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        self._host.ports.give_back(self._ports.values())
        self.ended = True
        self._changed()

    def _kill(self) -> None:
        for container in (*self._init, *self._containers):
            container.kill()

    def _container(self, spec: Json, field: str, policy: str) -> Container:
        name = text(spec, "name")
        statuses = "initContainerStatuses" if field == "initContainers" else "containerStatuses"
        return Container(
            self.pod,
            spec,
            self._host,
            policy=policy,
            ports=self._fresh_ports,
            writer=LogWriter(log_path(self._host.logs, self.pod, name)),
            earlier=earlier_status(self.pod, statuses, name),
            changed=self._changed,
        )

    def _fresh_ports(self, spec: Json) -> Mapping[int, int]:
        """The ports of one container, after replacing those that somebody took while it was not running."""
        own = _ports_to_find(self.pod, spec)
        for declared in own:
            actual = self._ports[declared]
            if not self._host.ports.is_bindable(actual):
                self._ports[declared] = self._host.ports.take()
                self._host.ports.give_back([actual])
                self._changed()
        return {declared: self._ports[declared] for declared in own}


def pod_folder(logs: Path, pod: Manifest) -> Path:
    """Where the logs of a pod are."""
    return logs / text(pod, "metadata", "namespace") / text(pod, "metadata", "name")


def log_path(logs: Path, pod: Manifest, container: str) -> Path:
    return (
        pod_folder(logs, pod) / f"{container.replace('/', '_')}.log"
    )  # the only name here that the store has not checked


def ports_of(pod: Manifest) -> dict[int, int]:
    """The real ports that the stored Pod tells of, by declared port."""
    try:
        told = json.loads(annotations_of(pod).get(PORTS_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return {int(key): number(told, key) for key in told if key.isdecimal()} if isinstance(told, dict) else {}


def _wanted_ports(pod: Manifest) -> dict[int, int]:
    """For each port to find: the one it had before, or 0."""
    before = ports_of(pod)
    containers = items(pod, "spec", "containers")
    return {port: before.get(port, 0) for container in containers for port in _ports_to_find(pod, container)}


def _ports_to_find(pod: Manifest, container: Json) -> list[int]:
    """The ports that a container declares; of those that declare none the first gets one, for it may be a server."""
    containers = items(pod, "spec", "containers")
    if container not in containers:  # an init container serves nobody
        return []
    silent = next((each for each in containers if not _declared(each)), None)
    return _declared(container) or ([UNDECLARED] if container == silent else [])


def _declared(container: Json) -> list[int]:
    return [port for entry in items(container, "ports") if (port := number(entry, "containerPort"))]

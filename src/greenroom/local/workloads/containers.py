"""One container of a pod: wait for its image and its configuration, run it, probe it, start it again.

What it does shows in its ``status``; whoever made it is told when that changed. ``workloads.launch`` says how its
process is started, ``workloads.pods`` puts containers together to pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from greenroom.core.health import NOT_LISTENING
from greenroom.local.workloads.environment import ConfigError
from greenroom.local.workloads.images import Asked, Building, Built, Missing, Unusable
from greenroom.local.workloads.launch import Host, Launch, launch_of
from greenroom.local.workloads.logs import LogWriter
from greenroom.local.workloads.podstatus import ContainerStatus, Running, State, Terminated, Waiting, state_manifest
from greenroom.local.workloads.probes import Probe, listening_probe
from greenroom.local.workloads.process import Process
from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import Json, Manifest, number, table, text

_LOOK_AGAIN_SECONDS = 5.0
_START_ERROR_CODE = 128
_LINE_LENGTH = 200
_DEFAULT_GRACE_SECONDS = 30


class Container:
    """``spec`` is the container's part of ``pod`` and ``policy`` the restart policy it lives by.

    ``ports`` answers the real port of each declared one, and is asked again before each start. ``earlier`` is the
    container's stored status, which it carries on from.
    """

    def __init__(
        self,
        pod: Manifest,
        spec: Json,
        host: Host,
        *,
        policy: str,
        ports: Callable[[Json], Mapping[int, int]],
        writer: LogWriter,
        earlier: Json,
        changed: Callable[[], None],
    ) -> None:
        self.grace = 0.0
        """Seconds between SIGTERM and SIGKILL when ``run`` is cancelled."""
        self.status = ContainerStatus(
            name=text(spec, "name"),
            image=text(spec, "image"),
            state=Waiting("ContainerCreating"),
            restarts=number(earlier, "restartCount"),
            last_state=table(earlier, "lastState"),
        )
        self._pod, self._spec, self._host = pod, spec, host
        self._policy = policy
        self._ports = ports
        self._writer = writer
        self._changed = changed
        self._process: Process | None = None

    async def run(self) -> bool:
        """Run until it has ended for good, and answer whether with success. When cancelled, end the process first."""
        crashes = 0
        while True:
            ended = await self._live(await self._prepared())
            if self._policy == "Never" or (self._policy == "OnFailure" and ended.code == 0):
                self._show(replace(self.status, state=ended, last_state={}))
                return ended.code == 0
            settled = ended.finished_at - ended.started_at >= timedelta(seconds=self._host.timing.settled)
            crashes = 1 if settled else crashes + 1
            delay = self._host.timing.restart.delay(crashes)
            self._enter(_backing_off(ended, delay))
            await asyncio.sleep(delay)
            self._show(replace(self.status, restarts=self.status.restarts + 1))

    def kill(self) -> None:
        """End the process at once, if there is one."""
        if self._process is not None:
            self._process.kill()

    async def _prepared(self) -> Launch:
        """Wait until image and configuration are there, showing what it waits for."""
        images, configured = self._host.images, self._host.configured
        while True:
            image = images.state(self.status.image)
            if not isinstance(image, Built):
                self._enter(_waiting_for(image))
                await images.changed.wait(_LOOK_AGAIN_SECONDS)
                continue
            try:
                return launch_of(self._pod, self._spec, image, self._ports(self._spec), self._host)
            except ConfigError as error:
                self._enter(Waiting("CreateContainerConfigError", str(error)))
            except (GreenroomError, OSError) as error:
                self._enter(Waiting("CreateContainerError", str(error)))
            await configured.wait(_LOOK_AGAIN_SECONDS)

    async def _live(self, launch: Launch) -> Terminated:
        """One life of the process, from its start to the end of all that it started."""
        began = self._host.clock.now()
        self._writer.forget()
        try:
            process = await Process.start(
                launch.argv, cwd=launch.cwd, env=launch.variables, markers=launch.markers, log=self._writer
            )
        except (OSError, ValueError) as error:
            message = f"cannot start {launch.argv[0]}: {error}"
            return self._over(Terminated(_START_ERROR_CODE, began, began, message, "StartError"))
        self._process = process
        self._enter(Running(began))
        told = ""
        try:
            told = await self._watch(process, launch)
        finally:
            code = await process.end(grace_seconds(self._pod) if told else self.grace)
            self._process = None
            message = told or launch.declared.scrub(self._writer.last_line())[:_LINE_LENGTH]
            ended = self._over(Terminated(code, began, self._host.clock.now(), message))
        return ended

    async def _watch(self, process: Process, launch: Launch) -> str:
        """Until the process ends by itself, which answers ``""``, or should be ended: the answer says why."""
        ending = asyncio.create_task(process.wait())
        failing = asyncio.create_task(self._probe(launch))
        try:
            await asyncio.wait((ending, failing), return_when=asyncio.FIRST_COMPLETED)
            return "" if ending.done() else failing.result()
        finally:
            for task in (ending, failing):
                task.cancel()
            await asyncio.wait((ending, failing))

    async def _probe(self, launch: Launch) -> str:
        """Follow the probes until one says that the process should be ended, and answer why."""
        if launch.startup is not None:
            try:
                async with asyncio.timeout(launch.startup.patience):
                    await launch.startup.first_success()
            except TimeoutError:
                return "startup probe failed"
        self._show(replace(self.status, started=True))
        async with asyncio.TaskGroup() as group:
            readiness = group.create_task(self._follow_readiness(launch))
            await _first_failure(launch.liveness)
            readiness.cancel()
        return "liveness probe failed"

    async def _follow_readiness(self, launch: Launch) -> None:
        if launch.readiness is not None:
            await launch.readiness.first_success()
            self._show(replace(self.status, ready=True))
            async for good in launch.readiness.verdicts():
                self._show(replace(self.status, ready=good))
        else:
            if launch.port is not None:
                await self._listening(launch.port)
            self._show(replace(self.status, ready=True, unready=None))

    async def _listening(self, port: int) -> None:
        """Wait until the port is open, and say so when that takes long."""
        probe = listening_probe(port)
        patience = self._host.timing.patience
        try:
            async with asyncio.timeout(patience):
                await probe.first_success()
        except TimeoutError:
            message = f"{self.status.name} has not opened port {port} (PORT) after {patience:g} s"
            self._show(replace(self.status, unready=Waiting(NOT_LISTENING, message)))
            await probe.first_success()

    def _enter(self, state: State) -> None:
        """Another state: what was known of the earlier one's readiness is void."""
        self._show(replace(self.status, state=state, ready=False, started=False, unready=None))

    def _over(self, ended: Terminated) -> Terminated:
        """It is not yet said whether it will start again, so it must not look as if it had ended for good."""
        self._show(replace(self.status, last_state=state_manifest(ended)))
        self._enter(Waiting("Stopped"))
        return ended

    def _show(self, status: ContainerStatus) -> None:
        if status != self.status:
            self.status = status
            self._changed()


def grace_seconds(pod: Manifest) -> float:
    """Between SIGTERM and SIGKILL: what the deletion asked for, else what the pod asks for."""
    own = number(pod, "spec", "terminationGracePeriodSeconds", default=_DEFAULT_GRACE_SECONDS)
    return max(0, number(pod, "metadata", "deletionGracePeriodSeconds", default=own))


def _waiting_for(image: Asked | Building | Missing | Unusable) -> Waiting:
    if isinstance(image, Asked):
        return Waiting("ContainerCreating")
    if isinstance(image, Unusable):
        return Waiting(image.reason, image.message)
    if isinstance(image, Missing) and image.attempts == 1:
        return Waiting("ErrImagePull", image.message)
    return Waiting("ImagePullBackOff", image.message)


def _backing_off(ended: Terminated, delay: float) -> Waiting:
    how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
    why = f": {ended.message}" if ended.message else ""
    return Waiting("CrashLoopBackOff", f"back-off {delay:g}s after {how}{why}")


async def _first_failure(liveness: Probe | None) -> None:
    """Never returns without a probe: then only the process itself can end."""
    if liveness is None:
        await asyncio.Event().wait()
    else:
        await liveness.failure()

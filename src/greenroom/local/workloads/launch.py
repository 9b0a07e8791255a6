"""What it takes to start a container's process here: command line, folder, environment, mounts, probes.

``command`` and ``args`` of the container are used as Kubernetes uses them, with the ``web:`` line of the Procfile in
place of the image's entry point. The working folder is the image's tree, or a relative ``workingDir`` in it. An
absolute one names a folder of a file system that is not there, and is not used. Requests and limits of resources,
security contexts and service accounts have no effect on one machine.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from greenroom.local import instance
from greenroom.local.workloads.broadcast import Broadcast
from greenroom.local.workloads.environment import ConfigError, Environment, Lookup, environment, expand
from greenroom.local.workloads.images import Built, Images
from greenroom.local.workloads.mounts import checked_name, mount
from greenroom.local.workloads.portpool import PortPool
from greenroom.local.workloads.probes import Probe, probe_of
from greenroom.local.workloads.procfile import shell
from greenroom.local.workloads.timing import Timing
from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import Json, Manifest, items, number, text, uid_of
from greenroom.ports import Clock


@dataclass(frozen=True, slots=True)
class Host:
    """The machine, as pods see it.

    ``pods`` and ``logs`` are folders with one folder a pod. ``configured`` is notified when a ConfigMap
    or Secret changed.
    """

    instance: str
    images: Images
    ports: PortPool
    lookup: Lookup
    clock: Clock
    pods: Path
    logs: Path
    configured: Broadcast
    timing: Timing


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start, and how to look after it.

    ``declared`` knows what of the environment is secret. ``port`` is the one it has to open, None if it declares none.
    """

    argv: Sequence[str]
    cwd: Path
    variables: Mapping[str, str]
    markers: Mapping[str, str]
    declared: Environment
    port: int | None
    startup: Probe | None
    liveness: Probe | None
    readiness: Probe | None


def launch_of(pod: Manifest, container: Json, image: Built, ports: Mapping[int, int], host: Host) -> Launch:
    """Writes the container's mounts. Raises ConfigError, other GreenroomErrors, and OSError."""
    markers = {
        instance.INSTANCE: host.instance,
        instance.POD: uid_of(pod),
        instance.CONTAINER: checked_name(text(container, "name")),
    }
    declared = environment(pod, container, ports, host.lookup)
    variables = {
        **instance.base_environment(host.instance),
        **declared.variables,
        **mount(pod, container, host.pods / uid_of(pod), host.lookup),
    }
    cwd = _folder(container, image.path)

    async def run(command: list[str]) -> int:
        return await _run(command, cwd, {**variables, **markers})

    return Launch(
        argv=_command(container, image, declared.variables),
        cwd=cwd,
        variables=variables,
        markers=markers,
        declared=declared,
        port=_port_to_open(container, ports),
        startup=probe_of(container, "startupProbe", ports, run),
        liveness=probe_of(container, "livenessProbe", ports, run),
        readiness=probe_of(container, "readinessProbe", ports, run),
    )


def _port_to_open(container: Json, ports: Mapping[int, int]) -> int | None:
    """The first of its TCP ports; None when it declares none."""
    for entry in items(container, "ports"):
        if text(entry, "protocol") in {"", "TCP"}:
            return ports.get(number(entry, "containerPort"))
    return None


def _command(container: Json, image: Built, variables: Mapping[str, str]) -> list[str]:
    command = [expand(str(word), variables) for word in items(container, "command")]
    arguments = [expand(str(word), variables) for word in items(container, "args")]
    if command:
        return command + arguments
    if not image.web:
        commit = image.path.name[:7]
        raise GreenroomError(f"no Procfile with a web: line in commit {commit}, and no command in the container")
    return shell(f'{image.web} "$@"', *arguments) if arguments else shell(image.web)


def _folder(container: Json, tree: Path) -> Path:
    wanted = PurePosixPath(text(container, "workingDir"))
    if ".." in wanted.parts:
        raise ConfigError(f'workingDir "{wanted}" leads out of the image')
    return tree if wanted.is_absolute() else tree / wanted


async def _run(command: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> int:
    """Run a command to its end, without keeping its output; when cancelled, kill it with all that it started."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await child.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()

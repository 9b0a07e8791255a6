"""Which processes are ours: every child carries markers in its environment, and its own children inherit them.

``GREENROOM_INSTANCE`` names the state folder that a process belongs to, ``GREENROOM_POD`` (a pod's UID) and
``GREENROOM_CONTAINER`` what it runs for. So a process that left its session, or that outlived a killed Greenroom, is
still found.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

INSTANCE = "GREENROOM_INSTANCE"
POD = "GREENROOM_POD"
CONTAINER = "GREENROOM_CONTAINER"

_KILL_SECONDS = 1.0
_POLL_SECONDS = 0.01
_EXEC_SECONDS = 0.5
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR")


def instance_id(state: Path) -> str:
    """The identity of a state folder, made on first use and kept in its file ``instance``."""
    file = state / "instance"
    if file.exists():
        with suppress(ValueError):  # damaged: it names nothing any more
            return str(uuid.UUID(file.read_text().strip()))
    state.mkdir(parents=True, exist_ok=True)
    fresh = str(uuid.uuid4())
    partial = file.with_suffix(".new")
    partial.write_text(fresh + "\n")
    partial.replace(file)
    return fresh


def base_environment(instance: str) -> dict[str, str]:
    """What every child gets of Greenroom's own environment: enough to find programs, none of its secrets."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **passed_on, INSTANCE: instance}


async def end_leftovers(instance: str, *, grace: float = 2.0) -> int:
    """End every process of this instance, whoever started it. Answers how many there were."""
    return await asyncio.to_thread(_end, {INSTANCE: instance}, grace)


async def kill_marked(markers: Mapping[str, str]) -> int:
    """Kill at once every process whose environment carries all of ``markers``. Answers how many there were."""
    return await asyncio.to_thread(_end, markers, 0.0)


def marked(markers: Mapping[str, str]) -> list[psutil.Process]:
    """The processes whose environment carries all of ``markers``, without this one and its ancestors."""
    own = os.getpid()
    spared = {own, *(parent.pid for parent in psutil.Process(own).parents())}
    return [process for process in _processes() if process.pid not in spared and _carries(process, markers)]


def _processes() -> Iterator[psutil.Process]:
    """All of them. (psutil's own iterator has a cache, which must not be shared by threads.)"""
    for pid in psutil.pids():
        with suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def _carries(process: psutil.Process, markers: Mapping[str, str]) -> bool:
    try:
        return markers.items() <= _environment(process).items()
    except (psutil.Error, OSError):  # it is gone, a zombie, or another user's
        return False


def _environment(process: psutil.Process) -> Mapping[str, str]:
    """For a moment of its start, while one program takes the place of another, a process seems to have none."""
    deadline = process.create_time() + _EXEC_SECONDS
    while not (found := process.environ()) and process.exe() and time.time() < deadline:  # kernel threads have no exe
        time.sleep(_POLL_SECONDS)
    return found


def _end(markers: Mapping[str, str], grace: float) -> int:
    found = marked(markers)
    if grace > 0:
        for process in found:
            _signal(process, signal.SIGTERM)
        _wait(found, markers, grace)
    killed: set[psutil.Process] = set()
    # A process may fork while it is being killed, so look again until nothing new is found.
    while left := set(marked(markers)) - killed:
        for process in left:
            _signal(process, signal.SIGKILL)
        _wait(left, markers, _KILL_SECONDS)
        killed |= left
    return len(found)


def _wait(processes: Iterable[psutil.Process], markers: Mapping[str, str], seconds: float) -> None:
    """Until they are gone. Not with psutil's wait, which would reap our children before asyncio hears of their end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(_carries(process, markers) for process in processes):
        time.sleep(_POLL_SECONDS)


def _signal(process: psutil.Process, signum: signal.Signals) -> None:
    """To the whole group, which reaches children that wiped their environment; never to the group of Greenroom."""
    with suppress(ProcessLookupError, PermissionError, psutil.Error):
        group = os.getpgid(process.pid)
        if group != os.getpgrp():
            os.killpg(group, signum)
        else:
            process.send_signal(signum)

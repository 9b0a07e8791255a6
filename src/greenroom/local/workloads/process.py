"""One child process: in a session of its own, so that it ends with everything it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from greenroom.local.instance import kill_marked
from greenroom.local.workloads.logs import LogWriter

_DRAIN_SECONDS = 1.0


class Process:
    """A running child. Its output goes to a log until the last writer has closed it."""

    def __init__(
        self, child: asyncio.subprocess.Process, markers: Mapping[str, str], output: asyncio.Task[None]
    ) -> None:
        self._child = child
        self._markers = markers
        self._output = output

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], markers: Mapping[str, str], log: LogWriter
    ) -> Process:
        """``markers`` are added to ``env``, to find what leaves the session.

        Raises OSError when the program cannot be started, ValueError when an argument or variable has a null byte.
        """
        # A pipe of our own: asyncio would hold back the news of the end for as long as a grandchild keeps its pipe.
        reading, writing = os.pipe()
        try:
            child = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env={**env, **markers},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return cls(child, markers, asyncio.create_task(_copy(reading, log), name=f"output-{child.pid}"))

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> int:
        """The exit code of the process itself; negative for the signal that ended it."""
        return await self._child.wait()

    async def end(self, grace: float) -> int:
        """SIGTERM to the group; when the process has ended, or after ``grace`` seconds, SIGKILL to all that it started.

        Answers the exit code. The rest of the output is in the log then.
        """
        try:
            if self._child.returncode is None and grace > 0:
                self._signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._child.wait()
        finally:
            self.kill()
        code = await self._child.wait()
        await kill_marked(self._markers)
        await self._close_output()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            os.killpg(self._child.pid, signum)

    async def _close_output(self) -> None:
        _, late = await asyncio.wait([self._output], timeout=_DRAIN_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.wait([self._output])


async def _copy(descriptor: int, log: LogWriter) -> None:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        await log.copy(reader)
    finally:
        transport.close()

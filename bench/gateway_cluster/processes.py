"""Programs that run while they are measured. Each is ended by its id, and with the bench however that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.cluster.programs import END_WITH_US

DEADLINE = 60.0
"""Seconds for what a program does when it starts."""
_GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Program:
    """A running one. ``log`` is what it says, standard output included."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def cpu(self) -> float:
        """Seconds that it has used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    @property
    def memory(self) -> float:
        """Resident, in MiB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    async def listening(self, port: int, address: str = "127.0.0.1") -> None:
        """Once it takes connections. Raises RuntimeError with what it says when it ends, TimeoutError after a while."""
        async with asyncio.timeout(DEADLINE):
            while not await _connects(address, port):
                self.must_run()
                await asyncio.sleep(0.02)

    async def says(self) -> str:
        """The first line that it prints. Raises as ``listening`` does."""
        async with asyncio.timeout(DEADLINE):
            while "\n" not in (said := self.log.read_text(errors="replace")):
                self.must_run()
                await asyncio.sleep(0.02)
        return said.partition("\n")[0]

    def must_run(self) -> None:
        if self.process.returncode is not None:
            raise RuntimeError(f"{self.log.stem} ended:\n{self.log.read_text(errors='replace')[-3000:]}")


@asynccontextmanager
async def program(folder: Path, name: str, *command: str) -> AsyncIterator[Program]:
    """``command``, running. Its log is in ``folder``."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(*END_WITH_US, *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the bench, which then ends them in order
        )
    try:
        yield Program(process, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def at_rest(programs: Sequence[Program], *, seconds: float) -> None:
    """Once they do next to nothing: less than a tenth of a core for two seconds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        used, before = sum(each.cpu for each in programs), -1.0
        while used - before > 0.2:
            await asyncio.sleep(2.0)
            used, before = sum(each.cpu for each in programs), used


async def _connects(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True

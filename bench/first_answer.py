"""Webhook to first 200, next to the least anybody could do: check out, build, start, and ask the process itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.machine import Bench, bench_machine, line
from greenroom.app.example_repository import free_port
from greenroom.app.forge import Repository

ROUNDS = 10


async def run() -> None:
    async with bench_machine() as bench:
        ours, bare = [], []
        for branch in await bench.branches("first", ROUNDS):
            start = time.perf_counter()
            started = await bare_start(bench.repository, branch, asyncio.Lock())
            bare.append(time.perf_counter() - start)
            await started.end()
            ours.append(await _through_greenroom(bench, branch))
    line("webhook to first 200", ours, bare, peer_name="by hand")


async def _through_greenroom(bench: Bench, branch: str) -> float:
    start = time.perf_counter()
    pull = await bench.forge.open(branch)
    await bench.visitor.until(f"pr{pull.number}.localhost", 200, pull.head)
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Started:
    """A branch that runs without Greenroom."""

    repository: Repository
    folder: Path
    process: Process

    async def end(self) -> None:
        self.process.terminate()
        await self.process.wait()
        await self.repository.git("worktree", "remove", "--force", str(self.folder / "tree"))
        shutil.rmtree(self.folder)


async def bare_start(repository: Repository, branch: str, one_at_a_time: asyncio.Lock) -> Started:
    """Check out, build and start a branch of the example, and answer when it does."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    port = free_port(0)
    async with one_at_a_time:  # git fails when it meets a worktree that another git is about to add
        await repository.git("worktree", "add", "--quiet", "--detach", str(folder / "tree"), branch)
    build = await asyncio.create_subprocess_shell("git rev-parse HEAD > COMMIT", cwd=folder / "tree")
    await build.wait()
    process = await asyncio.create_subprocess_exec(
        "env", f"PORT={port}", "python3", "app.py", cwd=folder / "tree", stdout=DEVNULL, stderr=DEVNULL
    )
    await _until_answered(port)
    return Started(repository, folder, process)


async def _until_answered(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(6000):
            try:
                async with session.get(f"http://127.0.0.1:{port}/") as response:
                    await response.read()
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.005)
    raise TimeoutError(f"nothing answered on port {port}")

"""A delivery that comes again: how many writes it costs, and how long it takes next to the first time."""

from __future__ import annotations

import asyncio
import time

from bench.machine import Bench, bench_machine, line, opened
from greenroom.model.manifest import PR

ROUNDS = 50


async def run() -> None:
    async with bench_machine() as bench:
        head = await bench.repository.head_of("main")
        bodies = [opened(bench, number, "main", head) for number in range(1, ROUNDS + 1)]
        first, again = [], []
        for body in bodies:
            start = time.perf_counter()
            await bench.webhook.deliver("pull_request", body)
            first.append(time.perf_counter() - start)
        for number in range(1, ROUNDS + 1):
            await bench.visitor.until(f"pr{number}.localhost", 200, head)
        before = await _settled_version(bench)
        for body in bodies:
            start = time.perf_counter()
            await bench.webhook.deliver("pull_request", body)
            again.append(time.perf_counter() - start)
        after = await _settled_version(bench)
    print(f"writes caused by {ROUNDS} redeliveries: {after - before}")
    line("redelivery answered", again, first, peer_name="first time")


async def _settled_version(bench: Bench) -> int:
    """The cluster's version once nothing has been written for a while."""
    version = -1
    while True:
        found = int((await bench.machine.cluster.list(PR)).resource_version)
        if found == version:
            return version
        version = found
        await asyncio.sleep(2.0)

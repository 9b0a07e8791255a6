"""A hundred pull requests opened at once.

To all objects applied: next to the same objects written one after the other to such a store by a program that does
nothing else. To all addresses answering 200: next to the same programs checked out, built and started by hand, with as
many at a time as Greenroom builds.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.first_answer import Started, bare_start
from bench.machine import Bench, bench_machine, line, opened
from greenroom.app.lifecycle import SystemClock
from greenroom.local.storage.store import Store
from greenroom.local.workloads.images import CONCURRENT_BUILDS
from greenroom.model.manifest import ENVIRONMENT_LABEL, PR, Manifest, condition_of, items, labels_of, text

N = 100


async def run() -> None:
    async with bench_machine() as bench:
        branches = await bench.branches("crowd", N)
        by_hand = await _by_hand(bench, branches)
        heads = [await bench.repository.head_of(branch) for branch in branches]
        bodies = [
            opened(bench, number, branch, head)
            for number, (branch, head) in enumerate(zip(branches, heads, strict=True), 1)
        ]
        start = time.perf_counter()
        await asyncio.gather(*(bench.webhook.deliver("pull_request", body) for body in bodies))
        accepted = time.perf_counter() - start
        await _until_applied(bench)
        applied = time.perf_counter() - start
        written = await _objects(bench)
        await _until_ready(bench)
        for number, head in enumerate(heads, 1):
            await bench.visitor.until(f"pr{number}.localhost", 200, head)
        answered = time.perf_counter() - start
    plain = await _plain_writes(written)
    print(f"{N} deliveries answered with 2xx after {accepted:.2f} s")
    line(f"{N} opened at once, all applied", [applied], [plain], peer_name="plain writes")
    line(f"{N} opened at once, all answer 200", [answered], [by_hand], peer_name="by hand")


async def _until_applied(bench: Bench) -> None:
    while True:
        prs = bench.machine.informers.list(PR)
        if len(prs) == N and all(len(items(pr, "status", "inventory")) == 5 for pr in prs):
            return
        await asyncio.sleep(0.01)


async def _until_ready(bench: Bench) -> None:
    """Asking a hundred addresses all the time would take the time that is measured, so the objects are asked first."""

    def ready() -> bool:
        prs = bench.machine.informers.list(PR)
        return all(text(condition_of(pr, "Ready"), "status") == "True" for pr in prs)

    while not ready():  # noqa: ASYNC110 - an event would have to be set by the code that is measured
        await asyncio.sleep(0.05)


async def _objects(bench: Bench) -> list[Manifest]:
    """What was written for the pull requests: the PR objects and their children, without what the store added."""
    found: list[Manifest] = []
    for resource in await bench.machine.cluster.resources():
        listing = await bench.machine.cluster.list(resource.kind)
        found += [item for item in listing.items if resource.kind == PR or ENVIRONMENT_LABEL in labels_of(item)]
    return [_as_applied(manifest) for manifest in found]


def _as_applied(manifest: Manifest) -> Manifest:
    name = text(manifest, "metadata", "name")
    metadata: Manifest = {"name": name, "namespace": "pr-env", "labels": labels_of(manifest)}
    return {**{key: value for key, value in manifest.items() if key != "status"}, "metadata": metadata}


async def _plain_writes(manifests: Sequence[Manifest]) -> float:
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        store = Store.open(Path(folder) / "cluster.db", clock=SystemClock())
        namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr-env"}}
        await store.apply(namespace, manager="bench")
        start = time.perf_counter()
        for manifest in manifests:
            await store.apply(manifest, manager="bench")
        seconds = time.perf_counter() - start
        store.close()
    return seconds


async def _by_hand(bench: Bench, branches: Sequence[str]) -> float:
    """All of them started, and kept running until the last one answered, as Greenroom has to."""
    turns, one_at_a_time = asyncio.Semaphore(CONCURRENT_BUILDS), asyncio.Lock()

    async def one(branch: str) -> Started:
        async with turns:
            return await bare_start(bench.repository, branch, one_at_a_time)

    start = time.perf_counter()
    started = await asyncio.gather(*map(one, branches), return_exceptions=True)
    seconds = time.perf_counter() - start
    for each in started:
        if isinstance(each, Started):
            await each.end()
    failures = [each for each in started if isinstance(each, BaseException)]
    if failures:
        raise failures[0]
    return seconds

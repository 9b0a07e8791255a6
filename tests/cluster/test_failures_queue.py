"""The work queue over a real API server: keys that come fast, writes that hang, an end in the middle of one.

How long a back-off lasts, and that it starts anew after a success, is ``tests/runtime/test_controller``'s, which owns
time; so is a reconcile that crashes, for which a real cluster gives no occasion.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections import Counter
from pathlib import Path

import pytest
from tests.cluster.admission import failing, holding
from tests.cluster.failing import RETRIES, config_map, installation, ready, shown
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, B, Installation
from tests.contract.suite import MANAGER, eventually, exists, secret

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import CONFIG_MAP, SECRET, Ref, get, ref_of, text, version_of
from greenroom.model.watch import Scope
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.leader import LEASE


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return installation(cluster, namespace, tmp_path, kubernetes)


async def test_a_key_that_changes_while_it_is_handled_is_handled_again_and_never_twice_at_once(
    cluster: KubeCluster, namespace: str
) -> None:
    running: Counter[Ref] = Counter()
    at_once: set[int] = set()
    seen: dict[Ref, str] = {}
    last: dict[Ref, str] = {}

    async def reconcile(ref: Ref) -> None:
        running[ref] += 1
        at_once.add(running[ref])
        known = version_of(informers.get(ref) or {})
        await cluster.get(ref)  # it takes long enough for the next change to come
        seen[ref] = known
        running[ref] -= 1

    async def change(name: str) -> None:
        for number in range(20):
            stored = await cluster.apply(secret(namespace, name, key=f"{number:04}"), manager=MANAGER)
            last[ref_of(stored)] = version_of(stored)

    async def agrees() -> bool:
        return seen == last

    informers = Informers(cluster)
    controller: Controller[Ref] = Controller("secrets", reconcile, workers=4)
    informers.subscribe(Scope(SECRET, namespace), lambda old, new: controller.add(ref_of(new or old or {})))
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(controller.run())]
    try:
        await informers.synced()
        await asyncio.gather(*(change(f"object-{number}") for number in range(6)))
        await eventually("the last change of each was seen", agrees)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert at_once == {1}


async def test_pushes_that_come_at_once_at_two_replicas_end_in_the_later(installed: Installation) -> None:
    """Deliveries wait for each other within a replica only: these meet in the API server, which tells of conflicts."""
    await installed.template(config_map())
    numbers = range(1, 9)
    async with installed.pair() as (one, other):
        await asyncio.gather(*(one.deliver(installed.repository, "opened", number, A, 0) for number in numbers))
        await asyncio.gather(
            *(one.deliver(installed.repository, "synchronize", number, A, 1) for number in numbers),
            *(other.deliver(installed.repository, "synchronize", number, B, 2) for number in numbers),
        )
        await eventually("the later one is shown", lambda: shown(installed, B, *numbers))
        assert all([await holds(installed, number, B) for number in numbers])


async def test_an_environment_that_two_replicas_make_at_once_is_that_of_the_later_push(installed: Installation) -> None:
    await installed.template(config_map())
    numbers = range(1, 17)
    async with installed.pair() as (one, other):
        await asyncio.gather(
            *(one.deliver(installed.repository, "opened", number, A, 0) for number in numbers),
            *(other.deliver(installed.repository, "synchronize", number, B, 1) for number in numbers),
        )
        await eventually("the later one is shown", lambda: shown(installed, B, *numbers))


async def test_a_write_that_hangs_keeps_no_other_environment_waiting(installed: Installation, tmp_path: Path) -> None:
    await installed.template(config_map(), config_map("also-pr{{PR_NUMBER}}"))
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        async with holding(installed.cluster, installed.namespace, tmp_path, "pr1") as held:
            await replica.deliver(installed.repository, "opened", 1, A, 0)
            await eventually("the write hangs", held.waits)
            others = range(2, 12)
            await asyncio.gather(*(replica.deliver(installed.repository, "opened", each, A, 0) for each in others))
            await eventually("the others are shown", lambda: shown(installed, A, *others))
            assert await replica.metric(RETRIES) == 0  # nobody gave up on the write
            assert not await installed.shows(1)
            held.let_go()
            await eventually("it is shown, too", lambda: installed.shows(1))


async def test_a_write_that_fails_is_told_and_tried_again_ever_more_seldom_while_the_others_are_done(
    installed: Installation, tmp_path: Path
) -> None:
    await installed.template(config_map(), config_map("also-pr{{PR_NUMBER}}"))
    loop = asyncio.get_running_loop()

    async def is_told() -> bool:
        return text(await ready(installed, 1), "reason") == "ApplyFailed"

    async def is_tried_again() -> bool:
        return await replica.metric(RETRIES) >= 5

    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        async with failing(installed.cluster, installed.namespace, tmp_path, "pr1"):
            began = loop.time()
            await replica.deliver(installed.repository, "opened", 1, A, 0)
            await eventually("it is told", is_told)
            assert "ConfigMap/pr1: " in text(await ready(installed, 1), "message")
            assert "half-way.example.com" in text(await ready(installed, 1), "message")
            assert await exists(installed.cluster, Ref(CONFIG_MAP, installed.namespace, "also-pr1"))
            await eventually("it is tried again", is_tried_again)
            # Each wait is twice the one before; two looks more are due to what Greenroom wrote itself.
            most = math.log2(1 + (loop.time() - began) / Backoff().base) + 2
            assert await replica.metric(RETRIES) <= most
        await eventually("it is shown", lambda: installed.shows(1))
        failures = await replica.metric(RETRIES)
        await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the next one is shown", lambda: installed.shows(1, B))
        assert await replica.metric(RETRIES) == failures


async def test_an_end_in_the_middle_of_a_write_gives_the_lease_back_and_the_next_replica_completes_it(
    installed: Installation, tmp_path: Path
) -> None:
    await installed.template(config_map())
    async with holding(installed.cluster, installed.namespace, tmp_path, "pr1") as held:
        async with installed.replica() as first:
            await eventually("it leads", first.leads)
            await first.deliver(installed.repository, "opened", 1, A, 0)
            await eventually("the write is under way", held.waits)
            assert await first.end(signal.SIGTERM) == 143
            assert [line for line in first.said() if line["level"] in ("warning", "error", "critical")] == []
        assert await installed.holder() == ""
        async with installed.replica() as second:
            await eventually("the next one leads", second.leads)
            held.let_go()
            await eventually("it is shown", lambda: installed.shows(1))


async def test_a_write_of_a_killed_leader_that_lands_after_its_successors_is_put_right(
    installed: Installation, tmp_path: Path
) -> None:
    await installed.template(config_map())
    async with holding(installed.cluster, installed.namespace, tmp_path, "pr1") as held, installed.pair() as pair:
        leader, other = pair
        await leader.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("the write is under way", held.waits)
        await leader.end(signal.SIGKILL)
        await installed.cluster.delete(Ref(LEASE, installed.namespace, "greenroom"))  # instead of waiting for its end
        await other.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the other leads", other.leads)
        held.let_go()
        await eventually("it carries on", lambda: installed.shows(1, B))
        await eventually("and the last word is its", lambda: holds(installed, 1, B))


async def holds(installed: Installation, number: int, commit: str) -> bool:
    stored = await installed.cluster.get(Ref(CONFIG_MAP, installed.namespace, f"pr{number}"))
    return get(stored, "data", "commit") == commit

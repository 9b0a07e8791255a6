"""The API server cut off, silent, or without its etcd; the lease taken away. ``greenroom serve``, as it is run.

An API server that is really gone, and a leader that is killed, are in ``test_serve``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.failing import LOOKED, config_map, installation, shown
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, B, Installation, Replica
from tests.cluster.proxy import Proxy
from tests.contract.suite import MANAGER, eventually, exists, gone

from greenroom.adapters.kube import KubeCluster
from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import CONFIG_MAP, PR, Manifest, Ref, get
from greenroom.runtime.leader import LEASE


@pytest.fixture
async def proxy(kubernetes: Kubernetes) -> AsyncIterator[Proxy]:
    async with Proxy(kubernetes.admin) as proxy:
        yield proxy


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(cluster, namespace, tmp_path, kubernetes)


@pytest.fixture
def far(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes, proxy: Proxy) -> Installation:
    """The same, whose replicas reach the API server by way of the proxy."""
    return installation(cluster, namespace, tmp_path / "far", kubernetes, proxy=proxy)


def lease(namespace: str, holder: str, seconds: int, renewed: str) -> Manifest:
    metadata: Manifest = {"name": "greenroom", "namespace": namespace}
    spec: Manifest = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}


async def test_what_changed_while_the_api_server_was_cut_off_is_made_good_and_nothing_else_is_written(
    installed: Installation, far: Installation, proxy: Proxy, namespace: str, cluster: KubeCluster
) -> None:
    await installed.template(config_map())
    lost, theirs = Ref(CONFIG_MAP, namespace, "pr1"), Ref(CONFIG_MAP, namespace, "pr2")
    async with far.replica() as replica:
        for number in (1, 2, 3):
            await replica.deliver(installed.repository, "opened", number, A, 0)
        await eventually("all are shown", lambda: shown(installed, A, 1, 2, 3))
        before = await installed.versions()
        async with proxy.down():
            await cluster.delete(lost)
            await cluster.delete(Ref(PR, namespace, "shop-pr2"))
            with pytest.raises(GreenroomError, match="503"):
                await replica.deliver(installed.repository, "synchronize", 3, B, 1)
            assert await replica.probe("/healthz") == 200
        await eventually("what was lost is back", lambda: exists(cluster, lost))
        await gone(cluster, theirs)
        after = await installed.versions()
        assert {ref: after[ref] for ref in before if ref.name.endswith("pr3")} == {
            ref: version for ref, version in before.items() if ref.name.endswith("pr3")
        }


async def test_a_replica_whose_api_server_does_not_answer_decides_nothing_until_it_does(
    installed: Installation, far: Installation, proxy: Proxy
) -> None:
    await installed.template(config_map())
    async with installed.replica() as first:
        for number in (1, 2):
            await first.deliver(installed.repository, "opened", number, A, 0)
        await eventually("both are shown", lambda: shown(installed, A, 1, 2))
        await first.end(signal.SIGTERM)
    before = await installed.versions()
    async with proxy.silent(), far.replica(ready=False) as replica:

        async def alive() -> bool:
            return await replica.probe("/healthz") == 200

        await eventually("it is alive", alive)
        with pytest.raises(GreenroomError, match="503"):
            await replica.deliver(installed.repository, "closed", 2, A, 1)
        assert await replica.probe("/readyz") == 503
        assert await replica.probe("/healthz") == 200
        assert await installed.versions() == before
        proxy.speak()
        await eventually("it is ready", replica.is_ready)
        await eventually("it looked at both", lambda: has_looked(replica, 2))
        assert await installed.versions() == before


async def test_a_leader_that_alone_is_cut_off_stops_and_another_takes_over(
    installed: Installation, far: Installation, proxy: Proxy, cluster: KubeCluster, namespace: str
) -> None:
    await installed.template(config_map())
    async with far.replica() as leader:
        await eventually("the first leads", leader.leads)
        async with installed.replica() as other:
            await other.deliver(installed.repository, "opened", 1, A, 0)
            await eventually("it is shown", lambda: installed.shows(1))
            async with proxy.silent():
                await other.deliver(installed.repository, "synchronize", 1, B, 1)
                await eventually("the other leads", other.leads)
                assert not await leader.leads()
                await eventually("it carries on", lambda: installed.shows(1, B))
                await eventually("it has told of it", lambda: installed.told("CommitChanged"))
                before = await installed.versions()
                written = await leader.environment_writes()
            await eventually("the first is back", leader.is_ready)
            await cluster.delete(Ref(CONFIG_MAP, namespace, "pr1"))
            await eventually("the other goes on", lambda: exists(cluster, Ref(CONFIG_MAP, namespace, "pr1")))
            assert (await leader.leads(), await other.leads()) == (False, True)
            assert await leader.environment_writes() == written
            assert (await installed.versions()).keys() == before.keys()


async def test_a_leader_whose_lease_is_taken_away_writes_nothing_until_it_has_it_again(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    await installed.template(config_map())
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        await cluster.apply(lease(namespace, "somebody", 4, "2026-01-31T12:00:00.000000Z"), manager=MANAGER)

        async def stopped() -> bool:
            return not await replica.leads()

        await eventually("it leads no more", stopped)
        assert await replica.probe("/readyz") == 200
        written = await replica.environment_writes()
        await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        assert await replica.environment_writes() == written
        assert get(await cluster.get(Ref(CONFIG_MAP, namespace, "pr1")), "data", "commit") == A
        await eventually("the lease is over, and it carries on", lambda: installed.shows(1, B))

        await cluster.delete(Ref(LEASE, namespace, "greenroom"))
        await replica.deliver(installed.repository, "opened", 2, A, 1)
        await eventually("without a lease it makes one", lambda: installed.shows(2))
        assert await replica.leads()


async def test_of_a_lease_only_its_changes_count_and_not_the_time_that_is_written_there(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    """The clock of its holder is decades wrong, the one way and the other."""
    await cluster.apply(lease(namespace, "somebody", 2, "1990-01-01T00:00:00.000000Z"), manager=MANAGER)
    async with installed.replica() as replica:
        for microsecond in range(6):
            renewed = f"1990-01-01T00:00:00.{microsecond:06}Z"
            await cluster.apply(lease(namespace, "somebody", 2, renewed), manager=MANAGER)
            await asyncio.sleep(0.5)
            assert await installed.holder() == "somebody"
        await cluster.apply(lease(namespace, "somebody", 2, "2090-01-01T00:00:00.000000Z"), manager=MANAGER)
        await eventually("whoever does not renew is not waited for", replica.leads)


async def test_what_comes_while_etcd_does_not_answer_is_answered_when_it_does(
    installed: Installation, kubernetes: Kubernetes
) -> None:
    """The API server is there, and keeps every request waiting."""
    await installed.template(config_map())
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: shown(installed, A, 1))
        with kubernetes.with_silent_etcd():
            pushed = asyncio.create_task(replica.deliver(installed.repository, "synchronize", 1, B, 1))
            await asyncio.sleep(2.0)
            assert not pushed.done()
            assert [await replica.probe(path) for path in ("/healthz", "/readyz")] == [200, 200]
        await pushed
        await eventually("the push is shown", lambda: shown(installed, B, 1))


async def test_what_came_before_the_end_of_a_replica_is_answered(
    installed: Installation, kubernetes: Kubernetes, namespace: str
) -> None:
    await installed.template(config_map())
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        with kubernetes.with_silent_etcd():
            opened = asyncio.create_task(replica.deliver(installed.repository, "opened", 1, A, 0))
            await asyncio.sleep(0.5)
            replica.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert not opened.done()
        await opened
        assert await replica.process.wait() == 143
    assert await exists(installed.cluster, Ref(PR, namespace, "shop-pr1"))
    assert await installed.holder() == ""


async def has_looked(replica: Replica, times: int) -> bool:
    return await replica.metric(LOOKED) >= times

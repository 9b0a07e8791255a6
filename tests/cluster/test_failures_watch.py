"""Watches that fail in every way that networks and etcd have, over a real API server.

The rows are those that client-go's Reflector is trusted for. That a stream may carry lines over 512 KB, and that a
watch tells of a cut, is in ``test_kube``; API servers that lag behind each other are ``tests/core/test_listwatch``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.proxy import Proxy
from tests.contract.suite import MANAGER, eventually, secret

from greenroom.adapters.kube import PAGE, KubeCluster
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import SECRET, Kind, Manifest, Ref, get, name_of, uid_of, version_of
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers
from greenroom.runtime.leader import LEASE

SILENCE = 2.0  # seconds after which a watch is no longer believed; five minutes, in production


@pytest.fixture
async def proxy(kubernetes: Kubernetes) -> AsyncIterator[Proxy]:
    async with Proxy(kubernetes.admin) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[KubeCluster]:
    """The same cluster by way of the proxy; its requests are given up on after two seconds."""
    async with KubeCluster(proxy.connection, timeout=2.0) as far:
        await far.resources()
        yield far


def lease(namespace: str, name: str, seconds: int = 15) -> Manifest:
    """Of a kind that the API server reads from etcd, so that what etcd forgets is forgotten."""
    metadata: Manifest = {"name": name, "namespace": namespace}
    spec: Manifest = {"leaseDurationSeconds": seconds}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}


class Copy:
    """What an informer knows of the objects of a kind in a namespace, and all that it told on the way there."""

    def __init__(self, cluster: KubeCluster, informers: Informers, kind: Kind, namespace: str) -> None:
        self.told: list[tuple[Manifest | None, Manifest | None]] = []
        self._cluster, self._informers = cluster, informers
        self._kind, self._namespace = kind, namespace
        informers.subscribe(Scope(kind, namespace), lambda old, new: self.told.append((old, new)))

    async def agrees(self) -> bool:
        stored = (await self._cluster.list(self._kind, namespace=self._namespace)).items
        known = self._informers.list(self._kind)
        return {uid_of(each): version_of(each) for each in stored} == {uid_of(each): version_of(each) for each in known}

    def steps(self) -> list[tuple[str, str]]:
        return [(name_of(old) if old else "", name_of(new) if new else "") for old, new in self.told]


@asynccontextmanager
async def copy(cluster: KubeCluster, far: KubeCluster, kind: Kind, namespace: str) -> AsyncIterator[Copy]:
    """An informer that looks from ``far``, compared with what ``cluster`` says."""
    informers = Informers(far, silence_seconds=SILENCE)
    told = Copy(cluster, informers, kind, namespace)
    running = asyncio.create_task(informers.run())
    try:
        await informers.synced()
        yield told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_list_that_is_forgotten_between_two_pages_is_whole_all_the_same(
    kubernetes: Kubernetes, cluster: KubeCluster, far: KubeCluster, proxy: Proxy, namespace: str
) -> None:
    wanted = {f"many-{number}" for number in range(PAGE + 1)}
    await asyncio.gather(*(cluster.apply(lease(namespace, name), manager=MANAGER) for name in wanted))
    listing = asyncio.create_task(far.list(LEASE, namespace=namespace))
    async with proxy.without_requests(after=4_000):
        later = await cluster.apply(lease(namespace, "later"), manager=MANAGER)
        kubernetes.compact(version_of(later))  # the second page is answered with 410 now
    assert {name_of(item) for item in (await listing).items} == {*wanted, "later"}


async def test_what_changed_while_history_was_lost_is_told_once_and_in_order(
    kubernetes: Kubernetes, cluster: KubeCluster, far: KubeCluster, proxy: Proxy, namespace: str
) -> None:
    async with copy(cluster, far, LEASE, namespace) as known:
        for name in ("kept", "replaced", "lost"):
            await cluster.apply(lease(namespace, name), manager=MANAGER)
        await eventually("all are known", known.agrees)
        known.told.clear()
        async with proxy.down():
            for name in ("replaced", "lost"):
                await cluster.delete(Ref(LEASE, namespace, name))
            await cluster.apply(lease(namespace, "replaced"), manager=MANAGER)
            await cluster.apply(lease(namespace, "kept", seconds=30), manager=MANAGER)
            kubernetes.compact(version_of(await cluster.apply(lease(namespace, "new"), manager=MANAGER)))
        await eventually("the copy equals the cluster", known.agrees)
    assert sorted(known.steps()) == sorted(
        [("kept", "kept"), ("replaced", ""), ("", "replaced"), ("lost", ""), ("", "new")]
    )
    assert known.steps().index(("replaced", "")) < known.steps().index(("", "replaced"))


async def test_a_watch_that_is_half_open_is_made_anew(
    cluster: KubeCluster, far: KubeCluster, proxy: Proxy, namespace: str
) -> None:
    async with copy(cluster, far, SECRET, namespace) as known:
        await cluster.apply(secret(namespace, "before"), manager=MANAGER)
        await eventually("it is known", known.agrees)
        proxy.abandon()
        await cluster.delete(Ref(SECRET, namespace, "before"))
        await cluster.apply(secret(namespace, "after"), manager=MANAGER)
        await eventually("the copy equals the cluster", known.agrees)
    assert known.steps() == [("", "before"), ("before", ""), ("", "after")]


async def test_a_request_on_a_half_open_connection_fails_and_the_next_goes_through(
    cluster: KubeCluster, far: KubeCluster, proxy: Proxy, namespace: str
) -> None:
    proxy.abandon()
    with pytest.raises(Unavailable, match="did not answer in time"):
        await far.apply(secret(namespace, "one"), manager=MANAGER)
    await far.apply(secret(namespace, "one"), manager=MANAGER)
    assert get(await cluster.get(Ref(SECRET, namespace, "one")), "type") == "Opaque"


async def test_an_object_never_goes_back_in_time_while_the_connection_comes_and_goes(
    cluster: KubeCluster, far: KubeCluster, proxy: Proxy, namespace: str
) -> None:
    async with copy(cluster, far, SECRET, namespace) as known:
        for number in range(5):
            async with proxy.down():
                await cluster.apply(secret(namespace, "one", key=f"{number:04}"), manager=MANAGER)
            await cluster.apply(secret(namespace, "one", other=f"{number:04}"), manager=MANAGER)
            await eventually("the copy equals the cluster", known.agrees)
    versions = [int(version_of(new)) for _, new in known.told if new is not None]
    assert versions == sorted(set(versions))

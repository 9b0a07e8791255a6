"""From the Secrets that Greenroom keeps to a page through Envoy: mutual TLS between the two, with nothing by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import http_world
from tests.gateway.http_world import WEB
from tests.gateway.live import Backends, Gateway, free_port, gateway, until
from tests.gateway.mounted import Mounted
from tests.gateway.world import GATEWAY, NAMESPACE, World, applied, environment, stage

from greenroom.adapters.ads import AdsServer
from greenroom.adapters.ads_tls import AdsTls
from greenroom.adapters.certificates import X509Mint
from greenroom.core import bootstrap as of_a_pod
from greenroom.core.bootstrap import ControlPlane, bootstrap
from greenroom.core.certificates import content, pair_in
from greenroom.core.gateway_names import gateway_secret, node_cluster
from greenroom.flows.certificates import Certificates
from greenroom.flows.gateway_certificates import GatewayCertificates
from greenroom.local.storage.store import Store
from greenroom.model.errors import NotFound
from greenroom.model.manifest import Manifest, Ref, ref_of
from greenroom.model.mesh import VIRTUAL_GATEWAY
from greenroom.runtime.informer import Informers

COMMIT = "a" * 40
OTHER = Ref(VIRTUAL_GATEWAY, NAMESPACE, "other-gw")
NAMESAKE = Ref(VIRTUAL_GATEWAY, NAMESPACE, WEB.name)
THEIRS = Ref(WEB.kind, NAMESPACE, "theirs")


def of_our_class() -> Manifest:
    made = applied(http_world.gateway_class())
    del made["metadata"]["namespace"]
    return made


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod has its ports for itself."""
    monkeypatch.setattr(of_a_pod, "ADMIN_PORT", free_port())
    monkeypatch.setattr(of_a_pod, "READY_PORT", free_port())


class Kept:
    """What Greenroom keeps for the published gateway, and another one."""

    def __init__(self, store: Store, certificates: Certificates) -> None:
        self._store = store
        self._certificates = certificates

    async def tls(self) -> AdsTls:
        identity = await self._certificates.known()
        return AdsTls(identity.server, identity.trust)

    async def has(self, ref: Ref) -> bool:
        try:
            return bool(await self._store.get(ref))
        except NotFound:
            return False

    async def mount(self, gateway: Ref, folder: Path) -> Mounted:
        ref = gateway_secret(gateway)

        async def is_there() -> bool:
            try:
                return pair_in(content(await self._store.get(ref))) is not None
            except NotFound:
                return False

        await until(is_there)
        data = content(await self._store.get(ref))
        pair = pair_in(data)
        assert pair is not None
        mounted = Mounted(folder)
        mounted.put(pair, data["ca.crt"])
        return mounted


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    with closing(Store.open(tmp_path / "cluster.db", clock=SystemClock())) as store:
        (published,) = (each for each in stage() if ref_of(each) == GATEWAY)
        namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await store.apply(namespace, manager="test")
        for ref in (GATEWAY, OTHER, NAMESAKE):
            metadata: Any = {"name": ref.name, "namespace": ref.namespace}
            await store.apply({**published, "metadata": metadata}, manager="test")
        await store.apply(of_our_class(), manager="test")
        for name, class_name in ((THEIRS.name, "theirs"), (WEB.name, "greenroom")):
            await store.apply(applied(http_world.gateway(name=name, gatewayClassName=class_name)), manager="test")
        informers, clock, mint = Informers(store), SystemClock(), X509Mint()
        certificates = Certificates(store, clock, mint, namespace=NAMESPACE, names=["localhost"])
        gateways = GatewayCertificates(store, informers, clock, mint, certificates)
        tasks = [asyncio.create_task(run()) for run in (informers.run, certificates.run, gateways.run)]
        try:
            yield Kept(store, certificates)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def pod(folder: Path, ads: AdsServer, mounted: Mounted, of: Ref = GATEWAY) -> AsyncIterator[Gateway]:
    """Envoy with the bootstrap of a gateway's pod."""
    _, _, port = ads.address.rpartition(":")
    made = bootstrap(ControlPlane("localhost", int(port)), folder=str(mounted.folder), bind="127.0.0.1")
    node = {"id": "pod", "cluster": node_cluster(of)}
    async with gateway(folder, ads, free_port(), config={**made, "node": node}) as running:
        yield running


async def test_a_gateway_serves_with_the_certificates_that_are_kept(kept: Kept, tmp_path: Path) -> None:
    backends = Backends()
    async with AdsServer(tls=await kept.tls()) as ads:
        with ads.serving():
            async with pod(tmp_path, ads, await kept.mount(GATEWAY, tmp_path / "tls")) as envoy:
                await envoy.show(World(*stage(port=envoy.port), *environment(1, COMMIT, await backends.start(COMMIT))))
                status, headers, _ = await envoy.get("pr1.pr-env.example.com")
                assert (status, headers["x-greenroom-commit"]) == (200, COMMIT)
    await backends.stop()


async def test_a_gateway_with_the_certificate_of_another_gets_nothing(kept: Kept, tmp_path: Path) -> None:
    async with AdsServer(tls=await kept.tls()) as ads:
        with ads.serving():
            async with pod(tmp_path, ads, await kept.mount(OTHER, tmp_path / "tls")) as envoy:
                envoy.publish(World(*stage(port=envoy.port)))
                log = tmp_path / "test.log"
                await until(lambda: "PERMISSION_DENIED" in log.read_text() or "closed: 7" in log.read_text())
                assert not envoy.is_taken()


async def test_a_gateway_of_our_class_has_a_certificate_of_its_own(kept: Kept, tmp_path: Path) -> None:
    async with AdsServer(tls=await kept.tls()) as ads:
        with ads.serving():
            async with pod(tmp_path, ads, await kept.mount(WEB, tmp_path / "tls"), of=WEB):
                await until(lambda: bool(ads.standings(node_cluster(WEB))))
    assert not await kept.has(gateway_secret(THEIRS))


async def test_a_virtual_gateway_of_the_same_name_is_another(kept: Kept, tmp_path: Path) -> None:
    async with AdsServer(tls=await kept.tls()) as ads:
        with ads.serving():
            async with pod(tmp_path, ads, await kept.mount(NAMESAKE, tmp_path / "tls"), of=WEB):
                log = tmp_path / "test.log"
                await until(lambda: "PERMISSION_DENIED" in log.read_text() or "closed: 7" in log.read_text())
                assert not ads.standings(node_cluster(WEB))

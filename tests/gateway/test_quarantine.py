"""What a real Envoy refuses though we thought it right: only that one is affected, and it is told why."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2
from tests.gateway.live import NAME, Backends, Gateway, free_port, gateway, until
from tests.gateway.world import NAMESPACE, applied, endpoint_slice, environment, find, stage

from greenroom.adapters.ads import AdsServer
from greenroom.core.xds import CLUSTER, ROUTES, Snapshot, XdsResource
from greenroom.flows.route import Routes
from greenroom.local.storage.store import Store
from greenroom.model.manifest import Manifest, Ref, condition_of, text
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.runtime.informer import Informers

A = "a" * 40


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Unchecked(AdsServer):
    """A control plane that adds what Envoy takes for wrong: as if our own checks had let it through.

    A path that ends in ``/spoiled`` becomes a regular expression that is none, and a cluster of a spoiled name gets a
    type that it cannot have.
    """

    spoiled_cluster = "none"

    def publish(self, gateway: str, snapshot: Snapshot) -> None:
        routes = {name: self._routes(each) for name, each in snapshot[ROUTES].items()}
        clusters = {name: self._cluster(each) for name, each in snapshot[CLUSTER].items()}
        super().publish(gateway, {**snapshot, ROUTES: routes, CLUSTER: clusters})

    @staticmethod
    def _routes(resource: XdsResource) -> XdsResource:
        message = route_pb2.RouteConfiguration.FromString(resource.body)
        for host in message.virtual_hosts:
            for route in host.routes:
                if "/spoiled" in route.match.prefix + route.match.path_separated_prefix + route.match.safe_regex.regex:
                    route.match.safe_regex.regex = "("
        return _resource(resource.name, message.SerializeToString(deterministic=True))

    def _cluster(self, resource: XdsResource) -> XdsResource:
        if self.spoiled_cluster not in resource.name:
            return resource
        message = cluster_pb2.Cluster.FromString(resource.body)
        message.type = cluster_pb2.Cluster.STRICT_DNS
        return _resource(resource.name, message.SerializeToString(deterministic=True))


def _resource(name: str, body: bytes) -> XdsResource:
    return XdsResource(name, hashlib.sha256(body).hexdigest(), body)


@dataclass
class Here:
    store: Store
    ads: Unchecked
    envoy: Gateway

    async def put(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            if manifest["kind"] not in {"ReplicaSet", "Pod"}:
                await self.store.apply(applied(manifest), manager="test")

    async def becomes(self, number: int, status: str, reason: str) -> str:
        """Wait for the condition of a route, and answer its message."""

        async def said() -> tuple[str, str, str]:
            found = condition_of(
                await self.store.get(Ref(GATEWAY_ROUTE, NAMESPACE, f"pr{number}")), "GatewayRouteActive"
            )
            return text(found, "status"), text(found, "reason"), text(found, "message")

        async def has() -> bool:
            return (await said())[:2] == (status, reason)

        await until(has)
        return (await said())[2]


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    port = free_port()
    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        informers = Informers(store)
        async with Unchecked() as ads, gateway(tmp_path, ads, port) as envoy:
            made = Here(store, ads, envoy)
            await made.put(*stage(port=port))
            async with running(informers, Routes(store, informers, ads, Clock())):
                yield made


@asynccontextmanager
async def running(informers: Informers, routes: Routes) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(flow()) for flow in (informers.run, routes.run)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def host(number: int) -> str:
    return f"pr{number}.pr-env.example.com"


def on_port(number: int, port: int, match: Mapping[str, object] | None = None) -> list[Manifest]:
    """An environment whose Service leads to ``port`` with no pod in between."""
    made = deepcopy(environment(number, A))
    if match is not None:
        find(made, GATEWAY_ROUTE, f"pr{number}")["spec"]["httpRoute"]["match"] |= match
    direct = endpoint_slice(f"pr{number}", "direct", port)
    del direct["endpoints"][0]["targetRef"]
    return [*made, direct]


async def test_one_bad_route_among_good_ones_is_held_and_all_others_go_live(here: Here, backends: Backends) -> None:
    port = await backends.start(A)
    await here.put(*on_port(1, port), *on_port(2, port))
    for number in (1, 2):
        await here.becomes(number, "True", "Programmed")
    async with here.envoy.polled(host(1)) as counts:
        await here.put(*on_port(3, port), *on_port(4, port, {"prefix": "/spoiled"}), *on_port(5, port))
        message = await here.becomes(4, "False", "Quarantined")
        for number in (3, 5):
            await here.becomes(number, "True", "Programmed")
            assert (await here.envoy.get(host(number)))[0] == 200
        assert "missing )" in message
        assert (await here.envoy.get(host(4), "/spoiled"))[0] == 404
        # One that was good, and is served as it was.
        await here.put(*on_port(2, port, {"prefix": "/spoiled"}))
        await here.becomes(2, "False", "Quarantined")
        assert (await here.envoy.get(host(2)))[0] == 200
        await here.put(*on_port(6, port))
        await here.becomes(6, "True", "Programmed")
        # Mended.
        await here.put(*on_port(4, port, {"prefix": "/"}))
        await here.becomes(4, "True", "Programmed")
        assert (await here.envoy.get(host(4)))[0] == 200
    assert set(counts) == {200}
    assert here.ads.refusals[NAME, ROUTES] >= 2


async def test_a_bad_cluster_affects_the_routes_that_lead_to_it_and_no_others(here: Here, backends: Backends) -> None:
    port = await backends.start(A)
    here.ads.spoiled_cluster = "_pr2_"
    await here.put(*on_port(1, port), *on_port(2, port), *on_port(3, port))
    message = await here.becomes(2, "False", "Rejected")
    assert "cds_egress_pr-env_pr2_pr-env_http_80" in message
    for number in (1, 3):
        await here.becomes(number, "True", "Programmed")
        assert (await here.envoy.get(host(number)))[0] == 200
    assert (await here.envoy.get(host(2)))[0] == 503

"""HTTPRoutes on one machine, from the objects to the answer of a real Envoy, and what their statuses tell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.http_world import (
    WEB,
    backend,
    gateway,
    gateway_class,
    http_route,
    listener,
    namespace,
    rule,
    service,
)
from tests.gateway.live import Backends, free_port, until
from tests.gateway.test_gateways import Machine, host, machine, on_port
from tests.gateway.world import NAMESPACE, applied

from greenroom.local.storage.store import Store
from greenroom.model.gateway import GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.manifest import Manifest, Ref, get, items, kind_of, text

A, B = "a" * 40, "b" * 40
ROUTE = Ref(HTTP_ROUTE, NAMESPACE, "shop")
OTHERS: Any = {"controllerName": "example.com/other", "parentRef": {"name": "other"}, "conditions": []}


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


async def put(here: Machine, *manifests: Manifest) -> None:
    for manifest in manifests:
        made: Any = applied(manifest)
        if kind_of(manifest) == GATEWAY_CLASS:
            del made["metadata"]["namespace"]
        await here.store.apply(made, manager="test")


async def on_gateway(here: Machine, port: int, *more: Manifest) -> Machine:
    """The machine, with the Gateway ``web`` on this port. Answers it as its visitors see it."""
    await put(here, gateway_class(), gateway(listener(port=port)), *more)
    return Machine(here.store, here.session, port, here.instance)


async def said(here: Machine, ref: Ref, kind: str, *place: str | int) -> str:
    """Status and reason of a condition, when it is there."""
    status = await here.store.get(ref)
    found = (each for each in items(status, "status", *place, "conditions") if text(each, "type") == kind)
    condition = next(found, None)
    return f"{text(condition, 'status')} {text(condition, 'reason')}".strip()


async def becomes(here: Machine, ref: Ref, kind: str, told: str, *place: str | int) -> None:
    async def does() -> bool:
        return await said(here, ref, kind, *place) == told

    await until(does)


async def test_an_http_route_is_served_beside_the_routes_of_app_mesh(tmp_path: Path, backends: Backends) -> None:
    async with machine(tmp_path, free_port()) as here:
        await here.put(*on_port(1, A, await backends.start(A)))
        shop = service(pod=await backends.start(B))
        web = await on_gateway(here, free_port(), *shop, http_route("shop", hostnames=["shop.example.com"]))
        await web.answers("shop.example.com", 200)
        await here.answers(host(1), 200)
        assert await web.status(host(1)) == 404
        assert await here.status("shop.example.com") == 404
        await becomes(here, WEB, "Programmed", "True Programmed")
        await becomes(here, ROUTE, "Accepted", "True Accepted", "parents", 0)
        await becomes(here, ROUTE, "ResolvedRefs", "True ResolvedRefs", "parents", 0)
        await becomes(here, Ref(GATEWAY_CLASS, "", "greenroom"), "Accepted", "True Accepted")
        await here.store.delete(WEB)
        await until(lambda: len(here.envoys()) == 1)
        await here.answers(host(1), 200)


async def test_a_gateway_of_another_class_has_no_envoy_until_it_is_ours(tmp_path: Path) -> None:
    async with machine(tmp_path, free_port()) as here:
        await put(here, gateway_class("example.com/other"), gateway(listener(port=free_port())))
        await until(lambda: len(here.envoys()) == 1)
        assert get(await here.store.get(WEB), "status") is None
        await put(here, gateway_class())
        await until(lambda: len(here.envoys()) == 2)
        await becomes(here, WEB, "Programmed", "True Programmed")
        await put(here, gateway_class("example.com/other"))
        await until(lambda: len(here.envoys()) == 1)


async def test_a_service_in_a_namespace_that_only_a_route_names_is_found(tmp_path: Path, backends: Backends) -> None:
    async with machine(tmp_path, free_port()) as here:
        far = service(namespace="far", pod=await backends.start(A))
        grant: Any = {
            "apiVersion": "gateway.networking.k8s.io/v1beta1",
            "kind": "ReferenceGrant",
            "metadata": {"name": "all", "namespace": "far"},
            "spec": {
                "from": [{"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.name, "namespace": NAMESPACE}],
                "to": [{"group": "", "kind": "Service"}],
            },
        }
        route = http_route("shop", rule(to=[backend(namespace="far")]), hostnames=["shop.example.com"])
        everywhere: Any = namespace("far")
        del everywhere["metadata"]["namespace"]
        await put(here, everywhere)
        web = await on_gateway(here, free_port(), *far, route)
        await becomes(here, ROUTE, "ResolvedRefs", "False RefNotPermitted", "parents", 0)
        await here.store.apply(grant, manager="test")
        await web.answers("shop.example.com", 200)


async def test_what_other_controllers_say_of_a_route_stays(tmp_path: Path) -> None:
    async with machine(tmp_path, free_port()) as here:
        route = http_route("shop")
        await put(here, *service(), route)
        await here.store.patch_status(ROUTE, {"parents": [OTHERS]})
        await on_gateway(here, free_port())
        await becomes(here, ROUTE, "Accepted", "True Accepted", "parents", 1)
        await here.store.delete(WEB)

        async def alone() -> bool:
            return items(await here.store.get(ROUTE), "status", "parents") == [OTHERS]

        await until(alone)


class Contended(Store):
    """Just before we first write of a route, another controller does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.contended = False

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        if ref == ROUTE and not self.contended:
            self.contended = True
            await super().patch_status(ref, {"parents": [OTHERS]})
        return await super().patch_status(ref, status, resource_version=resource_version)


async def test_what_another_controller_says_at_the_same_time_is_not_overwritten(tmp_path: Path) -> None:
    async with machine(tmp_path, free_port(), opened=Contended.open) as here:
        await on_gateway(here, free_port(), *service(), http_route("shop"))
        await becomes(here, ROUTE, "Accepted", "True Accepted", "parents", 1)
        assert items(await here.store.get(ROUTE), "status", "parents")[0] == OTHERS

"""Clusters whose pods have addresses of IPv6, alone or beside those of IPv4: everything is reached at both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from tests.gateway.live import NAME, Backends, free_port, gateway, serving, until
from tests.gateway.world import GATEWAY, World, environment, stage

from greenroom.adapters.ads import AdsServer
from greenroom.app.gateways import gateway_bind
from greenroom.app.lifecycle import serving as serving_pages
from greenroom.core.bootstrap import READY_PATH, ControlPlane, bootstrap
from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router

A = "a" * 40
BOTH = ("127.0.0.1", "[::1]")
HOST = "pr1.pr-env.example.com"


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


async def status(address: str, port: int, path: str = "/") -> int:
    async with ClientSession() as session, session.get(f"http://{address}:{port}{path}", headers={"host": HOST}) as got:
        return got.status


@pytest.mark.parametrize(
    ("pod_address", "bind"),
    [("10.0.0.1", "0.0.0.0"), ("", "0.0.0.0"), ("fd00::7", "::")],  # noqa: S104
)
def test_gateways_listen_on_both_where_pods_are_asked_by_ipv6(pod_address: str, bind: str) -> None:
    assert gateway_bind(pod_address) == bind


async def test_visitors_come_in_by_both(tmp_path: Path, backends: Backends) -> None:
    async with serving() as ads, gateway(tmp_path, ads, free_port()) as envoy:
        world = World(*stage(port=envoy.port), *environment(1, A, await backends.start(A)))
        ads.publish(NAME, snapshot(Router().route(world).tables[GATEWAY], bind="::"))
        await until(envoy.is_taken)
        assert [await status(each, envoy.port) for each in BOTH] == [200, 200]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_envoys_find_the_control_plane_by_either_and_the_kubelet_envoy(tmp_path: Path, address: str) -> None:
    ready = free_port()
    async with AdsServer("::") as ads:
        _, _, port = ads.address.rpartition(":")
        config: Any = msgspec.json.decode(
            msgspec.json.encode(bootstrap(ControlPlane(address, int(port)), folder="/x", bind="::"))
        )
        (cluster,), (listener,) = config["static_resources"].values()
        del cluster["transport_socket"]  # certificates are the business of other tests
        listener["address"]["socket_address"]["port_value"] = ready
        config |= {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}
        config |= {"node": {"id": "pod", "cluster": NAME}}
        with ads.serving():
            async with gateway(tmp_path, ads, free_port(), config=config) as envoy:
                ads.publish(NAME, snapshot(Router().route(World(*stage(port=envoy.port))).tables[GATEWAY], bind="::"))
                await until(envoy.is_taken)
                assert [await status(each, ready, READY_PATH) for each in BOTH] == [200, 200]


async def test_greenrooms_own_servers_listen_on_both() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    app, port = web.Application(), free_port()
    app.router.add_get("/", answer)
    async with serving_pages(app, port, option="--port", host=None):
        assert [await status(each, port) for each in BOTH] == [200, 200]

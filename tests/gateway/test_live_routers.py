"""VirtualRouters at work, with a real Envoy: weights, retries, timeouts, gRPC, and what nobody answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web as http
from tests.gateway.live import Backends, Gateway, free_port, gateway, serving
from tests.gateway.world import World, endpoint_slice, find, of_type, route, router, routers_route, stage, web

from greenroom.model.manifest import Manifest
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE

ALL = {"prefix": "/"}
HOST = "any.example.com"


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    async with serving() as ads, gateway(tmp_path, ads, port) as started:
        yield started


def node(name: str, port: int) -> list[Manifest]:
    """A VirtualNode that leads to ``port``."""
    made = endpoint_slice(name, "direct", port)
    del made["endpoints"][0]["targetRef"]
    return [*web(name), made]


async def test_requests_are_divided_among_the_nodes_that_have_a_weight(envoy: Gateway, backends: Backends) -> None:
    nodes = [each for name in ("one", "two", "zero") for each in node(name, await backends.start(name))]
    shop = router("shop", routers_route("r", ALL, to={"one": 1, "two": 1, "zero": 0}))
    await envoy.show(World(*stage(port=envoy.port), *nodes, *shop, route("g", ALL, to="shop")))
    answers = await asyncio.gather(*(envoy.get(HOST) for _ in range(100)))
    assert Counter(json.loads(body)["commit"] for _, _, body in answers).keys() == {"one", "two"}


async def test_what_the_router_does_not_take_gets_the_page_for_no_environment(
    envoy: Gateway, backends: Backends
) -> None:
    shop = router("shop", routers_route("red", {"prefix": "/red"}, to={"one": 1}))
    routes = [route("g", {"prefix": "/a"}, to="shop"), route("everything", ALL, to="one")]
    one = node("one", await backends.start("one"))
    await envoy.show(World(*stage(port=envoy.port), *one, *shop, *routes))
    assert [(await envoy.get(HOST, path))[0] for path in ("/a/red", "/ared/x", "/a/blue", "/b")] == [200, 200, 404, 200]
    _, headers, body = await envoy.get(HOST, "/a/blue")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "There is no environment here" in body


async def test_weights_that_are_all_zero_get_the_page_for_no_answer(envoy: Gateway, backends: Backends) -> None:
    shop = router("shop", routers_route("nobody", ALL, to={"one": 0}))
    one = node("one", await backends.start("one"))
    await envoy.show(World(*stage(port=envoy.port), *one, *shop, route("g", ALL, to="shop")))
    status, _, body = await envoy.get(HOST)
    assert status == 503
    assert "This environment does not answer" in body


@asynccontextmanager
async def answering(answer: Callable[[http.Request], Awaitable[http.StreamResponse]]) -> AsyncIterator[int]:
    """The port of an application."""
    app = http.Application()
    app.router.add_get("/", answer)
    runner = http.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def policy(times: int, *events: str) -> dict[str, Any]:
    return {"maxRetries": times, "perRetryTimeout": {"unit": "s", "value": 5}, "httpRetryEvents": [*events]}


@pytest.mark.parametrize(
    ("retries", "failure", "expected"),
    [
        ({}, (503, 2), (200, "3")),
        ({}, (503, 3), (503, "3")),
        ({}, (500, 1), (500, "1")),
        ({"retryPolicy": policy(3, "server-error")}, (500, 3), (200, "4")),
        ({"retryPolicy": policy(1, "gateway-error")}, (502, 1), (200, "2")),
        ({"retryPolicy": policy(1, "gateway-error")}, (500, 1), (500, "1")),
        ({"retryPolicy": policy(1, "client-error")}, (409, 1), (200, "2")),
        ({"retryPolicy": policy(0, "server-error")}, (503, 1), (503, "1")),
    ],
)
async def test_failures_are_tried_again_as_the_route_says(
    envoy: Gateway, retries: dict[str, Any], failure: tuple[int, int], expected: tuple[int, str]
) -> None:
    status_at_first, times = failure
    asked = 0

    async def fail_at_first(_: http.Request) -> http.Response:
        nonlocal asked
        asked += 1
        return http.Response(status=status_at_first if asked <= times else 200, text=f"{asked}")

    shop = router("shop", routers_route("r", ALL, to={"one": 1}, **retries))
    async with answering(fail_at_first) as port:
        await envoy.show(World(*stage(port=envoy.port), *node("one", port), *shop, route("g", ALL, to="shop")))
        status, _, body = await envoy.get(HOST)
    assert (status, body) == expected


async def test_a_request_that_takes_longer_than_its_route_allows_is_cut_off(envoy: Gateway) -> None:
    async def never(_: http.Request) -> http.Response:
        return await asyncio.Future()

    shop = router("shop", routers_route("r", ALL, to={"one": 1}, timeout={"perRequest": {"unit": "ms", "value": 50}}))
    async with answering(never) as port:
        await envoy.show(World(*stage(port=envoy.port), *node("one", port), *shop, route("g", ALL, to="shop")))
        assert (await envoy.get(HOST))[0] == 504


CART = "shop.v1.Cart"


def cart() -> grpc.GenericRpcHandler:
    """Answers each call with the name of its method."""

    def method(name: str) -> grpc.RpcMethodHandler:
        async def answer(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
            return name.encode()

        return grpc.unary_unary_rpc_method_handler(answer)

    return grpc.method_handlers_generic_handler(CART, {name: method(name) for name in ("Add", "Empty")})


async def test_http2_requests_go_by_http2_routes(envoy: Gateway) -> None:
    """A call of gRPC is a request of HTTP/2, for which the path is matched and rewritten, too."""
    made = [*stage(port=envoy.port)]
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((cart(),))
    behind = node("cart", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    for kind, name, objects in ((VIRTUAL_GATEWAY, "ingress-gw", made), (VIRTUAL_NODE, "cart", behind)):
        find(objects, kind, name)["spec"]["listeners"][0]["portMapping"]["protocol"] = "http2"
    add = routers_route("add", {"prefix": "/shop.v1.Cart/", "method": "POST", "scheme": "http"}, to={"cart": 1})
    through, whole = (
        route("through", {"prefix": "/api/"}, to="shop"),
        route("whole", {"path": {"exact": "/x/y"}}, rewrite={"path": {"exact": "/shop.v1.Cart/Empty"}}, to="cart"),
    )
    for each in (through, whole):
        each["spec"] = of_type(each["spec"], "http2Route")
    await envoy.show(World(*made, *behind, *router("shop", of_type(add, "http2Route")), through, whole))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.port}") as channel:
        assert await channel.unary_unary("/api/shop.v1.Cart/Add")(b"") == b"Add"
        assert await channel.unary_unary("/x/y")(b"") == b"Empty"
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await channel.unary_unary("/api/shop.v1.Order/Add")(b"")
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)


async def test_grpc_calls_go_by_service_method_and_metadata(envoy: Gateway) -> None:
    made = [*stage(port=envoy.port)]
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["listeners"][0]["portMapping"]["protocol"] = "grpc"
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((cart(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    behind = node("cart", port)
    find(behind, VIRTUAL_NODE, "cart")["spec"]["listeners"][0]["portMapping"]["protocol"] = "grpc"
    metadata = [{"name": "tenant", "match": {"exact": "a"}}]
    add = routers_route("add", {"serviceName": CART, "methodName": "Add"}, to={"cart": 1})
    tenant = routers_route("tenant", {"serviceName": CART, "metadata": metadata}, to={"cart": 1})
    gateway_route = route("g", {"serviceName": CART, "hostname": {"exact": "grpc.example.com"}}, to="shop")
    for each in (add, tenant, gateway_route["spec"]):
        each["grpcRoute"] = each.pop("httpRoute")
    await envoy.show(World(*made, *behind, *router("shop", add, tenant), gateway_route))
    options = [("grpc.default_authority", "grpc.example.com")]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.port}", options=options) as channel:

        async def call(method: str, *sent: tuple[str, str]) -> bytes:
            answer: bytes = await channel.unary_unary(method)(b"", metadata=sent)
            return answer

        assert await call("/shop.v1.Cart/Add") == b"Add"
        assert await call("/shop.v1.Cart/Empty", ("tenant", "a")) == b"Empty"
        for unknown in ("/shop.v1.Cart/Empty", "/shop.v1.Order/Add"):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(unknown)
            assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop(None)

"""A real Envoy decides as App Mesh did: for random objects and random requests, asked of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.live import NAME, Backends, Gateway, free_port, gateway, serving, until
from tests.gateway.model_routing import Decision, Request, decided
from tests.gateway.world import GATEWAY, World, endpoint_slice, find, route, router, routers_route, stage, web
from yarl import URL

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router, Routing
from greenroom.model.manifest import Manifest, ref_of
from greenroom.model.mesh import GATEWAY_ROUTE, KINDS, VIRTUAL_GATEWAY

NODES = ("one", "two")
HOSTS = ("a.example.com", "x-b.example.com", "b.example.com", "example.com", "other.org")
PATHS = ("/", "/a", "/a/", "/ab", "/a/b", "/a//b", "//", "/b", "/b/a", "/aa/b", "/new/a")


class Live:
    """One Envoy for all examples, with a backend behind each VirtualNode."""

    def __init__(self, gateway: Gateway, ports: tuple[int, int], backends: Mapping[str, int]) -> None:
        self.gateway, self.ports = gateway, ports
        self._nodes = [each for name in NODES for each in (*web(name), _endpoints(name, backends[name]))]

    def objects(self, *more: Manifest) -> list[Manifest]:
        made = stage()
        listeners = [{"portMapping": {"port": port, "protocol": "http"}} for port in self.ports]
        find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["listeners"] = listeners
        return [*made, *self._nodes, *more]

    async def show(self, objects: list[Manifest]) -> Routing:
        """Publish, and wait until Envoy has taken it."""
        routing = Router().route(World(*objects))
        if GATEWAY in routing.tables:
            self.gateway.ads.publish(NAME, snapshot(routing.tables[GATEWAY], bind="127.0.0.1"))
            await until(lambda: self.gateway.is_taken() or bool(self._complaints()))
            assert not self._complaints()
        return routing

    def _complaints(self) -> list[str]:
        return [why for standing in self.gateway.ads.standings(NAME) for why in standing.refused.values()]

    async def ask(self, request: Request, expected: Decision) -> None:
        """Envoy's worker may be a moment behind what Envoy has acknowledged, so a wrong answer gets more chances."""
        for pause in (0.0, 0.01, 0.1):
            await asyncio.sleep(pause)
            found, node = await self._ask(request, expected)
            if found == expected and (node in expected.nodes or not expected.nodes):
                return
        assert (found, request) == (expected, request)
        assert node in expected.nodes, request

    async def _ask(self, request: Request, expected: Decision) -> tuple[Decision, str]:
        url = URL(f"http://127.0.0.1:{request.port}{request.path}", encoded=True).with_query(request.query)
        headers = {"host": request.host, **request.headers}
        async with self.gateway.session.request(request.method, url, headers=headers) as response:
            if response.status != 200:
                return Decision(response.status), ""
            seen = json.loads(await response.text())
            return Decision(200, expected.nodes, seen["path"].partition("?")[0], seen["host"]), seen["commit"]


def _endpoints(name: str, port: int) -> Manifest:
    made = endpoint_slice(name, "direct", port)
    del made["endpoints"][0]["targetRef"]
    return made


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as started:
        yield started


@pytest.fixture(scope="module")
def live(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    stack = AsyncExitStack()

    async def start(folder: Path) -> Live:
        ads = await stack.enter_async_context(serving())
        ports = free_port(), free_port()
        started = await stack.enter_async_context(gateway(folder, ads, ports[0]))
        backends = Backends()
        stack.push_async_callback(backends.stop)
        return Live(started, ports, {name: await backends.start(name) for name in NODES})

    yield runner.run(start(tmp_path_factory.mktemp("envoy")))
    runner.run(stack.aclose())


prefixes = st.sampled_from(["/", "/a", "/a/", "/a/b", "/b", "/new/"])
exacts = st.sampled_from(["/", "/a", "/a/b", "/b"])
regexes = st.sampled_from(["/[ab]+", "/a.*", ".*b", "/(a|b)/.*", "/a?b?", "/.+", "/[^/]*/b"])
headers = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("x")},
        optional={
            "invert": st.booleans(),
            "match": st.sampled_from(
                [{"exact": "1"}, {"prefix": "1"}, {"suffix": "2"}, {"regex": "1?2"}, {"range": {"start": 1, "end": 3}}]
            ),
        },
    ),
    min_size=1,
    max_size=2,
)
query = st.lists(
    st.fixed_dictionaries({"name": st.just("q")}, optional={"match": st.just({"exact": "1"})}), min_size=1, max_size=1
)
conditions = {"method": st.sampled_from(["GET", "POST"]), "headers": headers, "queryParameters": query}
routers_matches = st.one_of(
    st.fixed_dictionaries({"prefix": prefixes}, optional={**conditions, "scheme": st.sampled_from(["http", "https"])}),
    st.fixed_dictionaries({"path": exacts.map(lambda path: {"exact": path})}, optional=conditions),
    st.fixed_dictionaries({"path": regexes.map(lambda path: {"regex": path})}, optional=conditions),
)
hostnames = st.sampled_from(
    [
        {"exact": "a.example.com"},
        {"exact": "example.com"},
        {"suffix": ".example.com"},
        {"suffix": "example.com"},
        {"suffix": "-b.example.com"},
    ]
)
KEEPS_PREFIX = {"prefix": {"defaultPrefix": "DISABLED"}}
KEEPS_HOST = {"hostname": {"defaultTargetHostname": "DISABLED"}}


@st.composite
def gateway_routes(draw: st.DrawFn, name: str, ports: tuple[int, int]) -> Manifest:
    match: dict[str, Any] = dict(draw(routers_matches.filter(lambda match: "scheme" not in match)))
    match |= draw(st.fixed_dictionaries({}, optional={"hostname": hostnames, "port": st.sampled_from(ports)}))
    rewrites: list[dict[str, Any]] = [{}, KEEPS_HOST, {"path": {"exact": "/a/b"}}]
    if "prefix" in match:
        rewrites.append(KEEPS_PREFIX)
        if str(match["prefix"]).endswith("/"):
            rewrites.append({"prefix": {"value": "/new/"}})
    rewrite = draw(st.sampled_from(rewrites))
    spec = draw(st.fixed_dictionaries({}, optional={"priority": st.sampled_from([0, 5])}))
    to = draw(st.sampled_from(["one", "router", "router", "other-router"]))
    return route(name, match, to=to, **({"rewrite": rewrite} if rewrite else {}), **spec)


@st.composite
def routers(draw: st.DrawFn, name: str) -> list[Manifest]:
    priorities = st.fixed_dictionaries({}, optional={"priority": st.sampled_from([0, 5])})
    weights = st.dictionaries(st.sampled_from(NODES), st.integers(0, 2), min_size=1)
    routes = [
        routers_route(f"r{index}", draw(routers_matches), to=draw(weights), **draw(priorities))
        for index in range(draw(st.integers(0, 3)))
    ]
    return router(name, *routes)


def requests(ports: tuple[int, int]) -> st.SearchStrategy[Request]:
    return st.builds(
        Request,
        port=st.sampled_from(ports),
        host=st.sampled_from(HOSTS),
        path=st.sampled_from(PATHS),
        method=st.sampled_from(["GET", "POST"]),
        query=st.sampled_from([{}, {"q": "1"}, {"q": "2", "z": "/a"}]),
        headers=st.sampled_from([{}, {"x": "1"}, {"x": "12"}, {"x": "2"}]),
    )


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_every_request_goes_where_app_mesh_sent_it(live: Live, runner: asyncio.Runner, data: st.DataObject) -> None:
    made = [data.draw(gateway_routes(f"g{index}", live.ports)) for index in range(data.draw(st.integers(1, 4)))]
    behind = [each for name in ("router", "other-router") for each in data.draw(routers(name))]
    objects = live.objects(*made, *behind)
    asked = data.draw(st.lists(requests(live.ports), min_size=10, max_size=30))

    async def compare() -> None:
        refused = (await live.show(objects)).refused
        assert {why.reason for why in refused.values()} <= {"Conflict", "NotComposable"}
        assert {ref.kind for ref in refused} <= {GATEWAY_ROUTE}
        accepted = [each for each in objects if ref_of(each) not in refused]
        await asyncio.gather(*(live.ask(request, decided(accepted, request)) for request in asked))

    runner.run(compare())


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
odd_paths = st.sampled_from(["/", "/a", "/a/", "/a/b", "a", "", "/é", "/x\n", "(", "/[a-z]+", "/(?=x)", "/a{1001}"])
odd_names = st.sampled_from(["a.example.com", "A.example.com", ".example.com", "example.com", "com", "a b", "", "*"])
odd_matches = st.fixed_dictionaries(
    {},
    optional={
        "prefix": odd_paths | odd,
        "path": st.fixed_dictionaries({}, optional={"exact": odd_paths, "regex": odd_paths}) | odd,
        "hostname": st.fixed_dictionaries({}, optional={"exact": odd_names, "suffix": odd_names}) | odd,
        "method": st.sampled_from(["GET", "get"]) | odd,
        "headers": st.lists(st.fixed_dictionaries({"name": odd_names}, optional={"match": odd, "invert": odd})) | odd,
        "queryParameters": st.lists(st.fixed_dictionaries({"name": odd_names}, optional={"match": odd})) | odd,
    },
)
odd_rewrites = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.fixed_dictionaries({}, optional={"value": odd_paths, "defaultPrefix": odd}) | odd,
        "path": st.fixed_dictionaries({}, optional={"exact": odd_paths}) | odd,
        "hostname": odd,
    },
)
route_specs = st.tuples(odd_matches, odd_rewrites, st.sampled_from([0, 1000, -1, None]) | odd)


odd_policies = st.fixed_dictionaries(
    {"maxRetries": st.integers(0, 3) | odd, "perRetryTimeout": st.just({"unit": "s", "value": 1}) | odd},
    optional={
        "httpRetryEvents": st.lists(st.sampled_from(["server-error", "stream-error", "other"])) | odd,
        "tcpRetryEvents": st.just(["connection-error"]) | odd,
        "grpcRetryEvents": odd,
    },
)
odd_routers_routes = st.builds(
    lambda name, match, to, more: routers_route(name, match, to=to, **more),
    st.sampled_from(["r", "s", ""]),
    odd_matches,
    st.dictionaries(st.sampled_from(["one", "two", "absent"]), st.sampled_from([0, 1, 100, 101]), max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "priority": st.sampled_from([0, 1000, -1]) | odd,
            "retryPolicy": odd_policies | odd,
            "timeout": st.fixed_dictionaries(
                {}, optional={"perRequest": odd, "idle": st.just({"unit": "s", "value": 0})}
            ),
        },
    ),
)


@settings(deadline=None, max_examples=100)
@given(
    specs=st.lists(route_specs, max_size=6),
    behind=st.lists(odd_routers_routes, max_size=3),
    spoiled=st.lists(st.tuples(st.integers(0, 12), odd), max_size=2),
)
def test_envoy_takes_what_any_objects_lead_to_and_the_others_are_named(
    live: Live,
    runner: asyncio.Runner,
    specs: list[tuple[Any, Any, Any]],
    behind: list[Any],
    spoiled: list[tuple[int, Any]],
) -> None:
    objects = live.objects(*router("router", *behind))
    for index, spec in spoiled:
        objects[index] = {**objects[index], "spec": spec}
    for index, (match, rewrite, priority) in enumerate(specs):
        to = NODES[0] if index % 2 else "router"
        objects.append(route(f"r{index}", match, rewrite=rewrite, priority=priority, to=to))
    routing = runner.run(live.show(objects))
    known = {ref for each in objects if (ref := ref_of(each)).kind in KINDS}
    assert routing.accepted | routing.refused.keys() == known
    assert not routing.accepted & routing.refused.keys()
    assert routing.placed.keys() == {ref for ref in routing.accepted if ref.kind == GATEWAY_ROUTE}
    assert all(why.reason and str(why) for why in routing.refused.values())

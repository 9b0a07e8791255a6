"""A real Envoy decides as Gateway API's documents say: for random objects and random requests, asked of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.envoy_static import complaint
from tests.gateway.http_world import WEB, backend, http_route, listener, path, rule, service, stage
from tests.gateway.live import NAME, Backends, Gateway, free_port, gateway, serving, until
from tests.gateway.model_http import decided
from tests.gateway.model_routing import Decision, Request
from tests.gateway.world import World
from yarl import URL

from greenroom.core.envoy import snapshot
from greenroom.core.gateway_api import GatewayApi
from greenroom.model.manifest import Manifest

NODES = ("one", "two")
HOSTS = ("a.example.com", "b.example.com", "x.b.example.com", "example.com", "other.org")
PATHS = ("/", "/a", "/a/", "/ab", "/a/b", "/a//b", "/b", "/b/a", "/aa/b", "/a/b/c")
OWN_REASONS = {"UnsupportedValue", "IncompatibleFilters", "NoMatchingListenerHostname"}


class Live:
    """One Envoy for all examples, with a backend behind each Service."""

    def __init__(self, running: Gateway, ports: tuple[int, int], backends: Mapping[str, int]) -> None:
        self.running, self.ports = running, ports
        self._services = [each for name in NODES for each in service(name, pod=backends[name])]
        self._api = GatewayApi()

    async def show(self, listeners: list[dict[str, Any]], routes: list[dict[str, Any]]) -> None:
        """Publish, and wait until Envoy has taken it."""
        found = self._api.route(World(*stage(*listeners), *self._services, *routes))
        self.running.ads.publish(NAME, snapshot(found.tables[WEB], bind="127.0.0.1"))
        await until(lambda: self.running.is_taken() or bool(self._complaints()))
        assert not self._complaints()

    def _complaints(self) -> list[str]:
        return [why for standing in self.running.ads.standings(NAME) for why in standing.refused.values()]

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
        async with self.running.session.request(request.method, url, headers=headers) as response:
            if response.status != 200:
                return Decision(response.status), ""
            seen = json.loads(await response.text())
            return Decision(200, expected.nodes, seen["path"].partition("?")[0], seen["host"]), seen["commit"]


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


hostnames = st.sampled_from(["a.example.com", "b.example.com", "*.example.com", "*.b.example.com", "example.com"])
paths = st.one_of(
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/b"]).map(path),
    st.sampled_from(["/", "/a", "/a/b", "/b"]).map(lambda value: path(value, "Exact")),
    st.sampled_from(["/[ab]+", "/a.*", ".*b", "/a?b?"]).map(lambda value: path(value, "RegularExpression")),
)
values = [{"value": "1"}, {"value": "1?2", "type": "RegularExpression"}]
conditions = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.sampled_from([[{"name": "x", **each}] for each in values]),
        "queryParams": st.sampled_from([[{"name": "q", **each}] for each in values]),
    },
)
matches = st.builds(lambda asked, more: {**asked, **more}, paths, conditions)
backends = st.lists(st.builds(backend, st.sampled_from(NODES), weight=st.integers(0, 2)), min_size=1, max_size=2)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    found = draw(st.lists(matches, max_size=2))
    changes: list[dict[str, Any]] = [{}, {"hostname": "new.example.com"}]
    changes.append({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/full"}})
    if len(found) == 1 and found[0]["path"]["type"] == "PathPrefix":
        kept = ("/", "/new", "/new/", "")
        changes += [{"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": each}} for each in kept]
    change = draw(st.sampled_from(changes))
    filters = {"filters": [{"type": "URLRewrite", "urlRewrite": change}]} if change else {}
    return rule(*found, to=draw(backends), **filters)


@st.composite
def routes(draw: st.DrawFn, name: str, listeners: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = draw(
        st.fixed_dictionaries({}, optional={"hostnames": st.lists(hostnames, min_size=1, max_size=2)})
    )
    sections = [each["name"] for each in listeners]
    parent = draw(st.fixed_dictionaries({}, optional={"sectionName": st.sampled_from(sections)}))
    created = draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]))
    return http_route(name, *draw(st.lists(rules(), min_size=1, max_size=2)), parent=parent, created=created, **spec)


def requests(ports: tuple[int, int]) -> st.SearchStrategy[Request]:
    return st.builds(
        Request,
        port=st.sampled_from(ports),
        host=st.sampled_from(HOSTS),
        path=st.sampled_from(PATHS),
        method=st.sampled_from(["GET", "POST"]),
        query=st.sampled_from([{}, {"q": "1"}, {"q": "12", "z": "/a"}]),
        headers=st.sampled_from([{}, {"x": "1"}, {"x": "12"}, {"x": "2"}]),
    )


def some_listeners(ports: tuple[int, int]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Always one on the first port, for every host."""
    claims = st.tuples(st.sampled_from(ports), st.none() | hostnames)
    others = st.lists(claims, max_size=3, unique=True).map(lambda found: [(ports[0], None), *found])

    def made(claimed: list[tuple[int, str | None]]) -> list[dict[str, Any]]:
        named = enumerate(dict.fromkeys(claimed))
        return [
            listener(f"l{index}", port=port, **({"hostname": host} if host else {})) for index, (port, host) in named
        ]

    return others.map(made)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_every_request_goes_where_the_specification_says(
    live: Live, runner: asyncio.Runner, data: st.DataObject
) -> None:
    listeners = data.draw(some_listeners(live.ports))
    made = [data.draw(routes(f"r{index}", listeners)) for index in range(data.draw(st.integers(1, 4)))]
    asked = data.draw(st.lists(requests(live.ports), min_size=10, max_size=30))
    served = {each["port"] for each in listeners}

    async def compare() -> None:
        await live.show(listeners, made)
        reachable = [each for each in asked if each.port in served]
        await asyncio.gather(*(live.ask(each, decided(listeners, made, each)) for each in reachable))

    runner.run(compare())


odd_paths = st.sampled_from(
    ["/", "/a", "/a/", "/a//b", "a", "", "/é", "/x\n", "(", "/[a-z]+", "/(?=x)", "/a{1001}", "//"]
)
odd_text = st.one_of(
    st.sampled_from(["x-a", "Host", ":path", "a b", "", "%", "%REQ(x)%", "é", "*.a.b"]), st.text(max_size=5)
)
odd_pairs = st.lists(st.fixed_dictionaries({"name": odd_text, "value": odd_text}), max_size=2)
odd_changes = st.fixed_dictionaries(
    {}, optional={"set": odd_pairs, "add": odd_pairs, "remove": st.lists(odd_text, max_size=2)}
)
odd_path_change = st.one_of(
    st.builds(lambda value: {"type": "ReplaceFullPath", "replaceFullPath": value}, odd_paths),
    st.builds(lambda value: {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}, odd_paths),
    st.just({"type": "?"}),
)
odd_hosts = st.sampled_from(["a.example.com", "A.example.com", "*.example.com", "*", "a b", "", ".x", "x_y"])
odd_rewrites = st.fixed_dictionaries({}, optional={"hostname": odd_hosts, "path": odd_path_change})
odd_redirects = st.fixed_dictionaries(
    {},
    optional={
        "scheme": st.sampled_from(["http", "https", "ftp"]),
        "hostname": odd_hosts,
        "port": st.sampled_from([80, 443, 8443, 0, 70000]),
        "statusCode": st.sampled_from([301, 302, 303, 307, 308, 200, "301"]),
        "path": odd_path_change,
    },
)
odd_filters = st.one_of(
    st.builds(lambda each: {"type": "RequestHeaderModifier", "requestHeaderModifier": each}, odd_changes),
    st.builds(lambda each: {"type": "ResponseHeaderModifier", "responseHeaderModifier": each}, odd_changes),
    st.builds(lambda each: {"type": "URLRewrite", "urlRewrite": each}, odd_rewrites),
    st.builds(lambda each: {"type": "RequestRedirect", "requestRedirect": each}, odd_redirects),
)
odd_conditions = st.lists(
    st.fixed_dictionaries(
        {"name": odd_text, "value": odd_text}, optional={"type": st.sampled_from(["Exact", "RegularExpression", "?"])}
    ),
    max_size=2,
)
odd_matches = st.builds(
    lambda value, kind, more: path(value, kind, **more),
    odd_paths,
    st.sampled_from([*["Exact", "PathPrefix", "RegularExpression"] * 3, "?"]),
    st.fixed_dictionaries(
        {}, optional={"headers": odd_conditions, "queryParams": odd_conditions, "method": st.sampled_from(["GET", "?"])}
    ),
)
durations = st.sampled_from(["0s", "1s", "10ms", "99999h99999h99999h99999h", "1h1m1s1ms", "-1s", "s", "1.5s"])
odd_rules = st.builds(
    lambda match, filters, timeouts, weights: rule(
        match, to=[backend(name, weight=each) for name, each in weights], filters=filters, timeouts=timeouts
    ),
    odd_matches,
    st.lists(odd_filters, max_size=2),
    st.fixed_dictionaries({}, optional={"request": durations, "backendRequest": durations}),
    st.lists(
        st.tuples(st.sampled_from(["one", "two", "gone"]), st.sampled_from([0, 1, 1_000_000, 1_000_001, None])),
        max_size=3,
    ),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(st.tuples(odd_rules, st.lists(odd_hosts, max_size=1)), min_size=60, max_size=60))
def test_any_http_routes(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[dict[str, Any], list[str]]]
) -> None:
    made = [http_route(f"r{index}", each, hostnames=hosts) for index, (each, hosts) in enumerate(drawn)]
    world: list[Manifest] = [*stage(listener(), listener("wild", hostname="*.example.com")), *made]
    found = GatewayApi().route(World(*world, *service("one", pod=20001), *service("two")))
    troubles = [each.trouble for parents in found.attachments.values() for each in parents if each.trouble is not None]
    assert {each.reason for each in troubles} <= OWN_REASONS
    assert all(str(each).startswith("spec.") for each in troubles)
    assert complaint(snapshot(found.tables[WEB], bind="127.0.0.1"), tmp_path_factory.mktemp("envoy")) == ""

"""VirtualRouters: how they divide requests, how long and how often Envoy tries, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.world import GATEWAY, NAMESPACE, World, find, load, route, router, routers_route, stage, web

from greenroom.core.routing import Router, Routing
from greenroom.core.verdicts import verdicts
from greenroom.model.manifest import Manifest, Ref
from greenroom.model.mesh import GATEWAY_ROUTE, VIRTUAL_NODE, VIRTUAL_ROUTER
from greenroom.model.routes import DEFAULT_RETRY, Answer, Forward, PathKind, Retry, Route, ValueKind

ROUTE = Ref(GATEWAY_ROUTE, NAMESPACE, "g")
ROUTER = Ref(VIRTUAL_ROUTER, NAMESPACE, "shop")
ALL = {"prefix": "/"}
ONE = "cds_egress_pr-env_one_pr-env_http_80"
TWO = "cds_egress_pr-env_two_pr-env_http_80"


def routed(*routes: dict[str, Any], match: dict[str, Any] = ALL, more: tuple[Manifest, ...] = ()) -> Routing:
    made = [*stage(), *web("one"), *web("two"), *router("shop", *routes), route("g", match, to="shop"), *more]
    return Router().route(World(*made))


def served(routing: Routing) -> tuple[Route, ...]:
    assert not routing.refused
    (host,) = routing.tables[GATEWAY].listeners[0].hosts
    return host.routes


def forward(routing: Routing) -> Forward:
    action = served(routing)[0].action
    assert isinstance(action, Forward)
    return action


def seconds(value: int) -> dict[str, Any]:
    return {"value": value, "unit": "s"}


def test_requests_are_divided_by_weight() -> None:
    action = forward(routed(routers_route("r", ALL, to={"one": 5, "two": 50})))
    assert [(each.name, each.weight) for each in action.clusters] == [(ONE, 5), (TWO, 50)]
    assert action.host == "shop.pr-env"


def test_routes_are_tried_by_priority_then_by_exactness() -> None:
    routes = [
        routers_route("last", ALL, to={"one": 1}),
        routers_route("long", {"prefix": "/a/b"}, to={"one": 1}),
        routers_route("exact", {"path": {"exact": "/a/b/c"}}, to={"one": 1}),
        routers_route("urgent", {"prefix": "/a"}, to={"two": 1}, priority=0),
    ]
    assert [each.match.path.value for each in served(routed(*routes))] == ["/a", "/a/b/c", "/a/b", "/"]


def test_what_no_route_of_the_router_takes_is_not_found_and_left_to_no_other_gateway_route() -> None:
    other = route("other", ALL, to="shop", priority=1000)
    routes = served(
        routed(routers_route("r", {"prefix": "/red"}, to={"one": 1}), match={"prefix": "/a/"}, more=(other,))
    )
    assert [(each.name, each.match.path.value) for each in routes] == [
        ("pr-env/g", "/a/red"),
        ("pr-env/g", "/a/"),
        ("pr-env/other", "/red"),
        ("pr-env/other", "/"),
    ]
    assert routes[1].action == routes[3].action == Answer(404)


def test_weights_that_are_all_zero_answer_503_and_the_router_says_so() -> None:
    routing = routed(routers_route("nobody", {"prefix": "/a"}, to={"one": 0}), routers_route("r", ALL, to={"one": 1}))
    assert served(routing)[0].action == Answer(503)
    assert routing.remarks[ROUTER] == "answered with 503 since all weights are 0: nobody"
    said = verdicts(routing, {}, bind="127.0.0.1")[ROUTER]
    assert said is not None
    assert said.active
    assert said.message.endswith("; answered with 503 since all weights are 0: nobody")


def test_a_router_without_routes_says_so() -> None:
    routing = routed()
    assert [each.action for each in served(routing)] == [Answer(404)]
    assert routing.remarks[ROUTER] == "it has no routes, so every request is answered with 404"


def test_a_scheme_is_asked_of_the_request() -> None:
    (header,) = served(routed(routers_route("r", {"prefix": "/", "scheme": "https"}, to={"one": 1})))[0].match.headers
    assert (header.name, header.kind, header.value) == (":scheme", ValueKind.EXACT, "https")


@pytest.mark.parametrize(
    ("match", "kind", "path"),
    [
        ({}, PathKind.PREFIX, "/"),
        ({"serviceName": "shop.v1.Cart"}, PathKind.PREFIX, "/shop.v1.Cart/"),
        ({"serviceName": "shop.v1.Cart", "methodName": "Add"}, PathKind.EXACT, "/shop.v1.Cart/Add"),
    ],
)
def test_grpc_calls_are_told_by_their_path(match: dict[str, Any], kind: PathKind, path: str) -> None:
    made = routers_route("r", match, to={"one": 1})
    made["grpcRoute"] = made.pop("httpRoute")
    found = served(routed(made))[0].match
    assert (found.path.kind, found.path.value, found.grpc) == (kind, path, True)


# Timeouts and retries


@pytest.mark.parametrize(
    ("of_route", "of_node", "to", "expected"),
    [
        ({}, {}, ["one"], (15.0, 0.0)),
        ({}, {"perRequest": seconds(60), "idle": seconds(5)}, ["one"], (60.0, 5.0)),
        ({"perRequest": seconds(30)}, {"perRequest": seconds(60), "idle": seconds(5)}, ["one"], (30.0, 5.0)),
        ({"perRequest": seconds(0), "idle": seconds(7)}, {"perRequest": seconds(60)}, ["one"], (0.0, 7.0)),
        ({}, {"perRequest": seconds(0)}, ["one", "two"], (0.0, 0.0)),
        ({}, {"perRequest": seconds(3), "idle": seconds(3)}, ["one", "two"], (15.0, 0.0)),
    ],
    ids=["default", "node", "route", "no limit", "node without limit", "the longest of two nodes"],
)
def test_the_timeout_of_the_route_comes_first_then_those_of_the_nodes(
    of_route: dict[str, Any], of_node: dict[str, Any], to: list[str], expected: tuple[float, float]
) -> None:
    made = [*stage(), *web("one"), *web("two")]
    find(made, VIRTUAL_NODE, "one")["spec"]["listeners"][0]["timeout"] = {"http": of_node}
    of_router = router("shop", routers_route("r", ALL, to=dict.fromkeys(to, 1), timeout=of_route))
    action = forward(Router().route(World(*made, *of_router, route("g", ALL, to="shop"))))
    assert (action.timeout, action.idle) == expected


def test_a_route_without_a_retry_policy_has_app_meshs() -> None:
    assert forward(routed(routers_route("r", ALL, to={"one": 1}))).retry == DEFAULT_RETRY


def test_events_become_envoys_conditions() -> None:
    policy = {
        "maxRetries": 3,
        "perRetryTimeout": {"unit": "ms", "value": 1500},
        "httpRetryEvents": ["server-error", "gateway-error", "client-error", "stream-error"],
        "tcpRetryEvents": ["connection-error"],
    }
    words = ("5xx", "gateway-error", "retriable-4xx", "refused-stream", "connect-failure")
    assert forward(routed(routers_route("r", ALL, to={"one": 1}, retryPolicy=policy))).retry == Retry(words, 3, 1.5)


def test_grpc_events_are_for_grpc_only() -> None:
    policy = {"maxRetries": 1, "perRetryTimeout": seconds(1), "grpcRetryEvents": ["cancelled", "unavailable"]}
    http = routers_route("r", ALL, to={"one": 1}, retryPolicy=policy)
    assert "grpcRetryEvents: not supported" in str(routed(http).refused[ROUTER])
    grpc = {**routers_route("r", {}, to={"one": 1}, retryPolicy=policy), "httpRoute": None}
    grpc["grpcRoute"] = routers_route("r", {}, to={"one": 1}, retryPolicy=policy)["httpRoute"]
    assert forward(routed(grpc)).retry.on == ("cancelled", "unavailable")


# Ports


def ports_of(target: dict[str, Any]) -> Routing:
    routes = [
        routers_route("on-80", {"prefix": "/80", "port": 80}, to={"one": 1}),
        routers_route("on-81", {"prefix": "/81", "port": 81}, to={"two": 1}),
    ]
    gateway_route = route("g", ALL, to="shop")
    gateway_route["spec"]["httpRoute"]["action"]["target"] |= target
    made = [*web("one"), *web("two"), *router("shop", *routes, ports=(80, 81)), gateway_route]
    return Router().route(World(*stage(), *made))


@pytest.mark.parametrize(("target", "path"), [({}, "/80"), ({"port": 80}, "/80"), ({"port": 81}, "/81")])
def test_the_target_port_chooses_among_the_ports_of_a_router(target: dict[str, Any], path: str) -> None:
    assert [each.match.path.value for each in served(ports_of(target))] == [path, "/"]


def test_a_target_port_that_the_router_does_not_have_is_named() -> None:
    assert "VirtualRouter pr-env/shop has no listener on port 9; its ports: 80, 81" in str(
        ports_of({"port": 9}).refused[ROUTE]
    )


# References and bad input


def test_a_router_whose_node_is_missing_says_which_and_so_does_the_route() -> None:
    routing = routed(routers_route("r", ALL, to={"one": 1, "gone": 0}))
    assert routing.refused[ROUTER].reason == routing.refused[ROUTE].reason == "VirtualNodeNotFound"
    assert "VirtualNode pr-env/gone does not exist" in str(routing.refused[ROUTE])


def test_a_node_in_another_mesh_is_refused() -> None:
    second = {**load("mesh.yaml")[0], "metadata": {"name": "second"}}
    second["spec"] = {"namespaceSelector": {"matchLabels": {"mesh": "second"}}}
    elsewhere: Manifest = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": "other", "labels": {"mesh": "second"}},
    }
    made = routers_route("r", ALL, to={"one": 1})
    made["httpRoute"]["action"]["weightedTargets"][0]["virtualNodeRef"]["namespace"] = "other"
    node = find(web("one"), VIRTUAL_NODE, "one")
    node["metadata"]["namespace"] = "other"
    routing = routed(made, more=(second, elsewhere, node))
    assert routing.refused[ROUTER].reason == "OtherMesh"


def test_only_the_gateway_route_that_cannot_be_joined_with_the_router_stays_out() -> None:
    made = routers_route("odd", {"path": {"regex": "(/x)?"}}, to={"one": 1})
    routing = routed(made, match={"prefix": "/a"}, more=(route("good", {"prefix": "/"}, to="shop"),))
    assert set(routing.refused) == {ROUTE}
    assert routing.refused[ROUTE].reason == "NotComposable"
    assert str(routing.refused[ROUTE]).startswith("route 'odd' of its VirtualRouter: its regular expression '(/x)?'")


TARGETS = {"action": {"weightedTargets": [{"virtualNodeRef": {"name": "one"}, "weight": 1}]}}
OF_HTTP = "spec.routes[0].httpRoute"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"httpRoute": TARGETS}, "spec.routes[0].name: missing"),
        ({"name": "r"}, "spec.routes[0]: must have exactly one of httpRoute, http2Route and grpcRoute"),
        ({"name": "r", "tcpRoute": {}}, "spec.routes[0].tcpRoute: a gateway forwards HTTP only"),
        ({"name": "r", "httpRoute": TARGETS}, f"{OF_HTTP}.match: must have exactly one of prefix and path"),
        ({"name": "r", "httpRoute": {"match": {"prefix": "a"}}}, f"{OF_HTTP}.match.prefix: must start with /"),
        ({"name": "r", "httpRoute": {"match": {**ALL, "scheme": "ftp"}}}, f"{OF_HTTP}.match.scheme: must be http or"),
        ({"name": "r", "httpRoute": {"match": {**ALL, "port": 9}}}, f"{OF_HTTP}.match.port: must be one of"),
        ({"name": "r", "httpRoute": {"match": ALL}}, f"{OF_HTTP}.action.weightedTargets: must name at least one"),
        (routers_route("r", ALL, to={"one": 101}), "weightedTargets[0].weight: must be a whole number from 0 to 100"),
        (routers_route("r", ALL, to={"one": 1}, retryPolicy={"maxRetries": 1}), "retryPolicy: must name an event"),
        (
            routers_route("r", ALL, to={"one": 1}, retryPolicy={"httpRetryEvents": ["often"]}),
            "retryPolicy.httpRetryEvents[0]: must be one of server-error, gateway-error, client-error, stream-error",
        ),
        (routers_route("r", ALL, to={"one": 1}, priority=-1), "spec.routes[0].priority: must be a whole number"),
        (
            {"name": "r", "grpcRoute": {"match": {"methodName": "M"}, **TARGETS}},
            "needs the service that has the method",
        ),
        ({"name": "r", "httpRoute": {"match": ALL, "rewrite": {}}}, f"{OF_HTTP}.rewrite: not supported"),
    ],
)
def test_a_wrong_router_is_told_which_field_is_wrong(made: dict[str, Any], said: str) -> None:
    assert said in str(routed(made).refused[ROUTER])


def test_two_routes_of_one_name_are_refused() -> None:
    routes = [routers_route("r", {"prefix": prefix}, to={"one": 1}) for prefix in ("/a", "/b")]
    assert "spec.routes[1].name: 'r' is the name of another route, too" in str(routed(*routes).refused[ROUTER])


def test_a_tcp_listener_is_refused_by_name() -> None:
    made = router("shop", routers_route("r", ALL, to={"one": 1}))
    find(made, VIRTUAL_ROUTER, "shop")["spec"]["listeners"][0]["portMapping"]["protocol"] = "tcp"
    routing = Router().route(World(*stage(), *web("one"), *made))
    assert "spec.listeners[0].portMapping.protocol: a gateway forwards HTTP only" in str(routing.refused[ROUTER])

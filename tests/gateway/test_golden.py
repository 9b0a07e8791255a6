"""Manifests -> Envoy's configuration, whole, in files to be read: ``golden/<case>.yaml``.

``pytest tests/gateway --rewrite-golden`` writes them anew; look at the difference before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.envoy_static import complaint, readable
from tests.gateway.world import GATEWAY, World, environment, find, of_type, route, router, routers_route, stage, web
from tests.golden import expected, orphans

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router
from greenroom.model.manifest import Manifest
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE

GOLDEN = Path(__file__).parent / "golden"


def the_published_review_app_for_two_pull_requests() -> list[Manifest]:
    return [*stage(), *environment(1, "a" * 40, 20001), *environment(2, "b" * 40, 20002, 20003)]


def an_environment_without_ready_pods() -> list[Manifest]:
    return [*stage(), *environment(1, "a" * 40)]


def a_gateway_without_routes() -> list[Manifest]:
    return stage()


def rewrites() -> list[Manifest]:
    """The rows of the user guide's table: what becomes of the path and of the host."""
    keep = {"hostname": {"defaultTargetHostname": "DISABLED"}}
    written_out = {"prefix": {"defaultPrefix": "ENABLED"}, "hostname": {"defaultTargetHostname": "ENABLED"}}
    return [
        *stage(),
        *web(),
        route("defaults-written-out", {"prefix": "/words"}, rewrite=written_out),
        route("prefix-is-dropped", {"prefix": "/chapter"}),
        route("prefix-is-kept", {"prefix": "/kept"}, rewrite={"prefix": {"defaultPrefix": "DISABLED"}}),
        route("prefix-is-replaced", {"prefix": "/old/"}, rewrite={"prefix": {"value": "/new/"}}),
        route("prefix-with-punctuation", {"prefix": "/a.b(c"}),
        route("everything", {"prefix": "/"}),
        route("exact-path-is-kept", {"path": {"exact": "/exact"}}),
        route("regular-path-is-kept", {"path": {"regex": "/r[0-9]+"}}),
        route("path-is-replaced", {"path": {"exact": "/red"}}, rewrite={"path": {"exact": "/blue"}}),
        route("host-is-kept", {"hostname": {"exact": "kept.example.com"}}, rewrite=keep),
    ]


def matching() -> list[Manifest]:
    headers = [
        {"name": "x-exact", "match": {"exact": "1"}},
        {"name": "x-prefix", "match": {"prefix": "p"}},
        {"name": "x-suffix", "match": {"suffix": "s"}},
        {"name": "x-regex", "match": {"regex": "r.*"}},
        {"name": "x-range", "match": {"range": {"start": 1, "end": 9}}},
        {"name": "x-present"},
        {"name": "x-absent", "invert": True},
    ]
    query = [{"name": "q", "match": {"exact": "1"}}, {"name": "any"}]
    everything = {"prefix": "/", "method": "POST", "headers": headers, "queryParameters": query}
    return [
        *stage(),
        *web(),
        route("everything-at-once", everything),
        route("short-prefix", {"prefix": "/a"}),
        route("long-prefix", {"prefix": "/a/b"}),
        route("exact", {"path": {"exact": "/a/b"}}),
        route("regex", {"path": {"regex": "/a/."}}),
        route("first-by-priority", {"prefix": "/"}, priority=0),
    ]


def hosts() -> list[Manifest]:
    """Routes for any host, and for a suffix, are also in the hosts that Envoy would prefer."""
    return [
        *stage(),
        *web(),
        route("any-host", {"prefix": "/any"}),
        route("suffix", {"prefix": "/suffix", "hostname": {"suffix": ".Example.com"}}),
        route("longer-suffix", {"prefix": "/longer", "hostname": {"suffix": ".a.example.com"}}),
        route("suffix-without-dot", {"prefix": "/bare", "hostname": {"suffix": "example.org"}}),
        route("end-of-a-label", {"prefix": "/end", "hostname": {"suffix": "-pr.example.net"}}),
        route("exact-host", {"prefix": "/exact", "hostname": {"exact": "X.a.example.com"}}),
    ]


def http2_timeouts_and_access_log() -> list[Manifest]:
    made = [*stage(), *environment(1, "a" * 40, 20001)]
    node = find(made, VIRTUAL_NODE, "pr1")
    seconds = {"perRequest": {"value": 90, "unit": "s"}, "idle": {"value": 1500, "unit": "ms"}}
    mapping = {"port": 80, "protocol": "http2"}
    node["spec"]["listeners"] = [{"portMapping": mapping, "timeout": {"http2": seconds}}]
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["listeners"][0]["portMapping"]["protocol"] = "http2"
    return made


RED_AND_REST = (
    routers_route("red", {"prefix": "/red"}, to={"red": 1}),
    routers_route("rest", {"prefix": "/"}, to={"blue": 1}),
)


def a_router_sees_the_path_as_the_gateway_rewrote_it() -> list[Manifest]:
    """``/paths/red`` is ``/red`` to the router, and so is ``/pathsred``; what no route takes is not found."""
    only_red = [routers_route("red", {"prefix": "/red"}, to={"red": 1})]
    return [
        *stage(),
        *web("red"),
        *web("blue"),
        *router("rest", *RED_AND_REST),
        *router("only-red", *only_red),
        route("prefix-without-slash", {"prefix": "/paths"}, to="rest"),
        route("prefix-with-slash", {"prefix": "/slash/"}, to="rest"),
        route("prefix-is-replaced", {"prefix": "/old/"}, rewrite={"prefix": {"value": "/red/"}}, to="rest"),
        route("prefix-is-kept", {"prefix": "/red"}, rewrite={"prefix": {"defaultPrefix": "DISABLED"}}, to="rest"),
        route("path-is-replaced", {"path": {"exact": "/x"}}, rewrite={"path": {"exact": "/red/1"}}, to="rest"),
        route("exact-path", {"path": {"exact": "/red/2"}}, to="rest"),
        route("what-is-left-is-not-found", {"prefix": "/only/"}, to="only-red"),
    ]


def regular_expressions_of_routers() -> list[Manifest]:
    """Those that cannot be joined with the GatewayRoute's path are refused, and so is no other."""
    png = [routers_route("png", {"path": {"regex": r"/.*\.png"}}, to={"blue": 1})]
    optional = [routers_route("optional", {"path": {"regex": "(/x)?"}}, to={"blue": 1})]
    return [
        *stage(),
        *web("blue"),
        *router("png", *png),
        *router("optional", *optional),
        route("prefix-without-slash", {"prefix": "/img"}, to="png"),
        route("prefix-with-slash", {"prefix": "/slash/"}, to="png"),
        route("prefix-is-kept", {"prefix": "/kept"}, rewrite={"prefix": {"defaultPrefix": "DISABLED"}}, to="png"),
        route("regex", {"path": {"regex": "/[ab]/.*"}}, to="png"),
        route("exact", {"path": {"exact": "/a.png"}}, to="png"),
        route("refused", {"prefix": "/r"}, to="optional"),
    ]


def conditions_of_gateway_and_router() -> list[Manifest]:
    header = {"name": "x-team", "match": {"exact": "web"}}
    asked = {"prefix": "/", "method": "GET", "headers": [header], "queryParameters": [{"name": "q"}]}
    routes = [
        routers_route("all-of-them", {**asked, "scheme": "https"}, to={"blue": 1}),
        routers_route("never-since-methods-differ", {"prefix": "/", "method": "PUT"}, to={"blue": 1}),
    ]
    match = {"prefix": "/", "method": "GET", "headers": [{"name": "x-debug"}]}
    return [*stage(), *web("blue"), *router("shop", *routes), route("debug", match, to="shop")]


def weights() -> list[Manifest]:
    """They are relative. A route whose weights are all 0 answers 503."""
    routes = [
        routers_route("five-times-as-many", {"prefix": "/five"}, to={"red": 50, "blue": 10}),
        routers_route("one-at-zero", {"prefix": "/zero"}, to={"red": 1, "blue": 0}),
        routers_route("nobody", {"prefix": "/nobody"}, to={"red": 0, "blue": 0}),
    ]
    return [*stage(), *web("red"), *web("blue"), *router("shop", *routes), route("shop", {"prefix": "/"}, to="shop")]


def retries_and_timeouts() -> list[Manifest]:
    """The route's own come before those of the node; each event has its word in Envoy."""
    policy = {
        "maxRetries": 5,
        "perRetryTimeout": {"unit": "ms", "value": 2500},
        "httpRetryEvents": ["server-error", "gateway-error", "client-error", "stream-error"],
        "tcpRetryEvents": ["connection-error"],
    }
    own = {"perRequest": {"unit": "s", "value": 90}, "idle": {"unit": "s", "value": 30}}
    routes = [
        routers_route("every-event", {"prefix": "/retry"}, to={"red": 1}, retryPolicy=policy),
        routers_route("own-timeouts", {"prefix": "/own"}, to={"slow": 1}, timeout=own),
        routers_route("no-limit", {"prefix": "/no"}, to={"red": 1}, timeout={"perRequest": {"unit": "s", "value": 0}}),
        routers_route("of-the-node", {"prefix": "/"}, to={"slow": 1}),
    ]
    made = [*stage(), *web("red"), *web("slow"), *router("shop", *routes), route("shop", {"prefix": "/"}, to="shop")]
    timeout = {"http": {"perRequest": {"unit": "s", "value": 60}}}
    find(made, VIRTUAL_NODE, "slow")["spec"]["listeners"][0]["timeout"] = timeout
    return made


def grpc() -> list[Manifest]:
    """A call is a path, and its metadata are headers. The path is never rewritten."""
    made = [*stage(), *web("cart"), *web("shop")]
    metadata = [{"name": "tenant", "match": {"exact": "a"}}]
    policy = {
        "maxRetries": 1,
        "perRetryTimeout": {"unit": "s", "value": 1},
        "grpcRetryEvents": ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"],
    }
    add = routers_route("add", {"serviceName": "shop.v1.Cart", "methodName": "Add"}, to={"cart": 1}, retryPolicy=policy)
    routes = [_as_grpc(add), _as_grpc(routers_route("tenant", {"metadata": metadata}, to={"shop": 1}))]
    keep = {"hostname": {"defaultTargetHostname": "DISABLED"}}
    service = route("service", {"serviceName": "shop.v1.Cart"}, to="router")
    host = route("host", {"hostname": {"exact": "grpc.example.com"}}, to="shop", rewrite=keep)
    for each in (service, host):
        each["spec"] = _as_grpc(each["spec"])
    for name in ("cart", "shop"):
        mapping = {"port": 80, "protocol": "grpc"}
        find(made, VIRTUAL_NODE, name)["spec"]["listeners"] = [{"portMapping": mapping}]
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["listeners"][0]["portMapping"]["protocol"] = "grpc"
    return [*made, *router("router", *routes), service, host]


def _as_grpc(spec: dict[str, Any]) -> dict[str, Any]:
    return of_type(spec, "grpcRoute")


def http2() -> list[Manifest]:
    """What ``httpRoute`` can say, and for routers the scheme."""
    made = [*stage(), *web("blue")]
    header = {"name": "x-team", "match": {"exact": "web"}}
    asked = {"prefix": "/red", "scheme": "https", "headers": [header]}
    policy = {"maxRetries": 3, "httpRetryEvents": ["server-error"], "perRetryTimeout": {"unit": "s", "value": 2}}
    red = routers_route("red", asked, to={"blue": 1}, retryPolicy=policy)
    shop = route("shop", {"prefix": "/shop", "hostname": {"exact": "shop.example.com"}}, to="shop")
    exact = route("exact", {"path": {"exact": "/a"}}, rewrite={"path": {"exact": "/b"}}, to="blue")
    for each in (shop, exact):
        each["spec"] = of_type(each["spec"], "http2Route")
    for kind, name in ((VIRTUAL_GATEWAY, "ingress-gw"), (VIRTUAL_NODE, "blue")):
        find(made, kind, name)["spec"]["listeners"][0]["portMapping"]["protocol"] = "http2"
    return [*made, *router("shop", of_type(red, "http2Route")), shop, exact]


def several_listeners() -> list[Manifest]:
    """Each has its own routes: those for its port, and those for every port."""
    made = stage()
    mappings = [{"port": 8080, "protocol": "http"}, {"port": 8443, "protocol": "http2"}]
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["listeners"] = [{"portMapping": each} for each in mappings]
    return [
        *made,
        *web(),
        route("every-port", {"prefix": "/every"}),
        route("one-port", {"prefix": "/one", "port": 8443}),
        route("no-such-port", {"prefix": "/", "port": 80}),
    ]


def what_cannot_be_served_is_named() -> list[Manifest]:
    """With its field, and what to write instead."""
    made = [*stage(), *environment(1, "a" * 40, 20001), *web("arn"), *web("nobody"), *web("tcp")]
    arn = {"virtualNode": {"virtualNodeARN": "arn:aws:appmesh:eu-west-1:1:mesh/m/virtualNode/n"}}
    find(made, VIRTUAL_SERVICE, "arn")["spec"]["provider"] = arn
    find(made, VIRTUAL_SERVICE, "nobody")["spec"] = {}
    find(made, VIRTUAL_NODE, "tcp")["spec"]["listeners"][0]["portMapping"]["protocol"] = "tcp"
    tcp_route = {"name": "r", "tcpRoute": {"action": {"weightedTargets": []}}}
    to = [route(f"to-{name}", {"prefix": f"/{name}"}, to=name) for name in ("arn", "nobody", "tcp", "router")]
    return [*made, *router("router", tcp_route), *to, route("reserved", {"prefix": "/aws-appmesh"})]


CASES: list[Callable[[], list[Manifest]]] = [
    the_published_review_app_for_two_pull_requests,
    an_environment_without_ready_pods,
    a_gateway_without_routes,
    rewrites,
    matching,
    hosts,
    http2_timeouts_and_access_log,
    a_router_sees_the_path_as_the_gateway_rewrote_it,
    regular_expressions_of_routers,
    conditions_of_gateway_and_router,
    weights,
    retries_and_timeouts,
    grpc,
    http2,
    several_listeners,
    what_cannot_be_served_is_named,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_envoy_gets(case: Callable[[], list[Manifest]], rewrite_golden: bool, tmp_path: Path) -> None:
    routing = Router().route(World(*case()))
    made = snapshot(routing.tables[GATEWAY], bind="127.0.0.1")
    refused = {f"{ref.kind.name}/{ref.name}": f"{why.reason}: {why}" for ref, why in routing.refused.items()}
    # The versions tell that another process makes the same bytes, so that a restart changes nothing in Envoy.
    versions = {resource.name: resource.version for named in made.values() for resource in named.values()}
    remarks = {f"{ref.kind.name}/{ref.name}": remark for ref, remark in routing.remarks.items()}
    everything = {
        "envoy": _without_pages(readable(made)),
        "versions": versions,
        "refused": refused,
        **({"remarks": remarks} if remarks else {}),
    }
    shown, golden = expected(GOLDEN / f"{case.__name__}.yaml", everything, rewrite=rewrite_golden)
    assert shown == golden
    assert complaint(made, tmp_path) == ""


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, [case.__name__ for case in CASES], rewrite=rewrite_golden)


def _without_pages(resources: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Pages are in a file of their own: ``golden/upstream/pages.yaml``."""
    for listener in resources["Listener"]:
        del listener["filter_chains"][0]["filters"][0]["typed_config"]["local_reply_config"]
    return resources

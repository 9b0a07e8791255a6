"""Gateway API's objects -> Envoy's configuration and their statuses, whole: ``golden/gateway-api/<case>.yaml``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.envoy_static import complaint, readable
from tests.gateway.http_world import (
    WEB,
    backend,
    gateway,
    gateway_class,
    grant,
    http_route,
    listener,
    made,
    namespace,
    path,
    rule,
    service,
    stage,
)
from tests.gateway.world import World
from tests.golden import expected, orphans

from greenroom.core.envoy import snapshot
from greenroom.core.gateway_api import GatewayApi
from greenroom.core.gateway_api_status import statements, status_of
from greenroom.model.manifest import SERVICE, Manifest

GOLDEN = Path(__file__).parent / "golden" / "gateway-api"


def a_route_for_one_host() -> list[Manifest]:
    return [*stage(), *service(pod=20001), http_route("shop", hostnames=["shop.example.com"])]


def precedence() -> list[Manifest]:
    """Exact path, longest prefix, method, headers, parameters, the older route, its name, the order of its rules."""
    header = {"name": "X-A", "value": "1"}
    parameter = {"name": "q", "value": "1"}
    to: list[dict[str, Any]] = [
        {"headers": [header]},
        {"queryParams": [parameter]},
        {"method": "GET"},
        {"headers": [header, {**header, "name": "b"}]},
    ]
    return [
        *stage(),
        *service(),
        http_route("b-same-age", rule(path("/same"))),
        http_route("a-same-age", rule(path("/same"))),
        http_route("older", rule(path("/same")), created="2026-01-01T00:00:00Z"),
        http_route("conditions", *(rule(path("/same", **each)) for each in to)),
        http_route(
            "paths",
            rule(path("/")),
            rule(path("/same/longer")),
            rule(path("/same", "Exact"), path("/r.*", "RegularExpression")),
        ),
    ]


def matches() -> list[Manifest]:
    """Of conditions with the same name the first counts. A prefix is one of path elements."""
    headers = [
        {"name": "X-Exact", "value": "1"},
        {"name": "x-exact", "value": "2"},
        {"name": "x-regex", "value": "a+", "type": "RegularExpression"},
    ]
    query = [{"name": "q", "value": "1"}, {"name": "r", "value": "b.*", "type": "RegularExpression"}]
    everything = path("/all/", method="POST", headers=headers, queryParams=query)
    return [*stage(), *service(), http_route("all", rule(everything)), http_route("any", {"backendRefs": [backend()]})]


def hostnames() -> list[Manifest]:
    """What listener and route share. Requests for a listener's host never reach another listener's routes."""
    listeners = [
        listener("any"),
        listener("wild", hostname="*.example.com"),
        listener("exact", hostname="a.example.com"),
        listener("nobody", hostname="*.nobody.example.com"),
    ]
    return [
        *stage(*listeners),
        *service(),
        http_route("any", rule(path("/any")), parent={"sectionName": "any"}),
        http_route(
            "wild",
            rule(path("/wild")),
            parent={"sectionName": "wild"},
            hostnames=["*.b.example.com", "a.example.com", "x.org"],
        ),
        http_route("exact", rule(path("/exact")), parent={"sectionName": "exact"}, hostnames=["*.example.com"]),
        http_route("every", rule(path("/every")), hostnames=["c.example.com", "c.example.org"]),
        http_route("elsewhere", parent={"sectionName": "exact"}, hostnames=["b.example.com"]),
    ]


def parents() -> list[Manifest]:
    """By listener, by port, by namespace; and those that are not allowed."""
    labelled = {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}
    listeners = [
        listener("same"),
        listener("all", port=8081, allowedRoutes={"namespaces": {"from": "All"}}),
        listener("labelled", port=8082, allowedRoutes={"namespaces": labelled}),
    ]
    there = {"namespace": "pr-env"}
    return [
        *stage(*listeners),
        namespace("web", team="web"),
        namespace("other"),
        *service(),
        *service(namespace="web"),
        *service(namespace="other"),
        http_route("by-name", rule(path("/name")), parent={"sectionName": "all"}),
        http_route("by-port", rule(path("/port")), parent={"port": 8082}),
        http_route("of-web", rule(path("/web")), parent=there, namespace="web"),
        http_route("of-other", rule(path("/other")), parent=there, namespace="other"),
        http_route("not-allowed", parent={**there, "sectionName": "labelled"}, namespace="other"),
        http_route("no-such-listener", parent={"sectionName": "https"}),
        http_route("no-such-port", parent={"port": 1, "sectionName": "all"}),
        http_route("not-ours", parent={"name": "another"}),
    ]


def filters() -> list[Manifest]:
    changes = {
        "set": [{"name": "X-Set", "value": "100%"}],
        "add": [{"name": "x-add", "value": "1"}, {"name": "X-Add", "value": "2"}],
        "remove": ["X-Gone"],
    }

    def rewrite(**fields: Any) -> list[dict[str, Any]]:
        return [{"type": "URLRewrite", "urlRewrite": fields}]

    def prefix(value: str) -> dict[str, Any]:
        return {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}}

    headers = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": changes},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes},
    ]
    full = {"type": "ReplaceFullPath", "replaceFullPath": "/new"}
    return [
        *stage(),
        *service(),
        http_route(
            "filters",
            rule(path("/headers"), filters=headers),
            rule(path("/full"), filters=rewrite(hostname="new.example.com", path=full)),
            rule(path("/foo"), filters=rewrite(**prefix("/bar/"))),
            rule(path("/dropped/"), filters=rewrite(**prefix(""))),
            rule(path("/"), filters=rewrite(**prefix("/below"))),
        ),
    ]


def redirects() -> list[Manifest]:
    """Without a scheme to the listener's port; a port that goes without saying is left out."""
    prefix = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}

    def to(where: str, **fields: Any) -> dict[str, Any]:
        return rule(path(where), to=[], filters=[{"type": "RequestRedirect", "requestRedirect": fields}])

    return [
        *stage(listener(), listener("eighty", port=80)),
        http_route(
            "redirects",
            to("/https", scheme="https", statusCode=301),
            to("/host", hostname="new.example.com"),
            to("/port", scheme="https", port=8443, statusCode=308),
            to("/path", path=prefix, statusCode=303),
            to("/full", scheme="http", path={"type": "ReplaceFullPath", "replaceFullPath": "/"}, statusCode=307),
        ),
    ]


def backends() -> list[Manifest]:
    """Requests for a backend that is not there get 500, as many as its weight says."""
    two = [backend(weight=90), backend("canary", weight=10)]
    half = [backend(weight=1), backend("gone", weight=1)]
    external = made(SERVICE, "external", {"type": "ExternalName", "externalName": "example.com"})
    return [
        *stage(),
        *service(pod=20001),
        *service("canary", pod=20002, appProtocol="kubernetes.io/h2c"),
        *service("secure", appProtocol="https"),
        external,
        http_route(
            "weights", rule(path("/two"), to=two), rule(path("/one-at-zero"), to=[*two, backend("canary", weight=0)])
        ),
        http_route("half", rule(path("/half"), to=half)),
        http_route("gone", rule(path("/gone"), to="gone")),
        http_route("no-port", rule(path("/no-port"), to=[backend(port=81)])),
        http_route("kind", rule(path("/kind"), to=[backend(group="example.com", kind="Bucket")])),
        http_route("secure", rule(path("/secure"), to="secure")),
        http_route("external", rule(path("/external"), to="external")),
        http_route("zero", rule(path("/zero"), to=[backend(weight=0)])),
        http_route("nothing", rule(path("/nothing"), to=[])),
    ]


def references_to_other_namespaces() -> list[Manifest]:
    """Permitted by a ReferenceGrant over there: for one Service or all, and for routes of one namespace."""

    def to(name: str, namespace: str) -> dict[str, Any]:
        return http_route(
            f"{namespace}-{name}", rule(path(f"/{namespace}/{name}"), to=[backend(name, namespace=namespace)])
        )

    spaces = ("all", "one", "none", "others")
    services = [each for space in spaces for name in ("shop", "cart") for each in service(name, namespace=space)]
    grants = [grant("all"), grant("one", to="shop"), grant("others", whose="web")]
    return [*stage(), *services, *grants, *(to(name, space) for space in spaces for name in ("shop", "cart"))]


def timeouts() -> list[Manifest]:
    def within(where: str, **timeouts: str) -> dict[str, Any]:
        return rule(path(where), timeouts=timeouts)

    return [
        *stage(),
        *service(),
        http_route(
            "timeouts",
            within("/usual"),
            within("/request", request="1h1m1s500ms"),
            within("/attempt", backendRequest="20s"),
            within("/both", request="30s", backendRequest="10s"),
            within("/none", request="0s"),
            within("/years", request="99999h"),
        ),
    ]


def what_is_not_understood_is_named() -> list[Manifest]:
    """The whole route stays out: a filter that is left away could be one that protects something."""

    def filtered(kind: str, **fields: Any) -> dict[str, Any]:
        return rule(filters=[{"type": kind, **fields}])

    prefix = {"urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}}
    both = [{"type": "URLRewrite", "urlRewrite": {}}, {"type": "RequestRedirect", "requestRedirect": {}}]
    host = {"requestHeaderModifier": {"set": [{"name": "Host", "value": "x"}]}}
    wrong = {
        "mirror": filtered("RequestMirror"),
        "extension": filtered("ExtensionRef"),
        "incompatible": rule(filters=both),
        "host-header": filtered("RequestHeaderModifier", **host),
        "prefix-of-exact": {**filtered("URLRewrite", **prefix), "matches": [path("/a", "Exact")]},
        "backend-filters": rule(to=[backend(filters=[{"type": "RequestMirror"}])]),
        "retry": rule(retry={"attempts": 3}),
        "regex": rule(path("/(?=a)", "RegularExpression")),
        "path-type": rule(path("/", "Glob")),
        "duration": rule(timeouts={"request": "1.5s"}),
        "attempt-too-long": rule(timeouts={"request": "1s", "backendRequest": "2s"}),
    }
    return [*stage(), *service(), *(http_route(name, rule(path("/good")), each) for name, each in wrong.items())]


def listeners_that_are_not_served() -> list[Manifest]:
    """The others are. Of listeners that claim the same, none."""
    kinds = {"kinds": [{"kind": "HTTPRoute"}, {"kind": "GRPCRoute"}]}
    listeners = [
        listener(allowedRoutes=kinds),
        listener("https", port=8443, protocol="HTTPS"),
        listener("tcp", port=9000, protocol="TCP"),
        listener("one", port=8082, hostname="x.example.com"),
        listener("two", port=8082, hostname="X.example.com"),
        listener("only-grpc", port=8083, allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]}),
    ]
    return [
        *stage(*listeners),
        *service(),
        http_route("everywhere"),
        http_route("https-only", parent={"sectionName": "https"}),
        http_route("grpc-only", parent={"sectionName": "only-grpc"}),
    ]


def gateways_that_are_not_served() -> list[Manifest]:
    secure = listener("https", port=443, protocol="HTTPS")
    return [
        *stage(),
        gateway(secure, name="secure"),
        gateway(name="addresses", addresses=[{"value": "10.0.0.1"}]),
        gateway(name="parameters", infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"}}),
        http_route("secure", parent={"name": "secure"}),
    ]


def a_class_with_parameters() -> list[Manifest]:
    return [gateway_class(parametersRef={"group": "", "kind": "ConfigMap", "name": "x"}), gateway()]


CASES: list[Callable[[], list[Manifest]]] = [
    a_route_for_one_host,
    precedence,
    matches,
    hostnames,
    parents,
    filters,
    redirects,
    backends,
    references_to_other_namespaces,
    timeouts,
    what_is_not_understood_is_named,
    listeners_that_are_not_served,
    gateways_that_are_not_served,
    a_class_with_parameters,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_envoy_gets(case: Callable[[], list[Manifest]], rewrite_golden: bool, tmp_path: Path) -> None:
    world = World(*case())
    found = GatewayApi().route(world)
    built = snapshot(found.tables[WEB], bind="127.0.0.1") if WEB in found.tables else None
    everything = {"envoy": _without_listeners(readable(built)) if built else {}, "statuses": _statuses(world)}
    shown, golden = expected(GOLDEN / f"{case.__name__}.yaml", everything, rewrite=rewrite_golden)
    assert shown == golden
    assert built is None or complaint(built, tmp_path) == ""


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, [case.__name__ for case in CASES], rewrite=rewrite_golden)


def _without_listeners(resources: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Listeners are those of VirtualGateways, and in their golden files; here only their names."""
    return {**resources, "Listener": [each["name"] for each in resources["Listener"]]}


def _statuses(world: World) -> dict[str, Any]:
    """Conditions in a line each."""
    found = statements(GatewayApi().route(world), {}, bind="127.0.0.1", patient=False)
    now = datetime(2026, 11, 24, tzinfo=UTC)
    written: dict[str, Any] = {}
    for ref, statement in found.items():
        manifest = world.get(ref)
        assert manifest is not None
        assert statement is not None
        status = status_of(manifest, statement, now)
        written[f"{ref.kind.name}/{ref.name}"] = _short(status) if status else None
    return written


def _short(value: Any) -> Any:
    if isinstance(value, dict) and "lastTransitionTime" in value:
        return f"{value['type']}={value['status']} {value['reason']}: {value['message']}"
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list) else value

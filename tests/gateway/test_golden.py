"""Manifests -> Envoy's configuration, whole, in files to be read: ``golden/<case>.yaml``.

``pytest tests/gateway --rewrite-golden`` writes them anew; look at the difference before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.envoy_static import complaint, readable
from tests.gateway.world import GATEWAY, World, environment, find, route, stage, web
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
    return [
        *stage(),
        *web(),
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


def what_is_not_supported_yet_is_named() -> list[Manifest]:
    made = [*stage(), *environment(1, "a" * 40, 20001), *web("router"), *web("tls"), *web("cloudmap"), *web("grpc")]
    router = {"virtualRouter": {"virtualRouterRef": {"name": "r"}}}
    find(made, VIRTUAL_SERVICE, "router")["spec"]["provider"] = router
    find(made, VIRTUAL_NODE, "tls")["spec"]["listeners"][0]["tls"] = {"mode": "STRICT"}
    find(made, VIRTUAL_NODE, "cloudmap")["spec"]["serviceDiscovery"] = {"awsCloudMap": {"serviceName": "x"}}
    find(made, VIRTUAL_NODE, "grpc")["spec"]["listeners"][0]["portMapping"]["protocol"] = "grpc"
    grpc = route("grpc-route", {})
    grpc["spec"] = {"grpcRoute": {}}
    ports = route("port-of-the-listener", {"prefix": "/", "port": 8080})
    to = [route(f"to-{name}", {"prefix": f"/{name}"}, to=name) for name in ("router", "tls", "cloudmap", "grpc")]
    return [*made, grpc, ports, *to]


CASES: list[Callable[[], list[Manifest]]] = [
    the_published_review_app_for_two_pull_requests,
    an_environment_without_ready_pods,
    a_gateway_without_routes,
    rewrites,
    matching,
    hosts,
    http2_timeouts_and_access_log,
    what_is_not_supported_yet_is_named,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_envoy_gets(case: Callable[[], list[Manifest]], rewrite_golden: bool, tmp_path: Path) -> None:
    routing = Router().route(World(*case()))
    made = snapshot(routing.tables[GATEWAY], bind="127.0.0.1")
    refused = {f"{ref.kind.name}/{ref.name}": f"{why.reason}: {why}" for ref, why in routing.refused.items()}
    # The versions tell that another process makes the same bytes, so that a restart changes nothing in Envoy.
    versions = {resource.name: resource.version for named in made.values() for resource in named.values()}
    everything = {"envoy": _without_pages(readable(made)), "versions": versions, "refused": refused}
    shown, golden = expected(GOLDEN / f"{case.__name__}.yaml", everything, rewrite=rewrite_golden)
    assert shown == golden
    assert complaint(made, tmp_path) == ""


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, [case.__name__ for case in CASES], rewrite=rewrite_golden)


def _without_pages(resources: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Pages are shown by ``test_live``; here they would only be long."""
    for listener in resources["Listener"]:
        connections = listener["filter_chains"][0]["filters"][0]["typed_config"]
        for mapper in connections["local_reply_config"]["mappers"]:
            body = mapper["body_format_override"]
            if "json_format" in body:
                body["json_format"] = dict(sorted(body["json_format"].items()))
            else:
                page = body["text_format_source"]["inline_string"]
                body["text_format_source"]["inline_string"] = f"({page.partition('<title>')[2].partition('<')[0]})"
    return resources

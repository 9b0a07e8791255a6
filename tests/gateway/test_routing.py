"""Which route goes where, and what is said of those that go nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.world import GATEWAY, NAMESPACE, World, environment, find, load, of_type, route, stage, stored, web

from greenroom.core.routing import Router, Routing
from greenroom.model.manifest import SERVICE, Manifest, Ref
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE, Refused
from greenroom.model.routes import Forward

A, B = "a" * 40, "b" * 40
ROUTE = Ref(GATEWAY_ROUTE, NAMESPACE, "r")


def routed(*manifests: Manifest) -> Routing:
    return Router().route(World(*manifests))


def reason(routing: Routing, ref: Ref) -> str:
    return routing.refused[ref].reason


def one_route(**spec: Any) -> dict[str, Any]:
    return route("r", {"prefix": "/"}, **spec)


def hosts(routing: Routing) -> dict[str, list[str]]:
    """Domain -> names of its routes, in the order in which they are tried."""
    return {host.domain: [each.name for each in host.routes] for host in routing.tables[GATEWAY].listeners[0].hosts}


def gateway_with(**spec: Any) -> list[Manifest]:
    made = stage()
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"] |= spec
    return made


# Membership


def test_the_published_manifests_are_all_accepted() -> None:
    routing = routed(*stage(), *environment(1, A, 20001))
    assert not routing.refused
    assert routing.placed[Ref(GATEWAY_ROUTE, NAMESPACE, "pr1")].gateway == GATEWAY


def test_fields_that_the_old_webhooks_wrote_are_let_through() -> None:
    reference = {"name": "other", "uid": "1"}
    made = one_route(meshRef=reference, virtualGatewayRef={**reference, "namespace": "elsewhere"})
    assert routed(*stage(), *web(), made).placed[ROUTE].gateway == GATEWAY


def test_a_gateway_without_a_namespace_selector_has_no_routes() -> None:
    assert reason(routed(*gateway_with(namespaceSelector=None), *web(), one_route()), ROUTE) == "NoVirtualGateway"


def test_an_empty_namespace_selector_selects_every_namespace() -> None:
    assert ROUTE in routed(*gateway_with(namespaceSelector={}), *web(), one_route()).placed


@pytest.mark.parametrize(("labels", "selected"), [({"team": "web"}, True), ({"team": "other"}, False), ({}, False)])
def test_a_route_selector_chooses_by_label(labels: dict[str, str], selected: bool) -> None:
    made = one_route(metadata={"labels": labels})
    stands = gateway_with(gatewayRouteSelector={"matchExpressions": [_term("team", "In", "web")]})
    assert (ROUTE in routed(*stands, *web(), made).placed) is selected


def _term(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("term", "selected"),
    [
        (_term("mesh", "In", "pr-env", "x"), True),
        (_term("mesh", "NotIn", "pr-env"), False),
        (_term("other", "NotIn", "x"), True),
        (_term("mesh", "Exists"), True),
        (_term("mesh", "DoesNotExist"), False),
        (_term("kubernetes.io/metadata.name", "In", NAMESPACE), True),
    ],
)
def test_namespaces_are_selected_by_expressions_too(term: dict[str, Any], selected: bool) -> None:
    stands = gateway_with(namespaceSelector={"matchExpressions": [term]})
    assert (ROUTE in routed(*stands, *web(), one_route()).placed) is selected


def test_a_route_that_two_gateways_select_is_refused_and_both_are_named() -> None:
    other = stored({**load("gateway.yaml")[0], "metadata": {"name": "second"}})
    routing = routed(*stage(), other, *web(), one_route())
    assert reason(routing, ROUTE) == "SeveralVirtualGateways"
    assert "pr-env/ingress-gw, pr-env/second" in str(routing.refused[ROUTE])


def test_a_namespace_without_a_mesh_has_no_gateway() -> None:
    without = [each for each in stage() if each["kind"] != MESH.name]
    assert reason(routed(*without, *web(), one_route()), GATEWAY) == "NoMesh"


def test_a_namespace_in_two_meshes_is_refused() -> None:
    second = {**load("mesh.yaml")[0], "metadata": {"name": "second"}}
    routing = routed(*stage(), second)
    assert reason(routing, GATEWAY) == "SeveralMeshes"
    assert "pr-env, second" in str(routing.refused[GATEWAY])


def test_a_route_is_told_why_its_gateway_is_not_usable() -> None:
    stands = gateway_with(backendDefaults={"clientPolicy": {"other": 1}})
    assert "backendDefaults.clientPolicy.other: not supported" in str(
        routed(*stands, *web(), one_route()).refused[ROUTE]
    )


# References


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        (VIRTUAL_SERVICE, "VirtualServiceNotFound"),
        (VIRTUAL_NODE, "VirtualNodeNotFound"),
        (SERVICE, "ServiceNotFound"),
    ],
)
def test_a_route_whose_chain_is_broken_says_where(gone: Any, expected: str) -> None:
    made = [each for each in web() if each["kind"] != gone.name]
    routing = routed(*stage(), *made, one_route())
    assert reason(routing, ROUTE) == expected
    assert f"{gone.name} pr-env/web" in str(routing.refused[ROUTE])


def test_a_service_that_may_not_be_looked_for_is_not_called_missing() -> None:
    blind = {NAMESPACE: Refused("MissingPermission", "allow list of services in pr-env")}
    unknown = [each for each in web() if each["kind"] != SERVICE.name]
    routing = Router().route(World(*stage(), *unknown, one_route()), blind=blind)
    assert reason(routing, ROUTE) == "MissingPermission"
    assert str(routing.refused[Ref(VIRTUAL_NODE, NAMESPACE, "web")]) == "allow list of services in pr-env"


def test_a_service_that_was_known_is_served_though_it_cannot_be_looked_at_any_more() -> None:
    blind = {NAMESPACE: Refused("MissingPermission", "allow list of services in pr-env")}
    assert ROUTE in Router().route(World(*stage(), *web(), one_route()), blind=blind).placed


def test_a_host_elsewhere_is_no_service_of_a_namespace_that_cannot_be_looked_at() -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_NODE, "web")["spec"]["serviceDiscovery"] = {"dns": {"hostname": "example.com"}}
    blind = {"com": Refused("MissingPermission", "allow list of services in com")}
    assert not Router().route(World(*made), blind=blind).refused


def test_an_object_that_is_being_deleted_is_gone() -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_SERVICE, "web")["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    assert reason(routed(*made), ROUTE) == "VirtualServiceNotFound"


def test_a_port_that_the_service_does_not_have_is_named_with_those_it_has() -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_NODE, "web")["spec"]["listeners"][0]["portMapping"]["port"] = 8000
    assert "Service web has no port 8000; its ports: 80" in str(routed(*made).refused[ROUTE])


@pytest.mark.parametrize("host", ["web.pr-env.svc", "web.pr-env.svc.cluster.local", "WEB.pr-env.svc.cluster.local."])
def test_names_of_services_are_understood(host: str) -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_NODE, "web")["spec"]["serviceDiscovery"] = {"dns": {"hostname": host}}
    assert ROUTE in routed(*made).placed


def test_the_default_name_of_a_service_has_a_dot() -> None:
    table = routed(*stage(), *web(), one_route()).tables[GATEWAY]
    (route,) = table.listeners[0].hosts[0].routes
    assert isinstance(route.action, Forward)
    assert route.action.host == "web.pr-env"


def test_two_nodes_of_one_name_do_not_share_a_cluster() -> None:
    made = [*stage(), *web("old"), *web("new"), route("a", {"prefix": "/a"}, to="old"), one_route(to="new")]
    for name, created in (("old", "2026-01-01T00:00:00Z"), ("new", "2026-02-01T00:00:00Z")):
        node = find(made, VIRTUAL_NODE, name)
        node["spec"]["awsName"] = "same"
        node["metadata"]["creationTimestamp"] = created
    routing = routed(*made)
    assert reason(routing, ROUTE) == "Conflict"
    assert "VirtualNode pr-env/old is older" in str(routing.refused[ROUTE])
    assert Ref(GATEWAY_ROUTE, NAMESPACE, "a") in routing.placed


# Precedence and conflicts


def test_priority_comes_first_then_the_longer_prefix() -> None:
    routes = [
        route("short", {"prefix": "/a"}),
        route("long", {"prefix": "/a/b"}),
        route("urgent", {"prefix": "/"}, priority=0),
        route("exact", {"path": {"exact": "/a/b"}}),
    ]
    assert hosts(routed(*stage(), *web(), *routes)) == {
        "*": ["pr-env/urgent", "pr-env/exact", "pr-env/long", "pr-env/short"]
    }


def test_of_two_routes_to_the_same_the_older_wins_and_is_named_to_the_other() -> None:
    young = route("a-young", {"prefix": "/"}, metadata={"creationTimestamp": "2026-11-23T12:00:00Z"})
    old = route("z-old", {"prefix": "/"}, metadata={"creationTimestamp": "2026-11-23T11:00:00Z"})
    routing = routed(*stage(), *web(), young, old)
    loser = Ref(GATEWAY_ROUTE, NAMESPACE, "a-young")
    assert reason(routing, loser) == "Conflict"
    assert "GatewayRoute pr-env/z-old is older" in str(routing.refused[loser])
    assert hosts(routing) == {"*": ["pr-env/z-old"]}


def test_routes_for_any_host_and_for_suffixes_also_serve_exact_hosts() -> None:
    routes = [
        route("any", {"prefix": "/any"}),
        route("suffix", {"prefix": "/s", "hostname": {"suffix": ".example.com"}}),
        route("exact", {"prefix": "/e", "hostname": {"exact": "A.example.com"}}),
        route("bare", {"prefix": "/b", "hostname": {"suffix": "example.org"}}),
    ]
    assert hosts(routed(*stage(), *web(), *routes)) == {
        "*": ["pr-env/any"],
        "*.example.com": ["pr-env/suffix", "pr-env/any"],
        "*example.org": ["pr-env/bare", "pr-env/any"],
        "a.example.com": ["pr-env/exact", "pr-env/suffix", "pr-env/any"],
        "example.org": ["pr-env/bare", "pr-env/any"],
    }


# Listeners and providers


def with_ports(*ports: int) -> list[Manifest]:
    return gateway_with(listeners=[{"portMapping": {"port": port, "protocol": "http"}} for port in ports])


def test_a_route_for_one_port_is_on_no_other() -> None:
    routes = [route("one", {"prefix": "/one", "port": 8081}), route("every", {"prefix": "/every"})]
    routing = routed(*with_ports(8080, 8081), *web(), *routes)
    served = {each.listener.port: each.hosts for each in routing.tables[GATEWAY].listeners}
    names = {port: [found.name for host in hosts for found in host.routes] for port, hosts in served.items()}
    assert names == {8080: ["pr-env/every"], 8081: ["pr-env/every", "pr-env/one"]}
    placement = routing.placed[Ref(GATEWAY_ROUTE, NAMESPACE, "one")]
    assert [listener.port for listener in placement.listeners] == [8081]


def test_the_same_match_on_two_ports_is_no_conflict() -> None:
    routes = [route(f"on-{port}", {"prefix": "/", "port": port}) for port in (8080, 8081)]
    assert not routed(*with_ports(8080, 8081), *web(), *routes).refused


def test_a_port_that_the_gateway_does_not_have_is_named_with_those_it_has() -> None:
    routing = routed(*with_ports(8080, 8081), *web(), route("r", {"prefix": "/", "port": 80}))
    assert reason(routing, ROUTE) == "PortNotFound"
    assert "no listener on port 80; its ports: 8080, 8081" in str(routing.refused[ROUTE])


def test_the_target_port_chooses_among_the_ports_of_a_node() -> None:
    made = [*stage(), *web(), one_route()]
    mappings = [{"portMapping": {"port": port, "protocol": "http"}} for port in (80, 81)]
    find(made, VIRTUAL_NODE, "web")["spec"]["listeners"] = mappings
    find(made, SERVICE, "web")["spec"]["ports"] = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    assert routed(*made).placed[ROUTE].clusters == ("cds_egress_pr-env_web_pr-env_http_80",)
    made[-1]["spec"]["httpRoute"]["action"]["target"]["port"] = 81
    assert routed(*made).placed[ROUTE].clusters == ("cds_egress_pr-env_web_pr-env_http_81",)
    made[-1]["spec"]["httpRoute"]["action"]["target"]["port"] = 82
    assert reason(routed(*made), ROUTE) == "PortNotFound"


def test_a_port_that_the_service_lacks_does_no_harm_to_the_others_of_a_node() -> None:
    made = [*stage(), *web(), one_route()]
    mappings = [{"portMapping": {"port": port, "protocol": "http"}} for port in (80, 9090)]
    find(made, VIRTUAL_NODE, "web")["spec"]["listeners"] = mappings
    assert not routed(*made).refused


def test_a_service_without_a_provider_says_that_nobody_answers() -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_SERVICE, "web")["spec"] = {}
    routing = routed(*made)
    assert reason(routing, ROUTE) == "NoProvider"
    assert "names neither a virtualNode nor a virtualRouter" in str(routing.refused[ROUTE])


# Bad input


@pytest.mark.parametrize(
    ("match", "spec", "said"),
    [
        ({}, {}, "spec.httpRoute.match: must have at least one of prefix, path and hostname"),
        ({"prefix": "/", "path": {"exact": "/"}}, {}, "must not have both prefix and path"),
        ({"prefix": "chapter"}, {}, "spec.httpRoute.match.prefix: must start with /"),
        ({"path": {}}, {}, "spec.httpRoute.match.path: must have exactly one of exact and regex"),
        ({"path": {"regex": "(?=a)"}}, {}, "look-around"),
        ({"hostname": {"exact": "a:80"}}, {}, "'a:80' is not a host name"),
        ({"hostname": {"exact": "*.example.com"}}, {}, "is not a host name"),
        ({"hostname": {}}, {}, "must have exactly one of exact and suffix"),
        ({"prefix": "/", "method": "FETCH"}, {}, "spec.httpRoute.match.method: must be one of"),
        ({"prefix": "/", "headers": [{"name": "a b"}]}, {}, "headers[0].name: 'a b' is not the name of a header"),
        (
            {"prefix": "/", "headers": [{"name": "a", "match": {"range": {"start": 2, "end": 2}}}]},
            {},
            "must have an end greater than its start",
        ),
        ({"prefix": "/"}, {"priority": 1001}, "spec.priority: must be a whole number from 0 to 1000"),
        ({"prefix": "/"}, {"priority": "high"}, "spec.priority: must be a whole number from 0 to 1000"),
        ({"prefix": "/a"}, {"rewrite": {"prefix": {"value": "/b/"}}}, "and so must match.prefix"),
        ({"path": {"exact": "/a"}}, {"rewrite": {"prefix": {"value": "/b/"}}}, "needs a prefix to replace"),
        ({"prefix": "/a\n"}, {}, "cannot be printed"),
        ({"prefix": "/"}, {"rewrite": {"hostname": {"defaultTargetHostname": "NO"}}}, "must be ENABLED or DISABLED"),
        ({"prefix": "/"}, {"http2Route": {}}, "spec: must have exactly one of httpRoute, http2Route and grpcRoute"),
        ({"prefix": "/", "scheme": "https"}, {}, "spec.httpRoute.match.scheme: not supported by this gateway yet"),
        ({"prefix": "/aws-appmesh/x"}, {}, "spec.httpRoute.match.prefix: begins with a path that App Mesh keeps"),
        ({"prefix": "/a?b=1"}, {}, "spec.httpRoute.match.prefix: is a path only: match a query with queryParameters"),
        ({"prefix": "/", "port": 0}, {}, "spec.httpRoute.match.port: must be a whole number from 1 to 65535"),
        (
            {"prefix": "/a/"},
            {"rewrite": {"prefix": {"value": "/b/"}, "path": {"exact": "/c"}}},
            "spec.httpRoute.action.rewrite: must not have both prefix and path",
        ),
        (
            {"prefix": "/a/"},
            {"rewrite": {"prefix": {"value": "/b/", "defaultPrefix": "ENABLED"}}},
            "spec.httpRoute.action.rewrite.prefix: must not have both defaultPrefix and value",
        ),
        (
            {"prefix": "/", "headers": [{"name": "a", "match": {"exact": "b", "prefix": "c"}}]},
            {},
            "headers[0].match: must have exactly one of exact, prefix, suffix, regex and range",
        ),
        (
            {"prefix": "/", "queryParameters": [{"name": "q", "match": {}}]},
            {},
            "spec.httpRoute.match.queryParameters[0].match.exact: must be a text of 1 to 255 characters",
        ),
        ({"prefix": "/"}, {"rewrite": {}}, "spec.httpRoute.action.rewrite: must have at least one of prefix, path and"),
        ({"prefix": "/", "headers": [{"name": "a", "match": {"like": "b"}}]}, {}, "match.like: is no way to match"),
        ({"prefix": "/", "headers": [{"name": "a", "is": "b"}]}, {}, "headers[0].is: not supported"),
    ],
)
def test_a_wrong_route_is_told_which_field_is_wrong(match: Any, spec: Any, said: str) -> None:
    assert said in str(routed(*stage(), *web(), route("r", match, **spec)).refused[ROUTE])


def test_a_grpc_route_needs_a_service_or_a_host() -> None:
    made = one_route()
    made["spec"] = of_type({"httpRoute": {**made["spec"]["httpRoute"], "match": {"metadata": []}}}, "grpcRoute")
    said = "spec.grpcRoute.match: must have at least one of serviceName and hostname"
    assert said in str(routed(*stage(), *web(), made).refused[ROUTE])


@pytest.mark.parametrize("field", ["namespaceSelector", "gatewayRouteSelector", "podSelector"])
def test_a_bad_selector_of_a_gateway_is_named(field: str) -> None:
    bad = {"matchExpressions": [{"key": "a", "operator": "Equals", "values": ["b"]}]}
    refused = routed(*gateway_with(**{field: bad}), *web(), one_route()).refused
    said = f"spec.{field}.matchExpressions[0].operator: must be In, NotIn, Exists or DoesNotExist"
    assert said in str(refused[GATEWAY])


def test_a_bad_object_does_not_touch_the_routes_of_others() -> None:
    bad = route("bad", {"path": {"regex": "("}})
    routing = routed(*stage(), *environment(1, A, 20001), *web(), bad)
    assert Ref(GATEWAY_ROUTE, NAMESPACE, "pr1") in routing.placed
    assert set(routing.refused) == {Ref(GATEWAY_ROUTE, NAMESPACE, "bad")}

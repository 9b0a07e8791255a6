"""Which route goes where, and what is said of those that go nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.world import GATEWAY, NAMESPACE, World, environment, find, load, route, stage, stored, web

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router, Routing
from greenroom.core.xds import CLUSTER, ENDPOINTS
from greenroom.model.manifest import SERVICE, Manifest, Ref, ref_of
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE

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
    return {host.domain: [each.name for each in host.routes] for host in routing.tables[GATEWAY].hosts}


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
    stands = gateway_with(backendDefaults={"clientPolicy": {}})
    assert "backendDefaults: not supported" in str(routed(*stands, *web(), one_route()).refused[ROUTE])


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


def test_other_host_names_are_refused_by_name() -> None:
    made = [*stage(), *web(), one_route()]
    find(made, VIRTUAL_NODE, "web")["spec"]["serviceDiscovery"] = {"dns": {"hostname": "db.example.com"}}
    assert reason(routed(*made), ROUTE) == "NotSupportedYet"
    assert "'db.example.com'" in str(routed(*made).refused[ROUTE])


def test_the_default_name_of_a_service_has_a_dot() -> None:
    table = routed(*stage(), *web(), one_route()).tables[GATEWAY]
    assert table.hosts[0].routes[0].host == "web.pr-env"


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
        ({"prefix": "/"}, {"priority": 1001}, "spec.priority: must be from 0"),
        ({"prefix": "/"}, {"priority": "high"}, "spec.priority: must be from 0"),
        ({"prefix": "/a"}, {"rewrite": {"prefix": {"value": "/b/"}}}, "and so must match.prefix"),
        ({"path": {"exact": "/a"}}, {"rewrite": {"prefix": {"value": "/b/"}}}, "needs a prefix to replace"),
        ({"prefix": "/a\n"}, {}, "cannot be printed"),
        ({"prefix": "/"}, {"rewrite": {"hostname": {"defaultTargetHostname": "NO"}}}, "must be ENABLED or DISABLED"),
        ({"prefix": "/"}, {"http2Route": {}}, "exactly one of httpRoute and http2Route"),
        ({"prefix": "/", "scheme": "https"}, {}, "spec.httpRoute.match.scheme: not supported by this gateway yet"),
    ],
)
def test_a_wrong_route_is_told_which_field_is_wrong(match: Any, spec: Any, said: str) -> None:
    assert said in str(routed(*stage(), *web(), route("r", match, **spec)).refused[ROUTE])


def test_a_bad_object_does_not_touch_the_routes_of_others() -> None:
    bad = route("bad", {"path": {"regex": "("}})
    routing = routed(*stage(), *environment(1, A, 20001), *web(), bad)
    assert Ref(GATEWAY_ROUTE, NAMESPACE, "pr1") in routing.placed
    assert set(routing.refused) == {Ref(GATEWAY_ROUTE, NAMESPACE, "bad")}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
paths = st.sampled_from(["/", "/a", "/a/", "/a/b", "a", "", "/é", "/x\n", "(", "/[a-z]+", "/(?=x)", "/a{1001}"])
names = st.sampled_from(["a.example.com", "A.example.com", ".example.com", "example.com", "com", "a b", "", "*"])
odd = st.deferred(lambda: json)
matches = st.fixed_dictionaries(
    {},
    optional={
        "prefix": paths | odd,
        "path": st.fixed_dictionaries({}, optional={"exact": paths, "regex": paths}) | odd,
        "hostname": st.fixed_dictionaries({}, optional={"exact": names, "suffix": names}) | odd,
        "method": st.sampled_from(["GET", "get"]) | odd,
        "headers": st.lists(st.fixed_dictionaries({"name": names}, optional={"match": odd, "invert": odd})) | odd,
        "queryParameters": st.lists(st.fixed_dictionaries({"name": names}, optional={"match": odd})) | odd,
    },
)
rewrites = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.fixed_dictionaries({}, optional={"value": paths, "defaultPrefix": odd}) | odd,
        "path": st.fixed_dictionaries({}, optional={"exact": paths}) | odd,
        "hostname": odd,
    },
)
route_specs = st.tuples(matches, rewrites, st.sampled_from([0, 1000, -1, None]) | odd)


@settings(deadline=None)
@given(specs=st.lists(route_specs, max_size=6), spoiled=st.lists(st.tuples(st.integers(0, 11), odd), max_size=2))
def test_any_mixture_of_good_and_bad_objects_gives_a_table_and_named_refusals(
    specs: list[Any], spoiled: list[tuple[int, Any]]
) -> None:
    objects = [*stage(), *environment(1, A, 20001), *web()]
    for index, spec in spoiled:
        objects[index] = {**objects[index], "spec": spec}
    for index, (match, rewrite, priority) in enumerate(specs):
        objects.append(route(f"r{index}", match, rewrite=rewrite, priority=priority))
    routing = routed(*objects)
    for table in routing.tables.values():
        domains = [host.domain for host in table.hosts]
        assert len(domains) == len({domain.lower() for domain in domains})
        made = snapshot(table, bind="127.0.0.1")
        assert made[CLUSTER].keys() == made[ENDPOINTS].keys()
        assert {each.cluster for host in table.hosts for each in host.routes} <= made[CLUSTER].keys()
    for each in objects:
        ref = ref_of(each)
        if ref.kind == GATEWAY_ROUTE:
            assert (ref in routing.placed) is (ref not in routing.refused)
    assert all(why.reason and str(why) for why in routing.refused.values())

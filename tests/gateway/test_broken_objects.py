"""One bad object hurts itself and what cannot work without it; what others serve stays the same, to the last route.

Sets of objects that are right are made at random: several meshes, namespaces and gateways, selectors of all forms, and
routes of every type. Then one object is broken in a way that has a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.envoy_static import complaint
from tests.gateway.world import World, load, of_type, route, router, routers_route, stored, web

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router, Routing
from greenroom.model.manifest import Kind, Manifest, Ref, ref_of
from greenroom.model.mesh import (
    GATEWAY_ROUTE,
    MESH,
    VIRTUAL_GATEWAY,
    VIRTUAL_NODE,
    VIRTUAL_ROUTER,
    VIRTUAL_SERVICE,
)
from greenroom.model.routes import Route

TYPES = ("httpRoute", "http2Route", "grpcRoute")
TEAMS = ("red", "blue")
PUBLISHED = load("gateway.yaml")[0]
CART = "shop.v1.Cart"
LISTENERS = [{"portMapping": {"port": port, "protocol": "http"}} for port in (8080, 9000)]


@dataclass
class Objects:
    """Manifests that are right, and what each needs to work."""

    manifests: dict[Ref, dict[str, Any]] = field(default_factory=dict)
    needs: dict[Ref, set[Ref]] = field(default_factory=dict)

    def put(self, manifest: dict[str, Any], *needs: Ref) -> Ref:
        ref = ref_of(manifest)
        self.manifests[ref] = manifest
        self.needs[ref] = set(needs)
        return ref

    def lost_without(self, ref: Ref) -> set[Ref]:
        """It, and whatever needs it."""
        lost = {ref}
        while more := {each for each, needed in self.needs.items() if needed & lost} - lost:
            lost |= more
        return lost

    def routed(self) -> Routing:
        return Router().route(World(*self.manifests.values()))


def selecting(key: str, value: str) -> st.SearchStrategy[Mapping[str, Any]]:
    """Selectors of what has this label, and not of what has another value of it."""
    others = ["none-of-them", *({*TEAMS, "one", "two"} - {value})]
    return st.sampled_from(
        [
            {"matchLabels": {key: value}},
            {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]},
            {
                "matchExpressions": [
                    {"key": key, "operator": "Exists"},
                    {"key": key, "operator": "NotIn", "values": others},
                    {"key": "absent", "operator": "DoesNotExist"},
                ]
            },
        ]
    )


@st.composite
def right(draw: st.DrawFn) -> Objects:
    """Two meshes, each of one or two namespaces; in the first of them its gateways, one for each team."""
    made = Objects()
    for mesh_name in ("one", "two"):
        spec = {"namespaceSelector": draw(selecting("mesh", mesh_name))}
        mesh = made.put(_cluster_wide(MESH.api_version, "Mesh", mesh_name) | {"spec": spec})
        namespaces = [f"{mesh_name}-{index}" for index in range(draw(st.integers(1, 2)))]
        for each in namespaces:
            labels = {"mesh": mesh_name}
            made.put(_cluster_wide("v1", "Namespace", each, labels=labels))
        gateways = {
            team: made.put(
                _moved(
                    PUBLISHED,
                    namespaces[0],
                    name=team,
                    spec={
                        "listeners": LISTENERS[: draw(st.integers(1, 2))],
                        "namespaceSelector": spec["namespaceSelector"],
                        "gatewayRouteSelector": draw(selecting("team", team)),
                    },
                ),
                mesh,
            )
            for team in TEAMS
        }
        nodes = [draw(_node(made, mesh, f"n{index}", namespaces)) for index in range(draw(st.integers(1, 3)))]
        services = [draw(_service(made, mesh, f"s{index}", namespaces, nodes)) for index in range(3)]
        for index in range(draw(st.integers(1, 4))):
            team = draw(st.sampled_from(TEAMS))
            made_route = draw(
                _route(f"r{index}", draw(st.sampled_from(namespaces)), team, draw(st.sampled_from(services)))
            )
            (service,) = _services(made_route)
            made.put(made_route, mesh, gateways[team], service)
    return made


@st.composite
def _node(draw: st.DrawFn, made: Objects, mesh: Ref, name: str, namespaces: list[str]) -> Ref:
    namespace = draw(st.sampled_from(namespaces))
    _, node, service = (_moved(each, namespace) for each in web(name))
    node["spec"]["serviceDiscovery"]["dns"]["hostname"] = f"{name}.{namespace}.svc.cluster.local"
    node["spec"]["listeners"][0]["portMapping"]["protocol"] = draw(st.sampled_from(["http", "http2", "grpc"]))
    made.put(service)
    return made.put(node, mesh)


@st.composite
def _service(
    draw: st.DrawFn, made: Objects, mesh: Ref, name: str, namespaces: list[str], nodes: list[Ref]
) -> tuple[Ref, str]:
    """A VirtualService, and the type of routes that its router has, or ``""``."""
    namespace = draw(st.sampled_from(namespaces))
    if draw(st.booleans()):
        node = draw(st.sampled_from(nodes))
        service = _moved(web(name)[0], namespace)
        service["spec"] = {
            "provider": {"virtualNode": {"virtualNodeRef": {"name": node.name, "namespace": node.namespace}}}
        }
        return made.put(service, mesh, node), ""
    type_ = draw(st.sampled_from(TYPES))
    match = {"serviceName": CART} if type_ == "grpcRoute" else {"prefix": "/a"}
    weights = draw(st.dictionaries(st.sampled_from(nodes), st.integers(0, 5), min_size=1))
    entry = routers_route("r", match, to={})
    entry["httpRoute"]["action"]["weightedTargets"] = [
        {"virtualNodeRef": {"name": each.name, "namespace": each.namespace}, "weight": weight}
        for each, weight in weights.items()
    ]
    behind, service = (_moved(each, namespace) for each in router(name, of_type(entry, type_)))
    return made.put(service, mesh, made.put(behind, mesh, *weights)), type_


@st.composite
def _route(draw: st.DrawFn, name: str, namespace: str, team: str, to: tuple[Ref, str]) -> dict[str, Any]:
    """Each has a host of its own, so that no two ask for the same."""
    service, behind = to
    type_ = behind or draw(st.sampled_from(TYPES))
    match: dict[str, Any] = {"hostname": {"exact": f"{name}.{namespace}.example.com"}}
    if type_ == "grpcRoute":
        match |= draw(st.fixed_dictionaries({}, optional={"serviceName": st.just(CART)}))
    else:
        more = {"prefix": st.sampled_from(["/", "/a", "/a/"]), "method": st.just("GET")}
        match |= draw(st.fixed_dictionaries({}, optional=more))
    made = _moved(route(name, match, metadata={"labels": {"team": team}}), namespace)
    reference = {"name": service.name, "namespace": service.namespace}
    made["spec"]["httpRoute"]["action"]["target"]["virtualService"]["virtualServiceRef"] = reference
    made["spec"] = of_type(made["spec"], type_)
    return made


def _services(made: Mapping[str, Any]) -> list[Ref]:
    (of,) = [made["spec"][type_] for type_ in TYPES if type_ in made["spec"]]
    found = of["action"]["target"]["virtualService"]["virtualServiceRef"]
    return [Ref(VIRTUAL_SERVICE, found["namespace"], found["name"])]


def _moved(manifest: Manifest, namespace: str, **changes: Any) -> dict[str, Any]:
    """``manifest`` in another namespace; ``name`` is another name, ``spec`` more of its spec."""
    made = stored(dict(manifest), namespace=namespace)
    made["metadata"]["name"] = changes.get("name", made["metadata"]["name"])
    made["spec"] |= changes.get("spec", {})
    return made


def _cluster_wide(api_version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}


Break = Callable[[dict[str, Any]], None]
"""Changes a spec so that it cannot be served."""


def _of_type(spec: dict[str, Any]) -> dict[str, Any]:
    (type_,) = [each for each in TYPES if each in spec]
    found: dict[str, Any] = spec[type_]
    return found


def _no_such_type(spec: dict[str, Any]) -> None:
    spec["tcpRoute"] = spec.pop(next(each for each in TYPES if each in spec))


def _host_with_a_port(spec: dict[str, Any]) -> None:
    _of_type(spec)["match"]["hostname"] = {"exact": "a:80"}


def _bad_regex(spec: dict[str, Any]) -> None:
    pattern = {"name": "x", "match": {"regex": "(?=a)"}}
    _of_type(spec)["match"]["metadata" if "grpcRoute" in spec else "headers"] = [pattern]


def _unknown_service(spec: dict[str, Any]) -> None:
    _of_type(spec)["action"]["target"]["virtualService"]["virtualServiceRef"]["name"] = "absent"


def _no_such_port(spec: dict[str, Any]) -> None:
    _of_type(spec)["match"]["port"] = 99


def _set(name: str, value: Any, spec: dict[str, Any]) -> None:
    spec[name] = value


def _two_of_a_name(spec: dict[str, Any]) -> None:
    spec["routes"] = [*spec["routes"], *spec["routes"]]


def _arn(spec: dict[str, Any]) -> None:
    spec["provider"] = {"virtualNode": {"virtualNodeARN": "arn:aws:appmesh:eu-west-1:1:mesh/m/virtualNode/n"}}


BREAKS: list[tuple[Kind, Break, str]] = [
    (GATEWAY_ROUTE, _no_such_type, "NotSupportedYet"),
    (GATEWAY_ROUTE, _host_with_a_port, "Invalid"),
    (GATEWAY_ROUTE, _bad_regex, "InvalidRegex"),
    (GATEWAY_ROUTE, _unknown_service, "VirtualServiceNotFound"),
    (GATEWAY_ROUTE, _no_such_port, "PortNotFound"),
    (GATEWAY_ROUTE, partial(_set, "mirror", {}), "NotSupportedYet"),
    (VIRTUAL_SERVICE, partial(_set, "provider", {}), "NoProvider"),
    (VIRTUAL_SERVICE, _arn, "Invalid"),
    (VIRTUAL_ROUTER, _two_of_a_name, "Invalid"),
    (VIRTUAL_ROUTER, partial(_set, "listeners", [{"portMapping": {"port": 80, "protocol": "tcp"}}]), "NotSupported"),
    (VIRTUAL_NODE, partial(_set, "serviceDiscovery", {"awsCloudMap": {"serviceName": "x"}}), "NotSupported"),
    (
        VIRTUAL_NODE,
        partial(_set, "serviceDiscovery", {"dns": {"hostname": "absent.one-0.svc.cluster.local"}}),
        "ServiceNotFound",
    ),
    (VIRTUAL_GATEWAY, partial(_set, "listeners", []), "Invalid"),
    (VIRTUAL_GATEWAY, partial(_set, "tracing", {}), "NotSupportedYet"),
    (MESH, partial(_set, "egressFilter", {"type": "SOME"}), "Invalid"),
    (MESH, partial(_set, "tracing", {}), "NotSupportedYet"),
]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=right(), data=st.data())
@pytest.mark.parametrize(("kind", "broken", "reason"), BREAKS)
def test_only_the_bad_object_and_what_needs_it_is_refused(
    kind: Kind, broken: Break, reason: str, objects: Objects, data: st.DataObject
) -> None:
    candidates = sorted(ref for ref in objects.manifests if ref.kind == kind)
    if not candidates:
        return
    before = objects.routed()
    assert not before.refused
    bad = data.draw(st.sampled_from(candidates))
    broken(objects.manifests[bad]["spec"])
    after, lost = objects.routed(), objects.lost_without(bad)
    assert after.refused.keys() == lost
    assert after.refused[bad].reason == reason
    assert all(why.reason and str(why) for why in after.refused.values())
    assert after.placed == {ref: each for ref, each in before.placed.items() if ref not in lost}
    for gateway in before.tables.keys() - lost:
        assert served(after, gateway) == served(before, gateway, without=lost)


def served(routing: Routing, gateway: Ref, *, without: Iterable[Ref] = ()) -> dict[tuple[int, str], list[Route]]:
    """Routes by port and host."""
    names = {f"{ref.namespace}/{ref.name}" for ref in without if ref.kind == GATEWAY_ROUTE}
    found = {
        (listener.listener.port, host.domain): [each for each in host.routes if each.name not in names]
        for listener in routing.tables[gateway].listeners
        for host in listener.hosts
    }
    return {where: routes for where, routes in found.items() if routes}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects=right())
def test_envoy_takes_all_tables_of_what_is_right(objects: Objects, tmp_path_factory: pytest.TempPathFactory) -> None:
    for table in objects.routed().tables.values():
        assert complaint(snapshot(table, bind="127.0.0.1"), tmp_path_factory.mktemp("envoy")) == ""

"""Routing objects -> one RouteTable a gateway, and for each object that stays out the reason why.

Membership, references and precedence follow App Mesh, as far as its dead controller and its documents tell
(``pkg/virtualgateway/membership_designator.go``, ``pkg/mesh/membership_designator.go``). One bad object takes only
itself and what depends on it out of the table. ``core.envoy`` is next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from greenroom.core.endpoints import Objects, by_service, endpoints, port_name
from greenroom.core.hosts import Claim, settle, virtual_hosts
from greenroom.core.results import Parser, Results
from greenroom.model.gateway_route import GatewayRoute, parse_gateway_route
from greenroom.model.manifest import ENDPOINT_SLICE, NAMESPACE, SERVICE, Ref, is_deleting, labels_of
from greenroom.model.mesh import (
    GATEWAY_ROUTE,
    MESH,
    VIRTUAL_GATEWAY,
    VIRTUAL_NODE,
    VIRTUAL_SERVICE,
    Mesh,
    Refused,
    VirtualGateway,
    VirtualNode,
    VirtualService,
    parse_mesh,
    parse_virtual_gateway,
    parse_virtual_node,
    parse_virtual_service,
)
from greenroom.model.routes import Cluster, Listener, Route, RouteTable

_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_SERVICE_HOST = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.cluster\.local)?\.?")


@dataclass(frozen=True, slots=True)
class Routing:
    """Every mesh object is in ``accepted`` or in ``refused``; ``placed`` tells the gateway of each accepted route."""

    tables: Mapping[Ref, RouteTable]
    placed: Mapping[Ref, Placement]
    accepted: frozenset[Ref]
    refused: Mapping[Ref, Refused]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an accepted GatewayRoute is: its VirtualGateway, and the name of the cluster that answers."""

    gateway: Ref
    cluster: str


@dataclass(frozen=True, slots=True)
class _Backend:
    node: VirtualNode
    cluster: Cluster


@dataclass(frozen=True, slots=True)
class _Answer:
    service: VirtualService
    backend: _Backend


@dataclass(frozen=True, slots=True)
class _Placed:
    gateway: Ref
    claim: Claim
    cluster: Cluster


class Router:
    """Makes the tables. Unchanged objects are not parsed again, which is all that it remembers."""

    def __init__(self) -> None:
        self._meshes = Parser(MESH, parse_mesh)
        self._gateways = Parser(VIRTUAL_GATEWAY, parse_virtual_gateway)
        self._routes = Parser(GATEWAY_ROUTE, parse_gateway_route)
        self._services = Parser(VIRTUAL_SERVICE, parse_virtual_service)
        self._nodes = Parser(VIRTUAL_NODE, parse_virtual_node)

    def route(self, objects: Objects) -> Routing:
        """The present state. Never raises for what an object contains."""
        meshes = self._meshes.read(objects)
        membership = _Membership(objects, meshes)
        gateways = self._gateways.read(objects).map(membership.gateway)
        backends = _of_one_name(self._nodes.read(objects).map(_Backends(objects, membership).backend))
        answers = self._services.read(objects).map(lambda service: _answer(service, backends, membership))
        routes = self._routes.read(objects).map(lambda route: _placed(route, membership, gateways, answers))
        routes = routes.without(_losers(routes, gateways))
        results: tuple[Results[object], ...] = (meshes, gateways, backends, answers, routes)
        return Routing(
            tables={ref: _table(gateway, routes) for ref, gateway in gateways.values.items()},
            placed={ref: Placement(placed.gateway, placed.cluster.name) for ref, placed in routes.values.items()},
            accepted=frozenset(ref for each in results for ref in each.values),
            refused={ref: why for each in results for ref, why in each.refused.items()},
        )


class _Membership:
    """Which mesh a namespace is in, and which gateway a route belongs to: exactly one each."""

    def __init__(self, objects: Objects, meshes: Results[Mesh]) -> None:
        self._objects = objects
        self._meshes = meshes
        self._of_namespace: dict[str, Mesh | Refused] = {}

    def labels(self, namespace: str) -> Mapping[str, str]:
        """The namespace's labels, with the one that Kubernetes gives to each."""
        found = self._objects.get(Ref(NAMESPACE, "", namespace))
        return {_NAMESPACE_NAME: namespace, **(labels_of(found) if found else {})}

    def mesh(self, namespace: str) -> Mesh:
        """Raises Refused unless exactly one mesh selects the namespace."""
        if namespace not in self._of_namespace:
            self._of_namespace[namespace] = self._find(namespace)
        found = self._of_namespace[namespace]
        if isinstance(found, Refused):
            raise Refused(found.reason, str(found))
        return found

    def gateway(self, gateway: VirtualGateway) -> VirtualGateway:
        """``gateway``, which is in a mesh. Raises Refused."""
        self.mesh(gateway.ref.namespace)
        return gateway

    def gateway_of(self, route: GatewayRoute, gateways: Results[VirtualGateway]) -> Ref:
        """Raises Refused unless exactly one gateway selects the route, in the same mesh."""
        labels = self.labels(route.ref.namespace)
        found = [ref for ref, gateway in gateways.values.items() if _selects(gateway, labels, route)]
        if not found:
            unusable = "; ".join(f"{ref.namespace}/{ref.name}: {why}" for ref, why in gateways.refused.items())
            hint = f" (not usable: {unusable})" if unusable else ""
            raise Refused("NoVirtualGateway", f"no VirtualGateway's selectors match this route{hint}")
        if len(found) > 1:
            names = ", ".join(sorted(f"{ref.namespace}/{ref.name}" for ref in found))
            raise Refused("SeveralVirtualGateways", f"only one VirtualGateway may match, but these do: {names}")
        self.require_mesh(found[0], self.mesh(route.ref.namespace).ref)
        return found[0]

    def require_mesh(self, ref: Ref, mesh: Ref) -> None:
        """Raises Refused unless ``ref`` is in ``mesh``."""
        other = self.mesh(ref.namespace).ref
        if other != mesh:
            where = f"{ref.kind.name} {ref.namespace}/{ref.name}"
            raise Refused("OtherMesh", f"{where} is in mesh {other.name}, this one in mesh {mesh.name}")

    def _find(self, namespace: str) -> Mesh | Refused:
        labels = self.labels(namespace)
        meshes = self._meshes.values.values()
        found = [mesh for mesh in meshes if mesh.namespaces is not None and mesh.namespaces.matches(labels)]
        if len(found) == 1:
            return found[0]
        if not found:
            return Refused("NoMesh", f"no Mesh's namespaceSelector matches the namespace {namespace}")
        names = ", ".join(sorted(mesh.ref.name for mesh in found))
        return Refused("SeveralMeshes", f"only one Mesh may match the namespace {namespace}, but these do: {names}")


class _Backends:
    """VirtualNodes -> clusters of endpoints."""

    def __init__(self, objects: Objects, membership: _Membership) -> None:
        self._objects = objects
        self._membership = membership
        self._slices = by_service(objects.list(ENDPOINT_SLICE))

    def backend(self, node: VirtualNode) -> _Backend:
        """Raises Refused."""
        mesh = self._membership.mesh(node.ref.namespace)
        protocol = "http2" if node.http2 else "http"
        name = f"cds_egress_{mesh.aws_name}_{node.aws_name}_{protocol}_{node.port}"
        where = _service_of(node)
        service = self._objects.get(where)
        if service is None or is_deleting(service):
            raise Refused("ServiceNotFound", f"Service {where.namespace}/{where.name} does not exist", path=_HOSTNAME)
        slices = self._slices.get((where.namespace, where.name), ())
        found = endpoints(port_name(service, node.port), slices, self._objects)
        return _Backend(node, Cluster(name, node.http2, found))


_HOSTNAME = "spec.serviceDiscovery.dns.hostname"


def _service_of(node: VirtualNode) -> Ref:
    host = _SERVICE_HOST.fullmatch(node.hostname.lower())
    if host is None:
        message = f"{node.hostname!r} is not supported by this gateway yet, <service>.<namespace>.svc.cluster.local is"
        raise Refused("NotSupportedYet", message, path=_HOSTNAME)
    return Ref(SERVICE, host[2], host[1])


def _of_one_name(backends: Results[_Backend]) -> Results[_Backend]:
    """Names of nodes are unique in a mesh; of two with the same the older has it."""
    owners: dict[str, Ref] = {}
    losers: dict[Ref, Refused] = {}
    for ref, backend in sorted(backends.values.items(), key=lambda item: item[1].node.age):
        owner = owners.setdefault(backend.cluster.name, ref)
        if owner != ref:
            message = f"VirtualNode {owner.namespace}/{owner.name} is older and has the same name, port and protocol"
            losers[ref] = Refused("Conflict", message, path="spec.awsName")
    return backends.without(losers)


def _answer(service: VirtualService, backends: Results[_Backend], membership: _Membership) -> _Answer:
    backend = backends.needed(service.node)
    membership.require_mesh(service.node, membership.mesh(service.ref.namespace).ref)
    return _Answer(service, backend)


def _placed(
    route: GatewayRoute,
    membership: _Membership,
    gateways: Results[VirtualGateway],
    answers: Results[_Answer],
) -> _Placed:
    gateway = membership.gateway_of(route, gateways)
    answer = answers.needed(route.service)
    membership.require_mesh(route.service, membership.mesh(route.ref.namespace).ref)
    node, cluster = answer.backend.node, answer.backend.cluster
    made = Route(
        name=f"{route.ref.namespace}/{route.ref.name}",
        match=route.match,
        cluster=cluster.name,
        host=answer.service.aws_name if route.rewrites_host else "",
        path=route.path,
        timeout=node.timeout,
        idle=node.idle,
    )
    return _Placed(gateway, Claim(route.ref, route.age, route.host, route.priority, made), cluster)


def _losers(routes: Results[_Placed], gateways: Results[VirtualGateway]) -> Mapping[Ref, Refused]:
    losers: dict[Ref, Refused] = {}
    for gateway in gateways.values:
        losers |= settle(placed.claim for placed in routes.values.values() if placed.gateway == gateway)
    return losers


def _table(gateway: VirtualGateway, routes: Results[_Placed]) -> RouteTable:
    mine = [placed for placed in routes.values.values() if placed.gateway == gateway.ref]
    clusters = {placed.cluster.name: placed.cluster for placed in mine}
    return RouteTable(
        listener=Listener(gateway.port, gateway.http2, gateway.access_log),
        hosts=virtual_hosts(placed.claim for placed in mine),
        clusters=tuple(clusters[name] for name in sorted(clusters)),
    )


def _selects(gateway: VirtualGateway, namespace_labels: Mapping[str, str], route: GatewayRoute) -> bool:
    in_namespace = gateway.namespaces is not None and gateway.namespaces.matches(namespace_labels)
    return in_namespace and (gateway.routes is None or gateway.routes.matches(route.labels))

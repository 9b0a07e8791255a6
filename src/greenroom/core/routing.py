"""Routing objects -> one RouteTable a gateway, and for each object that stays out the reason why.

References and precedence follow App Mesh, as far as its dead controller and its documents tell. One bad object takes
only itself and what depends on it out of the table. ``core.envoy`` is next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from greenroom.core.clusters import through
from greenroom.core.composition import composed
from greenroom.core.endpoints import Objects
from greenroom.core.hosts import Claim, Settled, VirtualHosts, by_host, settle
from greenroom.core.membership import Membership, require_same
from greenroom.core.memo import Each
from greenroom.core.providers import Branch, Providers, ResolvedRouter, Served
from greenroom.core.results import Parser, Results, Step, needed, sure
from greenroom.model.gateway_route import GatewayRoute, parse_gateway_route
from greenroom.model.manifest import Ref
from greenroom.model.mesh import (
    GATEWAY_ROUTE,
    MESH,
    VIRTUAL_GATEWAY,
    VIRTUAL_NODE,
    VIRTUAL_ROUTER,
    VIRTUAL_SERVICE,
    Mesh,
    Refused,
    parse_mesh,
    parse_virtual_service,
)
from greenroom.model.routes import Answer, Cluster, Forward, Listener, ListenerRoutes, Match, Route, RouteTable
from greenroom.model.virtual_gateway import VirtualGateway, parse_virtual_gateway
from greenroom.model.virtual_node import parse_virtual_node
from greenroom.model.virtual_router import parse_virtual_router

_NOT_FOUND = Answer(404)
_NOBODY_ANSWERS = Answer(503)
_NOTHING: Mapping[str, Refused] = {}


@dataclass(frozen=True, slots=True)
class Routing:
    """Every mesh object is in ``accepted`` or in ``refused``; ``placed`` tells where each accepted GatewayRoute is."""

    tables: Mapping[Ref, RouteTable]
    placed: Mapping[Ref, Placement]
    accepted: frozenset[Ref]
    refused: Mapping[Ref, Refused]
    remarks: Mapping[Ref, str] = field(default_factory=dict)
    """What the owner of an accepted object should know, for a few."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an accepted GatewayRoute is: its VirtualGateway, the listeners there, and the clusters that answer."""

    gateway: Ref
    listeners: tuple[Listener, ...]
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    placement: Placement
    claim: Claim
    clusters: Mapping[str, Cluster]
    """By name, as the gateway connects to them."""


class Router:
    """Makes the tables. What is made of unchanged objects is not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._meshes = Parser(MESH, parse_mesh)
        self._gateways = Parser(VIRTUAL_GATEWAY, parse_virtual_gateway)
        self._routes = Parser(GATEWAY_ROUTE, parse_gateway_route)
        self._services = Parser(VIRTUAL_SERVICE, parse_virtual_service)
        self._routers = Parser(VIRTUAL_ROUTER, parse_virtual_router)
        self._nodes = Parser(VIRTUAL_NODE, parse_virtual_node)
        self._membership: Membership | None = None
        self._members = Step(_of_member, _member)
        self._providers = Providers()
        self._homed = Step(_of_homed, _homed)
        self._placed = Step(_of_placed, _placed)
        self._tables: Mapping[Ref, _Table] = {}

    def route(self, objects: Objects, *, blind: Mapping[str, Refused] = _NOTHING) -> Routing:
        """The present state. Never raises for what an object contains.

        ``blind`` tells by namespace why it is not known which Services are there, and what is behind them.
        """
        meshes = self._meshes.read(objects)
        if self._membership is None or not self._membership.still_holds(objects, meshes):
            self._membership = Membership(objects, meshes)
        membership = self._membership
        gateways = self._members.of(self._gateways.read(objects), membership)
        nodes = self._providers.backends(self._nodes.read(objects), membership, objects, blind)
        routers = self._providers.routers(self._routers.read(objects), nodes, membership)
        services = self._providers.served(self._services.read(objects), nodes, routers, membership)
        homed = self._homed.of(self._routes.read(objects), membership, gateways)
        placed = self._placed.of(homed, services, membership)
        self._tables = {ref: self._tables.get(ref) or _Table() for ref in gateways.values}
        by_gateway = _by_gateway(placed)
        tables = {ref: self._tables[ref].of(gateway, by_gateway[ref]) for ref, gateway in gateways.values.items()}
        placed = placed.without({ref: why for _, losers in tables.values() for ref, why in losers.items()})
        results: tuple[Results[object], ...] = (meshes, gateways, nodes, routers, services, placed)
        return Routing(
            tables={ref: table for ref, (table, _) in tables.items()},
            placed={ref: each.placement for ref, each in placed.values.items()},
            accepted=frozenset[Ref]().union(*(each.values for each in results)),
            refused={ref: why for each in results for ref, why in each.refused.items()},
            remarks=_remarks(meshes, routers),
        )


class _Table:
    """Makes the table of one gateway."""

    def __init__(self) -> None:
        self._settled = Each[str, Sequence[Claim], Settled](settle)
        self._hosts: Mapping[int, VirtualHosts] = {}

    def of(self, gateway: VirtualGateway, routes: Sequence[_Placed]) -> tuple[RouteTable, Mapping[Ref, Refused]]:
        """The table, and which of the routes lose what they claim to another."""
        claims = by_host(placed.claim for placed in routes)
        settled = self._settled.of(claims)
        standing = {host: each.claims for host, each in settled.items()}
        losers = {ref: why for each in settled.values() for ref, why in each.losers.items()}
        clusters: dict[str, Cluster] = {}
        for placed in routes:
            if placed.claim.ref not in losers:
                clusters.update(placed.clusters)
        ports = [listener.port for listener in gateway.listeners]
        self._hosts = {port: self._hosts.get(port) or VirtualHosts(port) for port in ports}
        table = RouteTable(
            listeners=tuple(ListenerRoutes(each, self._hosts[each.port].of(standing)) for each in gateway.listeners),
            clusters=tuple(clusters[name] for name in sorted(clusters)),
        )
        return table, losers


_OfMember: TypeAlias = tuple[VirtualGateway, Mesh | Refused]


def _of_member(gateway: VirtualGateway, membership: Membership) -> _OfMember:
    return gateway, membership.mesh(gateway.ref.namespace)


def _member(parts: _OfMember) -> VirtualGateway:
    gateway, mesh = parts
    sure(mesh)
    return gateway


@dataclass(frozen=True, slots=True)
class _Homed:
    """A GatewayRoute, and the gateway that it belongs to."""

    route: GatewayRoute
    gateway: VirtualGateway


_OfHomed: TypeAlias = tuple[GatewayRoute, Membership, Results[VirtualGateway]]


def _of_homed(route: GatewayRoute, membership: Membership, gateways: Results[VirtualGateway]) -> _OfHomed:
    return route, membership, gateways


def _homed(parts: _OfHomed) -> _Homed:
    route, membership, gateways = parts
    return _Homed(route, membership.gateway_of(route, gateways))


_OfPlaced: TypeAlias = tuple[_Homed, Served | Refused | None, Mesh | Refused]


def _of_placed(homed: _Homed, services: Results[Served], membership: Membership) -> _OfPlaced:
    return homed, services.find(homed.route.service), membership.mesh(homed.route.ref.namespace)


def _placed(parts: _OfPlaced) -> _Placed:
    homed, found, mesh = parts
    route, gateway = homed.route, homed.gateway
    listeners = tuple(each for each in gateway.listeners if route.port in (0, each.port))
    if not listeners and route.port:
        where = f"VirtualGateway {gateway.ref.namespace}/{gateway.ref.name}"
        offered = ", ".join(str(listener.port) for listener in gateway.listeners)
        raise Refused("PortNotFound", f"{where} has no listener on port {route.port}; its ports: {offered}")
    service = needed(route.service, found)
    require_same(sure(mesh), route.service, service.mesh)
    branches = service.provider.branches(route.target_port)
    claim = Claim(
        ref=route.ref,
        age=route.age,
        host=route.host,
        port=route.port,
        priority=route.priority,
        match=route.match,
        routes=tuple(_routes(route, service.service.aws_name, branches)),
    )
    clusters = {target.cluster.name: through(gateway, target.cluster) for each in branches for target in each.targets}
    return _Placed(Placement(gateway.ref, listeners, tuple(sorted(clusters))), claim, clusters)


def _routes(route: GatewayRoute, host: str, branches: Iterable[Branch]) -> Iterator[Route]:
    """One for each branch, and one more for what none of them takes: it does not fall to another GatewayRoute.

    The gateway of App Mesh had chosen this GatewayRoute and rewritten the request before it asked the router.
    """
    name = f"{route.ref.namespace}/{route.ref.name}"
    for branch in branches:
        matches = _composed(route, branch)
        for match in matches:
            yield Route(name, match, _action(route, host, branch))
        if route.match in matches:
            return
    yield Route(name, route.match, _NOT_FOUND)


def _composed(route: GatewayRoute, branch: Branch) -> tuple[Match, ...]:
    try:
        return composed(route.match, route.path, branch.match)
    except Refused as refusal:
        raise Refused(refusal.reason, f"route {branch.name!r} of its VirtualRouter: {refusal}") from None


def _action(route: GatewayRoute, host: str, branch: Branch) -> Forward | Answer:
    if not any(branch.weights):
        return _NOBODY_ANSWERS
    return Forward(
        clusters=branch.clusters,
        host=host if route.rewrites_host else "",
        path=route.path,
        timeout=branch.timeout,
        idle=branch.idle,
        retry=branch.retry,
    )


def _by_gateway(routes: Results[_Placed]) -> Mapping[Ref, Sequence[_Placed]]:
    found: dict[Ref, list[_Placed]] = defaultdict(list)
    for placed in routes.values.values():
        found[placed.placement.gateway].append(placed)
    return found


def _remarks(*results: Results[Mesh] | Results[ResolvedRouter]) -> Mapping[Ref, str]:
    return {ref: each.remark for found in results for ref, each in found.values.items() if each.remark}

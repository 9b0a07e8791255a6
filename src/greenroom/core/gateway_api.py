"""Gateway API's objects -> one RouteTable a Gateway, and what became of each object.

Which listeners a route attaches to, whom it may refer to, and whose rule is asked first follow the specification
(gateway-api.sigs.k8s.io, "HTTPRoute", "Gateway", "ReferenceGrant"). Listeners that share a port are kept apart: a
request belongs to the most specific listener that has its host, and never falls to a route of another. One Gateway's
table is like a VirtualGateway's; ``core.gateway_api_status`` says what became of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from greenroom.core.endpoints import Objects
from greenroom.core.hosts import Claim, VirtualHosts, by_host
from greenroom.core.http_attachment import Attachment, attachments, covers
from greenroom.core.memo import Each
from greenroom.core.results import Parser, attempt
from greenroom.core.service_clusters import ServiceClusters
from greenroom.model.gateway import (
    CONTROLLER,
    GATEWAY,
    GATEWAY_CLASS,
    HTTP_ROUTE,
    REFERENCE_GRANT,
    Gateway,
    GatewayClass,
    GatewayListener,
    ReferenceGrant,
    parse_gateway,
    parse_gateway_class,
    parse_reference_grant,
)
from greenroom.model.http_route import CONDITION_LIMIT, PATH_LIMIT, BackendRef, HttpRoute, Rule, parse_http_route
from greenroom.model.manifest import NAMESPACE, Manifest, Ref, items, text
from greenroom.model.mesh import Refused
from greenroom.model.routes import (
    ANY_HOST,
    UNRESOLVED,
    Answer,
    Cluster,
    Forward,
    Listener,
    ListenerRoutes,
    Match,
    PathKind,
    Redirect,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)
from greenroom.model.virtual_node import DEFAULT_TIMEOUT

_NOT_FOUND = Answer(404)
_NO_BACKEND = Answer(500)
_WELL_KNOWN = {"http": 80, "https": 443}
_NOTHING: Mapping[str, Refused] = {}


@dataclass(frozen=True, slots=True)
class GatewayRouting:
    """Of Greenroom's own GatewayClasses, their Gateways, and all HTTPRoutes. What is being deleted is gone."""

    classes: Mapping[Ref, GatewayClass]
    gateways: Mapping[Ref, Gateway]
    tables: Mapping[Ref, RouteTable]
    attachments: Mapping[Ref, Sequence[Attachment]]
    """Those of each HTTPRoute to Gateways of ours."""
    unresolved: Mapping[Ref, Refused]
    """HTTPRoutes with a backend that is not there, or not permitted; the first one's reason."""


class GatewayApi:
    """Makes the tables. What did not change is not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._clusters = ServiceClusters()
        self._classes = Parser(GATEWAY_CLASS, parse_gateway_class)
        self._gateways = Parser(GATEWAY, parse_gateway)
        self._routes = Parser(HTTP_ROUTE, parse_http_route)
        self._grants = Parser(REFERENCE_GRANT, parse_reference_grant)
        self._attachments = Each[Ref, _Parts, tuple[Attachment, ...]](lambda parts: attachments(*parts))
        self._served = Each[Ref, tuple[HttpRoute, tuple[_Backend, ...]], _Served](lambda parts: _served(*parts))
        self._claims = Each[tuple[Ref, str, Ref], tuple[_Served, tuple[str, ...], int], tuple[Claim, ...]](
            lambda parts: _claims(*parts)
        )
        self._hosts: dict[tuple[Ref, str, int], VirtualHosts] = {}

    def route(self, objects: Objects, *, blind: Mapping[str, Refused] = _NOTHING) -> GatewayRouting:
        """The present state. Never raises for what an object contains. ``blind`` is as for ``core.routing.Router``."""
        classes = {
            ref: each for ref, each in self._classes.read(objects).values.items() if each.controller == CONTROLLER
        }
        names = {ref.name for ref, each in classes.items() if each.trouble is None}
        gateways = {ref: each for ref, each in self._gateways.read(objects).values.items() if each.class_name in names}
        routes = self._routes.read(objects).values
        found = self._attachments.of({ref: _parts(route, gateways, objects) for ref, route in routes.items()})
        backends = _Backends(self._clusters.at(objects, blind), self._grants.read(objects).values.values())
        accepted = {ref: routes[ref] for ref, parents in found.items() if any(each.is_accepted for each in parents)}
        served = self._served.of({ref: (route, backends.of(route)) for ref, route in accepted.items()})
        return GatewayRouting(
            classes=classes,
            gateways=gateways,
            tables=self._tables([each for each in gateways.values() if each.trouble is None], found, served),
            attachments=found,
            unresolved={ref: each.trouble for ref, each in served.items() if each.trouble is not None},
        )

    def _tables(
        self,
        gateways: Iterable[Gateway],
        found: Mapping[Ref, Sequence[Attachment]],
        served: Mapping[Ref, _Served],
    ) -> Mapping[Ref, RouteTable]:
        listeners = {
            (gateway.ref, each.name): each for gateway in gateways for each in gateway.listeners if each.is_served
        }
        asked = {
            (parent.parent.ref, name, ref): (served[ref], hosts, listeners[parent.parent.ref, name].port)
            for ref, parents in found.items()
            for parent in parents
            for name, hosts in parent.hosts.items()
            if (parent.parent.ref, name) in listeners
        }
        claims: dict[tuple[Ref, str], list[Claim]] = defaultdict(list)
        for (gateway, name, _), made in self._claims.of(asked).items():
            claims[gateway, name].extend(made)
        clusters: dict[Ref, dict[str, Cluster]] = defaultdict(dict)
        for gateway, _, ref in asked:
            clusters[gateway] |= served[ref].clusters
        before, self._hosts = self._hosts, {}
        hosts: dict[Ref, dict[str, Sequence[VirtualHost]]] = defaultdict(dict)
        for (gateway, name), listener in listeners.items():
            key = gateway, name, listener.port
            self._hosts[key] = before.get(key) or VirtualHosts(listener.port)
            hosts[gateway][name] = self._hosts[key].of(by_host(claims[gateway, name]))
        return {each.ref: _table(each, hosts[each.ref], clusters[each.ref]) for each in gateways}


def backend_namespaces(route: Manifest) -> frozenset[str]:
    """The namespaces of the Services that an HTTPRoute names, whether it may or not."""
    return frozenset(
        text(backend, "namespace") or text(route, "metadata", "namespace")
        for rule in items(route, "spec", "rules")
        for backend in items(rule, "backendRefs")
    )


def route_name(ref: Ref) -> str:
    """By which Envoy and ``core.quarantine`` know an HTTPRoute: a GatewayRoute may have its namespace and name."""
    return f"httproute/{ref.namespace}/{ref.name}"


_Parts: TypeAlias = tuple[HttpRoute, tuple[Gateway | None, ...], "Manifest | None"]


def _parts(route: HttpRoute, gateways: Mapping[Ref, Gateway], objects: Objects) -> _Parts:
    """What ``core.http_attachment`` looks at."""
    namespace = objects.get(Ref(NAMESPACE, "", route.ref.namespace))
    return route, tuple(gateways.get(each.ref) for each in route.parents), namespace


_Backend: TypeAlias = Cluster | Refused


class _Backends:
    """Who answers for a backendRef, if the route may refer to it."""

    def __init__(self, clusters: ServiceClusters, grants: Iterable[ReferenceGrant]) -> None:
        self._clusters = clusters
        self._grants: dict[str, list[ReferenceGrant]] = defaultdict(list)
        for grant in grants:
            self._grants[grant.ref.namespace].append(grant)

    def of(self, route: HttpRoute) -> tuple[_Backend, ...]:
        """Those of all rules, in their order."""
        return tuple(attempt(self._of, backend, route.ref) for rule in route.rules for backend in rule.backends)

    def _of(self, backend: BackendRef, route: Ref) -> Cluster:
        target = backend.ref
        if target.namespace != route.namespace:
            grants = self._grants.get(target.namespace, ())
            if not any(grant.permits(route, target) for grant in grants):
                message = f"no ReferenceGrant in the namespace {target.namespace} permits this reference"
                raise Refused("RefNotPermitted", message, path=backend.path)
        return self._clusters.of(backend)


@dataclass(frozen=True, slots=True)
class _Served:
    """An accepted route, and who shares the requests of each rule. ``trouble`` is that of the first bad backend."""

    route: HttpRoute
    shares: tuple[tuple[WeightedCluster, ...], ...]
    clusters: Mapping[str, Cluster]
    trouble: Refused | None


def _served(route: HttpRoute, backends: tuple[_Backend, ...]) -> _Served:
    names = iter(UNRESOLVED if isinstance(each, Refused) else each.name for each in backends)
    return _Served(
        route=route,
        shares=tuple(
            tuple(WeightedCluster(next(names), backend.weight) for backend in rule.backends) for rule in route.rules
        ),
        clusters={each.name: each for each in backends if not isinstance(each, Refused)},
        trouble=next((each for each in backends if isinstance(each, Refused)), None),
    )


def _claims(served: _Served, hosts: tuple[str, ...], port: int) -> tuple[Claim, ...]:
    """In the order of the rules, in which equal ones are asked."""
    route = served.route
    age = route.created, route.ref
    return tuple(
        Claim(route.ref, age, host, port, _rank(made.match), made.match, (made,))
        for host in hosts
        for rule, shares in zip(route.rules, served.shares, strict=True)
        for made in _routes(route_name(route.ref), rule, shares, port)
    )


def _routes(name: str, rule: Rule, shares: tuple[WeightedCluster, ...], port: int) -> Iterator[Route]:
    action = _action(rule, shares, port)
    for match in rule.matches:
        yield Route(name, match, action, rule.filters.request_headers, rule.filters.response_headers)


def _rank(match: Match) -> int:
    """The lower of two is asked first: exact path, regular expression, longer prefix; method; headers; parameters."""
    path = match.path
    is_exact = path.kind is PathKind.EXACT
    is_prefix = path.kind is PathKind.PREFIX
    rank = is_prefix * 2 + (not is_exact and not is_prefix)
    rank = rank * (PATH_LIMIT + 1) + PATH_LIMIT - len(path.value)
    rank = rank * 2 + (not match.method)
    rank = rank * (CONDITION_LIMIT + 1) + CONDITION_LIMIT - len(match.headers)
    return rank * (CONDITION_LIMIT + 1) + CONDITION_LIMIT - len(match.query)


def _action(rule: Rule, shares: tuple[WeightedCluster, ...], port: int) -> Forward | Answer | Redirect:
    if rule.filters.redirect is not None:
        return _redirect(rule.filters.redirect, port)
    if not shares:
        return _NOT_FOUND
    if not any(each.weight for each in shares if each.name != UNRESOLVED):
        return _NO_BACKEND
    # A limit for each attempt limits all of them, so the usual one for the whole request would only get in the way.
    usual = DEFAULT_TIMEOUT if rule.attempt is None else 0.0
    made = Forward(
        clusters=shares,
        host=rule.filters.host,
        path=rule.filters.path,
        timeout=usual if rule.request is None else rule.request,
        idle=0.0,
    )
    return replace(made, retry=replace(made.retry, each=rule.attempt)) if rule.attempt else made


def _redirect(redirect: Redirect, port: int) -> Redirect:
    """The port is that of the scheme, and without a scheme the listener's; one that goes without saying is left out."""
    wanted = redirect.port or _WELL_KNOWN.get(redirect.scheme, port)
    usual = _WELL_KNOWN.get(redirect.scheme or "http")
    return replace(redirect, port=0 if wanted == usual else wanted)


def _table(gateway: Gateway, hosts: Mapping[str, Sequence[VirtualHost]], clusters: Mapping[str, Cluster]) -> RouteTable:
    """``hosts`` are by the name of the listener."""
    of_ports: dict[int, list[GatewayListener]] = defaultdict(list)
    for listener in gateway.listeners:
        if listener.is_served:
            of_ports[listener.port].append(listener)
    return RouteTable(
        listeners=tuple(
            ListenerRoutes(Listener(port), _apart(listeners, hosts)) for port, listeners in sorted(of_ports.items())
        ),
        clusters=tuple(clusters[name] for name in sorted(clusters)),
    )


def _apart(listeners: Sequence[GatewayListener], hosts: Mapping[str, Sequence[VirtualHost]]) -> tuple[VirtualHost, ...]:
    """Those of one port. Each has the routes of one listener, the most specific one that has the host."""
    if len(listeners) == 1:
        return tuple(hosts[listeners[0].name])
    # Without one of its own, requests that no route of a listener takes would fall to a wider listener.
    found = {each.host: VirtualHost(each.host, ()) for each in listeners if each.host != ANY_HOST}
    for listener in listeners:
        mine = (each for each in hosts[listener.name] if _owner(each.domain, listeners) is listener)
        found |= {each.domain: each for each in mine}
    return tuple(found[domain] for domain in sorted(found))


def _owner(domain: str, listeners: Iterable[GatewayListener]) -> GatewayListener:
    """The most specific listener that has the host: exact before wildcard, the longer wildcard first."""
    having = (each for each in listeners if covers(each.host, domain))
    return max(having, key=lambda each: (not each.host.startswith("*"), len(each.host)))

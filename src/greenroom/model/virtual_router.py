"""App Mesh's VirtualRouter: which VirtualNodes share the requests of a VirtualService, by path, header and weight.

It sees requests as the GatewayRoute has rewritten them (``core.composition``). The rules are those of the dead
controller's validating webhook (``webhooks/appmesh/virtualrouter_validator.go``) and of the App Mesh API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from greenroom.model.manifest import Json, Manifest, Ref, get, items, ref_of, text
from greenroom.model.mesh import VIRTUAL_NODE, Refused, Shape, check_supported, invalid, reference
from greenroom.model.mesh_fields import port_mapping, seconds, whole
from greenroom.model.route_match import (
    QUERY_MATCHES,
    VALUE_MATCHES,
    grpc_match,
    http_match,
    listed,
    only_type,
    port_of,
    priority_of,
)
from greenroom.model.routes import Match, Protocol, Retry, ValueKind, ValueMatch

_TYPES = ("httpRoute", "http2Route", "grpcRoute")
_MOST_WEIGHT = 100
_RETRY_EVENTS = {
    # App Mesh's word -> Envoy's retry_on. The first two include a reset connection in both (App Mesh API).
    "httpRetryEvents": {
        "server-error": "5xx",
        "gateway-error": "gateway-error",
        "client-error": "retriable-4xx",
        "stream-error": "refused-stream",
    },
    "tcpRetryEvents": {"connection-error": "connect-failure"},
    "grpcRetryEvents": {
        each: each for each in ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
    },
}


@dataclass(frozen=True, slots=True)
class WeightedTarget:
    """``port`` 0 means the only one that the node has. Weights are relative to each other."""

    node: Ref
    port: int
    weight: int


@dataclass(frozen=True, slots=True)
class RouterRoute:
    name: str
    priority: int
    """0 is tried first."""
    match: Match
    port: int
    """Of the router's listener; 0 means every listener."""
    targets: tuple[WeightedTarget, ...]
    retry: Retry | None
    timeout: float | None
    """Seconds for a whole request, 0 for no limit; None leaves it to the nodes."""
    idle: float | None
    """Seconds without a byte after which a stream ends, in the same way."""


@dataclass(frozen=True, slots=True)
class VirtualRouter:
    ref: Ref
    ports: tuple[int, ...]
    routes: tuple[RouterRoute, ...]
    """In the order in which they are tried."""


def parse_virtual_router(manifest: Manifest) -> VirtualRouter:
    """Raises Refused."""
    check_supported(manifest, _VIRTUAL_ROUTER)
    ref = ref_of(manifest)
    listeners = enumerate(items(manifest, "spec", "listeners"))
    ports = tuple(_listener(listener, f"spec.listeners[{index}]") for index, listener in listeners)
    if not ports:
        raise invalid("spec.listeners", "must have at least one listener")
    given = enumerate(items(manifest, "spec", "routes"))
    routes = [_route(route, f"spec.routes[{index}]", ref.namespace, ports) for index, route in given]
    names = [route.name for route in routes]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise invalid(f"spec.routes[{index}].name", f"{name!r} is the name of another route, too")
    return VirtualRouter(ref, ports, tuple(sorted(routes, key=_precedence)))


def _precedence(route: RouterRoute) -> tuple[int, ...]:
    """Priority first; among equals the more exact match, then the one that stands first."""
    return route.priority, *route.match.precedence


def _listener(listener: Json, path: str) -> int:
    if text(listener, "portMapping", "protocol") == "tcp":
        message = "a gateway forwards HTTP only: use http, http2 or grpc"
        raise Refused("NotSupported", message, path=f"{path}.portMapping.protocol")
    port, _ = port_mapping(listener, path, Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)
    return port


def _route(route: Json, path: str, namespace: str, ports: tuple[int, ...]) -> RouterRoute:
    name = text(route, "name")
    if not name:
        raise invalid(f"{path}.name", "missing: it names the route")
    if get(route, "tcpRoute") is not None:
        message = "a gateway forwards HTTP only: use httpRoute, http2Route or grpcRoute"
        raise Refused("NotSupported", message, path=f"{path}.tcpRoute")
    field = only_type(route, _TYPES, path)
    where, of_type = f"{path}.{field}", get(route, field)
    match = get(of_type, "match")
    port = port_of(match, f"{where}.match")
    if port and port not in ports:
        raise invalid(f"{where}.match.port", f"must be one of spec.listeners: {listed(tuple(map(str, ports)))}")
    return RouterRoute(
        name=name,
        priority=priority_of(route, path),
        match=_match(match, f"{where}.match", field),
        port=port,
        targets=_targets(get(of_type, "action"), f"{where}.action.weightedTargets", namespace),
        retry=_retry(get(of_type, "retryPolicy"), f"{where}.retryPolicy"),
        timeout=_seconds(of_type, "perRequest", where),
        idle=_seconds(of_type, "idle", where),
    )


def _match(match: Json, path: str, field: str) -> Match:
    if field == "grpcRoute":
        return grpc_match(match, path)
    if (get(match, "prefix") is None) == (get(match, "path") is None):
        raise invalid(path, "must have exactly one of prefix and path")
    parsed, scheme = http_match(match, path), text(match, "scheme")
    if get(match, "scheme") is None:
        return parsed
    if scheme not in {"http", "https"}:
        raise invalid(f"{path}.scheme", "must be http or https")
    return replace(parsed, headers=(*parsed.headers, ValueMatch(":scheme", ValueKind.EXACT, scheme)))


def _targets(action: Json, path: str, namespace: str) -> tuple[WeightedTarget, ...]:
    found = items(action, "weightedTargets")
    if not found:
        raise invalid(path, "must name at least one VirtualNode")
    return tuple(_target(target, f"{path}[{index}]", namespace) for index, target in enumerate(found))


def _target(target: Json, path: str, namespace: str) -> WeightedTarget:
    if get(target, "virtualNodeARN") is not None:
        raise invalid(f"{path}.virtualNodeARN", "is an object of AWS: use virtualNodeRef")
    node = reference(get(target, "virtualNodeRef"), VIRTUAL_NODE, namespace)
    if node is None:
        raise invalid(f"{path}.virtualNodeRef.name", "names no VirtualNode")
    return WeightedTarget(node, port_of(target, path), whole(get(target, "weight"), f"{path}.weight", 0, _MOST_WEIGHT))


def _retry(policy: Json, path: str) -> Retry | None:
    if policy is None:
        return None
    on = tuple(dict.fromkeys(word for field in _RETRY_EVENTS for word in _events(policy, field, path)))
    if not on:
        raise invalid(path, f"must name an event in one of {', '.join(_RETRY_EVENTS)}")
    times = whole(get(policy, "maxRetries"), f"{path}.maxRetries", 0, 2**31 - 1)
    return Retry(on, times, seconds(get(policy, "perRetryTimeout"), f"{path}.perRetryTimeout"))


def _events(policy: Json, field: str, path: str) -> list[str]:
    known, found = _RETRY_EVENTS[field], []
    for index, event in enumerate(items(policy, field)):
        if not isinstance(event, str) or event not in known:
            raise invalid(f"{path}.{field}[{index}]", f"must be one of {', '.join(known)}")
        found.append(known[event])
    return found


def _seconds(route: Json, field: str, path: str) -> float | None:
    given = get(route, "timeout", field)
    return None if given is None else seconds(given, f"{path}.timeout.{field}")


_TARGETS: Shape = {
    "weightedTargets": {"[*]": {"virtualNodeRef": None, "virtualNodeARN": None, "weight": None, "port": None}}
}
_TIMEOUT: Shape = {"perRequest": None, "idle": None}
_RETRY: Shape = {"maxRetries": None, "perRetryTimeout": None, "httpRetryEvents": None, "tcpRetryEvents": None}
_HTTP_ROUTE: Shape = {
    "match": {
        "prefix": None,
        "path": {"exact": None, "regex": None},
        "method": None,
        "headers": VALUE_MATCHES,
        "queryParameters": QUERY_MATCHES,
        "scheme": None,
        "port": None,
    },
    "action": _TARGETS,
    "retryPolicy": _RETRY,
    "timeout": _TIMEOUT,
}
_GRPC_ROUTE: Shape = {
    "match": {"serviceName": None, "methodName": None, "metadata": VALUE_MATCHES, "port": None},
    "action": _TARGETS,
    "retryPolicy": {**_RETRY, "grpcRetryEvents": None},
    "timeout": _TIMEOUT,
}
_VIRTUAL_ROUTER: Shape = {
    "awsName": None,
    "meshRef": None,
    "listeners": {"[*]": {"portMapping": {"port": None, "protocol": None}}},
    "routes": {
        "[*]": {
            "name": None,
            "priority": None,
            "httpRoute": _HTTP_ROUTE,
            "http2Route": _HTTP_ROUTE,
            "grpcRoute": _GRPC_ROUTE,
            "tcpRoute": None,
        }
    },
}

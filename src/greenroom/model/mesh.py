"""AWS App Mesh's objects as the gateway reads them: what selects what, what points where.

Group ``appmesh.k8s.aws/v1beta2``, as in aws/aws-app-mesh-controller-for-k8s ``apis/appmesh/v1beta2``. Parsing applies
the defaults of its mutating webhooks and refuses, by name, each field that the gateway would otherwise have to
ignore. Fields which those webhooks wrote (``meshRef``, ``virtualGatewayRef``) are let through and not believed:
membership follows from selectors. GatewayRoutes are in ``model.gateway_route``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, Kind, Manifest, Ref, get, items, number, ref_of, table, text

GROUP = "appmesh.k8s.aws"
MESH = Kind(GROUP, "v1beta2", "Mesh")
VIRTUAL_GATEWAY = Kind(GROUP, "v1beta2", "VirtualGateway")
GATEWAY_ROUTE = Kind(GROUP, "v1beta2", "GatewayRoute")
VIRTUAL_SERVICE = Kind(GROUP, "v1beta2", "VirtualService")
VIRTUAL_NODE = Kind(GROUP, "v1beta2", "VirtualNode")
KINDS = (MESH, VIRTUAL_GATEWAY, GATEWAY_ROUTE, VIRTUAL_SERVICE, VIRTUAL_NODE)

DEFAULT_TIMEOUT = 15.0
"""Seconds that a request may take when no ``timeout.http.perRequest`` says otherwise (App Mesh API, HttpTimeout)."""


class Refused(InvalidInput):
    """An object, or one that it needs, stays out of the gateway. ``reason`` is CamelCase, for its condition."""

    def __init__(self, reason: str, message: str, *, path: str = "") -> None:
        super().__init__(message, path=path)
        self.reason = reason


def invalid(path: str, message: str) -> Refused:
    return Refused("Invalid", message, path=path)


@dataclass(frozen=True, slots=True)
class Selector:
    """A Kubernetes label selector. What a missing one means differs from field to field, so that is None, not this."""

    labels: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """``matchExpressions``: key, operator, values."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels) and all(
            _holds(labels.get(key), operator, values) for key, operator, values in self.terms
        )


def _holds(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


@dataclass(frozen=True, slots=True)
class Mesh:
    ref: Ref
    aws_name: str
    namespaces: Selector | None
    """None selects no namespace, an empty selector every one."""


@dataclass(frozen=True, slots=True)
class VirtualGateway:
    ref: Ref
    port: int
    http2: bool
    access_log: str
    """A file for access logs, ``""`` for none."""
    namespaces: Selector | None
    """Whose GatewayRoutes belong here: None selects no namespace, an empty selector every one."""
    routes: Selector | None
    """Which of them: None selects every one."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    ref: Ref
    aws_name: str
    node: Ref


@dataclass(frozen=True, slots=True)
class VirtualNode:
    ref: Ref
    created: str
    """RFC 3339; of two nodes of one name, the older has it."""
    aws_name: str
    port: int
    http2: bool
    hostname: str
    timeout: float
    """Seconds for a whole request; 0 means no limit."""
    idle: float
    """Seconds without a byte after which a stream ends; 0 means no limit."""

    @property
    def age(self) -> tuple[str, Ref]:
        """Orders nodes from the oldest to the youngest, the same way each time."""
        return self.created, self.ref


def parse_mesh(manifest: Manifest) -> Mesh:
    """Raises Refused."""
    ref = ref_of(manifest)
    aws_name = plain(text(manifest, "spec", "awsName") or ref.name, "spec.awsName")
    return Mesh(ref, aws_name, selector(manifest, "namespaceSelector"))


def parse_virtual_gateway(manifest: Manifest) -> VirtualGateway:
    """Raises Refused."""
    check_supported(manifest, _VIRTUAL_GATEWAY)
    port, protocol = _port_mapping(manifest)
    return VirtualGateway(
        ref=ref_of(manifest),
        port=port,
        http2=protocol == "http2",
        access_log=plain(text(manifest, "spec", "logging", "accessLog", "file", "path"), "spec.logging.accessLog"),
        namespaces=selector(manifest, "namespaceSelector"),
        routes=selector(manifest, "gatewayRouteSelector"),
    )


def parse_virtual_service(manifest: Manifest) -> VirtualService:
    """Raises Refused. The default name has a dot where other kinds have an underscore (virtualservice_mutator.go)."""
    check_supported(manifest, _VIRTUAL_SERVICE)
    ref = ref_of(manifest)
    node = reference(get(manifest, "spec", "provider", "virtualNode", "virtualNodeRef"), VIRTUAL_NODE, ref.namespace)
    if node is None:
        raise invalid("spec.provider.virtualNode.virtualNodeRef.name", "names no VirtualNode, so nothing can answer")
    aws_name = text(manifest, "spec", "awsName") or f"{ref.name}.{ref.namespace}"
    return VirtualService(ref, plain(aws_name, "spec.awsName"), node)


def parse_virtual_node(manifest: Manifest) -> VirtualNode:
    """Raises Refused."""
    check_supported(manifest, _VIRTUAL_NODE)
    ref = ref_of(manifest)
    port, protocol = _port_mapping(manifest)
    hostname = text(manifest, "spec", "serviceDiscovery", "dns", "hostname")
    if not hostname:
        raise invalid("spec.serviceDiscovery.dns.hostname", "missing: it names the Service to send requests to")
    return VirtualNode(
        ref=ref,
        created=text(manifest, "metadata", "creationTimestamp"),
        aws_name=plain(text(manifest, "spec", "awsName") or f"{ref.name}_{ref.namespace}", "spec.awsName"),
        port=port,
        http2=protocol == "http2",
        hostname=hostname,
        timeout=_seconds(manifest, protocol, "perRequest", default=DEFAULT_TIMEOUT),
        idle=_seconds(manifest, protocol, "idle", default=0.0),
    )


def selector(manifest: Manifest, field: str) -> Selector | None:
    """The label selector at ``spec.<field>``, None when there is none. Raises Refused."""
    found = get(manifest, "spec", field)
    if found is None:
        return None
    labels = tuple((key, value) for key, value in table(found, "matchLabels").items() if isinstance(value, str))
    terms = []
    for index, term in enumerate(items(found, "matchExpressions")):
        operator = text(term, "operator")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            path = f"spec.{field}.matchExpressions[{index}].operator"
            raise invalid(path, "must be In, NotIn, Exists or DoesNotExist")
        values = tuple(value for value in items(term, "values") if isinstance(value, str))
        terms.append((text(term, "key"), operator, values))
    return Selector(labels, tuple(terms))


def reference(value: Json, kind: Kind, namespace: str) -> Ref | None:
    """The object that a ``…Ref`` names, by default in ``namespace``, that of the object that refers to it."""
    name = text(value, "name")
    return Ref(kind, text(value, "namespace") or namespace, name) if name else None


def plain(value: str, path: str) -> str:
    """``value``, which Envoy and HTTP can carry. Raises Refused for control characters and broken Unicode."""
    if not value.isprintable():
        raise invalid(path, "has characters that cannot be printed")
    return value


Shape: TypeAlias = "Mapping[str, Shape | None]"
"""The steps (``field``, ``[0]``) that are understood. None lets everything below through."""


def check_supported(manifest: Manifest, shape: Shape) -> None:
    """Raises Refused, naming the first field of ``spec`` that is not understood."""
    _check(get(manifest, "spec"), shape, "spec")


def _check(value: Json, shape: Shape, path: str) -> None:
    for step, below in _steps(value):
        where = f"{path}{step}" if step.startswith("[") else f"{path}.{step}"
        if step not in shape:
            raise Refused("NotSupportedYet", "not supported by this gateway yet", path=where)
        inner = shape[step]
        if inner is not None:
            _check(below, inner, where)


def _steps(value: Json) -> list[tuple[str, Json]]:
    found = value.items() if isinstance(value, Mapping) else ((f"[{n}]", below) for n, below in enumerate(items(value)))
    return [(step, below) for step, below in found if below is not None]


_MAPPING: Shape = {"port": None, "protocol": None}
_SECONDS: Shape = {"perRequest": None, "idle": None}
_VIRTUAL_GATEWAY: Shape = {
    "awsName": None,
    "meshRef": None,
    "namespaceSelector": None,
    "gatewayRouteSelector": None,
    "podSelector": None,
    "listeners": {"[0]": {"portMapping": _MAPPING}},
    "logging": {"accessLog": {"file": {"path": None}}},
}
_VIRTUAL_SERVICE: Shape = {
    "awsName": None,
    "meshRef": None,
    "provider": {"virtualNode": {"virtualNodeRef": None}},
}
_VIRTUAL_NODE: Shape = {
    "awsName": None,
    "meshRef": None,
    "podSelector": None,
    "listeners": {"[0]": {"portMapping": _MAPPING, "timeout": {"http": _SECONDS, "http2": _SECONDS}}},
    "serviceDiscovery": {"dns": {"hostname": None, "responseType": None}},
    # What the node may call has no bearing on who calls it.
    "backends": None,
    "backendGroups": None,
    "backendDefaults": None,
    "logging": None,
}


def _port_mapping(manifest: Manifest) -> tuple[int, str]:
    path = "spec.listeners[0].portMapping"
    port = number(manifest, "spec", "listeners", 0, "portMapping", "port")
    protocol = text(manifest, "spec", "listeners", 0, "portMapping", "protocol")
    if not 1 <= port <= 65535:
        raise invalid(f"{path}.port", "must be a port from 1 to 65535")
    if protocol in {"grpc", "tcp"}:
        raise Refused("NotSupportedYet", f"{protocol} is not supported by this gateway yet", path=f"{path}.protocol")
    if protocol not in {"http", "http2"}:
        raise invalid(f"{path}.protocol", "must be http or http2")
    return port, protocol


def _seconds(manifest: Manifest, protocol: str, field: str, *, default: float) -> float:
    duration = get(manifest, "spec", "listeners", 0, "timeout", protocol, field)
    if duration is None:
        return default
    value, unit = get(duration, "value"), text(duration, "unit")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31 or unit not in {"s", "ms"}:
        raise invalid(f"spec.listeners[0].timeout.{protocol}.{field}", "must have a value from 0 and a unit, s or ms")
    return value / 1000 if unit == "ms" else float(value)

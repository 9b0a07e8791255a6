"""App Mesh's VirtualNode: the ports of an application, and how to reach and to treat what stands behind them.

What a node's sidecar did for the application, Envoy does at the gateway: health checks, outlier detection, limits,
timeouts. ``core.clusters`` makes clusters of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from greenroom.model.manifest import Json, Manifest, Ref, get, items, ref_of, table, text
from greenroom.model.mesh import Refused, Shape, check_supported, invalid, plain
from greenroom.model.mesh_fields import (
    LISTENER,
    certificate,
    health_check,
    limits,
    port_mapping,
    seconds,
    tls_mode,
    whole,
)
from greenroom.model.routes import HOST, HealthCheck, Limits, OutlierDetection, Protocol, is_address

DEFAULT_TIMEOUT = 15.0
"""Seconds that a request may take when no ``perRequest`` says otherwise (App Mesh API, HttpTimeout)."""

_HOSTNAME = "spec.serviceDiscovery.dns.hostname"
_EVERY = tuple(Protocol)


@dataclass(frozen=True, slots=True)
class NodeListener:
    port: int
    protocol: Protocol
    timeout: float
    """Seconds for a whole request; 0 means no limit."""
    idle: float
    """Seconds without a byte after which a stream ends; 0 means no limit."""
    limits: Limits
    health_check: HealthCheck | None
    outliers: OutlierDetection | None
    tls: bool
    """Whether the port offers TLS."""


@dataclass(frozen=True, slots=True)
class VirtualNode:
    ref: Ref
    created: str
    """RFC 3339; of two nodes of one name, the older has it."""
    aws_name: str
    hostname: str
    """In lower case: a host name or an address; ``""`` only without listeners."""
    every_address: bool
    """Whether all addresses of ``hostname`` are used, or one at a time."""
    listeners: tuple[NodeListener, ...]

    @property
    def age(self) -> tuple[str, Ref]:
        """Orders nodes from the oldest to the youngest, the same way each time."""
        return self.created, self.ref

    def listener(self, port: int | None = None) -> NodeListener:
        """The one on ``port``, by default the first. Raises Refused when it cannot get requests."""
        found = next((each for each in self.listeners if not port or each.port == port), None)
        where = f"VirtualNode {self.ref.namespace}/{self.ref.name}"
        if found is None:
            if not self.listeners:
                raise invalid("spec.listeners", "is empty: it names the port to send requests to")
            offered = ", ".join(str(each.port) for each in self.listeners)
            raise Refused("PortNotFound", f"{where} has no listener on port {port}; its ports: {offered}")
        if found.protocol is Protocol.TCP:
            message = f"{where} speaks tcp on port {found.port}: a gateway needs http, http2 or grpc to route requests"
            raise Refused("NotSupported", message)
        return found


def parse_virtual_node(manifest: Manifest) -> VirtualNode:
    """Raises Refused."""
    check_supported(manifest, _VIRTUAL_NODE)
    ref = ref_of(manifest)
    listeners = enumerate(items(manifest, "spec", "listeners"))
    parsed = tuple(_listener(each, f"spec.listeners[{index}]") for index, each in listeners)
    for index, each in enumerate(parsed):
        if each.port in {other.port for other in parsed[:index]}:
            raise invalid(f"spec.listeners[{index}].portMapping.port", "is that of another listener: leave one out")
    hostname = _hostname(manifest)
    if parsed and not hostname:
        raise invalid(_HOSTNAME, "is missing: it names the Service to send requests to")
    return VirtualNode(
        ref=ref,
        created=text(manifest, "metadata", "creationTimestamp"),
        aws_name=plain(text(manifest, "spec", "awsName") or f"{ref.name}_{ref.namespace}", "spec.awsName"),
        hostname=hostname,
        every_address=_response_type(manifest) == "ENDPOINTS",
        listeners=parsed,
    )


def _listener(listener: Json, path: str) -> NodeListener:
    port, protocol = port_mapping(listener, path, *_EVERY)
    offers_tls = tls_mode(listener, path) != "DISABLED"
    if offers_tls:
        certificate(get(listener, "tls", "certificate"), f"{path}.tls.certificate")
    return NodeListener(
        port=port,
        protocol=protocol,
        timeout=_timeout(listener, path, protocol, "perRequest", default=DEFAULT_TIMEOUT),
        idle=_timeout(listener, path, protocol, "idle", default=0.0),
        limits=limits(listener, path, protocol),
        health_check=health_check(listener, path, port, *_EVERY),
        outliers=_outliers(listener, f"{path}.outlierDetection"),
        tls=offers_tls,
    )


def _timeout(listener: Json, path: str, protocol: Protocol, field: str, *, default: float) -> float:
    timeouts, where = table(listener, "timeout"), f"{path}.timeout"
    given = [name for name, value in timeouts.items() if value is not None]
    if given and given != [protocol.value]:
        raise invalid(where, f"must have {protocol.value} and nothing else, like portMapping.protocol")
    duration = get(timeouts, protocol.value, field)
    return default if duration is None else seconds(duration, f"{where}.{protocol.value}.{field}")


def _outliers(listener: Json, path: str) -> OutlierDetection | None:
    found = get(listener, "outlierDetection")
    if found is None:
        return None
    return OutlierDetection(
        errors=whole(get(found, "maxServerErrors"), f"{path}.maxServerErrors", 1, 2**32 - 1),
        interval=seconds(get(found, "interval"), f"{path}.interval", positive=True),
        ejection=seconds(get(found, "baseEjectionDuration"), f"{path}.baseEjectionDuration", positive=True),
        max_percent=whole(get(found, "maxEjectionPercent"), f"{path}.maxEjectionPercent", 0, 100),
    )


def _hostname(manifest: Manifest) -> str:
    discovery = get(manifest, "spec", "serviceDiscovery")
    if get(discovery, "awsCloudMap") is not None:
        message = "there is no AWS Cloud Map here: use dns.hostname with the name of the Service"
        raise Refused("NotSupported", message, path="spec.serviceDiscovery.awsCloudMap")
    hostname = text(discovery, "dns", "hostname").lower()
    if not hostname or is_address(hostname):
        return hostname
    if not HOST.fullmatch(hostname.removesuffix(".")):
        raise invalid(_HOSTNAME, f"{hostname!r} is not a host name (letters, digits, hyphens and dots, no port)")
    return hostname


def _response_type(manifest: Manifest) -> str:
    """App Mesh's default is LOADBALANCER (user guide, virtual_nodes.md)."""
    found = get(manifest, "spec", "serviceDiscovery", "dns", "responseType")
    if found not in (None, "ENDPOINTS", "LOADBALANCER"):
        raise invalid("spec.serviceDiscovery.dns.responseType", "must be ENDPOINTS or LOADBALANCER")
    return "ENDPOINTS" if found == "ENDPOINTS" else "LOADBALANCER"


_DURATION: Shape = {"value": None, "unit": None}
_TIMEOUT: Shape = {"perRequest": _DURATION, "idle": _DURATION}
_VIRTUAL_NODE: Shape = {
    "awsName": None,
    "meshRef": None,
    "podSelector": None,
    "listeners": {
        "[*]": {
            **LISTENER,
            "outlierDetection": {
                "maxServerErrors": None,
                "interval": _DURATION,
                "baseEjectionDuration": _DURATION,
                "maxEjectionPercent": None,
            },
            "timeout": {"http": _TIMEOUT, "http2": _TIMEOUT, "grpc": _TIMEOUT, "tcp": {"idle": _DURATION}},
        }
    },
    "serviceDiscovery": {"dns": {"hostname": None, "responseType": None}, "awsCloudMap": None},
    # What the node may call has no bearing on who calls it.
    "backends": None,
    "backendGroups": None,
    "backendDefaults": None,
    "logging": None,
}

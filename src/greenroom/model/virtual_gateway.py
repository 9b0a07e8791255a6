"""App Mesh's VirtualGateway: the ports that visitors connect to, and how its Envoy connects to what is behind them."""

from __future__ import annotations

from dataclasses import dataclass

from greenroom.model.access_log import parse_access_log
from greenroom.model.manifest import Json, Manifest, Ref, get, items, ref_of
from greenroom.model.mesh import Selector, Shape, check_supported, invalid, selector
from greenroom.model.mesh_fields import (
    CERTIFICATE,
    LISTENER,
    VALIDATION,
    certificate,
    health_check,
    limits,
    port_mapping,
    tls_mode,
    validation,
    whole,
)
from greenroom.model.routes import AccessLog, ClientTls, Limits, Listener, Protocol, ServerTls

_SERVED = (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)
_POLICY = "spec.backendDefaults.clientPolicy.tls"


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """TLS to every backend, whatever its VirtualNode offers. ``ports`` are those it is for, none means all."""

    tls: ClientTls
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class VirtualGateway:
    ref: Ref
    listeners: tuple[Listener, ...]
    """At least one, each with a port of its own."""
    limits: Limits
    """Those of its listeners' connection pools, of several the strictest. They hold for each cluster by itself."""
    client_policy: ClientPolicy | None
    namespaces: Selector | None
    """Whose GatewayRoutes belong here: None selects no namespace, an empty selector every one."""
    routes: Selector | None
    """Which of them: None selects every one."""


def parse_virtual_gateway(manifest: Manifest) -> VirtualGateway:
    """Raises Refused."""
    check_supported(manifest, _VIRTUAL_GATEWAY)
    found = items(manifest, "spec", "listeners")
    if not found:
        raise invalid("spec.listeners", "must have a listener: the port that visitors connect to")
    selector(manifest, "podSelector")  # its pods are the business of core.injection; here it has to be right
    log = parse_access_log(get(manifest, "spec", "logging", "accessLog", "file"), "spec.logging.accessLog.file")
    strictest = Limits()
    listeners: list[Listener] = []
    for index, each in enumerate(found):
        listener, limited = _listener(each, f"spec.listeners[{index}]", log)
        if listener.port in {other.port for other in listeners}:
            raise invalid(f"spec.listeners[{index}].portMapping.port", "is that of another listener: leave one out")
        listeners.append(listener)
        strictest = strictest.within(limited)
    return VirtualGateway(
        ref=ref_of(manifest),
        listeners=tuple(listeners),
        limits=strictest,
        client_policy=_client_policy(get(manifest, "spec", "backendDefaults", "clientPolicy", "tls")),
        namespaces=selector(manifest, "namespaceSelector"),
        routes=selector(manifest, "gatewayRouteSelector"),
    )


def _listener(listener: Json, path: str, log: AccessLog | None) -> tuple[Listener, Limits]:
    port, protocol = port_mapping(listener, path, *_SERVED)
    # Checked and left at that: nobody but a load balancer asks a gateway, and it has settings of its own.
    health_check(listener, path, port, *_SERVED)
    return Listener(port, protocol, log, _server_tls(listener, path)), limits(listener, path, protocol)


def _server_tls(listener: Json, path: str) -> ServerTls | None:
    mode = tls_mode(listener, path)
    if mode == "DISABLED":
        return None
    own = certificate(get(listener, "tls", "certificate"), f"{path}.tls.certificate")
    optional = mode == "PERMISSIVE"
    wanted = get(listener, "tls", "validation")
    if wanted is None:
        return ServerTls(own, optional)
    visitors = validation(wanted, f"{path}.tls.validation")
    return ServerTls(own, optional, visitors.trust, visitors.names)


def _client_policy(tls: Json) -> ClientPolicy | None:
    """None without a policy, and for one that is not enforced: then the VirtualNode decides (user guide, tls.md)."""
    if tls is None:
        return None
    backends = validation(get(tls, "validation"), f"{_POLICY}.validation")
    given = get(tls, "certificate")
    own = None if given is None else certificate(given, f"{_POLICY}.certificate")
    ports = enumerate(items(tls, "ports"))
    numbers = frozenset(whole(port, f"{_POLICY}.ports[{index}]", 1, 65535) for index, port in ports)
    enforced = get(tls, "enforce")
    if enforced not in (None, True, False):
        raise invalid(f"{_POLICY}.enforce", "must be true or false")
    if enforced is False:
        return None
    return ClientPolicy(ClientTls(backends.trust, backends.names, own), numbers)


_VIRTUAL_GATEWAY: Shape = {
    "awsName": None,
    "meshRef": None,
    "namespaceSelector": None,
    "gatewayRouteSelector": None,
    "podSelector": None,
    "listeners": {"[*]": LISTENER},
    "logging": {"accessLog": {"file": {"path": None, "format": {"text": None, "json": None}}}},
    "backendDefaults": {
        "clientPolicy": {
            "tls": {"enforce": None, "ports": None, "certificate": CERTIFICATE, "validation": VALIDATION},
        }
    },
}

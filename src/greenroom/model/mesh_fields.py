"""What listeners of VirtualGateways and of VirtualNodes have in common: ports, health checks, limits, TLS.

Ranges are those of App Mesh's CRDs (``apis/appmesh/v1beta2``) and of its API. Certificates are files where Envoy runs:
AWS Certificate Manager, and a server for secrets, are not there without App Mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

from greenroom.model.manifest import Json, get, items, number, table, text
from greenroom.model.mesh import Refused, Shape, invalid, plain
from greenroom.model.routes import UNLIMITED, Certificate, HealthCheck, Limits, Protocol

CERTIFICATE: Shape = {
    "file": {"certificateChain": None, "privateKey": None},
    "acm": None,
    "sds": None,
}
VALIDATION: Shape = {
    "trust": {"file": {"certificateChain": None}, "acm": None, "sds": None},
    "subjectAlternativeNames": {"match": {"exact": None}},
}
LISTENER: dict[str, Shape | None] = {
    "portMapping": {"port": None, "protocol": None},
    "healthCheck": {
        "healthyThreshold": None,
        "unhealthyThreshold": None,
        "intervalMillis": None,
        "timeoutMillis": None,
        "path": None,
        "port": None,
        "protocol": None,
    },
    "connectionPool": {
        "http": {"maxConnections": None, "maxPendingRequests": None},
        "http2": {"maxRequests": None},
        "grpc": {"maxRequests": None},
        "tcp": {"maxConnections": None},
    },
    "tls": {"mode": None, "certificate": CERTIFICATE, "validation": VALIDATION},
}


@dataclass(frozen=True, slots=True)
class Validation:
    """Which certificates of the other side are taken: ``trust`` is a PEM file with authorities."""

    trust: str
    names: tuple[str, ...]


def port_mapping(listener: Json, path: str, *protocols: Protocol) -> tuple[int, Protocol]:
    """Raises Refused."""
    protocol = _protocol(get(listener, "portMapping", "protocol"), f"{path}.portMapping.protocol", *protocols)
    return whole(get(listener, "portMapping", "port"), f"{path}.portMapping.port", 1, 65535), protocol


def health_check(listener: Json, path: str, port: int, *protocols: Protocol) -> HealthCheck | None:
    """The check of a listener on ``port``, None when it has none. Raises Refused."""
    check = get(listener, "healthCheck")
    if check is None:
        return None
    where = f"{path}.healthCheck"
    if get(check, "port") not in (None, port):
        raise invalid(f"{where}.port", f"must be that of the listener, {port}: leave it out")
    protocol = _protocol(get(check, "protocol"), f"{where}.protocol", *protocols)
    checked_path = plain(text(check, "path") or "/", f"{where}.path")
    if not checked_path.startswith("/") or not checked_path.isascii():
        raise invalid(f"{where}.path", "must start with / and be ASCII")
    return HealthCheck(
        protocol=protocol,
        path=checked_path,
        interval=whole(get(check, "intervalMillis"), f"{where}.intervalMillis", 5000, 300000) / 1000,
        timeout=whole(get(check, "timeoutMillis"), f"{where}.timeoutMillis", 2000, 60000) / 1000,
        healthy=whole(get(check, "healthyThreshold"), f"{where}.healthyThreshold", 2, 10),
        unhealthy=whole(get(check, "unhealthyThreshold"), f"{where}.unhealthyThreshold", 2, 10),
    )


def limits(listener: Json, path: str, protocol: Protocol) -> Limits:
    """Those of ``connectionPool``, which must be for the listener's ``protocol``. Raises Refused."""
    pools = table(listener, "connectionPool")
    where = f"{path}.connectionPool"
    given = [name for name, pool in pools.items() if pool is not None]
    if not given:
        return Limits()
    if given != [protocol.value]:
        raise invalid(where, f"must have {protocol.value} and nothing else, like portMapping.protocol")
    pool, where = pools[protocol.value], f"{where}.{protocol.value}"
    if protocol is not Protocol.HTTP:
        return Limits(requests=_limit(pool, "maxRequests", where))
    pending = get(pool, "maxPendingRequests") is not None
    return Limits(
        connections=_limit(pool, "maxConnections", where),
        pending=_limit(pool, "maxPendingRequests", where) if pending else UNLIMITED,
    )


def tls_mode(listener: Json, path: str) -> str:
    """``STRICT``, ``PERMISSIVE`` or ``DISABLED``, which is the default without ``tls``. Raises Refused."""
    if get(listener, "tls") is None:
        return "DISABLED"
    mode = text(listener, "tls", "mode")
    if mode not in {"DISABLED", "PERMISSIVE", "STRICT"}:
        raise invalid(f"{path}.tls.mode", "must be DISABLED, PERMISSIVE or STRICT")
    return mode


def certificate(value: Json, path: str) -> Certificate:
    """Raises Refused."""
    file = _file(value, path)
    return Certificate(
        _path(get(file, "certificateChain"), f"{path}.file.certificateChain"),
        _path(get(file, "privateKey"), f"{path}.file.privateKey"),
    )


def validation(value: Json, path: str) -> Validation:
    """Raises Refused."""
    file = _file(get(value, "trust"), f"{path}.trust")
    names = f"{path}.subjectAlternativeNames.match.exact"
    found = tuple(items(value, "subjectAlternativeNames", "match", "exact"))
    if get(value, "subjectAlternativeNames") is not None and not found:
        raise invalid(names, "must name a host or a URI, or leave subjectAlternativeNames out")
    return Validation(
        _path(get(file, "certificateChain"), f"{path}.trust.file.certificateChain"),
        tuple(_path(name, f"{names}[{index}]") for index, name in enumerate(found)),
    )


def whole(value: Json, path: str, lowest: int, highest: int) -> int:
    """A whole number in its range. Raises Refused."""
    found = number({"": value}, "", default=lowest - 1)
    if not lowest <= found <= highest:
        raise invalid(path, f"must be a whole number from {lowest} to {highest}")
    return found


def seconds(value: Json, path: str, *, positive: bool = False) -> float:
    """The seconds of a duration (``value`` and ``unit``). Raises Refused."""
    unit, highest = text(value, "unit"), 2**31 - 1
    if unit not in {"s", "ms"}:
        raise invalid(f"{path}.unit", "must be s or ms")
    found = whole(get(value, "value"), f"{path}.value", 1 if positive else 0, highest)
    return found / 1000 if unit == "ms" else float(found)


def _protocol(value: Json, path: str, *protocols: Protocol) -> Protocol:
    known = {protocol.value: protocol for protocol in protocols}
    if not isinstance(value, str) or value not in known:
        raise invalid(path, f"must be one of {', '.join(known)}")
    return known[value]


def _limit(pool: Json, field: str, path: str) -> int:
    return whole(get(pool, field), f"{path}.{field}", 1, UNLIMITED)


def _file(value: Json, path: str) -> Json:
    """The one source of a certificate that there is. Raises Refused for the others, by name."""
    for source, name in (("acm", "AWS Certificate Manager here"), ("sds", "server for secrets here")):
        if get(value, source) is not None:
            message = f"there is no {name}: use file, with a path where its Envoy runs"
            raise Refused("NotSupported", message, path=f"{path}.{source}")
    if get(value, "file") is None:
        raise invalid(f"{path}.file", "is missing: name PEM files where the gateway's Envoy runs")
    return get(value, "file")


def _path(value: Json, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 255:
        raise invalid(path, "must be a text of 1 to 255 characters")
    return plain(value, path)

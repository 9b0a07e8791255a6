"""The hosts that a route is for, where it names them exactly."""

from __future__ import annotations

from greenroom.model.gateway import HTTP_ROUTE
from greenroom.model.manifest import Manifest, items, kind_of, text
from greenroom.model.mesh import GATEWAY_ROUTE

_PROTOCOLS = ("httpRoute", "http2Route", "grpcRoute")


def exact_hosts(manifest: Manifest) -> list[str]:
    """Those of a GatewayRoute or an HTTPRoute, as they are written; of other kinds there are none."""
    kind = kind_of(manifest)
    if kind == GATEWAY_ROUTE:
        hosts = [text(manifest, "spec", protocol, "match", "hostname", "exact") for protocol in _PROTOCOLS]
    elif kind == HTTP_ROUTE:
        hosts = [each for each in items(manifest, "spec", "hostnames") if isinstance(each, str)]
    else:
        hosts = []
    return [host for host in hosts if host and "*" not in host]

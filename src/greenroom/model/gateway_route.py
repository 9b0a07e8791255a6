"""App Mesh's GatewayRoute: which requests, to which VirtualService, and how the request is rewritten on the way.

The rules are those of the dead controller's validating webhook (``webhooks/appmesh/gatewayroute_validator.go``) and of
the App Mesh user guide (``doc_source/gateway-routes.md``): a matched prefix is replaced by ``/`` unless told otherwise,
exact and regular paths are left alone, and the Host header becomes the VirtualService's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenroom.model.manifest import Json, Manifest, Ref, get, labels_of, ref_of, text
from greenroom.model.mesh import VIRTUAL_SERVICE, Shape, check_supported, invalid, reference
from greenroom.model.route_match import (
    QUERY_MATCHES,
    VALUE_MATCHES,
    absolute,
    grpc_match,
    http_match,
    only_type,
    port_of,
    priority_of,
)
from greenroom.model.routes import ANY_HOST, HOST, Match, PathKind, PathMatch, ReplacePath, ReplacePrefix

_TYPES = ("httpRoute", "http2Route", "grpcRoute")
_RESERVED = ("/aws-appmesh", "/aws-app-mesh")


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    ref: Ref
    labels: Mapping[str, str]
    created: str
    """RFC 3339; of two routes that claim the same, the older has it."""
    priority: int
    """0 is tried first."""
    host: str
    """A host name, ``*`` and what it must end with, or ``*``."""
    port: int
    """Of the gateway's listener; 0 means every listener."""
    match: Match
    service: Ref
    target_port: int
    """Of the VirtualService's provider; 0 means the only one that it has."""
    rewrites_host: bool
    path: ReplacePrefix | ReplacePath | None

    @property
    def age(self) -> tuple[str, Ref]:
        """Orders routes from the oldest to the youngest, the same way each time."""
        return self.created, self.ref


def parse_gateway_route(manifest: Manifest) -> GatewayRoute:
    """Raises Refused."""
    check_supported(manifest, _GATEWAY_ROUTE)
    ref = ref_of(manifest)
    field = only_type(get(manifest, "spec"), _TYPES, "spec")
    path = f"spec.{field}"
    route = get(manifest, "spec", field)
    match, action = get(route, "match"), get(route, "action")
    parsed = _match(match, f"{path}.match", field)
    target = get(action, "target")
    return GatewayRoute(
        ref=ref,
        labels=labels_of(manifest),
        created=text(manifest, "metadata", "creationTimestamp"),
        priority=priority_of(get(manifest, "spec"), "spec"),
        host=_host(get(match, "hostname"), f"{path}.match.hostname"),
        port=port_of(match, f"{path}.match"),
        match=parsed,
        service=_service(target, f"{path}.action.target", ref.namespace),
        target_port=port_of(target, f"{path}.action.target"),
        rewrites_host=_switch(action, path, "hostname", "defaultTargetHostname"),
        path=None if parsed.grpc else _path_rewrite(parsed.path, action, path),
    )


def _match(match: Json, path: str, field: str) -> Match:
    needed = ("serviceName", "hostname") if field == "grpcRoute" else ("prefix", "path", "hostname")
    if all(get(match, each) is None for each in needed):
        raise invalid(path, f"must have at least one of {', '.join(needed[:-1])} and {needed[-1]}")
    if field == "grpcRoute":
        return grpc_match(match, path)
    parsed = http_match(match, path)
    if parsed.path.kind is not PathKind.REGEX and parsed.path.value.startswith(_RESERVED):
        where = f"{path}.prefix" if parsed.path.kind is PathKind.PREFIX else f"{path}.path.exact"
        raise invalid(where, "begins with a path that App Mesh keeps for itself: choose one without /aws-appmesh")
    return parsed


def _service(target: Json, path: str, namespace: str) -> Ref:
    where = f"{path}.virtualService"
    if get(target, "virtualService", "virtualServiceARN") is not None:
        raise invalid(f"{where}.virtualServiceARN", "is an object of AWS: use virtualServiceRef")
    service = reference(get(target, "virtualService", "virtualServiceRef"), VIRTUAL_SERVICE, namespace)
    if service is None:
        raise invalid(f"{where}.virtualServiceRef.name", "names no VirtualService")
    return service


def _host(hostname: Json, path: str) -> str:
    given = [(how, text(hostname, how)) for how in ("exact", "suffix") if get(hostname, how) is not None]
    if hostname is None:
        return ANY_HOST
    if len(given) != 1:
        raise invalid(path, "must have exactly one of exact and suffix")
    (how, name) = given[0]
    # A suffix may begin anywhere in a name: App Mesh looked at its length only, and Envoy takes *-pr.example.com.
    whole = f"x{name}" if how == "suffix" else name
    if not name or not HOST.fullmatch(whole.lower()):
        raise invalid(f"{path}.{how}", f"{name!r} is not a host name (letters, digits, hyphens and dots, no port)")
    return name.lower() if how == "exact" else f"*{name.lower()}"


def _path_rewrite(matched: PathMatch, action: Json, path: str) -> ReplacePrefix | ReplacePath | None:
    rewrite = get(action, "rewrite")
    prefix, whole = get(rewrite, "prefix"), get(rewrite, "path")
    where = f"{path}.action.rewrite"
    if rewrite is not None and all(get(rewrite, each) is None for each in ("prefix", "path", "hostname")):
        raise invalid(where, "must have at least one of prefix, path and hostname")
    if prefix is not None and whole is not None:
        raise invalid(where, "must not have both prefix and path")
    if whole is not None:
        return ReplacePath(absolute(get(whole, "exact"), f"{where}.path.exact"))
    if prefix is not None and matched.kind is not PathKind.PREFIX:
        raise invalid(f"{where}.prefix", "needs a prefix to replace: match.prefix")
    value = get(prefix, "value")
    if value is not None:
        return _replaced_prefix(matched.value, value, prefix, f"{where}.prefix")
    if matched.kind is PathKind.PREFIX and _switch(action, path, "prefix", "defaultPrefix") and matched.value != "/":
        return ReplacePrefix(matched.value, "/")
    return None


def _replaced_prefix(matched: str, value: Json, prefix: Json, path: str) -> ReplacePrefix:
    if get(prefix, "defaultPrefix") is not None:
        raise invalid(path, "must not have both defaultPrefix and value")
    replacement = absolute(value, f"{path}.value")
    if not replacement.endswith("/") or not matched.endswith("/"):
        raise invalid(f"{path}.value", "must end with a slash, and so must match.prefix")
    return ReplacePrefix(matched, replacement)


def _switch(action: Json, path: str, field: str, name: str) -> bool:
    """Whether a default rewrite is on; it is unless DISABLED."""
    value = get(action, "rewrite", field, name)
    if value not in (None, "ENABLED", "DISABLED"):
        raise invalid(f"{path}.action.rewrite.{field}.{name}", "must be ENABLED or DISABLED")
    return value != "DISABLED"


_HOSTNAME: Shape = {"exact": None, "suffix": None}
_TARGET: Shape = {"virtualService": {"virtualServiceRef": None, "virtualServiceARN": None}, "port": None}
_REWRITTEN_HOST: Shape = {"defaultTargetHostname": None}
_HTTP_ROUTE: Shape = {
    "match": {
        "prefix": None,
        "path": {"exact": None, "regex": None},
        "hostname": _HOSTNAME,
        "method": None,
        "headers": VALUE_MATCHES,
        "queryParameters": QUERY_MATCHES,
        "port": None,
    },
    "action": {
        "target": _TARGET,
        "rewrite": {
            "hostname": _REWRITTEN_HOST,
            "prefix": {"defaultPrefix": None, "value": None},
            "path": {"exact": None},
        },
    },
}
_GRPC_ROUTE: Shape = {
    "match": {"serviceName": None, "hostname": _HOSTNAME, "metadata": VALUE_MATCHES, "port": None},
    "action": {"target": _TARGET, "rewrite": {"hostname": _REWRITTEN_HOST}},
}
_GATEWAY_ROUTE: Shape = {
    "awsName": None,
    "meshRef": None,
    "virtualGatewayRef": None,
    "priority": None,
    "httpRoute": _HTTP_ROUTE,
    "http2Route": _HTTP_ROUTE,
    "grpcRoute": _GRPC_ROUTE,
}

"""App Mesh's GatewayRoute: which requests, to which VirtualService, and how the request is rewritten on the way.

The rules are those of the dead controller's validating webhook (``webhooks/appmesh/gatewayroute_validator.go``) and of
the App Mesh user guide (``doc_source/gateway-routes.md``): a matched prefix is replaced by ``/`` unless told otherwise,
exact and regular paths are left alone, and the Host header becomes the VirtualService's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from greenroom.model.manifest import Json, Manifest, Ref, get, items, labels_of, number, ref_of, table, text
from greenroom.model.mesh import VIRTUAL_SERVICE, Refused, Shape, check_supported, invalid, plain, reference
from greenroom.model.regex import checked_regex
from greenroom.model.routes import (
    ANY_HOST,
    EVERY_PATH,
    Match,
    PathKind,
    PathMatch,
    ReplacePath,
    ReplacePrefix,
    ValueKind,
    ValueMatch,
)

LOWEST_PRIORITY = 1000
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,50}")


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
    match: Match
    service: Ref
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
    field = _route_type(manifest)
    path = f"spec.{field}"
    route = get(manifest, "spec", field)
    match, action = get(route, "match"), get(route, "action")
    service = reference(get(action, "target", "virtualService", "virtualServiceRef"), VIRTUAL_SERVICE, ref.namespace)
    if service is None:
        raise invalid(f"{path}.action.target.virtualService.virtualServiceRef.name", "names no VirtualService")
    parsed = _match(match, f"{path}.match")
    return GatewayRoute(
        ref=ref,
        labels=labels_of(manifest),
        created=text(manifest, "metadata", "creationTimestamp"),
        priority=_priority(manifest),
        host=_host(get(match, "hostname"), f"{path}.match.hostname"),
        match=parsed,
        service=service,
        rewrites_host=_switch(action, path, "hostname", "defaultTargetHostname"),
        path=_path_rewrite(parsed.path, action, path),
    )


def _route_type(manifest: Manifest) -> str:
    found = [field for field in ("httpRoute", "http2Route") if get(manifest, "spec", field) is not None]
    if len(found) != 1:
        raise invalid("spec", "must have exactly one of httpRoute and http2Route")
    return found[0]


def _priority(manifest: Manifest) -> int:
    absent = get(manifest, "spec", "priority") is None
    priority = LOWEST_PRIORITY if absent else number(manifest, "spec", "priority", default=-1)
    if not 0 <= priority <= LOWEST_PRIORITY:
        raise invalid("spec.priority", f"must be from 0, tried first, to {LOWEST_PRIORITY}")
    return priority


def _host(hostname: Json, path: str) -> str:
    given = [(how, text(hostname, how)) for how in ("exact", "suffix") if get(hostname, how) is not None]
    if hostname is None:
        return ANY_HOST
    if len(given) != 1:
        raise invalid(path, "must have exactly one of exact and suffix")
    (how, name) = given[0]
    if not _HOST.fullmatch(name.lower().removeprefix("." if how == "suffix" else "")):
        raise invalid(f"{path}.{how}", f"{name!r} is not a host name (letters, digits, hyphens and dots, no port)")
    return name.lower() if how == "exact" else f"*{name.lower()}"


def _match(match: Json, path: str) -> Match:
    if all(get(match, field) is None for field in ("prefix", "path", "hostname")):
        raise invalid(path, "must have at least one of prefix, path and hostname")
    method = text(match, "method")
    if method and method not in METHODS:
        raise invalid(f"{path}.method", f"must be one of {', '.join(sorted(METHODS))}")
    headers = enumerate(items(match, "headers"))
    query = enumerate(items(match, "queryParameters"))
    return Match(
        path=_path_match(match, path),
        method=method,
        headers=tuple(_header(header, f"{path}.headers[{index}]") for index, header in headers),
        query=tuple(_query(parameter, f"{path}.queryParameters[{index}]") for index, parameter in query),
    )


def _path_match(match: Json, path: str) -> PathMatch:
    prefix, paths = get(match, "prefix"), get(match, "path")
    if prefix is not None and paths is not None:
        raise invalid(path, "must not have both prefix and path")
    if prefix is not None:
        return PathMatch(PathKind.PREFIX, _absolute(prefix, f"{path}.prefix"))
    if paths is None:
        return EVERY_PATH
    exact, regex = get(paths, "exact"), get(paths, "regex")
    if (exact is None) == (regex is None):
        raise invalid(f"{path}.path", "must have exactly one of exact and regex")
    if exact is not None:
        return PathMatch(PathKind.EXACT, _absolute(exact, f"{path}.path.exact"))
    return PathMatch(PathKind.REGEX, checked_regex(_filled(regex, f"{path}.path.regex"), f"{path}.path.regex"))


def _header(header: Json, path: str) -> ValueMatch:
    name = text(header, "name")
    if not _HEADER.fullmatch(name):
        raise invalid(f"{path}.name", f"{name!r} is not the name of a header")
    invert = get(header, "invert") is True
    given = table(header, "match")
    if not given:
        return ValueMatch(name, invert=invert)
    if len(given) != 1:
        raise invalid(f"{path}.match", "must have exactly one of exact, prefix, suffix, regex and range")
    ((how, value),) = given.items()
    return _value_match(name, how, value, invert=invert, path=f"{path}.match.{how}")


def _value_match(name: str, how: str, value: Json, *, invert: bool, path: str) -> ValueMatch:
    match how:
        case "exact" | "prefix" | "suffix":
            return ValueMatch(name, ValueKind(how), _filled(value, path), invert=invert)
        case "regex":
            return ValueMatch(name, ValueKind.REGEX, checked_regex(_filled(value, path), path), invert=invert)
        case "range":
            start, end = number(value, "start"), number(value, "end")
            if not -(2**63) <= start < end < 2**63:
                raise invalid(path, "must have an end greater than its start")
            return ValueMatch(name, ValueKind.RANGE, start=start, end=end, invert=invert)
        case _:
            raise Refused("NotSupportedYet", "not supported by this gateway yet", path=path)


def _query(parameter: Json, path: str) -> ValueMatch:
    name = _filled(get(parameter, "name"), f"{path}.name")
    if get(parameter, "match") is None:
        return ValueMatch(name)
    return ValueMatch(name, ValueKind.EXACT, _filled(get(parameter, "match", "exact"), f"{path}.match.exact"))


def _path_rewrite(matched: PathMatch, action: Json, path: str) -> ReplacePrefix | ReplacePath | None:
    rewrite = get(action, "rewrite")
    prefix, whole = get(rewrite, "prefix"), get(rewrite, "path")
    where = f"{path}.action.rewrite"
    if prefix is not None and whole is not None:
        raise invalid(where, "must not have both prefix and path")
    if whole is not None:
        return ReplacePath(_absolute(get(whole, "exact"), f"{where}.path.exact"))
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
    replacement = _absolute(value, f"{path}.value")
    if not replacement.endswith("/") or not matched.endswith("/"):
        raise invalid(f"{path}.value", "must end with a slash, and so must match.prefix")
    return ReplacePrefix(matched, replacement)


def _switch(action: Json, path: str, field: str, name: str) -> bool:
    """Whether a default rewrite is on; it is unless DISABLED."""
    value = get(action, "rewrite", field, name)
    if value not in (None, "ENABLED", "DISABLED"):
        raise invalid(f"{path}.action.rewrite.{field}.{name}", "must be ENABLED or DISABLED")
    return value != "DISABLED"


def _absolute(value: Json, path: str) -> str:
    filled = _filled(value, path)
    if not filled.startswith("/"):
        raise invalid(path, "must start with /")
    return filled


def _filled(value: Json, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 255:
        raise invalid(path, "must be a text of 1 to 255 characters")
    return plain(value, path)


_HTTP_ROUTE: Shape = {
    "match": {
        "prefix": None,
        "path": {"exact": None, "regex": None},
        "hostname": {"exact": None, "suffix": None},
        "method": None,
        "headers": None,
        "queryParameters": None,
    },
    "action": {
        "target": {"virtualService": {"virtualServiceRef": None}},
        "rewrite": {
            "hostname": {"defaultTargetHostname": None},
            "prefix": {"defaultPrefix": None, "value": None},
            "path": {"exact": None},
        },
    },
}
_GATEWAY_ROUTE: Shape = {
    "awsName": None,
    "meshRef": None,
    "virtualGatewayRef": None,
    "priority": None,
    "httpRoute": _HTTP_ROUTE,
    "http2Route": _HTTP_ROUTE,
}

"""Virtual hosts and routes as Envoy's ``config.route.v3`` has them."""

from __future__ import annotations

from greenroom.model.manifest import Json
from greenroom.model.regex import quoted
from greenroom.model.routes import (
    PathKind,
    PathMatch,
    ReplacePath,
    ReplacePrefix,
    Route,
    ValueKind,
    ValueMatch,
    VirtualHost,
)

RETRY_POLICY: dict[str, Json] = {
    # App Mesh's default for every route (user guide, envoy-defaults.md).
    "retry_on": "reset,connect-failure,refused-stream,unavailable,retriable-status-codes",
    "retriable_status_codes": [503],
    "num_retries": 2,
    # Not the same endpoint again: during a switch it may be the one that just went away.
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 3,
}


def virtual_host(host: VirtualHost) -> dict[str, Json]:
    return {
        "name": host.domain,
        "domains": [host.domain],
        "routes": [_route(route) for route in host.routes],
        "retry_policy": RETRY_POLICY,
    }


def _route(route: Route) -> dict[str, Json]:
    match: dict[str, Json] = _path(route.match.path)
    headers = [_header(header) for header in route.match.headers]
    if route.match.method:
        headers.insert(0, {"name": ":method", "string_match": {"exact": route.match.method}})
    if headers:
        match["headers"] = headers
    if route.match.query:
        match["query_parameters"] = [_query(parameter) for parameter in route.match.query]
    return {"name": route.name, "match": match, "route": _action(route)}


def _path(path: PathMatch) -> dict[str, Json]:
    match path.kind:
        case PathKind.EXACT:
            return {"path": path.value}
        case PathKind.REGEX:
            return {"safe_regex": {"regex": path.value}}
        case PathKind.PREFIX:
            return {"prefix": path.value}


def _header(header: ValueMatch) -> dict[str, Json]:
    matcher: dict[str, Json] = {"name": header.name}
    if header.kind is ValueKind.PRESENT:
        matcher["present_match"] = True
    elif header.kind is ValueKind.RANGE:
        matcher["range_match"] = {"start": str(header.start), "end": str(header.end)}
    else:
        matcher["string_match"] = _string(header)
    if header.invert:
        matcher["invert_match"] = True
    return matcher


def _query(parameter: ValueMatch) -> dict[str, Json]:
    if parameter.kind is ValueKind.PRESENT:
        return {"name": parameter.name, "present_match": True}
    return {"name": parameter.name, "string_match": _string(parameter)}


def _string(match: ValueMatch) -> dict[str, Json]:
    if match.kind is ValueKind.REGEX:
        return {"safe_regex": {"regex": match.value}}
    return {match.kind.value: match.value}


def _action(route: Route) -> dict[str, Json]:
    action: dict[str, Json] = {
        "cluster": route.cluster,
        "timeout": f"{route.timeout:g}s",
        "idle_timeout": f"{route.idle:g}s",
    }
    if route.host:
        action |= {"host_rewrite_literal": route.host, "append_x_forwarded_host": True}
    if route.path is not None:
        action["regex_rewrite"] = _rewrite(route.path)
    return action


def _rewrite(rewrite: ReplacePrefix | ReplacePath) -> dict[str, Json]:
    """Always a regular expression: ``prefix_rewrite`` turns ``/chapter/page`` without ``/chapter`` into ``//page``."""
    if isinstance(rewrite, ReplacePath):
        return _substitution("^.*$", rewrite.value)
    return _substitution(f"^{quoted(rewrite.prefix.rstrip('/'))}/?", rewrite.value)


def _substitution(pattern: str, value: str) -> dict[str, Json]:
    return {"pattern": {"regex": pattern}, "substitution": value.replace("\\", "\\\\")}

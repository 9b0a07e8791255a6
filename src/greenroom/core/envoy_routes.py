"""Virtual hosts and routes as Envoy's ``config.route.v3`` has them."""

from __future__ import annotations

from greenroom.model.manifest import Json
from greenroom.model.regex import quoted
from greenroom.model.routes import (
    DEFAULT_RETRY,
    UNRESOLVED,
    Answer,
    Forward,
    HeaderChanges,
    Match,
    PathKind,
    PathMatch,
    Redirect,
    ReplacePath,
    ReplacePrefix,
    Retry,
    Route,
    ValueKind,
    ValueMatch,
    VirtualHost,
    WeightedCluster,
)

_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def virtual_host(host: VirtualHost) -> dict[str, Json]:
    return {
        "name": host.domain,
        "domains": [host.domain],
        "routes": [_route(route) for route in host.routes],
        "retry_policy": _retry(DEFAULT_RETRY),
    }


def _route(route: Route) -> dict[str, Json]:
    config: dict[str, Json] = {
        "name": route.name,
        "match": _match(route.match),
        **_headers("request", route.request_headers),
        **_headers("response", route.response_headers),
    }
    match route.action:
        case Answer(status):
            return config | {"direct_response": {"status": status}}
        case Redirect():
            return config | {"redirect": _redirect(route.action)}
        case Forward():
            return config | {"route": _forward(route.action)}


def _headers(whose: str, changes: HeaderChanges) -> dict[str, Json]:
    config: dict[str, Json] = {}
    added = [_added(*each, "OVERWRITE_IF_EXISTS_OR_ADD") for each in changes.replaced]
    added += [_added(*each, "APPEND_IF_EXISTS_OR_ADD") for each in changes.added]
    if added:
        config[f"{whose}_headers_to_add"] = added
    if changes.removed:
        config[f"{whose}_headers_to_remove"] = list(changes.removed)
    return config


def _added(name: str, value: str, action: str) -> Json:
    """A percent sign begins one of Envoy's own expressions."""
    return {"header": {"key": name, "value": value.replace("%", "%%")}, "append_action": action}


def _redirect(action: Redirect) -> dict[str, Json]:
    config: dict[str, Json] = {"response_code": _REDIRECTS[action.status]}
    if action.scheme:
        config["scheme_redirect"] = action.scheme
    if action.host:
        config["host_redirect"] = action.host
    if action.port:
        config["port_redirect"] = action.port
    if action.path is not None:
        config["regex_rewrite"] = _rewrite(action.path)
    return config


def _match(asked: Match) -> dict[str, Json]:
    match: dict[str, Json] = _path(asked.path)
    headers = [_header(header) for header in asked.headers]
    if asked.method:
        headers.insert(0, {"name": ":method", "string_match": {"exact": asked.method}})
    if headers:
        match["headers"] = headers
    if asked.query:
        match["query_parameters"] = [_query(parameter) for parameter in asked.query]
    if asked.grpc:
        match["grpc"] = {}
    return match


def _path(path: PathMatch) -> dict[str, Json]:
    match path.kind:
        case PathKind.EXACT:
            return {"path": path.value}
        case PathKind.REGEX:
            return {"safe_regex": {"regex": path.value}}
        case PathKind.PREFIX:
            return {"path_separated_prefix" if path.by_element else "prefix": path.value}


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


def _forward(action: Forward) -> dict[str, Json]:
    config: dict[str, Json] = {
        **_clusters(action.clusters),
        "timeout": _duration(action.timeout),
        "idle_timeout": _duration(action.idle),
    }
    if action.host:
        config |= {"host_rewrite_literal": action.host, "append_x_forwarded_host": True}
    if action.path is not None:
        config["regex_rewrite"] = _rewrite(action.path)
    if action.retry != DEFAULT_RETRY:  # which is the virtual host's
        config["retry_policy"] = _retry(action.retry)
    return config


def _duration(seconds: float) -> str:
    """To the millisecond, and without an exponent, which protobuf does not read."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _clusters(clusters: tuple[WeightedCluster, ...]) -> dict[str, Json]:
    if len(clusters) == 1:
        return {"cluster": clusters[0].name}
    shares: list[Json] = [{"name": each.name, "weight": each.weight} for each in clusters]
    config: dict[str, Json] = {"weighted_clusters": {"clusters": shares}}
    if any(each.name == UNRESOLVED for each in clusters):
        config["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    return config


def _retry(retry: Retry) -> dict[str, Json]:
    config: dict[str, Json] = {
        "retry_on": ",".join(retry.on),
        "num_retries": retry.times,
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
    if retry.statuses:
        config["retriable_status_codes"] = list(retry.statuses)
    if retry.each:
        config["per_try_timeout"] = _duration(retry.each)
    return config


def _rewrite(rewrite: ReplacePrefix | ReplacePath) -> dict[str, Json]:
    """Always a regular expression: ``prefix_rewrite`` turns ``/chapter/page`` without ``/chapter`` into ``//page``."""
    if isinstance(rewrite, ReplacePath):
        return _substitution("^.*$", rewrite.value)
    slash = "/?" if rewrite.value.endswith("/") else ""
    return _substitution(f"^{quoted(rewrite.prefix.removesuffix('/'))}{slash}", rewrite.value)


def _substitution(pattern: str, value: str) -> dict[str, Json]:
    return {"pattern": {"regex": pattern}, "substitution": value.replace("\\", "\\\\")}

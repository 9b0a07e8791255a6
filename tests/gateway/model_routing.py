"""App Mesh's routing decision, as its documents tell it: two hops, one after the other, for one request.

Objects are right in themselves here, and there is one gateway. Nothing of this is shared with what it is a model of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Spec = Mapping[str, Any]
Objects = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """``host`` is in lower case and without a port, ``path`` without the query."""

    port: int
    host: str
    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """``nodes`` are those that may answer, with what they see of the request."""

    status: int
    nodes: frozenset[str] = frozenset()
    path: str = ""
    host: str = ""


NOT_FOUND = Decision(404)


def decided(objects: Objects, request: Request) -> Decision:
    of_kind: dict[str, dict[str, Spec]] = {}
    for each in objects:
        of_kind.setdefault(each["kind"], {})[each["metadata"]["name"]] = each.get("spec", {})
    for spec in _candidates(of_kind.get("GatewayRoute", {}), request):
        route = spec["httpRoute"]
        if _matches(route["match"], request, request.path):
            return _second_hop(of_kind, route, request)
    return NOT_FOUND


def _second_hop(of_kind: Mapping[str, Mapping[str, Spec]], route: Spec, request: Request) -> Decision:
    service = route["action"]["target"]["virtualService"]["virtualServiceRef"]["name"]
    provider = of_kind["VirtualService"][service]["provider"]
    rewrite = route["action"].get("rewrite") or {}
    keeps_host = rewrite.get("hostname", {}).get("defaultTargetHostname") == "DISABLED"
    path, host = _rewritten(route["match"], rewrite, request.path), request.host if keeps_host else f"{service}.pr-env"
    if "virtualNode" in provider:
        return Decision(200, frozenset({provider["virtualNode"]["virtualNodeRef"]["name"]}), path, host)
    router = of_kind["VirtualRouter"][provider["virtualRouter"]["virtualRouterRef"]["name"]]
    for _, spec in sorted(enumerate(router["routes"]), key=lambda each: (*_order(each[1]), each[0])):
        if _matches(spec["httpRoute"]["match"], request, path):
            targets = spec["httpRoute"]["action"]["weightedTargets"]
            nodes = frozenset(each["virtualNodeRef"]["name"] for each in targets if each["weight"])
            return Decision(200, nodes, path, host) if nodes else Decision(503)
    return NOT_FOUND


def _candidates(routes: Mapping[str, Spec], request: Request) -> Iterator[Spec]:
    """In the order in which they are tried: the most exact host first, whatever the priority of the others."""

    def order(item: tuple[str, Spec]) -> tuple[Any, ...]:
        name, spec = item
        host = spec["httpRoute"]["match"].get("hostname", {})
        return "exact" not in host, -len(host.get("suffix", "")), *_order(spec), name

    for _, spec in sorted(routes.items(), key=order):
        match = spec["httpRoute"]["match"]
        if _is_host(match.get("hostname"), request.host) and match.get("port", request.port) == request.port:
            yield spec


def _is_host(hostname: Spec | None, host: str) -> bool:
    if hostname is None:
        return True
    if "exact" in hostname:
        return bool(hostname["exact"] == host)
    suffix = hostname["suffix"]
    return host.endswith(suffix) and (host != suffix or not suffix.startswith("."))


def _order(spec: Spec) -> tuple[int, ...]:
    """The lowest priority, then the more exact path, then more conditions."""
    match = spec["httpRoute"]["match"]
    exact, regex = match.get("path", {}).get("exact"), match.get("path", {}).get("regex")
    kind = 0 if exact else 1 if regex else 2
    conditions = len(match.get("headers", ())) + len(match.get("queryParameters", ()))
    conditions += ("method" in match) + ("scheme" in match)
    value = exact or regex or match.get("prefix", "/")
    return spec.get("priority", 1000), kind, -len(value), -conditions, "port" not in match


def _matches(match: Spec, request: Request, path: str) -> bool:
    return (
        _is_path(match, path)
        and match.get("method", request.method) == request.method
        and match.get("scheme", "http") == "http"
        and all(_is_header(each, request.headers.get(each["name"])) for each in match.get("headers", ()))
        and all(_is_parameter(each, request.query) for each in match.get("queryParameters", ()))
    )


def _is_path(match: Spec, path: str) -> bool:
    asked = match.get("path", {})
    if "exact" in asked:
        return bool(asked["exact"] == path)
    if "regex" in asked:
        return re.fullmatch(asked["regex"], path) is not None
    return path.startswith(match.get("prefix", "/"))


def _is_header(header: Spec, value: str | None) -> bool:
    asked, invert = header.get("match"), header.get("invert", False)
    if asked is None:
        return (value is not None) is not invert
    if value is None:
        return False
    ((how, wanted),) = asked.items()
    match how:
        case "exact":
            found = value == wanted
        case "prefix":
            found = value.startswith(wanted)
        case "suffix":
            found = value.endswith(wanted)
        case "regex":
            found = re.fullmatch(wanted, value) is not None
        case _:
            found = value.isdecimal() and wanted["start"] <= int(value) < wanted["end"]
    return bool(found) is not invert


def _is_parameter(parameter: Spec, query: Mapping[str, str]) -> bool:
    value = query.get(parameter["name"])
    return value is not None and parameter.get("match", {}).get("exact", value) == value


def _rewritten(match: Spec, rewrite: Spec, path: str) -> str:
    if "path" in rewrite:
        return str(rewrite["path"]["exact"])
    if "path" in match or rewrite.get("prefix", {}).get("defaultPrefix") == "DISABLED":
        return path
    prefix, new = match.get("prefix", "/"), rewrite.get("prefix", {}).get("value", "/")
    rest = path.removeprefix(prefix.removesuffix("/"))
    return path if prefix == new == "/" else str(new) + rest.removeprefix("/")

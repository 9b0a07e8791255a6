"""Gateway API's routing decision, as its documents tell it, for one request to one Gateway.

Objects are right in themselves here. Nothing of this is shared with what it is a model of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.gateway.model_routing import NOT_FOUND, Decision, Request

Spec = Mapping[str, Any]


def decided(listeners: Iterable[Spec], routes: Iterable[Mapping[str, Any]], request: Request) -> Decision:
    having = [each for each in listeners if each["port"] == request.port and _has(each.get("hostname"), request.host)]
    if not having:
        return NOT_FOUND
    listener = max(having, key=lambda each: _narrowness(each.get("hostname")))
    found = sorted(_candidates(listener, routes, request), key=lambda each: each[0])
    return _answer(*found[0][1:], request) if found else NOT_FOUND


def _candidates(
    listener: Spec, routes: Iterable[Mapping[str, Any]], request: Request
) -> Iterator[tuple[tuple[Any, ...], Spec, Spec]]:
    for route in routes:
        spec, metadata = route["spec"], route["metadata"]
        hosts = [each for each in spec.get("hostnames", [None]) if _has(each, request.host)]
        sections = [each.get("sectionName", listener["name"]) for each in spec["parentRefs"]]
        if not hosts or listener["name"] not in sections:
            continue
        # What a wider name shares with the listener is as narrow as the listener.
        narrowness = max(max(_narrowness(each), _narrowness(listener.get("hostname"))) for each in hosts)
        for index, rule in enumerate(spec["rules"]):
            for match in rule["matches"] or [{}]:
                if _matches(match, request):
                    host = tuple(-each for each in narrowness)
                    yield (*host, *_order(match), metadata["creationTimestamp"], metadata["name"], index), rule, match


def _answer(rule: Spec, match: Spec, request: Request) -> Decision:
    nodes = frozenset(each["name"] for each in rule["backendRefs"] if each.get("weight", 1))
    rewrite: Spec = next((each["urlRewrite"] for each in rule.get("filters", ())), {})
    path, changed = request.path, rewrite.get("path", {})
    if "replaceFullPath" in changed:
        path = changed["replaceFullPath"]
    elif "replacePrefixMatch" in changed:
        rest = path.removeprefix(match.get("path", {}).get("value", "/").rstrip("/"))
        path = changed["replacePrefixMatch"].rstrip("/") + rest or "/"
    return Decision(200, nodes, path, rewrite.get("hostname", request.host)) if nodes else Decision(500)


def _has(hostname: str | None, host: str) -> bool:
    if hostname is None or hostname == host:
        return True
    return hostname.startswith("*.") and host.endswith(hostname[1:])


def _narrowness(hostname: str | None) -> tuple[int, int]:
    """Characters of a name without a wildcard, and of any."""
    return (0, 0) if hostname is None else (0 if hostname.startswith("*") else len(hostname), len(hostname))


def _order(match: Spec) -> tuple[int, ...]:
    kind, value = _path_of(match)
    rank = ["Exact", "RegularExpression", "PathPrefix"].index(kind)
    length = len(value.rstrip("/") or "/") if kind == "PathPrefix" else len(value)
    return rank, -length, "method" not in match, -len(match.get("headers", ())), -len(match.get("queryParams", ()))


def _path_of(match: Spec) -> tuple[str, str]:
    path = match.get("path", {})
    return path.get("type", "PathPrefix"), path.get("value", "/")


def _matches(match: Spec, request: Request) -> bool:
    return (
        _is_path(*_path_of(match), request.path)
        and match.get("method", request.method) == request.method
        and all(_is_value(each, request.headers) for each in match.get("headers", ()))
        and all(_is_value(each, request.query) for each in match.get("queryParams", ()))
    )


def _is_path(kind: str, value: str, path: str) -> bool:
    if kind == "Exact":
        return path == value
    if kind == "RegularExpression":
        return re.fullmatch(value, path) is not None
    elements = [each for each in value.split("/") if each]
    return path.split("/")[1 : len(elements) + 1] == elements


def _is_value(asked: Spec, given: Mapping[str, str]) -> bool:
    value = given.get(asked["name"])
    if value is None:
        return False
    return re.fullmatch(asked["value"], value) is not None if "type" in asked else value == asked["value"]

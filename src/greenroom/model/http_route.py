"""Gateway API's HTTPRoute: which requests, what becomes of them on the way, and to which Services.

Fields and limits are those of the specification (``apis/v1/httproute_types.go`` of kubernetes-sigs/gateway-api). What
is not understood refuses the whole route, by name: a filter that is left out could be the one that protects something.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from greenroom.model.gateway import GATEWAY, GROUP, host_name
from greenroom.model.http_filters import HEADER, Filters, parse_filters
from greenroom.model.manifest import SERVICE, Json, Kind, Manifest, Ref, get, items, number, ref_of, text
from greenroom.model.mesh import Refused, invalid, plain
from greenroom.model.mesh_fields import whole
from greenroom.model.regex import checked_regex
from greenroom.model.route_match import METHODS
from greenroom.model.routes import EVERY_PATH, Match, PathKind, PathMatch, ValueKind, ValueMatch

PATH_LIMIT = 1024
CONDITION_LIMIT = 16
"""Headers, and query parameters, in one match."""
_DURATION = re.compile(r"(?:\d{1,5}(?:h|ms|m|s)){1,4}")
_PART = re.compile(r"(\d+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ParentRef:
    """``section`` is the name of a listener, ``""`` for any; ``port`` that of one, 0 for any.

    ``given`` is as written.
    """

    ref: Ref
    section: str
    port: int
    given: Json


@dataclass(frozen=True, slots=True)
class BackendRef:
    ref: Ref
    port: int
    weight: int
    path: str
    """Where it stands in the route."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``request`` (whole) and ``attempt`` are seconds, 0 for no limit, None where the route says nothing."""

    matches: tuple[Match, ...]
    filters: Filters
    backends: tuple[BackendRef, ...]
    request: float | None
    attempt: float | None


@dataclass(frozen=True, slots=True)
class HttpRoute:
    ref: Ref
    created: str
    """RFC 3339; of two rules for the same requests, that of the older route is asked first."""
    parents: tuple[ParentRef, ...]
    hosts: tuple[str, ...] = ()
    """None means every host of the listener."""
    rules: tuple[Rule, ...] = ()
    trouble: Refused | None = None
    """Why nothing of it is served."""


def parse_http_route(manifest: Manifest) -> HttpRoute:
    """Never raises: a route that is wrong has parents, too, for each of which its status tells what is wrong."""
    ref = ref_of(manifest)
    created = text(manifest, "metadata", "creationTimestamp")
    parents = tuple(_parent(each, ref.namespace) for each in items(manifest, "spec", "parentRefs"))
    try:
        hosts = _each(manifest, "spec", "hostnames", parse=host_name)
        rules = _each(manifest, "spec", "rules", parse=lambda rule, path: _rule(rule, path, ref.namespace))
    except Refused as refusal:
        reason = refusal.reason if refusal.reason == "IncompatibleFilters" else "UnsupportedValue"
        return HttpRoute(ref, created, parents, trouble=Refused(reason, str(refusal)))
    return HttpRoute(ref, created, parents, hosts, rules)


def _each(value: Json, *path: str, parse: Callable[[Json, str], T]) -> tuple[T, ...]:
    where = ".".join(path)
    return tuple(parse(each, f"{where}[{index}]") for index, each in enumerate(items(value, *path)))


def _parent(parent: Json, namespace: str) -> ParentRef:
    group = get(parent, "group")
    kind = Kind(group if isinstance(group, str) else GROUP, "v1", text(parent, "kind") or GATEWAY.name)
    ref = Ref(kind, text(parent, "namespace") or namespace, text(parent, "name"))
    return ParentRef(ref, text(parent, "sectionName"), number(parent, "port"), parent)


def _rule(rule: Json, path: str, namespace: str) -> Rule:
    for field in ("retry", "sessionPersistence"):
        if get(rule, field) is not None:
            raise invalid(f"{path}.{field}", "not supported by this gateway yet")
    matches = items(rule, "matches")
    parsed = tuple(_match(each, f"{path}.matches[{index}]") for index, each in enumerate(matches)) or (Match(),)
    backends = enumerate(items(rule, "backendRefs"))
    request, attempt = (_seconds(rule, path, field) for field in ("request", "backendRequest"))
    if request and attempt is not None and not 0 < attempt <= request:
        raise invalid(f"{path}.timeouts.backendRequest", "must not be longer than the whole request may take")
    return Rule(
        matches=parsed,
        filters=parse_filters(rule, path, parsed),
        backends=tuple(_backend(each, f"{path}.backendRefs[{index}]", namespace) for index, each in backends),
        request=request,
        attempt=attempt,
    )


def _match(match: Json, path: str) -> Match:
    method = text(match, "method")
    if method and method not in METHODS:
        raise invalid(f"{path}.method", f"must be one of {', '.join(sorted(METHODS))}")
    return Match(
        path=_path(get(match, "path"), f"{path}.path"),
        method=method,
        headers=_values(match, "headers", path),
        query=_values(match, "queryParams", path),
    )


def _path(given: Json, path: str) -> PathMatch:
    if given is None:
        return EVERY_PATH
    value = text(given, "value") or "/"
    where = f"{path}.value"
    kind = text(given, "type") or "PathPrefix"
    if len(value) > PATH_LIMIT:
        raise invalid(where, f"must have at most {PATH_LIMIT} characters")
    if kind == "RegularExpression":
        return PathMatch(PathKind.REGEX, checked_regex(value, where))
    if kind not in {"Exact", "PathPrefix"}:
        raise invalid(f"{path}.type", "must be Exact, PathPrefix or RegularExpression")
    if not value.startswith("/") or "?" in plain(value, where) or "#" in value:
        raise invalid(where, "must start with /, and be a path only: match a query with queryParams")
    if kind == "Exact":
        return PathMatch(PathKind.EXACT, value)
    prefix = value.rstrip("/")
    return PathMatch(PathKind.PREFIX, prefix, by_element=True) if prefix else EVERY_PATH


def _values(match: Json, field: str, path: str) -> tuple[ValueMatch, ...]:
    """Of several with the same name the first counts; names of headers are the same in upper and lower case."""
    found: dict[str, ValueMatch] = {}
    given = items(match, field)
    if len(given) > CONDITION_LIMIT:
        raise invalid(f"{path}.{field}", f"must be at most {CONDITION_LIMIT}")
    for index, each in enumerate(given):
        value = _value(each, f"{path}.{field}[{index}]", is_header=field == "headers")
        found.setdefault(value.name, value)
    return tuple(found.values())


def _value(given: Json, path: str, *, is_header: bool) -> ValueMatch:
    name, value = plain(text(given, "name"), f"{path}.name"), plain(text(given, "value"), f"{path}.value")
    if not name or (is_header and not HEADER.fullmatch(name)):
        raise invalid(f"{path}.name", f"{name!r} is no name that can be asked for")
    if not value:
        raise invalid(f"{path}.value", "is missing")
    name = name.lower() if is_header else name
    match text(given, "type") or "Exact":
        case "Exact":
            return ValueMatch(name, ValueKind.EXACT, value)
        case "RegularExpression":
            return ValueMatch(name, ValueKind.REGEX, checked_regex(value, f"{path}.value"))
        case _:
            raise invalid(f"{path}.type", "must be Exact or RegularExpression")


def _backend(backend: Json, path: str, namespace: str) -> BackendRef:
    if items(backend, "filters"):
        raise invalid(f"{path}.filters", "not supported by this gateway yet: put them into the rule's filters")
    kind = Kind(text(backend, "group"), "v1", text(backend, "kind") or SERVICE.name)
    weight = get(backend, "weight")
    return BackendRef(
        ref=Ref(kind, text(backend, "namespace") or namespace, text(backend, "name")),
        port=number(backend, "port"),
        weight=1 if weight is None else whole(weight, f"{path}.weight", 0, 1_000_000),
        path=path,
    )


def _seconds(rule: Json, path: str, field: str) -> float | None:
    """A duration as the specification writes it: ``1h30m``, ``500ms``, ``0s`` for no limit."""
    value = get(rule, "timeouts", field)
    if value is None:
        return None
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise invalid(f"{path}.timeouts.{field}", "must be a duration, such as 10s, 500ms or 1h30m")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(value))

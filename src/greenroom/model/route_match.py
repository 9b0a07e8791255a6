"""What a request must be like, in the words that App Mesh's GatewayRoute and VirtualRouter share.

The rules are those of the dead controller's validating webhooks (``webhooks/appmesh/gatewayroute_validator.go`` and
``virtualrouter_validator.go``) and of the App Mesh API.
"""

from __future__ import annotations

import re

from greenroom.model.manifest import Json, get, items, number, table, text
from greenroom.model.mesh import Shape, invalid, plain
from greenroom.model.mesh_fields import whole
from greenroom.model.regex import checked_regex
from greenroom.model.routes import EVERY_PATH, Match, PathKind, PathMatch, ValueKind, ValueMatch

LOWEST_PRIORITY = 1000
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_LONGEST = 255
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,50}")
_GRPC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")

VALUE_MATCHES: Shape = {"[*]": {"name": None, "invert": None, "match": None}}
QUERY_MATCHES: Shape = {"[*]": {"name": None, "match": {"exact": None}}}


def http_match(match: Json, path: str) -> Match:
    """``match`` of an httpRoute or http2Route, which is found at ``path``. Raises Refused."""
    method = text(match, "method")
    if method and method not in METHODS:
        raise invalid(f"{path}.method", f"must be one of {', '.join(sorted(METHODS))}")
    query = enumerate(items(match, "queryParameters"))
    return Match(
        path=_path_match(match, path),
        method=method,
        headers=_values(match, "headers", path),
        query=tuple(_query(parameter, f"{path}.queryParameters[{index}]") for index, parameter in query),
    )


def grpc_match(match: Json, path: str) -> Match:
    """``match`` of a grpcRoute: the path of a call is ``/<service>/<method>``. Raises Refused."""
    service = _grpc_name(match, "serviceName", path)
    method = _grpc_name(match, "methodName", path)
    if method and not service:
        raise invalid(f"{path}.methodName", "needs the service that has the method: serviceName")
    called = PathMatch(PathKind.PREFIX, f"/{service}/") if service else EVERY_PATH
    if method:
        called = PathMatch(PathKind.EXACT, f"/{service}/{method}")
    return Match(path=called, headers=_values(match, "metadata", path), grpc=True)


def priority_of(route: Json, path: str) -> int:
    """``priority`` of what is found at ``path``: 0 is tried first, the default last. Raises Refused."""
    priority = get(route, "priority")
    return LOWEST_PRIORITY if priority is None else whole(priority, f"{path}.priority", 0, LOWEST_PRIORITY)


def port_of(value: Json, path: str) -> int:
    """``port`` of what is found at ``path``, 0 when there is none. Raises Refused."""
    port = get(value, "port")
    return 0 if port is None else whole(port, f"{path}.port", 1, 65535)


def only_type(spec: Json, types: tuple[str, ...], path: str) -> str:
    """The one of ``types`` that ``spec`` has. Raises Refused."""
    found = [each for each in types if get(spec, each) is not None]
    if len(found) != 1:
        raise invalid(path, f"must have exactly one of {listed(types)}")
    return found[0]


def listed(words: tuple[str, ...]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def absolute(value: Json, path: str) -> str:
    """A path that begins with a slash, without a query. Raises Refused."""
    filled = _filled(value, path)
    if not filled.startswith("/"):
        raise invalid(path, "must start with /")
    if "?" in filled or "#" in filled:
        raise invalid(path, "is a path only: match a query with queryParameters")
    return filled


def _path_match(match: Json, path: str) -> PathMatch:
    prefix, paths = get(match, "prefix"), get(match, "path")
    if prefix is not None and paths is not None:
        raise invalid(path, "must not have both prefix and path")
    if prefix is not None:
        return PathMatch(PathKind.PREFIX, absolute(prefix, f"{path}.prefix"))
    if paths is None:
        return EVERY_PATH
    exact, regex = get(paths, "exact"), get(paths, "regex")
    if (exact is None) == (regex is None):
        raise invalid(f"{path}.path", "must have exactly one of exact and regex")
    if exact is not None:
        return PathMatch(PathKind.EXACT, absolute(exact, f"{path}.path.exact"))
    return PathMatch(PathKind.REGEX, checked_regex(_filled(regex, f"{path}.path.regex"), f"{path}.path.regex"))


def _values(match: Json, field: str, path: str) -> tuple[ValueMatch, ...]:
    """Headers, or gRPC's metadata, which are headers."""
    return tuple(_header(header, f"{path}.{field}[{index}]") for index, header in enumerate(items(match, field)))


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
            raise invalid(path, "is no way to match: use exact, prefix, suffix, regex or range")


def _query(parameter: Json, path: str) -> ValueMatch:
    name = _filled(get(parameter, "name"), f"{path}.name")
    if get(parameter, "match") is None:
        return ValueMatch(name)
    return ValueMatch(name, ValueKind.EXACT, _filled(get(parameter, "match", "exact"), f"{path}.match.exact"))


def _grpc_name(match: Json, field: str, path: str) -> str:
    """A service with its package, or a method; ``""`` when there is none."""
    name = text(match, field)
    if get(match, field) is not None and not _GRPC_NAME.fullmatch(name):
        raise invalid(f"{path}.{field}", f"{name!r} is not a name of gRPC (letters, digits, dots and underscores)")
    return name


def _filled(value: Json, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST:
        raise invalid(path, f"must be a text of 1 to {_LONGEST} characters")
    return plain(value, path)

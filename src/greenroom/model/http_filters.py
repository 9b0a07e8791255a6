"""An HTTPRoute's filters: headers that are changed, a URL that is rewritten, a visitor who is sent elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from greenroom.model.gateway import host_name
from greenroom.model.manifest import Json, get, items, text
from greenroom.model.mesh import Refused, invalid, plain
from greenroom.model.mesh_fields import whole
from greenroom.model.routes import NO_CHANGES, HeaderChanges, Match, PathKind, Redirect, ReplacePath, ReplacePrefix

HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE_LIMIT = 4096
_STATUSES = (301, 302, 303, 307, 308)
Rewrite = ReplacePrefix | ReplacePath | None


@dataclass(frozen=True, slots=True)
class Filters:
    """``host`` replaces the Host header unless empty."""

    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    host: str = ""
    path: Rewrite = None
    redirect: Redirect | None = None


def parse_filters(rule: Json, path: str, matches: Sequence[Match]) -> Filters:
    """Those of ``rule``, for requests of ``matches``. Raises Refused."""
    given: dict[str, tuple[Json, str]] = {}
    for index, each in enumerate(items(rule, "filters")):
        where, kind = f"{path}.filters[{index}]", text(each, "type")
        if kind not in _FIELDS:
            raise invalid(f"{where}.type", f"{kind or 'nothing'} is not supported by this gateway: {_SUPPORTED}")
        if kind in given:
            raise invalid(f"{where}.type", f"{kind} is there twice: put both into one")
        given[kind] = get(each, _FIELDS[kind]), f"{where}.{_FIELDS[kind]}"
    if "URLRewrite" in given and "RequestRedirect" in given:
        raise Refused("IncompatibleFilters", "has both URLRewrite and RequestRedirect", path=f"{path}.filters")
    rewrite, where = given.get("URLRewrite", (None, ""))
    return Filters(
        request_headers=_headers(*given.get("RequestHeaderModifier", (None, ""))),
        response_headers=_headers(*given.get("ResponseHeaderModifier", (None, ""))),
        host=_host(rewrite, where),
        path=_path(rewrite, where, matches),
        redirect=_redirect(*given["RequestRedirect"], matches) if "RequestRedirect" in given else None,
    )


def _headers(given: Json, path: str) -> HeaderChanges:
    removed = tuple(_name(each, f"{path}.remove[{index}]") for index, each in enumerate(items(given, "remove")))
    return HeaderChanges(_pairs(given, "set", path), _pairs(given, "add", path), removed)


def _pairs(given: Json, field: str, path: str) -> tuple[tuple[str, str], ...]:
    """Of several with the same name the first counts."""
    found: dict[str, str] = {}
    for index, each in enumerate(items(given, field)):
        where = f"{path}.{field}[{index}]"
        value = plain(text(each, "value"), f"{where}.value")
        if not 1 <= len(value) <= _VALUE_LIMIT:
            raise invalid(f"{where}.value", f"must be a text of 1 to {_VALUE_LIMIT} characters")
        found.setdefault(_name(get(each, "name"), f"{where}.name"), value)
    return tuple(found.items())


def _name(value: Json, path: str) -> str:
    """In lower case, in which names of headers are the same."""
    name = value.lower() if isinstance(value, str) else ""
    if not HEADER.fullmatch(name):
        raise invalid(path, f"{value!r} is not the name of a header")
    if name == "host":
        raise invalid(path, "is not changed this way: use URLRewrite with a hostname")
    return name


def _host(given: Json, path: str) -> str:
    value = get(given, "hostname")
    if value is None:
        return ""
    name = host_name(value, f"{path}.hostname")
    if name.startswith("*"):
        raise invalid(f"{path}.hostname", "must be one host")
    return name


def _path(given: Json, path: str, matches: Sequence[Match]) -> Rewrite:
    modifier = get(given, "path")
    if modifier is None:
        return None
    where = f"{path}.path"
    match text(modifier, "type"):
        case "ReplaceFullPath":
            return ReplacePath(_absolute(text(modifier, "replaceFullPath"), f"{where}.replaceFullPath"))
        case "ReplacePrefixMatch":
            value = _absolute(text(modifier, "replacePrefixMatch"), f"{where}.replacePrefixMatch")
            return ReplacePrefix(_prefix(matches, where), value.rstrip("/") or "/")
        case _:
            raise invalid(f"{where}.type", "must be ReplaceFullPath or ReplacePrefixMatch")


def _prefix(matches: Sequence[Match], path: str) -> str:
    """The only one that is there to be replaced: a rule that rewrites it has one match (CEL of the specification)."""
    if len(matches) != 1 or matches[0].path.kind is not PathKind.PREFIX:
        raise invalid(path, "ReplacePrefixMatch needs exactly one match, of the type PathPrefix")
    return matches[0].path.value


def _absolute(value: str, path: str) -> str:
    """A path, without a query; ``/`` for none."""
    absolute = plain(value or "/", path)
    if not absolute.startswith("/") or "?" in absolute or "#" in absolute or not absolute.isascii():
        raise invalid(path, "must start with /, be ASCII, and be a path only")
    return absolute


def _redirect(given: Json, path: str, matches: Sequence[Match]) -> Redirect:
    scheme, status, port = text(given, "scheme"), get(given, "statusCode"), get(given, "port")
    if scheme not in {"", "http", "https"}:
        raise invalid(f"{path}.scheme", "must be http or https")
    if status is not None and status not in _STATUSES:
        raise invalid(f"{path}.statusCode", f"must be one of {', '.join(map(str, _STATUSES))}")
    return Redirect(
        status=whole(status or _STATUSES[1], f"{path}.statusCode", _STATUSES[0], _STATUSES[-1]),
        scheme=scheme,
        host=_host(given, path),
        port=0 if port is None else whole(port, f"{path}.port", 1, 65535),
        path=_path(given, path, matches),
    )


_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
}
_SUPPORTED = f"it knows {', '.join(_FIELDS)}"

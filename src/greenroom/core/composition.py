"""A GatewayRoute and a route of the VirtualRouter behind it -> matches that Envoy can ask of one request.

App Mesh had two hops: the first matched and rewrote the request, the second matched what it saw then. Here one route
does both, so the second question is turned around: which paths, once rewritten, are those that the router asks for?
Envoy asks one thing of the path; a second is asked of the header ``:path``, which has the query, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from greenroom.core.path_regex import after, before_query, matches_nothing_more
from greenroom.model.mesh import Refused
from greenroom.model.regex import quoted
from greenroom.model.regex_syntax import plain_form
from greenroom.model.routes import (
    EVERY_PATH,
    Match,
    PathKind,
    PathMatch,
    ReplacePath,
    ReplacePrefix,
    ValueKind,
    ValueMatch,
)

Rewrite = ReplacePrefix | ReplacePath | None
_EVERYTHING = Match()
_REMEMBERED = 4096
_QUERY = r"(?:\?.*)?"


def composed(gateway: Match, rewrite: Rewrite, router: Match) -> tuple[Match, ...]:
    """Matches of which a request fulfils one if ``gateway`` matches it and ``router`` what ``rewrite`` makes of it.

    None means that no request does. Raises Refused where no match of Envoy says the same.
    """
    return (gateway,) if router == _EVERYTHING else _composed(gateway, rewrite, router)


@lru_cache(_REMEMBERED)
def _composed(gateway: Match, rewrite: Rewrite, router: Match) -> tuple[Match, ...]:
    if gateway.method and router.method and gateway.method != router.method:
        return ()
    both = replace(
        gateway,
        method=gateway.method or router.method,
        headers=tuple(dict.fromkeys((*gateway.headers, *router.headers))),
        query=tuple(dict.fromkeys((*gateway.query, *router.query))),
        grpc=gateway.grpc or router.grpc,
    )
    return tuple(
        replace(both, path=path, headers=(*both.headers, *more))
        for path, *more in _paths(gateway.path, rewrite, router.path)
    )


_Paths = Iterator[tuple[PathMatch, *tuple[ValueMatch, ...]]]
"""Alternatives: the path, and what else is asked of it."""


def _paths(gateway: PathMatch, rewrite: Rewrite, router: PathMatch) -> _Paths:
    if router == EVERY_PATH:  # every path begins with a slash, rewritten or not
        yield (gateway,)
    elif isinstance(rewrite, ReplacePath):
        if _matches(router, rewrite.value):
            yield (gateway,)
    elif isinstance(rewrite, ReplacePrefix):
        yield from _before_rewrite(rewrite, router)
    else:
        yield from _both(gateway, router)


def _matches(router: PathMatch, path: str) -> bool:
    """Whether ``path``, to which each request is rewritten, is one that the router's route asks for."""
    match router.kind:
        case PathKind.PREFIX:
            return path.startswith(router.value)
        case PathKind.EXACT:
            return path == router.value
        case PathKind.REGEX:
            rest = after(router.value, path)
            whole = None if rest is None else matches_nothing_more(rest)
            if whole is None:
                raise _impossible(router, f"the path is always {path} there: ask for it with prefix or path.exact")
            return whole


def _before_rewrite(rewrite: ReplacePrefix, router: PathMatch) -> _Paths:
    """The paths that begin with the prefix and that the router's route asks for once it is replaced.

    ``/a`` -> ``/`` makes ``/x`` of both ``/a/x`` and ``/ax``; a prefix that ends in a slash leaves one way only.
    """
    prefix, new = rewrite.prefix, rewrite.value
    slash = prefix if prefix.endswith("/") else f"{prefix}/"
    if router.kind is PathKind.REGEX:
        yield from _regex_before_rewrite(prefix, slash, new, router)
    elif router.kind is PathKind.PREFIX and new.startswith(router.value):
        yield (PathMatch(PathKind.PREFIX, prefix),)
    elif router.value.startswith(new):
        rest = router.value.removeprefix(new)
        yield (PathMatch(router.kind, slash + rest),)
        if slash != prefix and not rest.startswith("/"):
            yield (PathMatch(router.kind, prefix + rest),)


def _regex_before_rewrite(prefix: str, slash: str, new: str, router: PathMatch) -> _Paths:
    rest = after(router.value, new)
    if rest is None:
        raise _impossible(router, f"begin it with {new}, to which the GatewayRoute rewrites the path")
    if not rest:
        return
    pattern = f"(?:{'|'.join(rest)})"
    yield (PathMatch(PathKind.REGEX, quoted(slash) + pattern),)
    if slash != prefix:
        without = ValueMatch(":path", ValueKind.PREFIX, slash, invert=True)
        yield PathMatch(PathKind.REGEX, quoted(prefix) + pattern), without


def _both(gateway: PathMatch, router: PathMatch) -> _Paths:
    """Both, asked of the same path."""
    if gateway in (EVERY_PATH, router):
        yield (router,)
    elif gateway.kind is PathKind.REGEX or router.kind is PathKind.REGEX:
        yield _with_regex(gateway, router)
    else:
        narrow, wide = sorted((gateway, router), key=lambda each: (each.kind.value, -len(each.value)))
        if wide.kind is PathKind.PREFIX and narrow.value.startswith(wide.value):
            yield (narrow,)


def _with_regex(gateway: PathMatch, router: PathMatch) -> tuple[PathMatch, ValueMatch]:
    """One is asked of the path; the other, which no query can deceive, of the header."""
    pairs = ((gateway, router), (router, gateway))
    for path, header in sorted(pairs, key=lambda pair: pair[1].kind is PathKind.REGEX):
        match header.kind:
            case PathKind.PREFIX:
                return path, ValueMatch(":path", ValueKind.PREFIX, header.value)
            case PathKind.EXACT:
                return path, ValueMatch(":path", ValueKind.REGEX, quoted(header.value) + _QUERY)
            case PathKind.REGEX if (pattern := before_query(header.value)) is not None:
                return path, ValueMatch(":path", ValueKind.REGEX, f"(?:{pattern}){_QUERY}")
    raise _impossible(router, "the GatewayRoute has one, too: use prefix or path.exact in one of them")


def _impossible(router: PathMatch, cure: str) -> Refused:
    if plain_form(router.value) is None:
        cure = r"write it without flags, \p, \z and negated classes such as [:^alpha:]"
    message = f"its regular expression {router.value!r} cannot be joined with the GatewayRoute's path; {cure}"
    return Refused("NotComposable", message)

"""One route does what App Mesh's two hops did: the same requests, also where rewriting and regular expressions meet."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.core.composition import Rewrite, composed
from greenroom.core.path_regex import after, before_query, matches_nothing_more
from greenroom.model.mesh import Refused
from greenroom.model.routes import Match, PathKind, PathMatch, ReplacePath, ReplacePrefix, ValueKind, ValueMatch

PREFIX, EXACT, REGEX = PathKind.PREFIX, PathKind.EXACT, PathKind.REGEX


def matches(match: Match, path: str, query: str = "") -> bool:
    """As Envoy decides it: regular expressions match all of the path, ``:path`` has the query, too."""
    return _path(match.path, path) and all(_header(each, f"{path}{query}") for each in match.headers)


def _path(asked: PathMatch, path: str) -> bool:
    match asked.kind:
        case PathKind.PREFIX:
            return path.startswith(asked.value)
        case PathKind.EXACT:
            return path == asked.value
        case PathKind.REGEX:
            return re.fullmatch(asked.value, path) is not None


def _header(asked: ValueMatch, value: str) -> bool:
    assert asked.name == ":path"
    found = value.startswith(asked.value) if asked.kind is ValueKind.PREFIX else re.fullmatch(asked.value, value)
    return bool(found) is not asked.invert


def rewritten(rewrite: Rewrite, path: str) -> str:
    """What the second hop saw: the prefix goes with the slash behind it, and what takes its place has one."""
    if rewrite is None:
        return path
    if isinstance(rewrite, ReplacePath):
        return rewrite.value
    rest = path.removeprefix(rewrite.prefix.removesuffix("/"))
    return rewrite.value + rest.removeprefix("/")


EVERY_TEXT = ["".join(chars) for length in range(4) for chars in product("ab/", repeat=length)]
texts = st.sampled_from(EVERY_TEXT)
paths = texts.map("/{}".format)
regexes = st.recursive(
    st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", r"\w", r"\W", r"[^/]", r"\.", "a*", "/?", ".*", ".+", "b?"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({'|'.join(each)})")
    ),
    max_leaves=6,
)
path_matches = (
    paths.map(lambda value: PathMatch(PREFIX, value))
    | paths.map(lambda value: PathMatch(EXACT, value))
    | regexes.map(lambda value: PathMatch(REGEX, value))
    | regexes.map(lambda value: PathMatch(REGEX, f"/{value}"))
    | regexes.map(lambda value: PathMatch(REGEX, f"^/{value}$"))
)


@st.composite
def gateway_paths(draw: st.DrawFn) -> tuple[PathMatch, Rewrite]:
    """A GatewayRoute's path with one of the rewrites that may belong to it."""
    path = draw(path_matches)
    rewrites: list[st.SearchStrategy[Rewrite]] = [st.none(), paths.map(ReplacePath)]
    if path.kind is PREFIX:
        rewrites.append(st.just(ReplacePrefix(path.value, "/")))
        if path.value.endswith("/"):
            rewrites.append(texts.map(lambda new: ReplacePrefix(path.value, f"/{new}/")))
    return path, draw(st.one_of(rewrites))


@settings(deadline=None, max_examples=400)
@given(gateway_paths(), path_matches, st.sampled_from(["", "?", "?a/b"]))
def test_the_router_sees_the_path_as_the_gateway_rewrote_it(
    gateway: tuple[PathMatch, Rewrite], router: PathMatch, query: str
) -> None:
    path_match, rewrite = gateway
    try:
        together = composed(Match(path_match), rewrite, Match(router))
    except Refused:
        assert router.kind is REGEX
        return
    stem = path_match.value if path_match.kind is not REGEX else "/"
    for path in [stem + rest for rest in EVERY_TEXT]:
        twice = _path(path_match, path) and _path(router, rewritten(rewrite, path))
        assert any(matches(each, path, query) for each in together) is twice, path


COMPOSED = [
    ("/paths", "/", (PREFIX, "/red"), [(PREFIX, "/paths/red"), (PREFIX, "/pathsred")]),
    ("/paths/", "/", (PREFIX, "/red"), [(PREFIX, "/paths/red")]),
    ("/paths/", "/new/", (PREFIX, "/new/red"), [(PREFIX, "/paths/red")]),
    ("/paths/", "/new/", (PREFIX, "/n"), [(PREFIX, "/paths/")]),
    ("/paths/", "/new/", (PREFIX, "/red"), []),
    ("/paths", "/", (EXACT, "/"), [(EXACT, "/paths/"), (EXACT, "/paths")]),
    ("/paths/", "/", (REGEX, "/r[0-9]+"), [(REGEX, "/paths/(?:r[0-9]+)")]),
    ("/paths/", "/", (REGEX, "/(red|blue)"), [(REGEX, "/paths/(?:(?:red|blue))")]),
    ("/paths/", "/", (REGEX, r"/\x72[[:digit:]]"), [(REGEX, "/paths/(?:r[0-9])")]),
    ("/p.s/", "/", (REGEX, ".*png"), [(REGEX, r"/p\.s/(?:.*png)")]),
]


@pytest.mark.parametrize(("prefix", "new", "router", "expected"), COMPOSED)
def test_a_replaced_prefix_comes_back_in_front_of_what_the_router_asks_for(
    prefix: str, new: str, router: tuple[PathKind, str], expected: list[tuple[PathKind, str]]
) -> None:
    together = composed(Match(PathMatch(PREFIX, prefix)), ReplacePrefix(prefix, new), Match(PathMatch(*router)))
    assert [(each.path.kind, each.path.value) for each in together] == expected


@pytest.mark.parametrize(
    ("gateway", "router", "path", "query", "expected"),
    [
        ((EXACT, "/a"), (REGEX, "/[ab]"), "/a", "?x", True),
        ((EXACT, "/a"), (REGEX, "/.+b"), "/a", "?b", False),
        ((PREFIX, "/a"), (REGEX, "/.+b"), "/ab", "?x", True),
        ((REGEX, "/.*b"), (REGEX, "/a.*"), "/ab", "?x", True),
        ((REGEX, "/.*b"), (REGEX, "/a.*"), "/ax", "?b", False),
        ((REGEX, "/a.*"), (REGEX, "/[^/]*b$"), "/ax", "?b", False),
    ],
)
def test_a_query_is_no_part_of_a_path(
    gateway: tuple[PathKind, str], router: tuple[PathKind, str], path: str, query: str, expected: bool
) -> None:
    together = composed(Match(PathMatch(*gateway)), None, Match(PathMatch(*router)))
    assert any(matches(each, path, query) for each in together) is expected


def test_conditions_of_both_hold() -> None:
    one, other = ValueMatch("x-one"), ValueMatch("x-other")
    (both,) = composed(Match(method="GET", headers=(one,)), None, Match(headers=(other,), query=(one,), grpc=True))
    assert both == Match(method="GET", headers=(one, other), query=(one,), grpc=True)


def test_methods_that_differ_leave_nothing() -> None:
    assert composed(Match(method="GET"), None, Match(method="PUT")) == ()


@pytest.mark.parametrize(
    ("gateway", "rewrite", "router", "cure"),
    [
        ((PREFIX, "/a/"), ReplacePrefix("/a/", "/new/"), "(/new/x)?", "begin it with /new/"),
        ((EXACT, "/a"), ReplacePath("/b"), "/(b|c){1}", "the path is always /b there"),
        ((PREFIX, "/a/"), ReplacePrefix("/a/", "/"), "(?i)/x", "write it without flags"),
        ((PREFIX, "/a/"), ReplacePrefix("/a/", "/"), r"/\pL", r"without flags, \p"),
        ((REGEX, r"/[!-~]*"), None, r"/a\?", "use prefix or path.exact in one of them"),
    ],
)
def test_what_cannot_be_joined_says_what_to_write_instead(
    gateway: tuple[PathKind, str], rewrite: Rewrite, router: str, cure: str
) -> None:
    with pytest.raises(Refused, match="cannot be joined") as refusal:
        composed(Match(PathMatch(*gateway)), rewrite, Match(PathMatch(REGEX, router)))
    assert cure in str(refusal.value)


@given(regexes, st.text("ab/", max_size=3), st.text("ab/", max_size=3))
def test_what_follows_a_beginning_is_told_or_not_at_all(pattern: str, beginning: str, rest: str) -> None:
    following = after(pattern, beginning)
    if following is not None:
        whole = re.fullmatch(pattern, beginning + rest) is not None
        assert any(re.fullmatch(each, rest) for each in following) is whole
        nothing_more = matches_nothing_more(following)
        assert nothing_more in {None, re.fullmatch(pattern, beginning) is not None}


@given(regexes, st.text("ab/?.", max_size=5))
def test_a_pattern_without_question_marks_matches_what_it_matched_otherwise(pattern: str, text: str) -> None:
    without = before_query(pattern)
    if without is not None:
        assert bool(re.fullmatch(without, text)) is ("?" not in text and bool(re.fullmatch(pattern, text)))


def test_choices_after_choices_do_not_take_forever() -> None:
    following = after("(a?|a?)" * 36, "a" * 35)
    assert following is None or "(?:a?|a?)" in following

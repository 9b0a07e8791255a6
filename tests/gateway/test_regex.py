"""Regular expressions: what is let through, Envoy takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.envoy_static import complaint

from greenroom.core.envoy import snapshot
from greenroom.model.mesh import Refused
from greenroom.model.regex import checked_regex
from greenroom.model.regex_syntax import CATEGORIES, SCRIPTS
from greenroom.model.routes import (
    Cluster,
    Forward,
    Listener,
    ListenerRoutes,
    Match,
    PathKind,
    PathMatch,
    ReplacePrefix,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)

GOOD = [
    "/pr[0-9]+/.*",
    r"/v\d{1,3}(\.\d+)?/(?:api|web)/?",
    r"^/(?P<name>[\w-]+)/[^/]+$",
    r"/a\/b\-c\~d%20(x|)",
    "/[-a-z]*?",
    "/[+*]",
    "/[^a]{500}",
    "/" + "a" * 254,
    "/" + r"\W" * 127,
    "(?i)/a.*",
    "/(?i-s:a)b(?m)",
    "/(?<name>a)",
    "/[[:alnum:]][^[:^alpha:]_-][-[:word:]]",
    r"\x2F[\x{41}-\x5a\0]\057",
    r"/\pL\p{Greek}[\p{^Lu}\PN]",
    "/" + r"\pL" * 80,
    r"/\Qa.b\E*\z",
    r"/\C\a\_",
    "/[a[b][a&&b]",
    *(f"/\\p{{{name}}}" for name in sorted(CATEGORIES | SCRIPTS)),
]
BAD = [
    "(",
    "*",
    "/a**",
    "/(?=x)",
    "/(?<!x)y",
    r"/(a)\1",
    "/(?P<n>a)(?P=n)",
    "/a++",
    "/a{1001}",
    "/.......{999}",
    "/(a{100}){100}",
    "/a{,5}",
    r"/\Z",
    r"/\N{DIGIT ONE}",
    "/[[:letter:]]",
    "/[[:alpha:",
    "/[![:alpha:]-[:digit:]]",
    r"/[a-\d]",
    r"/[\b]",
    r"/[\Qa\E]",
    r"/\x{100}",
    r"/\x2",
    r"/\777",
    r"/\8",
    r"/\p{greek}",
    r"/\pX",
    r"/\h",
    "/a(?i)*",
    "/(?x)a",
    "/(?i-)a",
    "/[a--b]",
    "/(?#x)",
    "/(?>x)",
    "/é",
    "/" + "a" * 255,
    "/x\0",
]


def table(*patterns: str, prefixes: tuple[str, ...] = ()) -> RouteTable:
    regular = [PathMatch(PathKind.REGEX, pattern) for pattern in patterns]
    plain = [PathMatch(PathKind.PREFIX, prefix) for prefix in prefixes]
    routes = tuple(_route(match) for match in [*regular, *plain])
    return RouteTable(
        listeners=(ListenerRoutes(Listener(8080), (VirtualHost("*", routes),)),),
        clusters=(Cluster("c", http2=False, endpoints=()),),
    )


def _route(path: PathMatch) -> Route:
    rewrite = ReplacePrefix(path.value, "/") if path.kind is PathKind.PREFIX else None
    return Route("ns/r", Match(path), Forward((WeightedCluster("c"),), "", rewrite, timeout=15, idle=0))


def test_envoy_takes_what_is_let_through(tmp_path: Path) -> None:
    assert [checked_regex(pattern, "path") for pattern in GOOD] == GOOD
    assert complaint(snapshot(table(*GOOD), bind="127.0.0.1"), tmp_path) == ""


@pytest.mark.parametrize("pattern", BAD)
def test_what_envoy_may_refuse_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(Refused) as refusal:
        checked_regex(pattern, "spec.path")
    assert str(refusal.value).startswith("spec.path: ")


def accepted(pattern: str) -> bool:
    try:
        checked_regex(pattern, "path")
    except Refused:
        return False
    return True


def test_envoy_takes_a_long_prefix(tmp_path: Path) -> None:
    assert complaint(snapshot(table(prefixes=("/" + "a" * 254,)), bind="127.0.0.1"), tmp_path) == ""


RE2S_OWN = [
    *("(?i)", "(?s-U:", "(?<n>", "[:alpha:]", "[:^digit:]", "[["),
    *(r"\x2F", r"\x{7f}", r"\07", r"\pL", r"\p{^Lu}", r"\Qa", r"\E", r"\z", r"\C", r"\a", r"\_"),
]
characters = "ab/.|()[]^$*+?{}\\-,12:P<>=!#&~_ "
pieces = st.sampled_from([*characters, r"\d", r"\b", "{1,2}", "(?:", "[a-", "[^", "\\[", *RE2S_OWN])
patterns = st.lists(pieces, min_size=1, max_size=12).map("".join).filter(accepted)
prefixes = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C"]), max_size=8)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    patterns=st.lists(patterns, min_size=50, max_size=100),
    prefixes=st.lists(prefixes.map("/{}".format), max_size=50),
)
def test_envoy_takes_any_expression_that_is_let_through_and_any_prefix(
    patterns: list[str], prefixes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = snapshot(table(*patterns, prefixes=tuple(prefixes)), bind="127.0.0.1")
    assert complaint(made, tmp_path_factory.mktemp("envoy")) == ""

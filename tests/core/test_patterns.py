"""Patterns with stars: what they match, and that they never take long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.patterns import first_match, first_path_match

LONG = 10_000
SECONDS = 5.0
"""Where one step for each character and piece takes some hundredths, and a step for each pair of characters minutes."""

PATTERNS = st.lists(st.sampled_from(["a", "b", ".", "[", "/", "*", "**", "?"]), min_size=1, max_size=8).map("".join)
TEXTS = st.text("ab.[/\n", max_size=10)


def translated(pattern: str, *, star: str) -> re.Pattern[str]:
    """The same as a regular expression, ``star`` for ``*``."""
    words = {"**": ".*", "*": star, "?": "."}
    pieces = re.findall(r"\*\*|.", pattern, re.DOTALL)
    return re.compile("".join(words.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)


@given(PATTERNS, TEXTS)
def test_a_path_matches_as_the_same_regular_expression_does(pattern: str, path: str) -> None:
    assert bool(first_path_match([pattern], path)) == bool(translated(pattern, star="[^/]*").fullmatch(path))


@given(PATTERNS, TEXTS)
def test_a_text_matches_as_the_same_regular_expression_does(pattern: str, text: str) -> None:
    assert bool(first_match([pattern], text)) == bool(translated(pattern, star=".*").fullmatch(text))


@given(st.lists(PATTERNS, max_size=4), TEXTS)
def test_the_first_pattern_that_matches_is_answered(patterns: list[str], text: str) -> None:
    assert first_path_match(patterns, text) == next((each for each in patterns if first_path_match([each], text)), "")


def test_letter_case_counts_in_paths_only() -> None:
    assert first_match(["WIP*"], "wip: x") == "WIP*"
    assert first_path_match(["Main"], "main") == ""


@pytest.mark.parametrize("match", [first_match, first_path_match])
@pytest.mark.parametrize("pattern", ["*a*a*a*a*b", "**a**a**a**b", "*?*?*?*?b", "*a" * 100 + "*b"])
@pytest.mark.parametrize("text", ["a" * LONG, "a/" * (LONG // 2)])
def test_no_pattern_takes_long(match: object, pattern: str, text: str) -> None:
    started = time.process_time()
    assert match([pattern], text) == ""  # type: ignore[operator]
    assert time.process_time() - started < SECONDS

"""Patterns with ``*``, as people know them from shells and from GitHub's filters. They never take long to try.

In paths and branches ``*`` stops at a slash and ``**`` does not; in other texts ``*`` is anything. ``?`` is any one
character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def first_match(patterns: Iterable[str], text: str) -> str:
    """The first pattern that all of ``text`` matches, whatever its letter case; ``""`` for none."""
    return next((each for each in patterns if _matches(_pieces(each.casefold(), slashes=False), text.casefold())), "")


def first_path_match(patterns: Iterable[str], path: str) -> str:
    """The same for a path or a branch, whose letter case counts."""
    return next((each for each in patterns if _matches(_pieces(each, slashes=True), path)), "")


def _matches(pieces: Iterable[str], text: str) -> bool:
    """Follow all the ways there are at once. A regular expression of the same pattern would try one after the other,
    and for ``*a*a*a*a*a*a*b`` never come to an end."""
    reached = {0}
    for piece in pieces:
        reached = _step(piece, text, reached)
        if not reached:
            return False
    return len(text) in reached


def _step(piece: str, text: str, reached: set[int]) -> set[int]:
    if piece == "**":
        return set(range(min(reached), len(text) + 1))
    if piece == "*":
        return _up_to_slashes(text, reached)
    if piece == "?":
        return {start + 1 for start in reached if start < len(text)}
    return {start + len(piece) for start in reached if text.startswith(piece, start)}


def _up_to_slashes(text: str, reached: set[int]) -> set[int]:
    """Each part between slashes is gone through once, however many ways lead into it."""
    found: set[int] = set()
    covered = -1
    for start in sorted(reached):
        if start > covered:
            slash = text.find("/", start)
            covered = len(text) if slash < 0 else slash
            found.update(range(start, covered + 1))
    return found


@lru_cache(maxsize=1024)
def _pieces(pattern: str, *, slashes: bool) -> tuple[str, ...]:
    pieces = [piece for piece in re.split(r"(\*\*|\*|\?)", pattern) if piece]
    return tuple(pieces if slashes else ("**" if piece == "*" else piece for piece in pieces))

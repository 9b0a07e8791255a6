"""Regular expressions about paths, taken apart as far as joining a GatewayRoute with a VirtualRouter's route asks for.

Patterns are those that ``model.regex`` lets through, in the form that RE2 and Python have in common. Whatever has none,
such as flags, or is not understood here gives None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from greenroom.model.regex_syntax import plain_form

_MOST_ALTERNATIVES = 64
_REMEMBERED = 1024
_Parts = tuple[str, ...]
_Rests = tuple[_Parts, ...] | None
_PART = re.compile(
    r"\\."  # an escape
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"  # a set
    r"|\((?:\?(?::|P<\w+>))?"  # the start of a group
    r"|(?:[*+?]|\{\d+(?:,\d*)?\})\??"  # a repetition
    r"|.",
    re.DOTALL,
)
_WIDTHLESS = frozenset({"^", "$", r"\b", r"\B", r"\A"})
_NEGATED = {r"\D": r"\d", r"\W": r"\w", r"\S": r"\s"}


def after(pattern: str, text: str) -> tuple[str, ...] | None:
    """Patterns, of which one matches what follows ``text`` in whatever ``pattern`` matches whole; () when none does."""
    plain = plain_form(pattern)
    if plain is None:
        return None
    alternatives = tuple(each[1:] if each[:1] == ("^",) else each for each in _alternatives(_parts_of(plain)))
    for char in text:
        rests = _joined(_rests(each, char) for each in alternatives)
        if rests is None or len(rests) > _MOST_ALTERNATIVES:
            return None
        alternatives = rests
    return tuple("".join(each) for each in alternatives)


def matches_nothing_more(patterns: Sequence[str]) -> bool | None:
    """Whether one of ``patterns`` matches the empty text."""
    answers = {_is_optional(_parts_of(pattern)) for pattern in patterns}
    return True if True in answers else None if None in answers else False


def before_query(pattern: str) -> str | None:
    """A pattern that matches the same texts, but none with a question mark: what follows a path is its query."""
    plain = plain_form(pattern)
    if plain is None:
        return None
    parts = _parts_of(plain)
    if parts[-1:] == ("$",) and len(_alternatives(parts)) == 1:
        parts = parts[:-1]
    without = [_before_query(part) for part in parts]
    return None if None in without else "".join(part for part in without if part is not None)


def _before_query(part: str) -> str | None:
    if part == ".":
        return "[^?]"
    if part in _NEGATED:
        return f"[^?{_NEGATED[part]}]"
    if part == "$" or not (part[0] in "[\\" and _matches(part, "?")):
        return None if part == "$" else part
    body = part[2:-1]
    return f"[^?{_escaped_bracket(body)}]" if part.startswith("[^") else None


def _escaped_bracket(body: str) -> str:
    """A bracket that stands first in a set ends it where it does not."""
    return f"\\{body}" if body.startswith("]") else body


def _parts_of(pattern: str) -> _Parts:
    """Groups have no names any more, since a pattern may be repeated."""
    return tuple("(?:" if part.startswith("(") else part for part in _PART.findall(pattern))


def _alternatives(parts: _Parts) -> list[_Parts]:
    """What stands between the ``|`` that are in no group."""
    found: list[list[str]] = [[]]
    depth = 0
    for part in parts:
        depth += (part == "(?:") - (part == ")")
        if part == "|" and depth == 0:
            found.append([])
        else:
            found[-1].append(part)
    return [tuple(each) for each in found]


@lru_cache(_REMEMBERED)  # without it, groups in groups would take time that doubles with each
def _rests(parts: _Parts, char: str) -> _Rests:
    """What is left to match after ``char`` (Brzozowski's derivative, one for each way to match it)."""
    if not parts:
        return ()
    if parts[0] == "(?:":
        return _rests_of_group(parts, char)
    if parts[0] in _WIDTHLESS:
        return None
    atom, repetition, rest = parts[0], _repetition(parts[1:]), parts[1:]
    here = _matches(atom, char)
    match repetition:
        case "":
            return (rest,) if here else ()
        case "+":
            return ((atom, "*", *rest[1:]),) if here else ()
        case "*" | "?":
            again = parts if repetition == "*" else rest[1:]
            return _joined([(again,) if here else (), _rests(rest[1:], char)])
        case _:
            return None


def _rests_of_group(parts: _Parts, char: str) -> _Rests:
    depth, end = 1, 1
    while depth:
        depth += (parts[end] == "(?:") - (parts[end] == ")")
        end += 1
    if _repetition(parts[end:]):
        return None
    return _joined(_rests((*inner, *parts[end:]), char) for inner in _alternatives(parts[1 : end - 1]))


def _joined(alternatives: Iterable[_Rests]) -> _Rests:
    found: dict[_Parts, None] = {}
    for each in alternatives:
        if each is None:
            return None
        found |= dict.fromkeys(each)
    return tuple(found)


def _is_optional(parts: _Parts) -> bool | None:
    """Whether nothing has to be there."""
    for index, part in enumerate(parts):
        repetition = _repetition(parts[index + 1 :])
        if part == "(?:" or part in _WIDTHLESS - {"$"} or repetition.startswith("{"):
            return None
        if part != "$" and not _repetition((part,)) and repetition not in {"*", "?"}:
            return False
    return True


def _repetition(parts: _Parts) -> str:
    """The repetition that comes first, whether greedy or not; ``""`` when there is none."""
    part = parts[0] if parts else ""
    if part[:1] not in {"*", "+", "?"} and not (part.startswith("{") and len(part) > 1):
        return ""
    return part.removesuffix("?") or "?"


def _matches(atom: str, char: str) -> bool:
    """Whether an atom, a pattern for one character, matches ``char``."""
    return re.fullmatch(atom, char, re.ASCII) is not None

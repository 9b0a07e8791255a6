"""Which regular expressions Envoy takes.

Envoy uses RE2 and refuses a whole route configuration for one expression that it cannot compile, which would freeze
every environment behind the gateway. There is no RE2 here, so what RE2 writes otherwise is put into Python's words
(``model.regex_syntax``) and Python is asked; the rare rest is refused although RE2 may know it.
"""

from __future__ import annotations

import re
import warnings
from itertools import pairwise

from greenroom.model.mesh import Refused, plain
from greenroom.model.regex_syntax import Piece, pieces_of

_LONGEST = 255
_MOST_REPEATS = 1000
_LARGEST = 5000
"""Characters times repetitions. RE2 makes up to some thirty instructions of each, and Envoy allows it 8 MiB."""
_SPECIAL = frozenset(".^$*+?()[]{}|\\")
_GROUP = re.compile(r"\(\?(?!:|P<[A-Za-z_]\w*>)")
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_POSSESSIVE = re.compile(r"[*+?}]\+")
_REPEATS = frozenset("*+?{")
_REPEAT = re.compile(r"\{(\d*)(,?)(\d*)\}")


def checked_regex(pattern: str, path: str) -> str:
    """``pattern``, which Envoy will take. Raises Refused."""
    if complaint := _complaint(plain(pattern, path)):
        raise Refused("InvalidRegex", f"{complaint}, in the regular expression {pattern!r}", path=path)
    return pattern


def _complaint(pattern: str) -> str:
    if len(pattern) > _LONGEST:
        return f"more than {_LONGEST} characters"
    if not pattern.isascii():
        return "characters outside ASCII, which a path or header carries in encoded form"
    pieces = pieces_of(pattern)
    if wrong := next((each.wrong for each in pieces if each.wrong), ""):
        return wrong
    if any(_is_switch(flags) and after.text in _REPEATS for flags, after in pairwise(pieces)):
        return "a repetition right after flags is not supported"
    if any(_is_range(*three) for three in zip(pieces, pieces[1:], pieces[2:], strict=False)):
        return "a range cannot end in a class: put the hyphen last"
    same = "".join(each.python for each in pieces)
    bare = _ESCAPE.sub("x", same)
    if _GROUP.search(bare):
        return "only (?:…), (?i)… and (?P<name>…) groups are supported (Envoy uses RE2, without look-around)"
    if _POSSESSIVE.search(bare):
        return "possessive repetition is not supported (Envoy uses RE2)"
    return _repeats(bare) or _syntax(same)


def _is_switch(piece: Piece) -> bool:
    """Whether it sets flags for what follows: RE2 finds nothing there that could be repeated, Python what is before."""
    return piece.text.startswith("(?") and not piece.python


def _is_range(start: Piece, hyphen: Piece, end: Piece) -> bool:
    """Whether RE2 takes the bracket before a class for the end of a range, and reads the rest otherwise than we do."""
    return hyphen.text == "-" and end.text.startswith("[:") and start.text not in {"[", "[^"}


def _repeats(bare: str) -> str:
    """RE2 multiplies nested repetitions and stops at a thousand; so does this, nested or not."""
    total = 1
    for low, comma, high in _REPEAT.findall(bare):
        if not low:
            return "a repetition without its lower bound is not supported (Envoy uses RE2)"
        total *= max(int(low[:5]), int(high[:5] or "0") if comma else 0, 1)
    too_many = total > _MOST_REPEATS or total * len(bare) > _LARGEST
    return "so many repetitions are not supported (Envoy uses RE2)" if too_many else ""


def _syntax(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return f"{error}"
    return ""


def quoted(text: str) -> str:
    """A regular expression that matches ``text`` itself, in RE2's syntax."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)

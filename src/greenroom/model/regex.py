"""Which regular expressions Envoy takes.

Envoy uses RE2 and refuses a whole route configuration for one expression that it cannot compile, which would freeze
every environment behind the gateway. There is no RE2 here, so this checks for the syntax that RE2
(github.com/google/re2/wiki/Syntax) and Python agree on; what lies outside is refused although RE2 may know it.
"""

from __future__ import annotations

import re
import warnings

from greenroom.model.mesh import Refused, plain

_LONGEST = 255
_MOST_REPEATS = 1000
_LARGEST = 5000
"""Characters times repetitions. RE2 makes up to some thirty instructions of each, and Envoy allows it 8 MiB."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = frozenset("dDwWsSbBA" + "tnrfv" + ".^$*+?()[]{}|\\/-~!@#%&=:;,<>'\"` ")
_SPECIAL = frozenset(".^$*+?()[]{}|\\")
_GROUP = re.compile(r"\(\?(?!:|P<[A-Za-z_]\w*>)")
_POSSESSIVE = re.compile(r"[*+?}]\+")
_NESTED_SET = re.compile(r"\[[^\]]*(\[|--|&&|~~|\|\|)")
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
    unknown = [escape for escape in _ESCAPE.findall(pattern) if escape not in _ESCAPED]
    if unknown:
        return f"\\{unknown[0]} is not supported (Envoy uses RE2, without back-references)"
    bare = _ESCAPE.sub("x", pattern)
    if _GROUP.search(bare):
        return "only (?:…) and (?P<name>…) groups are supported (Envoy uses RE2, without look-around)"
    if _POSSESSIVE.search(bare) or _NESTED_SET.search(bare):
        return "possessive repetition and nested sets are not supported (Envoy uses RE2)"
    return _repeats(bare) or _syntax(pattern)


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

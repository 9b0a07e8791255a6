"""RE2's syntax (github.com/google/re2/wiki/Syntax), read as far as to tell what of it Python writes otherwise.

Envoy hands RE2 bytes (Latin-1), so a character is one of 256. ``model.regex`` checks patterns with this, and
``core.path_regex`` takes them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OUTSIDE = re.compile(
    r"(?P<literal>\\Q(?P<quoted>.*?)(?:\\E|\Z))"
    r"|(?P<code>\\x(?:[0-9A-Fa-f]{2}|\{[0-9A-Fa-f]+\})|\\(?:0[0-7]{0,2}|[1-7][0-7]{1,2}))"
    r"|(?P<unicode>\\[pP](?:[A-Z]|\{\^?(?P<name>\w+)\}))"
    r"|(?P<escape>\\.)"
    r"|(?P<flags>\(\?(?=[imsU-])[imsU]*(?:-[imsU]+)?[:)])"
    r"|(?P<named>\(\?P?<[A-Za-z_]\w*>)"
    r"|(?P<set>\[\^?\]?)"
    r"|(?P<other>.)",
    re.DOTALL | re.ASCII,
)
_INSIDE = re.compile(
    r"(?P<posix>\[:\^?(?P<posix_name>[a-z]+):\])"
    r"|(?P<code>\\x(?:[0-9A-Fa-f]{2}|\{[0-9A-Fa-f]+\})|\\(?:0[0-7]{0,2}|[1-7][0-7]{1,2}))"
    r"|(?P<unicode>\\[pP](?:[A-Z]|\{\^?(?P<name>\w+)\}))"
    r"|(?P<escape>\\.)"
    r"|(?P<end>\])"
    r"|(?P<other>.)",
    re.DOTALL | re.ASCII,
)
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_CATEGORY_NAMES = (
    "Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs"
)
_SCRIPT_NAMES = "Arabic Common Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai"
CATEGORIES = frozenset(_CATEGORY_NAMES.split())
SCRIPTS = frozenset(_SCRIPT_NAMES.split())
"""Some of them: of the characters that there are here, all are Latin or Common."""
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")
_CONTROLS = frozenset("atnrfv")
_CLASSES = frozenset("dDwWsS")
_EDGES = frozenset("bBA")
_WORD = re.compile(r"\w", re.ASCII)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a pattern. ``python`` is what Python writes for it, and means the same if ``is_exact``.

    ``wrong`` says why RE2 does not take it, ``""`` where it may.
    """

    text: str
    python: str
    is_exact: bool = True
    wrong: str = ""


def pieces_of(pattern: str) -> list[Piece]:
    found, position, is_inside = [], 0, False
    while (match := (_INSIDE if is_inside else _OUTSIDE).match(pattern, position)) is not None:
        found.append(_piece(match, is_inside=is_inside))
        is_inside = match["end"] is None if is_inside else match["set"] is not None
        position = match.end()
    return found


def plain_form(pattern: str) -> str | None:
    """The same pattern in what RE2 and Python have in common, None when there is none."""
    pieces = pieces_of(pattern)
    return "".join(each.python for each in pieces) if all(each.is_exact for each in pieces) else None


def _piece(match: re.Match[str], *, is_inside: bool) -> Piece:
    text, groups = match[0], match.groupdict()
    if groups.get("literal") is not None:
        quoted = match["quoted"]
        # Without a letter of its own a repetition would be about what comes before.
        wrong = "" if quoted and "\\" not in quoted else f"{text} is not supported: escape each character"
        return Piece(text, "".join(map(escaped, quoted)), wrong=wrong)
    if groups["code"] is not None:
        return _code(text)
    if groups["unicode"] is not None:
        name = match["name"] or text[-1]
        known = name in CATEGORIES or name in SCRIPTS
        return Piece(text, r"\w", is_exact=False, wrong="" if known else f"{text} is no class of characters")
    if groups["escape"] is not None:
        return _escape(text, is_inside=is_inside)
    if groups.get("posix") is not None:
        return _posix(text, match["posix_name"])
    if groups.get("flags") is not None:
        return Piece(text, "(?:" if text.endswith(":") else "", is_exact=False)
    if groups.get("named") is not None:
        return Piece(text, text.replace("(?<", "(?P<"))
    # Python warns of what may once be a set in a set.
    return Piece(text, f"\\{text}" if is_inside and text in set("[&~|") else text)


def _code(text: str) -> Piece:
    digits = text[2:].strip("{}") if text[1] == "x" else text[1:]
    code = int(digits, 16 if text[1] == "x" else 8)
    if code > 255:
        return Piece(text, "x", wrong=f"{text} is not supported: Envoy matches bytes, \\x00 to \\xff")
    return Piece(text, escaped(chr(code)), is_exact=32 <= code < 127)


def _escape(text: str, *, is_inside: bool) -> Piece:
    char = text[1]
    if char in _PUNCTUATION | _CONTROLS | _CLASSES or (char in _EDGES and not is_inside):
        # Python does not know all that may be escaped.
        return Piece(text, text if _WORD.match(char) and char != "_" else escaped(char))
    if char in "zC" and not is_inside:
        return Piece(text, {"z": r"\Z", "C": "."}[char], is_exact=False)
    return Piece(text, "x", wrong=f"{text} is not supported (Envoy uses RE2, without back-references)")


def _posix(text: str, name: str) -> Piece:
    if name not in _POSIX:
        return Piece(text, "x", wrong=f"{text} is no class of characters")
    return Piece(text, _POSIX[name], is_exact="^" not in text and "\\x" not in _POSIX[name])


def escaped(char: str) -> str:
    """A pattern for the character, in both syntaxes, within a set and outside."""
    if char.isascii() and (char.isalnum() or char in "_/ "):
        return char
    return f"\\{char}" if char.isascii() and char.isprintable() else f"\\x{ord(char):02x}"

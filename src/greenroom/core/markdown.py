"""Text that others wrote, as a place in a comment where it is text and nothing else.

All of it goes into code, inline or in a fence, where a renderer looks for no link, image, tag or mention (CommonMark
0.31, "Code spans" and "Fenced code blocks"; GitHub's mention and reference filters skip ``pre`` and ``code``). Programs
that read comments do not render them, though: bots look for ``@name`` and for lines that begin with ``/command``, and
ours is a comment of somebody who may have rights. So these are broken by a character that cannot be seen, too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

INVISIBLE = "\u200b"
"""A zero width space."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
"""Colours and other commands to a terminal: ECMA-48, "Control sequences" and "Operating system command"."""
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
"""Unicode's categories of what cannot be seen: it could hide a secret from whoever masks it, or turn text round."""
_BREAKS = re.compile(r"\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
_BLANK = re.compile(r"\s+")
_CALLING = re.compile(
    r"(?:(?<![A-Za-z0-9_])@(?=[A-Za-z0-9_])|#(?=[0-9])|\bGH-(?=[0-9])|<(?=!--)|^\s*/(?=[A-Za-z]))",
    re.IGNORECASE | re.MULTILINE,
)
"""What a forge or a bot may take for a mention, an issue, our own mark or a command, up to where it is broken."""
_BACKTICKS = re.compile("`+")
_URL = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?::[0-9]{1,5})?/?"
)


def printable(text: str) -> str:
    """``text`` without commands to a terminal and without what cannot be seen; lines end with ``\\n`` only."""
    lines = _BREAKS.split(_ANSI.sub("", text))
    return "\n".join("".join(map(_visible, line)) for line in lines)


def code(text: str, *, limit: int) -> str:
    """A code span of at most ``limit`` characters of ``text``, on one line; ``""`` when there is nothing to show."""
    shown = _capped(_tamed(_BLANK.sub(" ", printable(text)).strip()), limit)
    if not shown:
        return ""
    marks = "`" * (_longest_run(shown) + 1)
    room = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{marks}{room}{shown}{room}{marks}"


def fence(lines: Sequence[str], *, lines_limit: int, line_limit: int) -> str:
    """A fenced block of the last ``lines_limit`` lines, each of at most ``line_limit`` characters."""
    shown = [_capped(_tamed(line), line_limit) for line in printable("\n".join(lines)).split("\n")[-lines_limit:]]
    marks = "`" * max(3, _longest_run(*shown) + 1)
    return "\n".join([f"{marks}text", *shown, marks])


def link(url: str) -> str:
    """A link to the root of a host. Whatever is no plain address of one is shown as code: hosts come from templates."""
    return f"<{url}>" if _URL.fullmatch(url) else code(url, limit=300)


def _visible(character: str) -> str:
    if character == "\t":
        return " "
    return "" if unicodedata.category(character) in _DROPPED else character


def _tamed(text: str) -> str:
    return _CALLING.sub(lambda found: _broken(found[0]), text)


def _broken(calling: str) -> str:
    """A command is broken before its stroke, the others behind their sign."""
    return f"{calling[:-1]}{INVISIBLE}/" if calling.endswith("/") else f"{calling}{INVISIBLE}"


def _capped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _longest_run(*texts: str) -> int:
    return max((len(run) for run in _runs(texts)), default=0)


def _runs(texts: Iterable[str]) -> Iterable[str]:
    return (run for text in texts for run in _BACKTICKS.findall(text))

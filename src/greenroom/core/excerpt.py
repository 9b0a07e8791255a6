"""Text of others, of any length -> the part that may be shown, printable and scrubbed.

It is cut before it is scrubbed: masking a mebibyte takes long enough to cost a leader its lease. A secret that the cut
went through may no longer look like one, and masking what stands before moves it into view. So the end of what was cut
is dropped after scrubbing, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenroom.core.markdown import printable
from greenroom.core.scrub import scrub

LINES = 200
"""More than are shown: a private key of which only the middle is seen could not be told from other text."""
LENGTH = 4096
"""Of a line, or of a message: more than is shown, and enough for a private key on one line."""
TOTAL = 1 << 18
"""Of all lines together."""
MARGIN = 1024
"""How much of a secret may stand before a cut."""
_CUT = "\0"
"""Marks the end of what was cut, while it is scrubbed. ``printable`` leaves no other."""


def excerpt(lines: Sequence[str]) -> list[str]:
    """The last of ``lines``, without empty ones around them; a line may have become several, or several one."""
    return _scrubbed("\n".join(map(_cut, _last(lines)))).strip("\n").split("\n")


def message(said: str) -> str:
    """The beginning of what others said."""
    return _scrubbed(_cut(said))


def _last(lines: Sequence[str]) -> Sequence[str]:
    room = TOTAL
    for count, line in enumerate(reversed(lines[-LINES:])):
        room -= min(len(line), LENGTH)
        if room < 0:
            return lines[len(lines) - count :]
    return lines[-LINES:]


def _cut(text: str) -> str:
    """What cannot be seen goes first: it could part a secret in two."""
    shown = printable(text[:LENGTH])
    return shown if len(text) <= LENGTH else shown + _CUT


def _scrubbed(text: str) -> str:
    return "\n".join(_ends(scrub(text).split("\n")))


def _ends(lines: Sequence[str]) -> Iterator[str]:
    """A mask may have swallowed the mark of a cut: then there is nothing behind it."""
    for line in lines:
        yield f"{line[: -len(_CUT) - MARGIN]}…" if line.endswith(_CUT) else line

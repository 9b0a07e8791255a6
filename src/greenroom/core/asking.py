"""What somebody asked for in a comment: ``/preview`` and a word. It waits for its answer as an annotation of the PR
object.

The answer stands in the one comment on the pull request (``core.comment``) until the next commit, or the next question.
"""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Manifest, annotations_of, text, timestamp
from greenroom.model.pull import Command

ASKED_ANNOTATION = "greenroom.dev/asked"
KEEP_ANNOTATION = "greenroom.dev/keep-until"
"""On a PR object: until when it is not to expire, RFC 3339."""

PREVIEW, REDEPLOY, LOGS, DESTROY, EXTEND, EXPLAIN = "", "redeploy", "logs", "destroy", "extend", "explain"
USAGE: tuple[tuple[str, str], ...] = (
    ("/preview", "bring the environment, whatever labels the gate asks for"),
    ("/preview redeploy", "start its pods anew"),
    ("/preview logs", "show the end of its log"),
    ("/preview extend 3d", "keep it for that long: hours, days or weeks"),
    ("/preview destroy", "take it away, until somebody asks for it again"),
    ("/preview explain", "tell why there is an environment, or none"),
)
WORDS = (PREVIEW, REDEPLOY, LOGS, DESTROY, EXTEND, EXPLAIN)

LONGEST = timedelta(days=30)
_DURATION = re.compile(r"([1-9][0-9]{0,3})\s*([hdw])[a-z]*")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Asked(msgspec.Struct, frozen=True):
    """``id`` is the comment's, ``commit`` the one that was wanted then: an answer about another helps nobody."""

    word: str
    by: str
    id: int
    commit: str
    note: str = ""

    @classmethod
    def of(cls, pr: Manifest) -> Asked | None:
        """What is to be answered; None where nothing is, or what it is about has passed."""
        try:
            asked = msgspec.json.decode(annotations_of(pr).get(ASKED_ANNOTATION, "null"), type=cls | None)
        except msgspec.MsgspecError:
            return None
        return asked if asked is not None and asked.commit == text(pr, "spec", "headCommitRef") else None

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def asked(command: Command, commit: str, *, note: str = "") -> Asked:
    return Asked(command.word, command.author, command.id, commit, note)


def kept_until(command: Command) -> str:
    """The time, RFC 3339, that ``extend`` asks for. Raises InvalidInput."""
    found = _DURATION.fullmatch(command.argument.lower())
    if found is None:
        message = f"{command.argument[:40]!r} is no time" if command.argument else "how long?"
        raise InvalidInput(message, cure="write it in hours, days or weeks: /preview extend 3d")
    wanted = int(found[1]) * _UNITS[found[2]]
    if wanted > LONGEST:
        raise InvalidInput(f"{command.argument[:40]} is too long", cure=f"{LONGEST.days} days at most")
    return timestamp(command.at + wanted)


def note_of(pr: Manifest, word: str) -> str:
    """What there is to say when it was done."""
    if word == EXTEND:
        return f"kept until {annotations_of(pr).get(KEEP_ANNOTATION, '')}"
    return "its pods are started anew" if word == REDEPLOY else ""

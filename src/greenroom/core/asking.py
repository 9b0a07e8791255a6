"""What somebody asked for in a comment: ``/preview`` and a word. It waits for its answer as an annotation of the PR
object.

The answer stands in the one comment on the pull request (``core.comment``) until the next commit, or the next question.
"""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec

from greenroom.model.environment import RESTARTED_ANNOTATION
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Manifest, annotations_of, text, timestamp
from greenroom.model.pull import Command

ASKED_ANNOTATION = "greenroom.dev/asked"
KEEP_ANNOTATION = "greenroom.dev/keep-until"
"""On a PR object: until when it is not to expire, RFC 3339."""
KEPT_BY_ANNOTATION = "greenroom.dev/kept-by"
"""The id of the comment that asked for it."""

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
        asked = cls.last(pr)
        return asked if asked is not None and asked.commit == text(pr, "spec", "headCommitRef") else None

    @classmethod
    def last(cls, pr: Manifest) -> Asked | None:
        """What was asked last, of whatever commit."""
        try:
            return msgspec.json.decode(annotations_of(pr).get(ASKED_ANNOTATION, "null"), type=cls | None)
        except msgspec.MsgspecError:
            return None

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()


def asked(command: Command, pr: Manifest, *, note: str = "") -> Asked | None:
    """None when that was asked already, or something since: a comment may be delivered again, and late."""
    last = Asked.last(pr)
    if last is not None and last.id >= command.id:
        return None
    return Asked(command.word, command.author, command.id, text(pr, "spec", "headCommitRef"), note)


def orders(command: Command, pr: Manifest) -> dict[str, str]:
    """The annotations that do what is asked for; none where that was done, or something newer. Raises InvalidInput."""
    present = annotations_of(pr)
    if command.word == REDEPLOY and present.get(RESTARTED_ANNOTATION, "") < timestamp(command.at):
        return {RESTARTED_ANNOTATION: timestamp(command.at)}
    if command.word == EXTEND and _id(present.get(KEPT_BY_ANNOTATION, "")) < command.id:
        return {KEEP_ANNOTATION: kept_until(command), KEPT_BY_ANNOTATION: str(command.id)}
    return {}


def _id(written: str) -> int:
    return int(written) if re.fullmatch(r"[0-9]{1,20}", written, re.ASCII) else 0


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

"""A PR object -> the one comment on its pull request, in Markdown: same input, same bytes.

No title, branch or label gets in, and whatever others wrote is scrubbed (``core.scrub``) and stands as code
(``core.markdown``). No time is told either: a comment that is a day old would say nothing with it, and the forge shows
when it was edited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenroom.core import health
from greenroom.core.excerpt import excerpt, message
from greenroom.core.markdown import code, fence, link
from greenroom.core.phases import Phase, image_of, reason_of
from greenroom.core.plan import REPLACING
from greenroom.core.status import READY
from greenroom.model.manifest import Manifest, Ref, condition_of, name_of, ref_of, text

LENGTH_LIMIT = 65_536
"""Characters in a comment: GitHub refuses longer ones ("body is too long (maximum is 65536 characters)")."""
LOG_LINES = 20
_ANSWER_LINES = 60
_LINE_LIMIT = 300
_MESSAGE_LIMIT = 700
_NAME_LIMIT = 300
_SHORT = 7

_NO_NAME = re.compile(r"[^A-Za-z0-9._/-]|--+>?")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")

_STARTING: Mapping[str, str] = {
    "": "It is being set up.",
    health.ROLLING_OUT: "Its pods are starting.",
    health.WAITING_FOR_ROUTE: "The gateway does not serve its route yet.",
    health.NOT_READY: "One of its objects is not ready yet.",
    REPLACING: "An object that cannot be changed is being replaced.",
}


def marker(ref: Ref) -> str:
    """What the comment of a PR object begins with, by which it is found again. It is not shown."""
    return f"<!-- greenroom: {_NO_NAME.sub('_', f'{ref.namespace}/{ref.name}')} -->"


@dataclass(frozen=True, slots=True)
class Answer:
    """To ``/preview`` and a ``word`` of somebody's: a note in our words, and lines that are shown as they are."""

    word: str
    by: str
    note: str = ""
    lines: Sequence[str] = ()


def comment(pr: Manifest, phase: Phase, *, log: Sequence[str] = (), why: str = "", answer: Answer | None = None) -> str:
    """``log`` is the end of what the container that failed has printed. ``why`` tells why an environment was removed
    though its pull request is still open."""
    title = f"**Preview environment {code(name_of(pr), limit=_NAME_LIMIT)}: {phase.value}**"
    facts = "\n".join(f"- {fact}" for fact in _facts(pr, phase))
    said = [f"{marker(ref_of(pr))}\n{title}", facts, *_SAID[phase](pr, log, why), *_answer(answer)]
    return "\n\n".join(filter(None, said)) + "\n"


def _answer(answer: Answer | None) -> Iterator[str]:
    if answer is None:
        return
    question = code(f"/preview {answer.word}".strip(), limit=_NAME_LIMIT)
    note = _foreign(answer.note, _MESSAGE_LIMIT)
    yield f"{question}, asked by {code(answer.by, limit=_NAME_LIMIT) or 'somebody'}{f': {note}' if note else ''}"
    lines = excerpt(answer.lines)
    if any(line.strip() for line in lines):
        yield fence(lines, lines_limit=_ANSWER_LINES, line_limit=_LINE_LIMIT)


def _facts(pr: Manifest, phase: Phase) -> Iterator[str]:
    if phase in (Phase.REMOVING, Phase.REMOVED, Phase.NONE):
        return
    if url := text(pr, "status", "url"):
        yield f"Address: {link(url)}"
    if commit := text(pr, "spec", "headCommitRef"):
        yield f"Commit: {_commit(commit)}{_shown_instead(pr)}"


def _shown_instead(pr: Manifest) -> str:
    shown = text(pr, "status", "shownCommit")
    if shown in ("", text(pr, "spec", "headCommitRef")):
        return ""
    return f"; until it is ready, the address shows {_commit(shown)}"


def _commit(commit: str) -> str:
    return code(commit[:_SHORT] if _COMMIT.fullmatch(commit) else commit, limit=_NAME_LIMIT)


def _starting(pr: Manifest, _: Sequence[str], __: str) -> Iterator[str]:
    yield _STARTING.get(reason_of(pr), _STARTING[""])


def _waiting_for_image(pr: Manifest, _: Sequence[str], __: str) -> Iterator[str]:
    image = _foreign(image_of(pr), _NAME_LIMIT)
    yield f"It starts as soon as there is the image {image}." if image else "It starts as soon as there is its image."


def _unanswered(_: Manifest, __: Sequence[str], ___: str) -> Iterator[str]:
    yield "Its pods are ready, but the address does not answer with this commit yet."


def _failed(pr: Manifest, log: Sequence[str], _: str) -> Iterator[str]:
    said = _foreign(text(condition_of(pr, READY), "message"), _MESSAGE_LIMIT)
    yield ": ".join(filter(None, [_foreign(reason_of(pr), _NAME_LIMIT), said]))
    lines = excerpt(log)
    if any(line.strip() for line in lines):
        yield "The last lines of its log:"
        yield fence(lines, lines_limit=LOG_LINES, line_limit=_LINE_LIMIT)


def _ready(_: Manifest, __: Sequence[str], ___: str) -> Iterator[str]:
    yield from ()


def _removing(_: Manifest, __: Sequence[str], ___: str) -> Iterator[str]:
    yield "It is being taken down."


def _removed(_: Manifest, __: Sequence[str], why: str) -> Iterator[str]:
    told = _foreign(why, _MESSAGE_LIMIT)
    yield f"The pull request goes on without it: {told}" if told else "Everything that belonged to it is gone."


def _none(_: Manifest, __: Sequence[str], why: str) -> Iterator[str]:
    yield _foreign(why, _MESSAGE_LIMIT)


_SAID: Mapping[Phase, Callable[[Manifest, Sequence[str], str], Iterator[str]]] = {
    Phase.STARTING: _starting,
    Phase.WAITING_FOR_IMAGE: _waiting_for_image,
    Phase.UNANSWERED: _unanswered,
    Phase.READY: _ready,
    Phase.FAILED: _failed,
    Phase.REMOVING: _removing,
    Phase.REMOVED: _removed,
    Phase.NONE: _none,
}


def _foreign(said: str, limit: int) -> str:
    return code(message(said), limit=limit)

"""Whether a pull request gets an environment from a ReviewApp, and why: the text of ``greenroom explain``.

It reads what ``flows.intake`` wrote: the annotation of the PR object, or the status of the ReviewApp. What others chose
(titles, branches, labels, logins) is made printable, and is otherwise as it was: whoever puts the lines into a page or
a comment escapes them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenroom.core.gate import NO_WISH, Admission, Answer, Refusal, Undecided, answers, decide, question
from greenroom.core.remembered import REFUSED
from greenroom.core.standing import State, Told, repository_of, state_of
from greenroom.model.errors import InvalidInput
from greenroom.model.gate import Gate
from greenroom.model.manifest import Manifest, condition_of, is_deleting, name_of, text, timestamp
from greenroom.model.pull import Mark, Traits

LABELS_SHOWN = 20
_INDENT = "  "


def explanation(app: Manifest, pr: Manifest | None, number: int) -> tuple[str, ...]:
    """Lines for a person. ``pr`` is the PR object of pull request ``number`` of that ReviewApp, if there is one."""
    told = Told(repository_of(app), number)
    state = state_of(app, pr, told)
    if state is None:
        lines = _unknown(app, pr, told)
    elif isinstance(state.gate, InvalidInput):
        lines = _broken(state, state.gate)
    else:
        lines = _asked(state, state.gate)
    return tuple(map(printable, lines))


def printable(line: str) -> str:
    """``line`` with a question mark for everything that a terminal could take for an order, or that has no shape."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _unknown(app: Manifest, pr: Manifest | None, told: Told) -> Iterator[str]:
    if pr is not None:
        yield f"ReviewApp {name_of(app)}: somebody made {name_of(pr)} by hand, and no gate is asked of that"
        return
    yield f"ReviewApp {name_of(app)}: nothing is known of pull request {told.number}"
    yield f"{_INDENT}Its repository is {told.repository}. The next delivery tells:"
    yield f"{_INDENT}push to the pull request, put a label on it, or let the forge send a delivery again."


def _broken(state: State, error: InvalidInput) -> Iterator[str]:
    kept = "the environment stays as it is" if state.pr is not None else "no environment is made"
    yield f"ReviewApp {name_of(state.app)}: the gate cannot be asked of pull request {state.pull.number}, and {kept}"
    yield f"{_INDENT}{error}"
    yield from _titled("What is known of it", _known(state))


def _asked(state: State, gate: Gate | None) -> Iterator[str]:
    asked = question(state.pull, gate, state.known)
    yield f"ReviewApp {name_of(state.app)}: pull request {state.pull.number} {_verdict(state, answer := decide(asked))}"
    yield f"{_INDENT}{answer.message}"
    yield from (f"{_INDENT}{line}" for line in _besides(state, answer))
    yield from _titled("What is known of it", _known(state))
    if not state.pull.open:
        return  # all else is asked of those that are open
    asked_of = "What the gate says" if gate is not None else "What is asked without a gate"
    yield from _titled(asked_of, {name: _said(each) for name, each in answers(asked)})


def _verdict(state: State, answer: Admission | Refusal | Undecided) -> str:
    match answer:
        case Admission():
            return f"gets an environment ({answer.reason})"
        case Refusal():
            return f"gets no environment ({answer.reason.value})"
        case Undecided():
            kept = "has an environment, which stays for now" if state.pr is not None else "has no environment for now"
            return f"{kept} ({answer.reason.value})"


def _besides(state: State, answer: Admission | Refusal | Undecided) -> Iterator[str]:
    if isinstance(answer, Undecided) and (last := _last_answer(state)):
        yield f"When it was last asked, the answer was: {last}"
    if state.pr is not None and is_deleting(state.pr):
        yield f"{state.ref.name} is being deleted."
    elif state.pr is not None and not isinstance(answer, Refusal):
        yield f"`greenroom describe pr/{state.ref.name}` shows how it is."
    elif state.pr is None and isinstance(answer, Admission):
        yield f"{state.ref.name} is not there: it is on its way, or it was deleted, and the next delivery brings it."


def _last_answer(state: State) -> str:
    """Of somebody who knew more, such as the paths that it changes."""
    remembered = text(state.app, "status", REFUSED, str(state.pull.number), "message")
    return remembered or text(condition_of(state.pr or {}, "Admitted"), "message")


def _known(state: State) -> Mapping[str, str]:
    pull, known = state.pull, state.known
    return {
        "state": ("open" if pull.open else "closed") + f", by what was told of {timestamp(known.at)}",
        "head": pull.head,
        **(_traits(pull.traits) if pull.traits is not None else {}),
        **({"approval": _mark(known.approval)} if known.approval is not None else {}),
        **({"wish": _mark(known.wish)} if known.wish is not None and known.wish.what != NO_WISH else {}),
    }


def _traits(traits: Traits) -> Mapping[str, str]:
    labels = sorted(traits.labels)
    more = len(labels) - LABELS_SHOWN
    author = [traits.author or "somebody whose account is gone", *(["a bot"] if traits.is_bot else [])]
    return {
        "title": traits.title,
        "branch": f"{traits.branch}, to be merged into {traits.base}",
        "author": ", ".join([*author, *([traits.association] if traits.association else [])]),
        "labels": ", ".join([*labels[:LABELS_SHOWN], *([f"and {more} more"] if more > 0 else [])]) or "none",
        "draft": _yes(traits.is_draft),
        "fork": _yes(traits.is_fork),
    }


def _mark(mark: Mark) -> str:
    of = f" of {mark.commit[:7]}" if mark.commit else ""
    return f"{mark.what}{of} by {mark.by or 'somebody'}, {timestamp(mark.at)}"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _said(answer: Answer) -> str:
    match answer:
        case None:
            return "ok"
        case Refusal():
            return f"NO: {answer.message}"
        case Undecided():
            return f"not known: {answer.message}"


def _titled(title: str, cells: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, cells))
    yield ""
    yield f"{_INDENT}{title}:"
    for name, value in cells.items():
        yield f"{_INDENT}{_INDENT}{name:<{width}}  {value}"

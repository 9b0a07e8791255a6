"""Which pull requests get an environment: a chain of small policies, the first that objects counts.

Whoever may push to the repository can ask for an environment in a comment, against all that is only a matter of taste.
Whether a stranger's code may run is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from greenroom.core.ordering import Knowledge
from greenroom.core.patterns import first_match, first_path_match
from greenroom.model.gate import Choice, ExpressionError, Forks, Gate, evaluate
from greenroom.model.pull import APPROVED, TEAM, Mark, PullRequest, Traits

PREVIEW, DESTROY, NO_WISH = "preview", "destroy", "none"
"""What a Mark of a wish says."""

_LISTED = 3


class Reason(Enum):
    """Why a pull request has no environment, in a word for programs."""

    CLOSED = "Closed"
    DESTROYED = "Destroyed"
    UNKNOWN = "Unknown"
    FORK = "Fork"
    DRAFT = "Draft"
    BOT = "Bot"
    LABELS = "Labels"
    AUTHOR = "Author"
    BASE_BRANCH = "BaseBranch"
    TITLE = "Title"
    EXPRESSION = "Expression"
    PATHS = "Paths"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pull request gets nothing from a ReviewApp; ``message`` is for a person."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """It cannot be told now: whatever there is stays, and nothing new comes."""

    message: str
    reason: Reason = Reason.UNKNOWN


@dataclass(frozen=True, slots=True)
class Admission:
    """Why a pull request gets an environment."""

    reason: str
    message: str


Answer: TypeAlias = "Refusal | Undecided | None"
Policy: TypeAlias = "Callable[[Question], Answer]"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a gate; None is no gate. ``paths`` are those that the pull request changes, where they are
    known."""

    pull: PullRequest
    gate: Gate | None
    approval: Mark | None = None
    wish: Mark | None = None
    paths: frozenset[str] | None = None

    @property
    def traits(self) -> Traits:
        return self.pull.traits or Traits()

    @property
    def is_requested(self) -> bool:
        return self.wish is not None and self.wish.what == PREVIEW

    @property
    def is_approved(self) -> bool:
        """Whether somebody who may push has looked at this very commit."""
        given = [mark.commit for mark in (self.approval, self.wish) if mark and mark.what in {APPROVED, PREVIEW}]
        return self.pull.head in given


def question(pull: PullRequest, gate: Gate | None, known: Knowledge) -> Question:
    return Question(pull, gate, known.approval, known.wish)


def decide(asked: Question) -> Admission | Refusal | Undecided:
    """The first objection, or why there is none."""
    return next((answer for _, answer in answers(asked) if answer is not None), None) or _admission(asked)


def answers(asked: Question) -> Iterator[tuple[str, Answer]]:
    """Every policy that is asked, by name, and what it says; None is that it has no objection."""
    for name, policy in ALWAYS.items():
        yield name, policy(asked)
    if asked.gate is not None and not asked.is_requested:
        for name, policy in BY_GATE.items():
            yield name, policy(asked)


def is_open(asked: Question) -> Answer:
    return None if asked.pull.open else Refusal(Reason.CLOSED, f"pull request {asked.pull.number} is closed")


def is_not_destroyed(asked: Question) -> Answer:
    if asked.wish is None or asked.wish.what != DESTROY:
        return None
    cure = "comment /preview, or put its label on, to have it back"
    return Refusal(Reason.DESTROYED, f"{asked.wish.by or 'somebody'} had it destroyed: {cure}")


def is_known(asked: Question) -> Answer:
    if asked.gate is None or asked.pull.traits is not None:
        return None
    return Undecided("nothing is known of it but its commit: the next delivery tells")


def is_trusted(asked: Question) -> Answer:
    """A fork's commits were written by somebody who may not push here, and are run."""
    traits = asked.traits
    if not traits.is_fork:
        return None
    if asked.gate is None:
        if traits.association in TEAM or asked.is_approved:
            return None
        return Refusal(
            Reason.FORK, f"it comes from a fork of {traits.author}'s, who is none of the team; {_FORKS_CURE}"
        )
    if asked.gate.forks is Forks.ALWAYS or (asked.gate.forks is Forks.APPROVED and asked.is_approved):
        return None
    if asked.gate.forks is Forks.NEVER:
        return Refusal(Reason.FORK, f"it comes from a fork; {_FORKS_CURE}")
    return Refusal(Reason.FORK, f"it comes from a fork, and commit {asked.pull.head[:7]} {_unapproved(asked.gate)}")


_FORKS_CURE = "spec.gate.forks says which forks get an environment"


def _unapproved(gate: Gate) -> str:
    label = f", the label {gate.approval_label}" if gate.approval_label else ""
    return f"is not approved: that takes an approving review{label}, or /preview, by somebody who may push"


def is_no_draft(asked: Question) -> Answer:
    if not asked.traits.is_draft or _gate(asked).drafts:
        return None
    return Refusal(Reason.DRAFT, "it is a draft")


def is_no_bot(asked: Question) -> Answer:
    if not asked.traits.is_bot or _gate(asked).bots:
        return None
    return Refusal(Reason.BOT, f"its author {asked.traits.author} is a bot")


def has_labels(asked: Question) -> Answer:
    labels, on = _gate(asked).labels, {each.casefold() for each in asked.traits.labels}
    missing = [each for each in labels.all if each.casefold() not in on]
    unwanted = [each for each in labels.none if each.casefold() in on]
    if unwanted:
        return Refusal(Reason.LABELS, f"the label {unwanted[0]} is on")
    if missing:
        return Refusal(Reason.LABELS, f"the label {missing[0]} is missing")
    if labels.any and not any(each.casefold() in on for each in labels.any):
        one = "the label" if len(labels.any) == 1 else "one of the labels"
        return Refusal(Reason.LABELS, f"it needs {one} {_listed(labels.any)}")
    return None


def is_of_author(asked: Question) -> Answer:
    return _chosen(_gate(asked).authors, asked.traits.author, Reason.AUTHOR, "its author is")


def is_into_base_branch(asked: Question) -> Answer:
    choice, base = _gate(asked).base_branches, asked.traits.base
    return _chosen(choice, base, Reason.BASE_BRANCH, "it is to be merged into", match=first_path_match)


def has_title(asked: Question) -> Answer:
    choice, title = _gate(asked).title, asked.traits.title
    if pattern := first_match(choice.none, title):
        return Refusal(Reason.TITLE, f"its title matches {pattern!r}")
    if choice.any and not first_match(choice.any, title):
        return Refusal(Reason.TITLE, f"its title matches none of {_listed(choice.any)}")
    return None


def has_expression(asked: Question) -> Answer:
    expression, traits = _gate(asked).expression, asked.traits
    if not expression:
        return None
    values = {
        "number": asked.pull.number,
        "title": traits.title,
        "branch": traits.branch,
        "base": traits.base,
        "author": traits.author,
        "association": traits.association,
        "labels": sorted(traits.labels),
        "bot": traits.is_bot,
        "draft": traits.is_draft,
        "fork": traits.is_fork,
    }
    try:
        holds = evaluate(expression, values)
    except ExpressionError as error:
        return Undecided(f"spec.gate.expression has no answer: {error}")
    return None if holds else Refusal(Reason.EXPRESSION, f"it is not so that {expression}")


def changes_paths(asked: Question) -> Answer:
    choice = _gate(asked).paths
    if choice == Choice():
        return None
    if asked.paths is None:
        return Undecided("which paths it changes is not known: spec.gate.paths needs credentials for the forge")
    wanted = (path for path in asked.paths if not first_path_match(choice.none, path))
    if any(not choice.any or first_path_match(choice.any, path) for path in wanted):
        return None
    where = f" in {_listed(choice.any)}" if choice.any else f" but what is in {_listed(choice.none)}"
    return Refusal(Reason.PATHS, f"it changes nothing{where}")


ALWAYS: dict[str, Policy] = {
    "open": is_open,
    "not destroyed": is_not_destroyed,
    "known": is_known,
    "forks": is_trusted,
}
BY_GATE: dict[str, Policy] = {
    "drafts": is_no_draft,
    "bots": is_no_bot,
    "labels": has_labels,
    "authors": is_of_author,
    "baseBranches": is_into_base_branch,
    "title": has_title,
    "expression": has_expression,
    "paths": changes_paths,  # last, since it has to be asked for
}


def canonical(repository: str) -> str:
    """A repository's address in the one way of writing it that is compared: GitHub ignores letter case in names."""
    return repository.strip().lower().rstrip("/").removesuffix(".git").rstrip("/")


def _gate(asked: Question) -> Gate:
    return asked.gate or Gate()


def _chosen(
    choice: Choice, text: str, reason: Reason, what: str, *, match: Callable[[tuple[str, ...], str], str] = first_match
) -> Answer:
    if match(choice.none, text):
        return Refusal(reason, f"{what} {text}")
    if choice.any and not match(choice.any, text):
        return Refusal(reason, f"{what} {text}, and not {_listed(choice.any)}")
    return None


def _admission(asked: Question) -> Admission:
    if asked.gate is None:
        return Admission("NoGate", "every open pull request gets an environment")
    if asked.is_requested:
        by = asked.wish.by if asked.wish else ""
        return Admission("Requested", f"{by or 'somebody'} asked for it with /preview")
    on = {each.casefold() for each in asked.traits.labels}
    wanted = next((each for each in (*asked.gate.labels.any, *asked.gate.labels.all) if each.casefold() in on), "")
    if wanted:
        return Admission("Labeled", f"the label {wanted} is on")
    return Admission("Admitted", "the gate has no objection")


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join([*names[:_LISTED], *([f"… ({more} more)"] if more > 0 else [])])

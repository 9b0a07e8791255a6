"""What there is to know of a pull request at one ReviewApp, from all that is told and remembered; and the PR object
that says so.

``flows.intake`` reads and writes; this puts together what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from greenroom.core.gate import Admission, Reason, Refusal, Undecided, decide, question
from greenroom.core.ordering import OBSERVED, Knowledge, join, join_seen
from greenroom.core.relations import pull_number
from greenroom.core.remembered import CLOSED, REFUSED, closed_knowledge, refused_knowledge, refused_numbers
from greenroom.core.told import approval_of, asks_anew
from greenroom.model.environment import pr_name
from greenroom.model.errors import InvalidInput
from greenroom.model.gate import Gate
from greenroom.model.manifest import (
    PR,
    RECEIVED_ANNOTATION,
    Json,
    Manifest,
    Ref,
    annotations_of,
    name_of,
    owner_reference,
    ref_of,
    table,
    text,
    uid_of,
    version_of,
)
from greenroom.model.pull import Action, Mark, PullEvent, PullRequest, Traits
from greenroom.model.reviewapp import gate_of

NO_VERSION = "1"
"""A resource version that no object has: etcd's own first revision. Applied with it, an object is made, or is a
Conflict, but never written over."""


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to be added to what is known of a pull request: an event, what the forge says of it now, a wish of
    somebody's; or nothing, when only the gate is to be asked again.

    ``is_trusted`` tells whether the sender of the event may approve a commit.
    """

    repository: str
    number: int
    event: PullEvent | None = None
    present: PullEvent | None = None
    wish: Mark | None = None
    is_trusted: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """What the cluster holds of a pull request, and what is known of it, what was told included.

    ``recorded`` is what the PR object was made from, ``gate`` the ReviewApp's, or what is wrong with it.
    """

    app: Manifest
    pr: Manifest | None
    ref: Ref
    recorded: Knowledge | None
    known: Knowledge
    pull: PullRequest
    gate: Gate | None | InvalidInput

    @property
    def is_of_unknown_trust(self) -> bool:
        """Whether nobody can tell if its commits may be run: the gate that would say so is wrong."""
        is_fork = self.pull.traits is None or self.pull.traits.is_fork
        return is_fork and isinstance(self.gate, InvalidInput)

    @property
    def gate_asks_the_forge(self) -> bool:
        """Whether its answer may depend on what only the forge knows."""
        return isinstance(self.gate, Gate) and self.gate.needs_paths


def known_numbers(app: Manifest, prs: Iterable[Manifest]) -> set[int]:
    """The pull requests that are known at a ReviewApp and may be open: those that deliveries made one of ``prs`` for,
    and those that are remembered as refused."""
    name = name_of(app)
    ours = [pr for pr in prs if text(pr, "spec", "parentReviewApp") == name and OBSERVED in annotations_of(pr)]
    return {number for pr in ours if (number := pull_number(pr))} | set(refused_numbers(app))


def repository_of(app: Manifest) -> str:
    """The address of its repository: where that has moved, since this ReviewApp named it, the present one."""
    named, moved = text(app, "spec", "githubRepository"), table(app, "status", "repository")
    return text(moved, "address") if named and text(moved, "named") == named else named


def pr_ref(app: Ref, told: Told) -> Ref:
    return Ref(PR, app.namespace, pr_name(app.name, told.number))


def state_of(app: Manifest, pr: Manifest | None, told: Told) -> State | None:
    """None where nothing is known of the pull request."""
    gate = gate_or_error(app)
    recorded = Knowledge.parse(annotations_of(pr).get(OBSERVED, "")) if pr is not None else None
    elsewhere = [closed_knowledge(app, told.number), refused_knowledge(app, told.number)]
    known = _known(told, [recorded, *elsewhere], gate if isinstance(gate, Gate) else Gate())
    if known is None:
        return None
    pull = PullRequest(told.repository, told.number, known.head, known.is_open, known.traits)
    return State(app, pr, pr_ref(ref_of(app), told), recorded, known, pull, gate)


def _known(told: Told, before: Sequence[Knowledge | None], gate: Gate) -> Knowledge | None:
    found = [each for each in before if each is not None]
    if told.event is not None and told.event.action is not Action.SEEN:
        event = told.event if told.is_trusted else replace(told.event, approval=None)
        known = Knowledge.of(event)
        # Nobody has looked at a head that is pushed right before its label, with which it may be heard of first.
        approval = _about_what_was_known(approval_of(event, gate) if told.is_trusted else None, found)
        found.append(known.with_marks(approval=approval, wish=asks_anew(told.event, gate)))
    wish = _about_what_was_known(told.wish, found)
    if told.present is not None:
        known = join_seen(Knowledge.of(told.present), *found)
        return known.with_marks(wish=wish and (wish if wish.commit else _about_what_was_known(wish, [known])))
    return join(*found).with_marks(wish=wish) if found else None


def _about_what_was_known(mark: Mark | None, found: Sequence[Knowledge]) -> Mark | None:
    """Who asks for an environment, or puts on a label, approves the commit that he saw, and not one that is pushed
    right then, of which may be heard first. What was pushed within the same second he can hardly have seen. The mark
    stays as it is where it is not known which one he saw."""
    before = [each for each in found if mark is not None and _was_seen_by(each, mark)]
    return mark and (_about(mark, join(*before)) if before else mark)


def _was_seen_by(known: Knowledge, mark: Mark) -> bool:
    was_just_pushed = any(fact.what == Action.SYNCHRONIZE.value for fact in known.facts)
    return known.at < mark.at or (known.at == mark.at and not was_just_pushed)


def _about(mark: Mark, known: Knowledge) -> Mark:
    return msgspec.structs.replace(mark, commit=known.head)


def may_run(app: Manifest, pr: Manifest) -> bool:
    """Whether the commit of a PR object may be run: not so what a fork pushed and nobody has approved, as a gate that
    was edited meanwhile has it. It goes soon."""
    answer = answer_of(app, pr)
    return not (isinstance(answer, Refusal) and answer.reason is Reason.FORK)


def answer_of(app: Manifest, pr: Manifest) -> Admission | Refusal | Undecided | None:
    """What the gate says of a PR object, by what is known; None of one that no delivery made.

    A refusal is of a pull request that the ReviewApp remembers as closed or refused since the PR object was written:
    whoever remembered it died, or is slow, before that was deleted.
    """
    recorded = Knowledge.parse(annotations_of(pr).get(OBSERVED, ""))
    number = pull_number(pr)
    if recorded is None or not number:
        return None
    known = join(recorded, closed_knowledge(app, number), refused_knowledge(app, number))
    pull = PullRequest(repository_of(app), number, known.head, known.is_open, known.traits)
    gate = gate_or_error(app)
    if isinstance(gate, InvalidInput):
        return Undecided(f"the gate cannot be asked: {gate}") if pull.open else decide(question(pull, None, known))
    return decide(question(pull, gate, known))


def is_refused(app: Manifest, pr: Manifest) -> bool:
    """Whether it is to be deleted. What an edited gate says is for ``flows.gatekeeper`` to do, and to remember."""
    key = text(pr, "spec", "prNumber")
    return any(key in table(app, "status", each) for each in (CLOSED, REFUSED)) and isinstance(
        answer_of(app, pr), Refusal
    )


def gate_or_error(app: Manifest) -> Gate | None | InvalidInput:
    try:
        return gate_of(app)
    except InvalidInput as error:
        return error


def pr_object(state: State, received: datetime) -> Manifest:
    """Only the fields that are ours, so that ``envVars`` set by hand stay. An object that was read must not have
    changed since, nor, which only its UID says, come anew after it was deleted; one that was not there must not be."""
    metadata: dict[str, Json] = {
        "name": state.ref.name,
        "namespace": state.ref.namespace,
        "annotations": {
            OBSERVED: str(state.known),
            RECEIVED_ANNOTATION: received.isoformat(timespec="milliseconds"),
        },
        "ownerReferences": [owner_reference(state.app)],
        "resourceVersion": NO_VERSION,
    }
    if state.pr is not None:
        metadata["uid"] = uid_of(state.pr)
        metadata["resourceVersion"] = version_of(state.pr)
    return {
        "apiVersion": PR.api_version,
        "kind": PR.name,
        "metadata": metadata,
        "spec": {
            "parentReviewApp": ref_of(state.app).name,
            "prNumber": str(state.pull.number),
            "headCommitRef": state.pull.head,
            **_described(state.pull.traits),
        },
    }


def _described(traits: Traits | None) -> dict[str, Json]:
    """What templates may use, and people want to know."""
    if traits is None:
        return {}
    described: dict[str, Json] = {
        "title": traits.title,
        "branch": traits.branch,
        "base": traits.base,
        "author": traits.author,
        "labels": sorted(traits.labels),
    }
    return {"pullRequest": described}

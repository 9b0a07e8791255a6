"""What a delivery says besides: of a commit that is approved, and of a wish that it makes void."""

from __future__ import annotations

from greenroom.core.gate import NO_WISH
from greenroom.model.gate import Gate
from greenroom.model.pull import APPROVED, WITHDRAWN, Action, Mark, PullEvent

_LABEL_ACTIONS = {Action.LABELED: APPROVED, Action.UNLABELED: WITHDRAWN}


def approval_of(event: PullEvent, gate: Gate) -> Mark | None:
    """That the label of approval was put on approves the commit that was the head then, and no other.

    Its taking off is of all commits. None says nothing.
    """
    what = _LABEL_ACTIONS.get(event.action)
    if what is None or not gate.approval_label or event.label.casefold() != gate.approval_label.casefold():
        return None
    return Mark(event.at, what, event.pull.head, event.sender)


def asks_anew(event: PullEvent, gate: Gate) -> Mark | None:
    """Who puts on or takes off a label that the gate asks for, or reopens, decides anew: what was asked for in a
    comment before counts no more."""
    asked_for = {each.casefold() for each in (*gate.labels.any, *gate.labels.all)}
    is_about = event.action in _LABEL_ACTIONS and event.label.casefold() in asked_for
    return Mark(event.at, NO_WISH, by=event.sender) if is_about or event.action is Action.REOPENED else None

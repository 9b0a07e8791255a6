"""What a pull request is told of its environment, in one word; ``core.comment`` and ``core.report`` go by it.

It is about the commit that is wanted. A status that was written before the last push says nothing of it.
"""

from __future__ import annotations

import re
from enum import Enum

from greenroom.core import health
from greenroom.core.asking import Asked
from greenroom.core.events import gist
from greenroom.core.plan import digest
from greenroom.core.status import FAILURES, READY
from greenroom.model.manifest import Manifest, condition_of, is_deleting, number, text

_IMAGE = re.compile(r"waiting for image (\S+?)(?=: |; |$)")
"""As ``core.health`` words it; what follows is the kubelet's."""


class Phase(Enum):
    """``UNANSWERED`` is ready as far as the cluster says, but the address has not answered with the commit yet;
    ``NONE`` is of a pull request that has no environment."""

    STARTING = "starting"
    WAITING_FOR_IMAGE = "waiting for its image"
    UNANSWERED = "not reached yet"
    READY = "ready"
    FAILED = "failed"
    REMOVING = "being removed"
    REMOVED = "removed"
    NONE = "none"


FINAL = frozenset({Phase.READY, Phase.FAILED, Phase.REMOVED})
"""What ends the rollout of a commit."""


def phase_of(pr: Manifest, *, answered: bool) -> Phase:
    """``answered`` tells whether the address answered with the wanted commit, or needs not be asked."""
    if is_deleting(pr):
        return Phase.REMOVING
    if not is_current(pr):
        return Phase.STARTING
    if is_up(pr):
        return Phase.READY if answered else Phase.UNANSWERED
    reason = reason_of(pr)
    if reason in FAILURES:
        return Phase.FAILED
    return Phase.WAITING_FOR_IMAGE if reason == health.WAITING_FOR_IMAGE else Phase.STARTING


def is_current(pr: Manifest) -> bool:
    """Whether the status is about what the PR object asks for now."""
    observed, wanted = number(pr, "status", "observedGeneration"), number(pr, "metadata", "generation")
    return observed >= wanted and text(pr, "status", "commit") == text(pr, "spec", "headCommitRef")


def is_up(pr: Manifest) -> bool:
    """Whether the cluster says that the wanted commit is shown, and no other.

    An environment without Deployments shows no commit: being Ready for its generation is all there is to know.
    """
    shown = text(pr, "status", "shownCommit")
    is_ready = text(condition_of(pr, READY), "status") == "True"
    return is_current(pr) and is_ready and shown in ("", text(pr, "spec", "headCommitRef"))


def reason_of(pr: Manifest) -> str:
    """Why it is not ready; ``""`` while nobody has looked at what the PR object asks for now."""
    return text(condition_of(pr, READY), "reason") if is_current(pr) else ""


def image_of(pr: Manifest) -> str:
    """The image that is waited for, or ``""``."""
    found = _IMAGE.search(text(condition_of(pr, READY), "message"))
    return found[1] if found else ""


def gist_of(pr: Manifest, phase: Phase) -> str:
    """A short hash that changes when there is news: not with counts, times, or the way in which it goes on. What
    follows a dot is about the question that somebody asked (``core.asking``)."""
    about: dict[Phase, str] = {
        Phase.WAITING_FOR_IMAGE: image_of(pr),
        Phase.FAILED: "\n".join(gist(condition_of(pr, READY))),
    }
    said = digest(
        {
            "phase": phase.value,
            "commit": text(pr, "spec", "headCommitRef"),
            "url": text(pr, "status", "url"),
            "about": about.get(phase, ""),
        }
    )
    asked = Asked.of(pr)
    return f"{said}.{asked.id}" if asked is not None else said

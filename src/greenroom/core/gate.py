"""Which pull requests get an environment: a chain of small policies, the first refusal counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from greenroom.model.pull import PullRequest
from greenroom.model.reviewapp import ReviewApp


class Reason(Enum):
    OTHER_REPOSITORY = "OtherRepository"
    CLOSED = "Closed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pull request gets nothing from a ReviewApp; ``message`` is for a person."""

    reason: Reason
    message: str


Policy: TypeAlias = Callable[[PullRequest, ReviewApp], Refusal | None]


def refusal(pull: PullRequest, app: ReviewApp) -> Refusal | None:
    """The first reason why ``pull`` gets no environment from ``app``; None admits it."""
    return next((found for policy in POLICIES if (found := policy(pull, app))), None)


def of_another_repository(pull: PullRequest, app: ReviewApp) -> Refusal | None:
    if canonical(pull.repository) == canonical(app.repository):
        return None
    return Refusal(Reason.OTHER_REPOSITORY, f"{app.name} is for {app.repository}")


def not_open(pull: PullRequest, app: ReviewApp) -> Refusal | None:
    return None if pull.open else Refusal(Reason.CLOSED, f"pull request {pull.number} is closed")


POLICIES: tuple[Policy, ...] = (of_another_repository, not_open)


def canonical(repository: str) -> str:
    """A repository's address in the one way of writing it that is compared: GitHub ignores letter case in names."""
    return repository.strip().lower().rstrip("/").removesuffix(".git").rstrip("/")

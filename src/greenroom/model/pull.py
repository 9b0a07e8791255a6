"""A pull request as a forge told of it: read by ``core.webhook``, put in order by ``core.ordering``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Action(Enum):
    """What happened to a pull request: the actions of GitHub's ``pull_request`` event that matter here."""

    OPENED = "opened"
    REOPENED = "reopened"
    SYNCHRONIZE = "synchronize"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """``repository`` is the address people open in a browser, ``head`` the full name of the newest commit."""

    repository: str
    number: int
    head: str
    open: bool


@dataclass(frozen=True, slots=True)
class PullEvent:
    """One delivery: the pull request as it was at ``at``, a whole second, in UTC.

    ``before`` is the head that a push replaced, or ``""``; ``merged`` tells that it was closed for good.
    """

    action: Action
    pull: PullRequest
    at: datetime
    before: str = ""
    merged: bool = False

"""A pull request as a forge told of it: read by ``core.webhook``, put in order by ``core.ordering``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec

TEAM = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""What GitHub calls somebody who is no stranger to a repository ("author_association")."""
APPROVED, WITHDRAWN = "approved", "withdrawn"
"""What a Mark says of a commit."""


class Action(Enum):
    """What happened to a pull request: the actions of GitHub's ``pull_request`` event that can change what becomes of
    its environment; ``REVIEWED`` is any of its event ``pull_request_review``; and ``SEEN`` is not told by a webhook:
    the pull request was read from the forge as it is."""

    OPENED = "opened"
    REOPENED = "reopened"
    SYNCHRONIZE = "synchronize"
    CLOSED = "closed"
    LABELED = "labeled"
    UNLABELED = "unlabeled"
    EDITED = "edited"
    CONVERTED_TO_DRAFT = "converted_to_draft"
    READY_FOR_REVIEW = "ready_for_review"
    REVIEWED = "reviewed"
    SEEN = "seen"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a gate may ask for. Anybody who can open a pull request chooses ``title`` and ``branch``.

    ``base`` is the branch it is to be merged into; ``association`` is what its author is to the repository, in the
    forge's words (GitHub: ``OWNER``, ``MEMBER``, ``COLLABORATOR``, ``CONTRIBUTOR``, ``NONE``, …). ``is_fork`` tells
    that its commits are in another repository, or in one that is gone.
    """

    title: str = ""
    branch: str = ""
    base: str = ""
    author: str = ""
    association: str = ""
    is_bot: bool = False
    is_draft: bool = False
    is_fork: bool = False
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PullRequest:
    """``repository`` is the address people open in a browser, ``head`` the full name of the newest commit. ``traits``
    are None where they are not known."""

    repository: str
    number: int
    head: str
    open: bool
    traits: Traits | None = None


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that somebody did about an environment, apart from the pull request itself: ``what`` was done, when,
    for which commit, and by whom. ``id`` is the comment's in which it was asked for: the later one's is higher."""

    at: datetime
    what: str
    commit: str = ""
    by: str = ""
    id: int = 0

    @property
    def order(self) -> tuple[datetime, int, str, str, str]:
        """Of two marks the one that comes later in this order counts."""
        return self.at, self.id, self.what, self.commit, self.by


@dataclass(frozen=True, slots=True)
class PullEvent:
    """One delivery, or one reading: the pull request as it was at ``at``, a whole second, in UTC.

    ``before`` is the head that a push replaced, or ``""``; ``merged`` tells that it was closed for good; ``label`` is
    the one that was put on or taken off, ``sender`` the login of who did what happened, both ``""`` where not known.
    ``approval`` is what a review says of a commit.
    """

    action: Action
    pull: PullRequest
    at: datetime
    before: str = ""
    merged: bool = False
    label: str = ""
    sender: str = ""
    approval: Mark | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody asked for in a comment: ``/preview`` and a word or two. ``id`` is the comment's."""

    repository: str
    number: int
    id: int
    word: str
    argument: str
    author: str
    association: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Build:
    """A build of a commit came to its end. ``url`` is where people read about it.

    ``workflow`` are the name and the file of what ran, which may have been something else than a build; none where
    whoever builds says it himself.
    """

    repository: str
    commit: str
    succeeded: bool
    at: datetime
    url: str = ""
    workflow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """A repository was renamed, or given to another owner: both are addresses that people open in a browser."""

    former: str
    repository: str

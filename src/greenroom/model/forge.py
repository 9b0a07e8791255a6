"""What a forge is told of an environment, and what is read back of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a pull request; ``body`` is Markdown."""

    id: int
    body: str


class Reaction(Enum):
    """How a comment is answered, in GitHub's words."""

    SEEN = "eyes"
    DONE = "+1"
    REFUSED = "-1"
    CONFUSED = "confused"


class DeploymentState(Enum):
    """GitHub's states of a deployment, as far as they are used."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of ``commit`` that was begun ``at`` that time, by the forge's clock."""

    id: int
    commit: str
    at: datetime

"""What a pull request was told of its environment, as ``status.report`` of the PR object keeps it.

So a restart, or another replica, says nothing twice. ``core.report`` decides by it what there is to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from greenroom.model.manifest import Json, Manifest, get, number, table, text, timestamp

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Told:
    """The comment, or the deployment. ``id`` is the forge's, 0 while there is none; ``deleted`` tells that somebody
    deleted it there.

    ``said`` is what it says: of a comment a hash of the gist, of a deployment its state, ``""`` once it is begun.
    ``writes`` are those for ``commit``, the last of them ``at`` that time.
    """

    id: int = 0
    commit: str = ""
    said: str = ""
    writes: int = 0
    at: datetime | None = None
    deleted: bool = False

    @classmethod
    def parse(cls, found: Json) -> Told:
        """Whatever is missing or wrong is as if it had not been told."""
        return cls(
            id=number(found, "id"),
            commit=text(found, "commit"),
            said=text(found, "said"),
            writes=number(found, "writes"),
            at=_moment(text(found, "at")),
            deleted=get(found, "deleted") is True,
        )

    def wrote(self, commit: str, said: str, now: datetime, *, id_: int) -> Told:
        """The same after one more write."""
        writes = self.writes + 1 if commit == self.commit else 1
        return Told(id_, commit, said, writes, now.astimezone(UTC).replace(microsecond=0))

    def fields(self) -> dict[str, Json]:
        """A merge patch: what is not there is taken away."""
        return {
            "id": self.id or None,
            "commit": self.commit or None,
            "said": self.said or None,
            "writes": self.writes or None,
            "at": timestamp(self.at) if self.at else None,
            "deleted": self.deleted or None,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """``problem`` is why the forge cannot be told, with what to do; ``""`` when it can."""

    comment: Told = field(default_factory=Told)
    deployment: Told = field(default_factory=Told)
    problem: str = ""

    @classmethod
    def of(cls, pr: Manifest) -> Report:
        found = table(pr, "status", "report")
        return cls(Told.parse(found.get("comment")), Told.parse(found.get("deployment")), text(found, "problem"))

    def patch(self) -> Mapping[str, Json]:
        """A merge patch of the status that makes it say this and nothing else."""
        return {
            "report": {
                "comment": self.comment.fields(),
                "deployment": self.deployment.fields(),
                "problem": self.problem or None,
            }
        }


def _moment(found: str) -> datetime | None:
    try:
        return datetime.strptime(found, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None

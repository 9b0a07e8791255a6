"""What became of the objects of an environment. ``flows.children`` finds it out, ``flows.reconcile`` tells it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from greenroom.core.plan import REPLACING, Blocked, Record
from greenroom.core.status import Problem, problem_of
from greenroom.model.errors import ClusterError, Conflict
from greenroom.model.manifest import POD, REPLICA_SET, Kind, Ref
from greenroom.ports import Resource

_PARTS: Mapping[tuple[str, str], tuple[Kind, ...]] = {
    ("apps", "Deployment"): (REPLICA_SET, POD),
    ("apps", "StatefulSet"): (POD,),
    ("apps", "DaemonSet"): (POD,),
    ("batch", "Job"): (POD,),
}
"""What ``core.health`` has to see of workloads, by their group and kind."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the cluster answered about some kinds: how each is served, or why it cannot be used now."""

    resources: Mapping[Kind, Resource]
    failures: Mapping[Kind, ClusterError]

    def blindness(self, kind: Kind) -> Sequence[ClusterError]:
        """Why the health of an object of the kind cannot be told, if it cannot."""
        return [self.failures[part] for part in parts(kind) if part in self.failures]

    def is_namespaced(self, kind: Kind) -> bool:
        """Of a kind that is not served nobody knows; trying to apply it tells more."""
        return kind not in self.resources or self.resources[kind].namespaced


@dataclass(slots=True)
class Settled:
    """What the cluster holds now, what it does not and why, of what the health cannot be told and why, the errors, of
    which some want another try, and what of the template the cluster took and did not keep. After ``again`` seconds
    another look is wanted."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unseen: list[Problem] = field(default_factory=list)
    errors: list[ClusterError] = field(default_factory=list)
    unkept: list[str] = field(default_factory=list)
    again: float = math.inf

    @classmethod
    def untouched(cls, known: Mapping[Ref, Record], kinds: Kinds, *problems: Problem) -> Settled:
        """Where everything stays as the inventory has it."""
        settled = cls([*known.values()], [*problems])
        settled.look(known, kinds)
        return settled

    def look(self, refs: Iterable[Ref], kinds: Kinds) -> None:
        for ref in refs:
            for error in kinds.blindness(ref.kind):
                self.unseen.append(problem_of(ref, error))
                self.errors.append(error)

    def failed(self, ref: Ref, error: ClusterError) -> None:
        self.problems.append(problem_of(ref, error))
        self.errors.append(error)

    def keep(self, record: Record | None) -> None:
        if record is not None:
            self.records.append(record)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A desired object had to go first. ``message`` says why, for a person."""

    message: str


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The result is of an object that carries no label of ours: nobody will tell when it goes, so we have to look."""

    result: Deleted | Blocked


Result: TypeAlias = Record | Deleted | Blocked | Unwatched | ClusterError


def parts(kind: Kind) -> tuple[Kind, ...]:
    """What has to be seen to tell the health of an object of the kind, beside itself."""
    return _PARTS.get((kind.group, kind.name), ())


def account(settled: Settled, ref: Ref, result: Result | None, known: Record | None) -> None:
    """Enter what became of one object. What failed may still be there as it was, so the inventory keeps it."""
    match result:
        case Record():
            settled.keep(result)
            return
        case Unwatched(inner):
            account(settled, ref, inner, known)
            passes = isinstance(inner, Deleted) or inner.reason == REPLACING
            settled.errors.append((Conflict if passes else ClusterError)(inner.message))
            return
        case ClusterError():
            settled.failed(ref, result)
        case Blocked():
            settled.problems.append(Problem(result.reason, result.message))
        case Deleted(message):
            settled.problems.append(Problem(REPLACING, message))
            return  # the inventory forgets it: with its record, a Job would count as one that has run
    settled.keep(known)

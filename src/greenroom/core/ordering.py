"""What is true of a pull request, from deliveries that come late, twice, in any order, or never.

A payload's only clock is ``updated_at``, in whole seconds. A later second beats an earlier one. Within a second many
things may have happened (a bot that pushes twice, or closes and reopens to run the checks again), so everything that
was told of the newest second is kept, and the answer is derived from that set. Keeping the newest second and joining
sets is associative, commutative and idempotent: whatever the order and however often deliveries come, the same ones
end in the same knowledge.

``flows.intake`` keeps it as text where it acts: in an annotation of the PR object while the pull request is open, and
in the ReviewApp's status when it is closed, so that a late push never revives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from greenroom.model.pull import Action, PullEvent

OBSERVED = "greenroom.dev/observed"
"""The annotation of a PR object that says from which deliveries it was made. One written by hand has none."""

TOMBSTONE_AGE = timedelta(days=30)
TOMBSTONE_LIMIT = 1000
"""How long, and how many, closed pull requests are remembered. GitHub lets people redeliver for three days."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MERGED = "merged"


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """One thing that was told: what happened, the head after it, and the head that a push replaced."""

    what: str
    head: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Everything told of the newest second, ``at``, of which anything was told."""

    at: datetime
    facts: frozenset[Fact]

    @classmethod
    def of(cls, event: PullEvent) -> Knowledge:
        return cls(event.at, frozenset([Fact(_what(event), event.pull.head, event.before)]))

    @classmethod
    def parse(cls, text: str) -> Knowledge | None:
        """Reads what ``str`` wrote; None for anything else, which is then as good as nothing known."""
        time, *facts = text.split(" ")
        try:
            at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
            return cls(at, frozenset(_fact(fact) for fact in facts)) if facts else None
        except ValueError:
            return None

    def __str__(self) -> str:
        facts = (f"{fact.what}:{fact.before}:{fact.head}" for fact in sorted(self.facts))
        return " ".join([self.at.strftime(_TIME), *facts])

    @property
    def is_open(self) -> bool:
        """A merge is final. Of a close and a reopening in one second the reopening counts: nobody reopens what is
        open, while what is wrongly kept running is found later, and what is wrongly deleted is missed at once."""
        told = {fact.what for fact in self.facts}
        if _MERGED in told:
            return False
        return Action.CLOSED.value not in told or Action.REOPENED.value in told

    @property
    def head(self) -> str:
        """The head that no push of that second replaced. Should there be several, since a delivery between them was
        lost, or none, since heads went round in a circle, it is any, but always the same."""
        replaced = {fact.before for fact in self.facts}
        last = [fact for fact in self.facts if fact.head not in replaced] or self.facts
        return max((fact.what == Action.SYNCHRONIZE.value, fact.head) for fact in last)[1]


def join(told: Knowledge, *known: Knowledge | None) -> Knowledge:
    """What was told together with what was known before, from any number of places."""
    present = [told, *(each for each in known if each is not None)]
    at = max(each.at for each in present)
    return Knowledge(at, frozenset(fact for each in present if each.at == at for fact in each.facts))


def outdated(tombstones: Mapping[str, str]) -> set[str]:
    """The keys of tombstones that can go: not readable, too many, or too long before the newest one.

    Their age is measured among themselves: the forge's clock wrote them, and ours may go wrong.
    """
    found = {key: known for key, value in tombstones.items() if (known := Knowledge.parse(value))}
    newest_first = sorted(found, key=lambda key: found[key].at, reverse=True)[:TOMBSTONE_LIMIT]
    kept = {key for key in newest_first if found[newest_first[0]].at - found[key].at <= TOMBSTONE_AGE}
    return tombstones.keys() - kept


def _what(event: PullEvent) -> str:
    if event.pull.open:
        return event.action.value
    return _MERGED if event.merged else Action.CLOSED.value


def _fact(text: str) -> Fact:
    what, before, head = text.split(":")
    return Fact(what, head, before)

"""What is true of a pull request, from deliveries that come late, twice, in any order, or never.

A payload's only clock is ``updated_at``, in whole seconds. A later second beats an earlier one. Within a second many
things may have happened (a bot that pushes twice, or closes and reopens to run the checks again), so everything that
was told of the newest second is kept, and the answer is derived from that set. Keeping the newest second and joining
sets is associative, commutative and idempotent: whatever the order and however often deliveries come, the same ones
end in the same knowledge.

What was read from the forge itself, ``Action.SEEN``, is the truth of its second, and replaces what was read before.

Besides there are marks: that a commit was approved, or that somebody asked for the environment in a comment. They have
times of their own, and the newest of each counts.

``flows.intake`` keeps it as text where it acts: in an annotation of the PR object while the pull request has an
environment, and else in the ReviewApp's status, so that a late delivery brings nothing back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from greenroom.model.pull import Action, Mark, PullEvent, Traits

OBSERVED = "greenroom.dev/observed"
"""The annotation of a PR object that says from which deliveries it was made. One written by hand has none."""

TOMBSTONE_AGE = timedelta(days=30)
TOMBSTONE_LIMIT = 1000
"""How long, and how many, closed pull requests are remembered. GitHub lets people redeliver for three days."""

SEEN_CLOSED = "seen-closed"
SEEN_MERGED = "seen-merged"
_SEEN = frozenset({Action.SEEN.value, SEEN_CLOSED, SEEN_MERGED})

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MERGED = "merged"
_RANKS = {
    Action.OPENED: 0,
    Action.REOPENED: 0,
    Action.EDITED: 2,
    Action.CONVERTED_TO_DRAFT: 2,
    Action.READY_FOR_REVIEW: 3,
    Action.SEEN: 4,
}
"""Of two that happened in the same second, whose traits are the later ones: what opened a pull request came first, and
what is about a trait knows it best."""


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """One thing that was told: what happened, the head after it, and the head that a push replaced."""

    what: str
    head: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The traits of one second, as the action of the highest ``rank`` told them, but ``labels`` of them all.
    ``put_on`` and ``taken_off`` are those that were, by actions of that second."""

    rank: int
    traits: Traits
    labels: frozenset[str]
    put_on: frozenset[str] = frozenset()
    taken_off: frozenset[str] = frozenset()

    @classmethod
    def of(cls, event: PullEvent) -> Told | None:
        traits = event.pull.traits
        if traits is None:
            return None
        label = frozenset([event.label] if event.label else [])
        return cls(
            rank=_RANKS.get(event.action, 1),
            traits=replace(traits, labels=frozenset()),
            labels=traits.labels,
            put_on=label if event.action is Action.LABELED else frozenset(),
            taken_off=label if event.action is Action.UNLABELED else frozenset(),
        )

    def now(self) -> Traits:
        """A label that was both put on and taken off is on: whoever takes it off again will see that it is."""
        return replace(self.traits, labels=self.labels - (self.taken_off - self.put_on))

    def join(self, other: Told) -> Told:
        best = max(self, other, key=lambda each: (each.rank, _written(each.traits)))
        return Told(
            best.rank,
            best.traits,
            self.labels | other.labels,
            self.put_on | other.put_on,
            self.taken_off | other.taken_off,
        )


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Everything told of the newest second, ``at``, of which anything was told, and the newest marks."""

    at: datetime
    facts: frozenset[Fact]
    told: Told | None = None
    approval: Mark | None = None
    wish: Mark | None = None

    @classmethod
    def of(cls, event: PullEvent) -> Knowledge:
        return cls(
            event.at, frozenset([Fact(_what(event), event.pull.head, event.before)]), Told.of(event), event.approval
        )

    @classmethod
    @lru_cache(maxsize=4096)
    def parse(cls, text: str) -> Knowledge | None:
        """Reads what ``str`` wrote; None for anything else, which is then as good as nothing known.

        A ReviewApp remembers up to a thousand, which are read again whenever one is added.
        """
        head, brace, tail = text.partition(" {")
        time, *facts = head.split(" ")
        try:
            at = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
            more = msgspec.json.decode("{" + tail, type=_More) if brace else _More()
            known = cls(at, frozenset(_fact(fact) for fact in facts)) if facts else None
            return known and replace(known, told=more.told, approval=more.approval, wish=more.wish)
        except (ValueError, msgspec.MsgspecError):
            return None

    def __str__(self) -> str:
        facts = (f"{fact.what}:{fact.before}:{fact.head}" for fact in sorted(self.facts))
        more = _More(self.told, self.approval, self.wish)
        return " ".join([self.at.strftime(_TIME), *facts, *([_written(more)] if more != _More() else [])])

    @property
    def traits(self) -> Traits | None:
        return self.told.now() if self.told else None

    @property
    def was_read(self) -> bool:
        """Whether it was read from the forge: that happens over and over, and is news only now and then."""
        return any(fact.what == Action.SEEN.value for fact in self.facts)

    def with_marks(self, *, approval: Mark | None = None, wish: Mark | None = None) -> Knowledge:
        """With these, where they are newer."""
        return replace(self, approval=_newest([self.approval, approval]), wish=_newest([self.wish, wish]))

    def bare(self) -> Knowledge:
        """What matters of a pull request that is closed."""
        return Knowledge(self.at, self.facts)

    def says_as_much_as(self, other: Knowledge | None) -> bool:
        """Whether what is wanted follows from ``other``, too, though this may be newer."""
        return other is not None and self.gist() == other.gist()

    def gist(self) -> tuple[object, ...]:
        return self.is_open, self.head, self.traits, self.approval, self.wish

    @property
    def is_open(self) -> bool:
        """A merge is final. Of a close and a reopening in one second the reopening counts: nobody reopens what is
        open, while what is wrongly kept running is found later, and what is wrongly deleted is missed at once."""
        told = {fact.what for fact in self.facts}
        if told & _SEEN:
            return Action.SEEN.value in told
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
    newest = [each for each in present if each.at == at]
    return Knowledge(
        at,
        frozenset(fact for each in newest for fact in each.facts),
        _together(each.told for each in newest),
        _newest(each.approval for each in present),
        _newest(each.wish for each in present),
    )


def join_seen(seen: Knowledge, *known: Knowledge | None) -> Knowledge:
    """``join`` for what was read from the forge just now: of its second it is the last word.

    Only a push stays that says which head it replaced, since a reading may come from a copy of the forge's that lags.
    """
    known_then = (each and _before_reading(each, seen.at) for each in known)
    return join(seen, *known_then)


def _before_reading(known: Knowledge, at: datetime) -> Knowledge:
    if known.at != at:
        return known
    pushes = frozenset(fact for fact in known.facts if fact.what == Action.SYNCHRONIZE.value)
    return replace(known, facts=pushes, told=None)


def _together(told: Iterable[Told | None]) -> Told | None:
    found: Told | None = None
    for each in told:
        found = each.join(found) if each and found else each or found
    return found


def _newest(marks: Iterable[Mark | None]) -> Mark | None:
    return max((mark for mark in marks if mark is not None), key=lambda mark: mark.order, default=None)


def outdated(tombstones: Mapping[str, str]) -> set[str]:
    """The keys of tombstones that can go: not readable, too many, or too long before the newest one.

    Their age is measured among themselves: the forge's clock wrote them, and ours may go wrong.
    """
    found = {key: known for key, value in tombstones.items() if (known := Knowledge.parse(value))}
    newest_first = sorted(found, key=lambda key: found[key].at, reverse=True)[:TOMBSTONE_LIMIT]
    kept = {key for key in newest_first if found[newest_first[0]].at - found[key].at <= TOMBSTONE_AGE}
    return tombstones.keys() - kept


class _More(msgspec.Struct, frozen=True, omit_defaults=True):
    told: Told | None = None
    approval: Mark | None = None
    wish: Mark | None = None


def _written(value: object) -> str:
    """As JSON, the same for the same value."""
    return msgspec.json.encode(value, order="sorted").decode()


def _what(event: PullEvent) -> str:
    if event.pull.open:
        return event.action.value
    if event.action is Action.SEEN:
        return SEEN_MERGED if event.merged else SEEN_CLOSED
    return _MERGED if event.merged else Action.CLOSED.value


def _fact(text: str) -> Fact:
    what, before, head = text.split(":")
    return Fact(what, head, before)

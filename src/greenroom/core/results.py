"""What became of each object of a kind: a value, or the reason why there is none.

A step over many objects goes on when one is refused, and whoever points to that one learns why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Generic, TypeVar, TypeVarTuple

from greenroom.core.endpoints import Objects
from greenroom.core.memo import Each
from greenroom.model.manifest import Kind, Manifest, Ref, is_deleting, ref_of
from greenroom.model.mesh import Refused

P = TypeVar("P")
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
Ts = TypeVarTuple("Ts")


class Results(Generic[T_co]):
    """Each object is in ``values`` or in ``refused``."""

    def __init__(self, values: Mapping[Ref, T_co], refused: Mapping[Ref, Refused]) -> None:
        self.values, self.refused = values, refused

    def map(self, step: Callable[[T_co], U]) -> Results[U]:
        """``step``, which may raise Refused, of each value."""
        outcomes = {ref: attempt(step, value) for ref, value in self.values.items()}
        return _results(outcomes, self.refused)

    def without(self, refused: Mapping[Ref, Refused]) -> Results[T_co]:
        """The same, with some more refused."""
        if not refused:
            return self
        values = {ref: value for ref, value in self.values.items() if ref not in refused}
        return Results(values, {**self.refused, **refused})

    def find(self, ref: Ref) -> T_co | Refused | None:
        """What became of ``ref``, None when there is no such object."""
        return self.values.get(ref) or self.refused.get(ref)


class Parser(Generic[T]):
    """Parses all objects of a kind, those that changed since the last time anew. Objects being deleted are gone."""

    def __init__(self, kind: Kind, parse: Callable[[Manifest], T]) -> None:
        self._kind, self._parse = kind, parse
        self._manifests: Sequence[Manifest] = ()
        self._outcomes = Each[int, Manifest, tuple[Ref, T | Refused] | None](self._outcome)
        self._results: Results[T] = Results({}, {})

    def read(self, objects: Objects) -> Results[T]:
        manifests = tuple(objects.list(self._kind))
        if not same(manifests, self._manifests):
            self._manifests = manifests
            # They are known by themselves: to make out their names takes longer than all else.
            outcomes = self._outcomes.of({id(each): each for each in manifests})
            self._results = _results(dict(each for each in outcomes.values() if each is not None), {})
        return self._results

    def _outcome(self, manifest: Manifest) -> tuple[Ref, T | Refused] | None:
        return None if is_deleting(manifest) else (ref_of(manifest), attempt(self._parse, manifest))


class Step(Generic[S, P, T, *Ts]):
    """Makes something of each object, anew only where a part of it changed.

    ``parts`` picks, from an object and what all of them share, what this one is made of; ``make`` may raise Refused.
    """

    def __init__(self, parts: Callable[[S, *Ts], P], make: Callable[[P], T]) -> None:
        self._parts = parts
        self._outcomes = Each[Ref, P, T | Refused](lambda found: attempt(make, found))
        self._looked_at: Sequence[object] = ()
        self._results: Results[T] = Results({}, {})

    def of(self, objects: Results[S], *shared: *Ts) -> Results[T]:
        """What is made of ``objects``; the very same as before, if it was asked of the very same."""
        looked_at: Sequence[object] = (objects, *shared)
        if not same(looked_at, self._looked_at):
            self._looked_at = looked_at
            parts = {ref: self._parts(each, *shared) for ref, each in objects.values.items()}
            self._results = _results(self._outcomes.of(parts), objects.refused)
        return self._results


def same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether both hold the very same objects."""
    return len(some) == len(others) and all(map(is_, some, others))


def attempt(make: Callable[[*Ts], T], *parts: *Ts) -> T | Refused:
    """What is made, or why it is not."""
    try:
        return make(*parts)
    except Refused as refusal:
        return refusal.with_traceback(None)  # which would keep all that was there at that moment


def sure(outcome: T | Refused) -> T:
    """The value. Raises Refused, the same again."""
    if isinstance(outcome, Refused):
        raise Refused(outcome.reason, str(outcome))
    return outcome


def needed(ref: Ref, outcome: T | Refused | None) -> T:
    """The value of ``ref``, for an object that points to it. Raises Refused, with the reason of ``ref`` if any."""
    where = f"{ref.kind.name} {ref.namespace}/{ref.name}"
    if isinstance(outcome, Refused):
        raise Refused(outcome.reason, f"{where}: {outcome}")
    if outcome is None:
        raise Refused(f"{ref.kind.name}NotFound", f"{where} does not exist")
    return outcome


def _results(outcomes: Mapping[Ref, T | Refused], refused: Mapping[Ref, Refused]) -> Results[T]:
    """``refused`` beforehand, and what is among the outcomes."""
    values = {ref: outcome for ref, outcome in outcomes.items() if not isinstance(outcome, Refused)}
    if len(values) < len(outcomes):
        refused = {**refused, **{ref: each for ref, each in outcomes.items() if isinstance(each, Refused)}}
    return Results(values, refused)

"""What became of each object of a kind: a value, or the reason why there is none.

A step over many objects goes on when one is refused, and whoever points to that one learns why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from greenroom.core.endpoints import Objects
from greenroom.model.manifest import Kind, Manifest, Ref, is_deleting, ref_of
from greenroom.model.mesh import Refused

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Results(Generic[T_co]):
    """Each object is in ``values`` or in ``refused``."""

    def __init__(self, values: Mapping[Ref, T_co], refused: Mapping[Ref, Refused]) -> None:
        self.values, self.refused = values, refused

    def map(self, step: Callable[[T_co], U]) -> Results[U]:
        """``step``, which may raise Refused, of each value."""
        values: dict[Ref, U] = {}
        refused = dict(self.refused)
        for ref, value in self.values.items():
            try:
                values[ref] = step(value)
            except Refused as refusal:
                refused[ref] = refusal
        return Results(values, refused)

    def without(self, refused: Mapping[Ref, Refused]) -> Results[T_co]:
        """The same, with some more refused."""
        values = {ref: value for ref, value in self.values.items() if ref not in refused}
        return Results(values, {**self.refused, **refused})

    def needed(self, ref: Ref) -> T_co:
        """The value of ``ref``, for an object that points to it. Raises Refused, with the reason of ``ref`` if any."""
        if ref in self.values:
            return self.values[ref]
        where = f"{ref.kind.name} {ref.namespace}/{ref.name}"
        if ref in self.refused:
            raise Refused(self.refused[ref].reason, f"{where}: {self.refused[ref]}")
        raise Refused(f"{ref.kind.name}NotFound", f"{where} does not exist")


class Parser(Generic[T]):
    """Parses all objects of a kind, those that changed since the last time anew. Objects being deleted are gone."""

    def __init__(self, kind: Kind, parse: Callable[[Manifest], T]) -> None:
        self._kind, self._parse = kind, parse
        self._seen: dict[Ref, tuple[Manifest, T | Refused]] = {}

    def read(self, objects: Objects) -> Results[T]:
        before, self._seen = self._seen, {}
        values: dict[Ref, T] = {}
        refused: dict[Ref, Refused] = {}
        for manifest in objects.list(self._kind):
            if is_deleting(manifest):
                continue
            ref = ref_of(manifest)
            known = before.get(ref)
            outcome = known[1] if known is not None and known[0] is manifest else self._outcome(manifest)
            self._seen[ref] = manifest, outcome
            if isinstance(outcome, Refused):
                refused[ref] = outcome
            else:
                values[ref] = outcome
        return Results(values, refused)

    def _outcome(self, manifest: Manifest) -> T | Refused:
        try:
            return self._parse(manifest)
        except Refused as refusal:
            return refusal

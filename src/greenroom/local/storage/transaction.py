"""Changes to objects that are stored together or not at all.

A transaction changes the objects in memory at once, so that its later steps see its earlier ones, and takes all of it
back when it cannot be written. Nobody else looks meanwhile: from begin to end nothing is awaited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from greenroom.local.storage.apply import Owners
from greenroom.local.storage.history import Changed, at_version
from greenroom.local.storage.objects import Entry, Objects
from greenroom.model.manifest import Manifest, Ref


@dataclass(frozen=True, slots=True)
class Step:
    """One change: what was there before and is after, None for nothing."""

    ref: Ref
    version: int
    before: Entry | None
    after: Entry | None

    def changed(self) -> Changed:
        """As watches are told of it."""
        before, after = (None if entry is None else entry.object for entry in (self.before, self.after))
        return Changed(self.version, before, after)


class Transaction:
    """``version`` is the last resource version given; each change gets the next. ``now`` is UTC."""

    def __init__(self, objects: Objects, version: int, now: datetime) -> None:
        self.objects = objects
        self.version = version
        self.steps: list[Step] = []
        self.now = now

    def put(self, ref: Ref, manifest: Manifest, owners: Owners) -> Manifest:
        """Store an object; answers it with its new version."""
        stored = at_version(manifest, self.version + 1)
        self._change(ref, Entry(stored, owners))
        return stored

    def remove(self, ref: Ref) -> None:
        self._change(ref, None)

    def outcome(self) -> Mapping[Ref, Entry | None]:
        """What is to be written: per object the last state, None when it is gone."""
        return {step.ref: step.after for step in self.steps}

    def undo(self) -> None:
        for step in reversed(self.steps):
            self.objects.put(step.ref, step.before)

    def _change(self, ref: Ref, entry: Entry | None) -> None:
        self.version += 1
        before = self.objects.put(ref, entry)
        self.steps.append(Step(ref, self.version, before, entry))

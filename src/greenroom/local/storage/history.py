"""The recent changes of one kind, from which every watch of that kind reads.

A watch is a position in this history and has no queue of its own. So a slow watcher costs nothing and holds nobody up:
when it falls behind what is kept it gets Expired, and lists again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from greenroom.local.storage.selector import Selector
from greenroom.model.errors import Expired
from greenroom.model.manifest import Manifest, labels_of, table, text
from greenroom.model.watch import Change, WatchEvent


@dataclass(frozen=True, slots=True)
class Changed:
    """One object before and after a change; None: it did not, or does not, exist. ``after`` carries ``version``."""

    version: int
    before: Manifest | None
    after: Manifest | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects a list or watch is about. ``namespace`` is ``""`` for all."""

    namespace: str
    selector: Selector

    def covers(self, manifest: Manifest | None) -> bool:
        return (
            manifest is not None
            and (not self.namespace or self.namespace == text(manifest, "metadata", "namespace"))
            and (not self.selector.requirements or self.selector.matches(labels_of(manifest)))
        )

    def event(self, changed: Changed) -> WatchEvent | None:
        """What a watch of this scope sees of a change; None for nothing.

        As in Kubernetes an object that stops matching the selector is DELETED, and what is DELETED is told as it was
        before, with the version of the change.
        """
        before = changed.before if self.covers(changed.before) else None
        if changed.after is not None and self.covers(changed.after):
            return WatchEvent(Change.ADDED if before is None else Change.MODIFIED, changed.after)
        return None if before is None else WatchEvent(Change.DELETED, at_version(before, changed.version))


def at_version(manifest: Manifest, version: int) -> Manifest:
    return {**manifest, "metadata": {**table(manifest, "metadata"), "resourceVersion": str(version)}}


class History:
    """The last ``limit`` changes of one kind after ``version``, from which on it is complete."""

    def __init__(self, version: int, limit: int) -> None:
        self._complete_since = version
        self._limit = limit
        self._changes: list[Changed] = []
        self._grown = asyncio.Event()
        self._closed = False

    def append(self, changed: Changed) -> None:
        self._changes.append(changed)
        if len(self._changes) >= 2 * self._limit:  # in bulk, because the front of a list is slow to remove
            self._complete_since = self._changes[-self._limit - 1].version
            del self._changes[: -self._limit]
        self._wake()

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        self._wake()

    async def watch(self, since: int, scope: Scope) -> AsyncGenerator[WatchEvent, None]:
        """The changes after the version ``since``, as long as the store is open. Raises Expired."""
        while not self._closed:
            grown = self._grown
            changes = self._after(since)
            for changed in changes:
                since = changed.version
                if event := scope.event(changed):
                    yield event
            if not changes:
                await grown.wait()

    def _after(self, version: int) -> Sequence[Changed]:
        if version < self._complete_since:
            raise Expired(f"resource version {version} is too old (oldest: {self._complete_since}): list again")
        return self._changes[bisect_right(self._changes, version, key=attrgetter("version")) :]

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

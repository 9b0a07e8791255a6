"""List and watch without I/O: a copy of some objects of one kind that is fed, and answers what changed.

``runtime.reflector`` does the talking. It asks ``since`` what to do next, feeds back what the cluster answered, and
hands the returned deltas to its handlers. The rules are those of client-go's Reflector and Store:

- a listing is complete, so an object that it does not name was deleted, seen or not;
- a stream that ends or fails loses nothing: watch again from ``since``;
- no object goes back in time, whatever a lagging replica of the API server answers.

Several lists of a kind may overlap, such as one of everything and one by label: ``Union`` makes one copy of them.

Resource versions compare as integers, as Kubernetes promises since 1.35 (KEP-5504). Where they are no integers nothing
is known to be old, and the order in which things arrive decides. A cluster restored from a backup, whose versions
start again below those already seen, needs a restart of its clients, as the Kubernetes documentation says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from greenroom.model.manifest import Manifest, text, uid_of
from greenroom.model.watch import Change, Listing, WatchEvent


class Delta(NamedTuple):
    """One step of one object. ``old`` is None when it appears, ``new`` is None when it is gone."""

    old: Manifest | None
    new: Manifest | None


class Key(NamedTuple):
    """An object's name among those of its kind."""

    namespace: str
    name: str


class ListWatch:
    """What is known about the objects of one list and its watch.

    ``since`` is the resource version to watch from, or None when a listing is needed first.
    """

    def __init__(self) -> None:
        self.since: str | None = None
        self._seen = ""  # everything up to this version has been seen; unlike ``since`` it survives ``expired``
        self._objects: dict[Key, Manifest] = {}

    @property
    def objects(self) -> Mapping[Key, Manifest]:
        """The present copy, read-only and live."""
        return self._objects

    def listing(self, listing: Listing) -> Sequence[Delta]:
        """A list was answered. Deletions that happened while nobody watched come out as deltas."""
        version = listing.resource_version
        lagging = is_older(version, self._seen)
        deltas: list[Delta] = []
        listed = {_key(item): item for item in listing.items}
        for key, cached in tuple(self._objects.items()):
            # What was written after the listing was made is not in it, and not gone either.
            if key not in listed and not is_older(version, _version(cached)):
                deltas += self._drop(key)
        for key, item in listed.items():
            # A lagging listing still names objects whose deletion has been seen.
            if key in self._objects or not lagging:
                deltas += self._put(key, item)
        self._advance(version)
        return deltas

    def event(self, event: WatchEvent) -> Sequence[Delta]:
        """The watch brought an event."""
        key, version = _key(event.object), _version(event.object)
        deltas: Sequence[Delta] = ()
        if event.change is Change.DELETED:
            deltas = self._deleted(key, event.object)
        elif event.change is not Change.BOOKMARK and (key in self._objects or not is_older(version, self._seen)):
            deltas = self._put(key, event.object)
        self._advance(version)
        return deltas

    def expired(self) -> None:
        """The cluster no longer has the changes after ``since``: a listing is needed."""
        self.since = None

    def observe(self, manifest: Manifest) -> Sequence[Delta]:
        """A write was answered with ``manifest``: read our own write before the watch brings it.

        It is taken only when it is known to be newer than all that was seen. An object that is not here and not newer
        than what was seen has been deleted meanwhile; one whose version does not compare is left to the watch.
        """
        key = _key(manifest)
        known = _version(self._objects[key]) if key in self._objects else self._seen
        return self._put(key, manifest) if is_older(known, _version(manifest)) else ()

    def _put(self, key: Key, new: Manifest) -> Sequence[Delta]:
        return _put(self._objects, key, new)

    def _deleted(self, key: Key, last: Manifest) -> Sequence[Delta]:
        cached = self._objects.get(key)
        if cached is None:
            return ()
        # A UID never comes back; another one under this name is a successor that was observed already.
        successor = uid_of(cached) != uid_of(last) and is_older(_version(last), _version(cached))
        return () if successor else self._drop(key)

    def _drop(self, key: Key) -> Sequence[Delta]:
        return (Delta(self._objects.pop(key), None),)

    def _advance(self, version: str) -> None:
        if not version:
            return  # watching from no version would mean from now on, and lose what came before
        self.since = version
        if not is_older(version, self._seen):
            self._seen = version


class Union:
    """What several ListWatches of one kind know together: each object once, in the newest version that any of them saw.

    One drops an object that was deleted, or that has only left its list. So an object stays, as it was last seen,
    until no list has it any more.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Manifest] = {}
        self._others: Counter[Key] = Counter()  # how many more lists have it; most objects are in one only

    @property
    def objects(self) -> Mapping[Key, Manifest]:
        """The present copy, read-only and live."""
        return self._objects

    def merge(self, deltas: Iterable[Delta]) -> Sequence[Delta]:
        """One of the lists changed: what that changes here."""
        return [merged for delta in deltas for merged in self._merge(delta)]

    def _merge(self, delta: Delta) -> Sequence[Delta]:
        if delta.new is None:
            return self._left(_key(delta.old)) if delta.old is not None else ()
        key = _key(delta.new)
        if delta.old is None and key in self._objects:
            self._others[key] += 1
        return _put(self._objects, key, delta.new)

    def _left(self, key: Key) -> Sequence[Delta]:
        if self._others[key]:
            self._others[key] -= 1
            return ()
        del self._others[key]
        return (Delta(self._objects.pop(key), None),)


def _put(objects: dict[Key, Manifest], key: Key, new: Manifest) -> Sequence[Delta]:
    """Keep ``new``, unless it is no news. An object that has taken another's place comes when that has gone."""
    old = objects.get(key)
    if old is not None and (_version(new) == _version(old) or is_older(_version(new), _version(old))):
        return ()
    objects[key] = new
    if old is not None and uid_of(old) != uid_of(new):
        return Delta(old, None), Delta(None, new)
    return (Delta(old, new),)


def is_older(version: str, other: str) -> bool:
    """Whether ``version`` is known to come before ``other``: both are integers, and it is the smaller one."""
    return _is_integer(version) and _is_integer(other) and int(version) < int(other)


def _is_integer(version: str) -> bool:
    return version.isascii() and version.isdigit()


def _version(manifest: Manifest) -> str:
    return text(manifest, "metadata", "resourceVersion")


def _key(manifest: Manifest) -> Key:
    return Key(text(manifest, "metadata", "namespace"), text(manifest, "metadata", "name"))

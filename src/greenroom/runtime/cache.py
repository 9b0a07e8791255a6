"""The local copy of the cluster that informers keep, and the indexes over it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from greenroom.core.listwatch import Delta, Key, Union
from greenroom.model.manifest import Kind, Manifest, Ref, controller_of, name_of, text

G = TypeVar("G")
M = TypeVar("M")

_NOTHING: Mapping[Key, Manifest] = {}


class Cache:
    """A ``ports.Reader`` over one Union a kind. A list costs as much as it answers, however much is cached."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, Union] = {}
        self._by_namespace: dict[tuple[Kind, str], dict[str, Manifest]] = defaultdict(dict)
        self._by_owner: dict[str, dict[Ref, Manifest]] = defaultdict(dict)

    def get(self, ref: Ref) -> Manifest | None:
        return self._objects(ref.kind).get(Key(ref.namespace, ref.name))

    def list(self, kind: Kind, *, namespace: str = "") -> Sequence[Manifest]:
        """A snapshot: it does not change while its reader awaits."""
        if not namespace:
            return tuple(self._objects(kind).values())
        return tuple(self._by_namespace.get((kind, namespace), {}).values())

    def owned(self, uid: str) -> Sequence[Manifest]:
        return tuple(self._by_owner.get(uid, {}).values())

    def merge(self, kind: Kind, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """Take what changed in one list of ``kind``. Answers what that changes here, where other lists are, too."""
        merged = self._kinds.setdefault(kind, Union()).merge(deltas) if deltas else ()
        for old, new in merged:
            if old is not None:
                self._forget(kind, old)
            if new is not None:
                self._remember(kind, new)
        return merged

    def _objects(self, kind: Kind) -> Mapping[Key, Manifest]:
        union = self._kinds.get(kind)
        return union.objects if union is not None else _NOTHING

    def _remember(self, kind: Kind, manifest: Manifest) -> None:
        namespace, name = text(manifest, "metadata", "namespace"), name_of(manifest)
        self._by_namespace[kind, namespace][name] = manifest
        if owner := text(controller_of(manifest), "uid"):
            self._by_owner[owner][Ref(kind, namespace, name)] = manifest

    def _forget(self, kind: Kind, manifest: Manifest) -> None:
        namespace, name = text(manifest, "metadata", "namespace"), name_of(manifest)
        _remove(self._by_namespace, (kind, namespace), name)
        if owner := text(controller_of(manifest), "uid"):
            _remove(self._by_owner, owner, Ref(kind, namespace, name))


def _remove(index: dict[G, dict[M, Manifest]], group: G, member: M) -> None:
    """Take a member out of its group, and the group with its last member: owners come and go for ever."""
    members = index[group]
    del members[member]
    if not members:
        del index[group]

"""The objects of the cluster in memory, found by name, by UID, by namespace and by owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenroom.local.storage.apply import Owners
from greenroom.model.manifest import Kind, Manifest, Ref, items, text, uid_of


@dataclass(frozen=True, slots=True)
class Entry:
    """An object and who owns its fields."""

    object: Manifest
    owners: Owners


class Objects:
    def __init__(self) -> None:
        self._entries: dict[Kind, dict[str, dict[str, Entry]]] = defaultdict(lambda: defaultdict(dict))
        self._by_uid: dict[str, Ref] = {}
        self._dependents: dict[str, set[Ref]] = defaultdict(set)

    def find(self, ref: Ref) -> Entry | None:
        namespaces = self._entries.get(ref.kind, {})
        return namespaces.get(ref.namespace, {}).get(ref.name)

    def of_kind(self, kind: Kind, namespace: str = "") -> Iterator[Manifest]:
        """By namespace and name, as Kubernetes lists them. ``namespace=""`` means all."""
        namespaces = self._entries.get(kind, {})
        for each in [namespace] if namespace else sorted(namespaces):
            for _, entry in sorted(namespaces.get(each, {}).items()):
                yield entry.object

    def in_namespace(self, namespace: str) -> Sequence[Ref]:
        return [
            Ref(kind, namespace, name)
            for kind, namespaces in self._entries.items()
            for name in namespaces.get(namespace, ())
        ]

    def with_uid(self, uid: str) -> Ref | None:
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> Sequence[Ref]:
        """The objects that name ``uid`` in an owner reference."""
        return sorted(self._dependents.get(uid, ()))

    def put(self, ref: Ref, entry: Entry | None) -> Entry | None:
        """Store ``entry`` under ``ref``, or with None remove what is there. Answers what was there."""
        before = self._entries[ref.kind][ref.namespace].pop(ref.name, None)
        if before is not None:
            self._forget(ref, before.object)
        if entry is not None:
            self._entries[ref.kind][ref.namespace][ref.name] = entry
            self._index(ref, entry.object)
        return before

    def _index(self, ref: Ref, manifest: Manifest) -> None:
        self._by_uid[uid_of(manifest)] = ref
        for owner in _owner_uids(manifest):
            self._dependents[owner].add(ref)

    def _forget(self, ref: Ref, manifest: Manifest) -> None:
        del self._by_uid[uid_of(manifest)]
        for owner in _owner_uids(manifest):
            self._dependents[owner].discard(ref)
            if not self._dependents[owner]:
                del self._dependents[owner]


def _owner_uids(manifest: Manifest) -> set[str]:
    return {text(reference, "uid") for reference in items(manifest, "metadata", "ownerReferences")}

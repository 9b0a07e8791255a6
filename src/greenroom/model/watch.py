"""What a cluster answers about a kind: how it is served, a listing of its objects, and the changes after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from greenroom.model.manifest import Kind, Manifest, table, text


@dataclass(frozen=True, slots=True)
class Resource:
    """How the cluster serves a kind: its URL name (``deployments``), short names, and whether it is namespaced."""

    kind: Kind
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list or a watch is about: the objects of a kind, in one namespace or (``""``) in all.

    With a ``label`` only those that carry it, whatever its value: as a selector that is the name of the label.
    """

    kind: Kind
    namespace: str = ""
    label: str = ""

    def covers(self, manifest: Manifest) -> bool:
        """Whether ``manifest``, which is of the kind, is among them."""
        here = not self.namespace or self.namespace == text(manifest, "metadata", "namespace")
        return here and (not self.label or self.label in table(manifest, "metadata", "labels"))

    def __str__(self) -> str:
        return f"{self.kind} in {self.namespace}" if self.namespace else str(self.kind)


@dataclass(frozen=True, slots=True)
class Listing:
    """One consistent list: watch from ``resource_version`` to miss nothing that came after it."""

    items: Sequence[Manifest]
    resource_version: str


class Change(Enum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. A bookmark carries an object with nothing but kind and ``metadata.resourceVersion``."""

    change: Change
    object: Manifest

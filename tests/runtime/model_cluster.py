"""A cluster that lists and watches as Kubernetes does, and that can be cut off, compacted or struck dumb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import NoReturn

from greenroom.local.storage import history
from greenroom.local.storage.history import Changed
from greenroom.local.storage.selector import Selector
from greenroom.model.errors import Expired, Forbidden, NotFound, UnknownKind
from greenroom.model.manifest import Json, Kind, Manifest, Ref, kind_of, ref_of, uid_of
from greenroom.model.watch import Scope
from greenroom.ports import Change, Listing, Resource, WatchEvent

_End = BaseException | None


class ModelCluster:
    """The reading half of ``ports.Cluster``. Without asyncio's help everything here happens at once."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[Ref, Manifest] = {}
        self.trouble: BaseException | None = None  # raised by every list and watch while set
        self.not_served: set[Kind] = set()
        self.watch_ends: list[_End] = []  # how every watch ends as soon as it began, if anything is in here
        self.lists = 0
        self.watches = 0
        self.refused: set[Scope] = set()  # scopes that may be neither listed nor watched
        self._history: list[Changed] = []  # the change of version n is at n - 1
        self._compacted = 0
        self._streams: dict[asyncio.Queue[WatchEvent | _End], Scope] = {}

    def write(self, kind: Kind, name: str, *, namespace: str = "ns", **metadata: Json) -> Manifest:
        """Create or update; answers the stored object."""
        ref = Ref(kind, namespace, name)
        old = self.objects.get(ref)
        self.version += 1
        manifest: Manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": uid_of(old) if old is not None else f"uid-{self.version}",
                "resourceVersion": str(self.version),
                **metadata,
            },
        }
        self.objects[ref] = manifest
        self._record(Changed(self.version, old, manifest))
        return manifest

    def remove(self, manifest: Manifest) -> None:
        last = self.objects.pop(ref_of(manifest))
        self.version += 1
        self._record(Changed(self.version, last, None))

    def bookmark(self) -> None:
        for queue in self._streams:
            queue.put_nowait(WatchEvent(Change.BOOKMARK, {"metadata": {"resourceVersion": str(self.version)}}))

    def compact(self) -> None:
        """Forget all history: watches from before now are answered 410."""
        self._compacted = self.version

    def cut(self, error: BaseException | None = None) -> None:
        """End every stream, with ``error`` if there is one."""
        for queue in self._streams:
            queue.put_nowait(error)
        self._streams.clear()

    def strike_dumb(self) -> None:
        """Leave every stream open and never send to it again, as behind a NAT that forgot the connection."""
        self._streams.clear()

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        scope = Scope(kind, namespace, labels)
        self._refuse(scope)
        self.lists += 1
        items = [item for ref, item in self.objects.items() if ref.kind == kind and scope.covers(item)]
        return Listing(items, str(self.version))

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncIterator[WatchEvent]:
        scope = Scope(kind, namespace, labels)
        self._refuse(scope)
        self.watches += 1
        if int(since) < self._compacted:
            raise Expired("too old")
        queue: asyncio.Queue[WatchEvent | _End] = asyncio.Queue()
        for end in self.watch_ends:
            queue.put_nowait(end)
        for changed in self._history[int(since) :]:
            if event := _event(scope, changed):
                queue.put_nowait(event)
        self._streams[queue] = scope
        try:
            while isinstance(event_or_end := await queue.get(), WatchEvent):
                yield event_or_end
            if event_or_end is not None:
                raise event_or_end
        finally:
            self._streams.pop(queue, None)

    def streams(self) -> set[Scope]:
        """What is being watched."""
        return set(self._streams.values())

    def _record(self, changed: Changed) -> None:
        self._history.append(changed)
        for queue, scope in self._streams.items():
            if event := _event(scope, changed):
                queue.put_nowait(event)

    def _refuse(self, scope: Scope) -> None:
        if self.trouble is not None:
            raise self.trouble
        if scope.kind in self.not_served:
            raise UnknownKind(f"{scope.kind} is not served")
        if scope in self.refused:
            raise Forbidden(f"may not list {scope}")

    async def resources(self) -> Sequence[Resource]:
        _not_asked()

    async def resource(self, kind: Kind) -> Resource:
        _not_asked()

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        _not_asked()

    async def get(self, ref: Ref) -> Manifest:
        raise NotFound(str(ref))

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        _not_asked()

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        _not_asked()

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        _not_asked()

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        _not_asked()

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        _not_asked()


def _event(scope: Scope, changed: Changed) -> WatchEvent | None:
    about = changed.after or changed.before
    if about is None or kind_of(about) != scope.kind:
        return None
    return history.Scope(scope.namespace, Selector.parse(scope.label)).event(changed)


def _not_asked() -> NoReturn:
    raise AssertionError("an informer only lists and watches")

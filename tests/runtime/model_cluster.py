"""A cluster that lists and watches as Kubernetes does, and that can be cut off, compacted or struck dumb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NoReturn

from greenroom.model.errors import Expired, NotFound, UnknownKind
from greenroom.model.manifest import Json, Kind, Manifest, Ref, kind_of, ref_of, uid_of
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
        self._history: list[WatchEvent] = []  # the event of version n is at n - 1
        self._compacted = 0
        self._streams: dict[asyncio.Queue[WatchEvent | _End], Kind] = {}

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
        self._record(WatchEvent(Change.ADDED if old is None else Change.MODIFIED, manifest))
        return manifest

    def remove(self, manifest: Manifest) -> None:
        last = self.objects.pop(ref_of(manifest))
        self.version += 1
        metadata = last["metadata"]
        assert isinstance(metadata, Mapping)
        gone = {**last, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        self._record(WatchEvent(Change.DELETED, gone))

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
        self._refuse(kind)
        self.lists += 1
        return Listing([item for ref, item in self.objects.items() if ref.kind == kind], str(self.version))

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncIterator[WatchEvent]:
        self._refuse(kind)
        self.watches += 1
        if int(since) < self._compacted:
            raise Expired("too old")
        queue: asyncio.Queue[WatchEvent | _End] = asyncio.Queue()
        for end in self.watch_ends:
            queue.put_nowait(end)
        for event in self._history[int(since) :]:
            if kind_of(event.object) == kind:
                queue.put_nowait(event)
        self._streams[queue] = kind
        try:
            while isinstance(event_or_end := await queue.get(), WatchEvent):
                yield event_or_end
            if event_or_end is not None:
                raise event_or_end
        finally:
            self._streams.pop(queue, None)

    def _record(self, event: WatchEvent) -> None:
        self._history.append(event)
        for queue, kind in self._streams.items():
            if kind_of(event.object) == kind:
                queue.put_nowait(event)

    def _refuse(self, kind: Kind) -> None:
        if self.trouble is not None:
            raise self.trouble
        if kind in self.not_served:
            raise UnknownKind(f"{kind} is not served")

    async def resources(self) -> Sequence[Resource]:
        _not_asked()

    async def resource(self, kind: Kind) -> Resource:
        _not_asked()

    async def get(self, ref: Ref) -> Manifest:
        raise NotFound(str(ref))

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        _not_asked()

    async def delete(self, ref: Ref, *, uid: str = "", grace_seconds: int | None = None) -> None:
        _not_asked()

    async def patch_status(self, ref: Ref, status: Manifest) -> Manifest:
        _not_asked()


def _not_asked() -> NoReturn:
    raise AssertionError("an informer only lists and watches")

"""What stands between a program part and its cluster, and sees each write pass: a fence, and a counter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from greenroom.model.errors import ClusterError, Unavailable, UnknownKind
from greenroom.model.manifest import Kind, Manifest, Ref, kind_of
from greenroom.model.watch import Listing, Resource, WatchEvent
from greenroom.ports import Cluster

_T = TypeVar("_T")


class _Passing:
    """Passes everything on as it is."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def resources(self) -> Sequence[Resource]:
        return await self._cluster.resources()

    async def resource(self, kind: Kind) -> Resource:
        return await self._cluster.resource(kind)

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        await self._cluster.authorize(verb, kind, namespace)

    async def get(self, ref: Ref) -> Manifest:
        return await self._cluster.get(ref)

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        return await self._cluster.list(kind, namespace=namespace, labels=labels)

    def watch(self, kind: Kind, *, since: str, namespace: str = "", labels: str = "") -> AsyncIterator[WatchEvent]:
        return self._cluster.watch(kind, since=since, namespace=namespace, labels=labels)

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        return await self._cluster.apply(manifest, manager=manager, force=force)

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        return await self._cluster.adopt(manifest, manager=manager, former=former)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        await self._cluster.delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        await self._cluster.release(manifest, finalizers)

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        return await self._cluster.patch_status(ref, status, resource_version=resource_version)


class Fenced(_Passing):
    """Lets a write through only while ``may_write``, and raises Unavailable else.

    Work that is ended by cancelling can still have its next write before it: a process that was stopped for a minute,
    and wakes up, handles what came in before it handles what it missed.
    """

    def __init__(self, cluster: Cluster, may_write: Callable[[], bool]) -> None:
        super().__init__(cluster)
        self._may_write = may_write

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        self._check()
        return await super().apply(manifest, manager=manager, force=force)

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        self._check()
        return await super().adopt(manifest, manager=manager, former=former)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        self._check()
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        self._check()
        await super().release(manifest, finalizers)

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        self._check()
        return await super().patch_status(ref, status, resource_version=resource_version)

    def _check(self) -> None:
        if not self._may_write():
            raise Unavailable("another replica leads now")


class Counted(_Passing):
    """Tells of each write: its verb, its kind, and how it ended, ``ok`` or the name of the error.

    Kinds that the cluster does not serve are not told: a template can name any number of them.
    """

    def __init__(self, cluster: Cluster, count: Callable[[str, Kind, str], None]) -> None:
        super().__init__(cluster)
        self._count = count

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        return await self._counted("apply", kind_of(manifest), super().apply(manifest, manager=manager, force=force))

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        return await self._counted("apply", kind_of(manifest), super().adopt(manifest, manager=manager, former=former))

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        await self._counted(
            "delete",
            ref.kind,
            super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds),
        )

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        await self._counted("release", kind_of(manifest), super().release(manifest, finalizers))

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        return await self._counted(
            "patch_status", ref.kind, super().patch_status(ref, status, resource_version=resource_version)
        )

    async def _counted(self, verb: str, kind: Kind, write: Awaitable[_T]) -> _T:
        try:
            answer = await write
        except UnknownKind:
            raise
        except ClusterError as error:
            self._count(verb, kind, type(error).__name__)
            raise
        self._count(verb, kind, "ok")
        return answer

"""A cluster of a few objects in memory, and its API server: what the tests of ``local.api.server`` speak to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from greenroom.local.api.server import make_app, running
from greenroom.model.errors import (
    NotFound,
    UnknownKind,
)
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, Kind, Manifest, Ref, ref_of
from greenroom.model.watch import Listing, Resource, WatchEvent

TOKEN = "token-of-the-test"
SERVED = (
    Resource(CONFIG_MAP, "configmaps", namespaced=True, short_names=("cm",)),
    Resource(NAMESPACE, "namespaces", namespaced=False),
    Resource(POD, "pods", namespaced=True),
    Resource(DEPLOYMENT, "deployments", namespaced=True, short_names=("deploy",)),
)


class Shelf:
    """A cluster of a few objects. ``fails`` makes every answer about objects that error."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.fails: Exception | None = None
        self.events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self.watchers = 0
        self.released: list[tuple[Ref, frozenset[str]]] = []
        self.deleted: list[tuple[Ref, str, str, int | None]] = []

    def put(self, kind: Kind, namespace: str, name: str, **fields: Any) -> Manifest:
        metadata = {"name": name, "namespace": namespace}
        manifest: Manifest = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **fields}
        self.objects[ref_of(manifest)] = manifest
        return manifest

    async def resources(self) -> Sequence[Resource]:
        return SERVED

    async def resource(self, kind: Kind) -> Resource:
        raise UnknownKind(str(kind))

    async def get(self, ref: Ref) -> Manifest:
        self._fail()
        if ref not in self.objects:
            raise NotFound(f"{ref} not found")
        return self.objects[ref]

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        self._fail()
        found = [one for ref, one in self.objects.items() if ref.kind == kind and namespace in ("", ref.namespace)]
        return Listing(found, "7")

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncIterator[WatchEvent]:
        self._fail()
        self.watchers += 1
        try:
            while True:
                yield await self.events.get()
        finally:
            self.watchers -= 1

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        self._fail()
        await asyncio.sleep(0.01)  # as a database would, let others run in between
        self.objects[ref_of(manifest)] = manifest
        return manifest

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        raise NotImplementedError  # the API answers it itself

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        raise NotImplementedError  # the API has no such request

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        self._fail()
        self.deleted.append((ref, uid, resource_version, grace_seconds))

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        self.released.append((ref_of(manifest), frozenset(finalizers)))

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        return {**await self.get(ref), "status": status}

    def _fail(self) -> None:
        if self.fails:
            raise self.fails


async def no_logs(namespace: str, pod: str, container: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
    if container:
        raise NotFound(f"there is no log of {namespace}/{pod}/{container}")
    yield b""


async def talkative(
    namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
) -> AsyncIterator[bytes]:
    yield f"{namespace}/{pod}/{container} {follow} {tail}\n".encode()
    if follow:
        await asyncio.Event().wait()


@asynccontextmanager
async def served(shelf: Shelf, logs: Any = no_logs) -> AsyncIterator[aiohttp.ClientSession]:
    async with running(make_app(shelf, token=TOKEN, logs=logs)) as url, session(url) as client:
        yield client


def session(url: str, token: str = TOKEN) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"})


async def status_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """The code and reason of a refusal, which must be a Status that agrees with the HTTP code."""
    body = await response.json()
    assert (body["apiVersion"], body["kind"], body["status"]) == ("v1", "Status", "Failure")
    assert body["code"] == response.status
    assert body["message"]
    return response.status, body["reason"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is awaited happens in the server
            await asyncio.sleep(0.01)

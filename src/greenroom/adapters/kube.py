"""A ``ports.Cluster`` over Kubernetes REST: a real API server or the one-machine cluster (``local.api``).

Objects are handed out without ``metadata.managedFields``: nobody reads them, and they are half of an object's size.
Connection, encoding and errors are in ``adapters.kube_http``, the URLs of kinds in ``adapters.kube_discovery``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from types import TracebackType
from typing import Any
from urllib.parse import quote

from greenroom.adapters.kube_apply import MERGE_PATCH, Application
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_discovery import AGGREGATED, Discovery, resources_of
from greenroom.adapters.kube_http import ApiServer, decode, split_lines
from greenroom.adapters.kube_rights import Rights
from greenroom.model.errors import ClusterError, Expired, Invalid, Unavailable, UnknownKind
from greenroom.model.manifest import POD, Json, Kind, Manifest, Ref, items, number, ref_of, table, text, uid_of
from greenroom.model.watch import Change, Listing, Resource, WatchEvent
from greenroom.ports import Cluster

WATCH_SECONDS = 240
"""How long the server is asked to let a watch last."""
PAGE = 500
"""Objects asked for at once, as kubectl does; a page must fit into one answer and into memory."""


class KubeCluster:
    """Use as ``async with KubeCluster(connection) as cluster``.

    ``timeout`` bounds every request but watches and logs, in seconds. The server ends a watch after
    ``watch_seconds``; a watch that lasts ``timeout`` longer than that is dead and raises Unavailable.
    """

    def __init__(self, connection: Connection, *, timeout: float = 30.0, watch_seconds: int = WATCH_SECONDS) -> None:
        self._server = ApiServer(connection, timeout=timeout)
        self._discovery = Discovery(self._discover)
        self._rights = Rights()
        self._timeout = timeout
        self._watch_seconds = watch_seconds

    async def __aenter__(self) -> KubeCluster:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    def impersonating(self, user: str) -> Cluster:
        """The same, asking in the name of ``user``, which the API server must allow us. It is closed with this one.

        What is served is still asked for in our own name, once for all users.
        """
        other: KubeCluster = copy(self)
        other._server = self._server.impersonating(user)
        return other

    def apart(self, in_flight: int) -> Cluster:
        """The same for what must not wait for anything else: so many requests at once are its own. It is closed with
        this one."""
        other: KubeCluster = copy(self)
        other._server = self._server.apart(in_flight)
        return other

    async def resources(self) -> Sequence[Resource]:
        return await self._discovery.all()

    async def resource(self, kind: Kind) -> Resource:
        return await self._discovery.find(kind)

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        async with self._served(kind) as resource:
            await self._rights.check(self._server, verb, resource, namespace)

    async def get(self, ref: Ref) -> Manifest:
        async with self._served(ref.kind) as resource:
            return _stripped(await self._server.request("GET", _object_path(resource, ref)))

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        """The present objects: no resource version is asked for, which is how Kubernetes is asked for the latest.

        Pages are of one moment, and that may be forgotten before the last is read. All is then asked for at once, as
        client-go does: it takes more memory of the server, and ends.
        """
        async with self._served(kind) as resource:
            path, selector = _collection_path(resource, namespace), _selector(labels)
            page = await self._server.request("GET", path, params={"limit": str(PAGE), **selector})
            try:
                return await self._rest_of(page, kind, path, selector)
            except Expired:
                return await self._rest_of(
                    await self._server.request("GET", path, params=selector), kind, path, selector
                )

    async def _rest_of(self, page: dict[str, Any], kind: Kind, path: str, selector: Mapping[str, str]) -> Listing:
        """The listing that ``page`` begins. Raises Expired when it cannot be continued."""
        found = [_stripped(item, kind) for item in page.get("items") or ()]
        while further := text(page, "metadata", "continue"):
            params = {"limit": str(PAGE), **selector, "continue": further}
            page = await self._server.request("GET", path, params=params)
            found += (_stripped(item, kind) for item in page.get("items") or ())
        return Listing(found, text(page, "metadata", "resourceVersion"))

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(self._watch_seconds),
            **_selector(labels),
        }
        async with (
            self._served(kind) as resource,
            self._server.open(
                "GET",
                _collection_path(resource, namespace),
                params=params,
                timeout=self._watch_seconds + self._timeout,
            ) as response,
        ):
            async for line in split_lines(response.content.iter_any()):
                yield self._event(kind, decode(line))

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        async with self._application(manifest, manager) as application:
            return _stripped(await application.apply(force=force))

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        async with self._application(manifest, manager) as application:
            return _stripped(await application.adopt(former))

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        options: dict[str, Json] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        known = {"uid": uid, "resourceVersion": resource_version}
        options["preconditions"] = {name: value for name, value in known.items() if value}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        async with self._served(ref.kind) as resource:
            await self._server.request("DELETE", _object_path(resource, ref), body=options)

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        # Server-side apply takes away what its manager applied, and nothing of anybody else's.
        ref, metadata = ref_of(manifest), table(manifest, "metadata")
        left = [each for each in items(metadata, "finalizers") if each not in finalizers]
        as_read = {"uid": uid_of(manifest), "resourceVersion": text(metadata, "resourceVersion")}
        async with self._served(ref.kind) as resource:
            await self._server.request(
                "PATCH",
                _object_path(resource, ref),
                body={"metadata": {**as_read, "finalizers": left}},
                headers={"Content-Type": MERGE_PATCH},
            )

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        metadata: Manifest = {"metadata": {"resourceVersion": resource_version}} if resource_version else {}
        async with self._served(ref.kind) as resource:
            answer = await self._server.request(
                "PATCH",
                f"{_object_path(resource, ref)}/status",
                body={**metadata, "status": status},
                headers={"Content-Type": MERGE_PATCH},
            )
        return _stripped(answer)

    async def logs(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[bytes, None]:
        """What a container printed, in chunks as they come; ``container`` may be ``""`` when the pod has but one.

        ``tail`` is the number of last lines to begin with, None for all. With ``follow`` it ends with the container.
        """
        params = {"follow": "true" if follow else "false"}
        if container:
            params["container"] = container
        if tail is not None:
            params["tailLines"] = str(tail)
        async with (
            self._served(POD) as resource,
            self._server.open(
                "GET",
                f"{_object_path(resource, Ref(POD, namespace, pod))}/log",
                params=params,
                timeout=None if follow else self._timeout,
            ) as response,
        ):
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def _application(self, manifest: Manifest, manager: str) -> AsyncIterator[Application]:
        """As ``_served``."""
        ref = ref_of(manifest)
        async with self._served(ref.kind) as resource:
            yield Application(self._server, _object_path(resource, ref), manifest, manager)

    @asynccontextmanager
    async def _served(self, kind: Kind) -> AsyncIterator[Resource]:
        """How ``kind`` is served; forgotten when the server then does not know it any more (its CRD is gone)."""
        try:
            yield await self._discovery.find(kind)
        except UnknownKind:
            self._discovery.forget(kind)
            raise

    async def _discover(self) -> Sequence[Resource]:
        found: list[Resource] = []
        for path in ("/api", "/apis"):
            answer = await self._server.request("GET", path, headers={"Accept": AGGREGATED})
            if text(answer, "kind") != "APIGroupDiscoveryList":
                raise ClusterError("the API server has no aggregated discovery: Kubernetes 1.30 or later is needed")
            found += resources_of(answer)
        return found

    def _event(self, kind: Kind, event: dict[str, Any]) -> WatchEvent:
        """Raises the error that an ERROR event tells, such as Expired."""
        change, manifest = text(event, "type"), table(event, "object")
        if change == "ERROR":
            raise self._server.error(number(manifest, "code", default=500), manifest)
        if change not in Change.__members__:
            raise Unavailable(f"the API server sent a watch event of unknown type {change!r}")
        return WatchEvent(Change(change), _stripped(event["object"], kind))


def _collection_path(resource: Resource, namespace: str) -> str:
    kind = resource.kind
    root = f"/apis/{quote(kind.group)}/{quote(kind.version)}" if kind.group else f"/api/{quote(kind.version)}"
    if resource.namespaced and namespace:
        root += f"/namespaces/{_segment(namespace)}"
    return f"{root}/{quote(resource.plural)}"


def _object_path(resource: Resource, ref: Ref) -> str:
    if resource.namespaced and not ref.namespace:
        raise Invalid(f"{ref} names no namespace")
    return f"{_collection_path(resource, ref.namespace)}/{_segment(ref.name)}"


def _segment(name: str) -> str:
    """A name as one segment of a URL. An empty one would name the whole collection, which then would be deleted.

    The rule is that of Kubernetes' ``IsValidPathSegmentName``.
    """
    if name in ("", ".", "..") or "/" in name or "%" in name:
        raise Invalid(f"{name[:100]!r} cannot be the name of an object")
    return quote(name)


def _selector(labels: str) -> dict[str, str]:
    return {"labelSelector": labels} if labels else {}


def _stripped(manifest: dict[str, Any], kind: Kind | None = None) -> dict[str, Any]:
    """Without managed fields; with the kind that a list's items lack when the list itself is typed."""
    if isinstance(manifest.get("metadata"), dict):
        manifest["metadata"].pop("managedFields", None)
    return {"apiVersion": kind.api_version, "kind": kind.name, **manifest} if kind else manifest

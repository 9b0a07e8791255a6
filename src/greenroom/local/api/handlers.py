"""The requests about objects: each handler asks one thing of the cluster and answers it as Kubernetes would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec
from aiohttp import web

from greenroom.local.api.errors import Refused, error_status, success_status
from greenroom.local.api.requests import Target, body_of, flag, identified, refuse, target_of, whole_number
from greenroom.local.api.streams import Streams
from greenroom.model.errors import ClusterError
from greenroom.model.manifest import Json, Ref, get, items, table, text
from greenroom.model.watch import Change
from greenroom.ports import Cluster

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class LogSource(Protocol):
    """Where containers' output is kept."""

    def __call__(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        """The output in chunks, from the last ``tail`` lines on (None: all). Raises NotFound when there is none.

        With ``follow`` it goes on until the container has ended.
        """


class Handlers:
    """The handlers, over one cluster."""

    def __init__(self, cluster: Cluster, logs: LogSource, streams: Streams) -> None:
        self._cluster = cluster
        self._logs = logs
        self._streams = streams

    async def get(self, request: web.Request) -> web.StreamResponse:
        target = await self._target(request)
        return answer(await self._cluster.get(target.ref))

    async def review_access(self, request: web.Request) -> web.StreamResponse:
        """Whoever has the token may do everything."""
        review = await body_of(request)
        return answer({**review, "status": {"allowed": True}})

    async def list(self, request: web.Request) -> web.StreamResponse:
        """A list, or a watch when that is asked for. ``limit`` is not heeded, as the API allows: all are sent."""
        refuse(request, "fieldSelector")
        target = await self._target(request)
        if flag(request, "watch"):
            return await self._watch(request, target)
        listing = await self._cluster.list(target.resource.kind, namespace=target.namespace, labels=_labels(request))
        return answer(
            {
                "apiVersion": target.resource.kind.api_version,
                "kind": f"{target.resource.kind.name}List",
                "metadata": {"resourceVersion": listing.resource_version},
                "items": listing.items,
            }
        )

    async def patch(self, request: web.Request) -> web.StreamResponse:
        refuse(request, "dryRun")
        return await (self._release(request) if request.content_type == MERGE else self._apply(request))

    async def _release(self, request: web.Request) -> web.StreamResponse:
        """Of what can be patched otherwise, finalizers are all that anybody here has a use for."""
        target = await self._target(request)
        given = table(await body_of(request), "metadata")
        if given.keys() - {"uid", "resourceVersion"} != {"finalizers"}:
            raise Refused(400, "of an object only metadata.finalizers can be patched: apply the rest")
        present = await self._cluster.get(target.ref)
        metadata = table(present, "metadata")
        gone = [str(each) for each in items(metadata, "finalizers") if each not in items(given, "finalizers")]
        await self._cluster.release({**present, "metadata": {**metadata, **given}}, gone)
        return answer(success_status(target.resource.plural, target.name))

    async def _apply(self, request: web.Request) -> web.StreamResponse:
        _require(request, APPLY)
        target = await self._target(request)
        manifest = identified(await body_of(request), target)
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise Refused(400, "fieldManager is required for apply patch")
        return answer(await self._cluster.apply(manifest, manager=manager, force=flag(request, "force")))

    async def patch_status(self, request: web.Request) -> web.StreamResponse:
        refuse(request, "dryRun")
        _require(request, MERGE)
        target = await self._target(request)
        patch = await body_of(request)
        status = get(patch, "status")
        if not isinstance(status, Mapping):
            raise Refused(400, "the patch has no status")
        version = text(patch, "metadata", "resourceVersion")
        return answer(await self._cluster.patch_status(target.ref, status, resource_version=version))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        refuse(request, "dryRun")
        target = await self._target(request)
        options = {**await body_of(request), **request.query}
        if options.get("propagationPolicy") == "Orphan" or options.get("orphanDependents"):
            raise Refused(400, "what an object owns is always deleted with it: Orphan is not supported")
        await self._cluster.delete(
            target.ref,
            uid=text(options, "preconditions", "uid"),
            resource_version=text(options, "preconditions", "resourceVersion"),
            grace_seconds=whole_number(options, "gracePeriodSeconds"),
        )
        return answer(success_status(target.resource.plural, target.name))

    async def logs(self, request: web.Request) -> web.StreamResponse:
        refuse(request, "previous", "timestamps", "sinceSeconds", "sinceTime", "limitBytes")
        target = await self._target(request)
        container = request.query.get("container") or await self._only_container(target.ref)
        chunks = self._logs(
            target.namespace,
            target.name,
            container,
            follow=flag(request, "follow"),
            tail=whole_number(request.query, "tailLines"),
        )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        async with self._streams.bounded():
            first = await anext(chunks, b"")  # before the answer begins, so that NotFound is still a 404
            await response.prepare(request)
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        return response

    async def _target(self, request: web.Request) -> Target:
        return target_of(request, await self._cluster.resources())

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        refuse(request, "sendInitialEvents")
        seconds, since = whole_number(request.query, "timeoutSeconds") or None, request.query.get("resourceVersion", "")
        if since in ("", "0"):
            raise Refused(422, "a watch must name the resourceVersion that it follows: list first")
        bookmarks = flag(request, "allowWatchBookmarks")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async with self._streams.bounded(seconds):
            try:
                async for event in self._cluster.watch(
                    target.resource.kind, since=since, namespace=target.namespace, labels=_labels(request)
                ):
                    if bookmarks or event.change is not Change.BOOKMARK:
                        await response.write(_line(event.change.value, event.object))
            except ClusterError as error:
                await response.write(_line("ERROR", error_status(error, target.resource.plural)))
        return response

    async def _only_container(self, pod: Ref) -> str:
        """The pod's container, when it has but one. Raises Refused, naming them all, when it has several."""
        names = [text(container, "name") for container in items(await self._cluster.get(pod), "spec", "containers")]
        if len(names) != 1:
            raise Refused(400, f"a container name must be specified for {pod}, choose one of: {', '.join(names)}")
        return names[0]


def answer(document: Mapping[str, Json], *, content_type: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(document), headers={"Content-Type": content_type})


def _line(change: str, manifest: Mapping[str, Json]) -> bytes:
    return msgspec.json.encode({"type": change, "object": manifest}) + b"\n"


def _labels(request: web.Request) -> str:
    return request.query.get("labelSelector", "")


def _require(request: web.Request, content_type: str) -> None:
    if request.content_type != content_type:
        raise Refused(415, f"this patch must be of type {content_type}, not {request.content_type}")

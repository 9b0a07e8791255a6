"""An API server that answers what it is told to, for tests of ``adapters.kube``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN = "very-secret-token"


def discovery(*groups: tuple[str, str, str, str]) -> dict[str, Any]:
    """The aggregated discovery of (group, version, kind, plural) tuples, as kube-apiserver 1.30 sends it."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Current",
                        "resources": [
                            {
                                "resource": plural,
                                "responseKind": {"group": group, "version": version, "kind": kind},
                                "scope": "Namespaced",
                                "singularResource": kind.lower(),
                                "verbs": ["get", "list"],
                                "shortNames": ["x"],
                                "subresources": [{"subresource": "status", "responseKind": {"kind": kind}}],
                            }
                        ],
                    }
                ],
            }
            for group, version, kind, plural in groups
        ],
    }


class StandIn:
    """An API server with the usual discovery and one answer to everything else."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.groups = [("apps", "v1", "Deployment", "deployments")]
        self.aggregated = True
        self.discoveries = 0
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api" and not self.aggregated:
            if "application/json" not in request.headers["Accept"].split(","):
                return web.Response(status=406)
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if request.path == "/api":
            return web.json_response(discovery(("", "v1", "ConfigMap", "configmaps"), ("", "v1", "Pod", "pods")))
        if request.path == "/apis":
            self.discoveries += 1
            return web.json_response(discovery(*self.groups))
        await request.read()
        self.requests.append(request)
        assert self.answer is not None
        return await self.answer(request)

    @asynccontextmanager
    async def cluster(
        self, *, timeout: float = 30.0, watch_seconds: int = 240, **connection: Any
    ) -> AsyncIterator[KubeCluster]:
        """A client of it; ``connection`` has the fields that are not as usual."""
        async with self.served() as url:
            made = Connection(url, **{"credentials": Credential(TOKEN), **connection})
            async with KubeCluster(made, timeout=timeout, watch_seconds=watch_seconds) as cluster:
                yield cluster

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve on a free port; answers the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def status(code: int, reason: str, message: str = "no", **details: object) -> Answer:
    body = {"kind": "Status", "message": message, "reason": reason, "details": details, "code": code}
    return reply(code, json.dumps(body), "application/json")


def reply(code: int, body: str, content_type: str, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, text=body, content_type=content_type, headers=headers)

    return answer


def stream(*chunks: bytes, cut: bool = False, hang: bool = False) -> Answer:
    """A watch that sends these chunks and then ends, is cut off, or falls silent."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if hang:
            await asyncio.Event().wait()
        if cut and request.transport is not None:
            request.transport.close()
        return response

    return answer

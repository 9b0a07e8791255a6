"""A real Envoy under a real control plane, backends that say who they are, and a client that counts what it gets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from tests.gateway.world import GATEWAY, World

from greenroom.adapters.ads import AdsServer
from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router
from greenroom.core.xds import Snapshot
from greenroom.local.envoy_process import EnvoyProcess, bootstrap, envoy_binary

NAME = f"{GATEWAY.namespace}/{GATEWAY.name}"
DEADLINE_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until it is true. Raises TimeoutError, soon enough to name the test."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


class Backends:
    """Applications of one commit each: every answer tells the commit, and what was asked for, with any ``?status=``."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []

    async def start(self, commit: str, *, host: str = "127.0.0.1") -> int:
        """Answers the port."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.headers.get("upgrade", "").lower() == "websocket":
                connection = web.WebSocketResponse()
                await connection.prepare(request)
                await connection.send_str(commit)
                await connection.close()
                return connection
            status = int(request.query.get("status", "200"))
            told = {"commit": commit, "path": request.raw_path, "host": request.host}
            return web.json_response(told, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, host, 0)
        await site.start()
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


class Gateway:
    """A running gateway: put a world into it, ask it for pages."""

    def __init__(self, ads: AdsServer, port: int, session: ClientSession) -> None:
        self.ads, self.port, self.session = ads, port, session
        self._router = Router()

    async def show(self, world: World) -> None:
        """Publish, and wait until Envoy has taken all of it."""
        self.publish(world)
        await until(self.is_taken)

    def publish(self, world: World) -> None:
        self.ads.publish(NAME, self.configuration(world))

    def configuration(self, world: World) -> Snapshot:
        routing = self._router.route(world)
        assert not routing.refused
        return snapshot(routing.tables[GATEWAY], bind="127.0.0.1")

    def is_taken(self) -> bool:
        standings = self.ads.standings(NAME)
        return bool(standings) and not any(standing.missing for standing in standings)

    async def get(self, host: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers with lower-case names, body."""
        asked = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.get(url, headers=asked, allow_redirects=False) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.text()

    @asynccontextmanager
    async def polled(self, host: str) -> AsyncIterator[Counter[int]]:
        """Ask for ``host`` without a pause, and count the status codes."""
        counts: Counter[int] = Counter()

        async def poll() -> None:
            while True:
                status, _, _ = await self.get(host)
                counts[status] += 1

        task = asyncio.create_task(poll())
        try:
            yield counts
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[AdsServer]:
    """A control plane that takes Envoys."""
    async with AdsServer(port=port) as ads:
        with ads.serving():
            yield ads


@asynccontextmanager
async def gateway(
    folder: Path, ads: AdsServer, port: int, *, config: Mapping[str, Any] | None = None
) -> AsyncIterator[Gateway]:
    """Envoy, connected to ``ads``, unless its bootstrap ``config`` says otherwise."""
    config = config or bootstrap(NAME, ads.address)
    envoy = await EnvoyProcess.start(envoy_binary(), folder, "test", config, env={"PATH": os.defpath})
    connector = TCPConnector(force_close=False, limit=0)
    try:
        async with ClientSession(connector=connector) as session:
            yield Gateway(ads, port, session)
    finally:
        await envoy.stop()

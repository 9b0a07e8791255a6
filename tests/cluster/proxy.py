"""What stands between Greenroom and its API server, and fails as networks do.

Bytes are passed on as they are, so that TLS is between the two ends.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from yarl import URL

from greenroom.adapters.kube_connection import Connection

CHUNK = 65536


class Proxy:
    """Passes connections to a port of its own on to the API server of ``direct``. Use as ``async with``."""

    _server: asyncio.Server

    def __init__(self, direct: Connection) -> None:
        self._direct = direct
        self._links: set[_Link] = set()
        self._is_down = False
        self._requests_pass, self._answers_pass = _set_event(), _set_event()
        self._answered = 0
        self._enough = math.inf  # bytes answered after which no request passes
        self._has_answered_enough = asyncio.Event()

    @property
    def connection(self) -> Connection:
        """The same API server, by way of the proxy."""
        host, port = self._server.sockets[0].getsockname()
        return replace(self._direct, server=f"https://{host}:{port}")

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._cut()
        await self._server.wait_closed()

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """A block in which every connection is cut, the new ones at once."""
        self._is_down = True
        self._cut()
        try:
            yield
        finally:
            self._is_down = False

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """A block in which every connection stays and brings nothing, until ``speak``. What was sent arrives then."""
        self._requests_pass.clear()
        self._answers_pass.clear()
        try:
            yield
        finally:
            self.speak()

    def speak(self) -> None:
        self._requests_pass.set()
        self._answers_pass.set()

    @asynccontextmanager
    async def without_requests(self, *, after: int) -> AsyncIterator[None]:
        """A block that begins when ``after`` more bytes were answered; until its end no further request passes."""
        self._enough = self._answered + after
        await self._has_answered_enough.wait()
        try:
            yield
        finally:
            self._has_answered_enough.clear()
            self._requests_pass.set()

    def abandon(self) -> None:
        """Leave the present connections half-open: both ends keep them, and neither hears of the other again."""
        for link in self._links:
            link.is_abandoned = True

    def _cut(self) -> None:
        for link in tuple(self._links):
            link.cut()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._is_down:
            to_client.transport.abort()
            return
        target = URL(self._direct.server)
        try:
            from_server, to_server = await asyncio.open_connection(target.host, target.port)
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(to_client, to_server)
        self._links.add(link)
        try:
            await asyncio.gather(
                link.carry(from_client, to_server, self._requests_pass),
                link.carry(from_server, to_client, self._answers_pass, self._count),
            )
        finally:
            self._links.discard(link)

    def _count(self, answered: int) -> None:
        self._answered += answered
        if self._answered >= self._enough:
            self._enough = math.inf
            self._requests_pass.clear()
            self._has_answered_enough.set()


class _Link:
    """A connection of a client, and ours to the server."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.is_abandoned = False

    async def carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        may_pass: asyncio.Event,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Until either side ends the connection, which ends it for the other side, too."""
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await may_pass.wait()
                if not self.is_abandoned:
                    count(len(chunk))
                    writer.write(chunk)
                    await writer.drain()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event

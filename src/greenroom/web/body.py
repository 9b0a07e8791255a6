"""Bodies of requests, whose sender nobody knows before all of it is there: so many bytes at once, and no more.

A pod has so much memory. Whoever finds no room waits a little, and is told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

ROOM_BYTES = 64 * 2**20
"""Of all bodies together, an eighth of what the chart gives a pod: what is read stands in memory twice for a moment."""
RETRY_SECONDS = 10


class Bodies:
    """Bodies of at most ``limit`` bytes each and ``room`` together, each of which has to come within ``seconds``.

    A request waits up to ``patience`` seconds for room. Those that fit go ahead of those that do not fit yet, so that
    large bodies do not keep small ones waiting.
    """

    def __init__(self, *, limit: int, seconds: float, patience: float, room: int = ROOM_BYTES) -> None:
        self._limit = limit
        self._seconds = seconds
        self._patience = patience
        self._free = room
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def of(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body; its room is another's after the block, so do not keep it.

        Raises the answer: HTTPRequestEntityTooLarge, HTTPRequestTimeout, HTTPServiceUnavailable.
        """
        size = self._size(request)
        await self._take(size)
        try:
            yield await self._read(request)
        finally:
            self._free += size
            self._freed.set()
            self._freed = asyncio.Event()

    def _size(self, request: web.Request) -> int:
        """How large the body may become. What is sent in chunks, or unpacked here, may be as large as any."""
        told = request.content_length
        if told is None or "Content-Encoding" in request.headers:
            return self._limit
        if told > self._limit:
            raise web.HTTPRequestEntityTooLarge(self._limit, told)
        return told

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while size > self._free:
                    await self._freed.wait()
        except TimeoutError as error:
            retry = {"Retry-After": str(RETRY_SECONDS)}
            raise web.HTTPServiceUnavailable(text="too much is being received\n", headers=retry) from error
        self._free -= size

    async def _read(self, request: web.Request) -> bytes:
        """Not ``request.read``, which keeps the body for as long as the request lives."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > self._limit:
                        raise web.HTTPRequestEntityTooLarge(self._limit, len(body))
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text="the body did not come\n") from error
        return bytes(body)

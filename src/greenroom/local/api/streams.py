"""Answers without an end (watches, logs that are followed), which must not keep a server from stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Streams:
    """The open streams of one server."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def bounded(self, seconds: float | None = None) -> AsyncIterator[None]:
        """A block that is left quietly after ``seconds`` (None: never), or when the server stops."""
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise

    async def end(self, _: web.Application) -> None:
        """Leave every block. aiohttp calls it at shutdown, before it waits for the handlers."""
        for scope in self._open:
            if not scope.expired():
                scope.reschedule(asyncio.get_running_loop().time())

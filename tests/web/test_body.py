"""How much is read at once from whoever sends something, over HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from greenroom.web.body import Bodies


@asynccontextmanager
async def served(
    *, limit: int = 100, room: int = 250, patience: float = 0.2, seconds: float = 10
) -> AsyncIterator[Any]:
    """A client of what answers the size of what it is sent."""
    bodies = Bodies(limit=limit, room=room, patience=patience, seconds=seconds)

    async def answer(request: web.Request) -> web.Response:
        async with bodies.of(request) as body:
            return web.Response(text=str(len(body)))

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestClient(TestServer(app)) as client:
        yield client


@asynccontextmanager
async def being_sent(client: TestClient[Any, Any], size: int) -> AsyncIterator[asyncio.Event]:
    """A body of which the first half is there; the rest comes once the event is set."""
    go_on = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield b"x" * (size // 2)
        await go_on.wait()
        yield b"x" * (size - size // 2)

    async def send() -> None:
        async with client.post("/", data=halves(), headers={"Content-Length": str(size)}) as answer:
            assert await answer.text() == str(size)

    sending = asyncio.create_task(send())
    await asyncio.sleep(0.05)
    try:
        yield go_on
    finally:
        go_on.set()
        await sending


async def sent(client: TestClient[Any, Any], body: Any, **headers: str) -> int:
    async with client.post("/", data=body, headers=headers) as answer:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status


async def chunked(size: int) -> AsyncIterator[bytes]:
    yield b"x" * size


async def test_those_for_whom_there_is_no_room_are_told_to_come_again_and_the_small_are_read() -> None:
    async with served() as client, being_sent(client, 100), being_sent(client, 100):
        large, small = await asyncio.gather(sent(client, b"x" * 100), sent(client, b"x" * 50))
        assert (large, small) == (503, 200)
        assert await sent(client, chunked(1)) == 503  # who knows how large it becomes
        assert await sent(client, gzip.compress(b"x"), **{"Content-Encoding": "gzip"}) == 503


async def test_one_that_waits_is_read_when_there_is_room_again() -> None:
    async with served(patience=10) as client, being_sent(client, 100) as go_on, being_sent(client, 100):
        waiting = asyncio.create_task(sent(client, b"x" * 100))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        go_on.set()
        assert await waiting == 200


async def test_room_is_given_back_whatever_becomes_of_a_body() -> None:
    async with served(room=100, seconds=0.2) as client:
        for _ in range(3):
            assert await sent(client, chunked(101)) == 413
            with pytest.raises(AssertionError):  # it is answered 408
                async with being_sent(client, 100):
                    await asyncio.sleep(0.3)
        assert await sent(client, b"x" * 100) == 200


async def test_what_unpacks_to_more_than_the_limit_is_refused() -> None:
    async with served() as client:
        assert await sent(client, gzip.compress(b"x" * 101), **{"Content-Encoding": "gzip"}) == 413
        assert await sent(client, gzip.compress(b"x" * 100), **{"Content-Encoding": "gzip"}) == 200

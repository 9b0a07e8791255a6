"""Urgent work first: what can wait does so until there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

from greenroom.runtime.shares import Shares

K = TypeVar("K", bound=Hashable)


class Lull(Generic[K]):
    """``urgent`` blocks of a group are entered in order, ``slots`` at a time; those of another group do not wait for
    them. ``come`` waits until nobody is in one, or wants to be, and at most ``longest`` seconds. It is used inside one
    event loop."""

    def __init__(self, *, slots: int, longest: float) -> None:
        self._slots: Shares[Hashable] = Shares(alone=slots)
        self._longest = longest
        self._urgent = 0
        self._waiting: dict[K, asyncio.Event] = {}

    @asynccontextmanager
    async def urgent(self, group: Hashable = None) -> AsyncIterator[None]:
        self._urgent += 1
        try:
            async with self._slots.place(group):
                yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                for event in self._waiting.values():
                    event.set()

    async def come(self, key: K) -> None:
        """A key waits once at a time."""
        if not self._urgent:
            return
        event = self._waiting[key] = asyncio.Event()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._longest):
                    await event.wait()
        finally:
            del self._waiting[key]

    def hurry(self, key: K) -> None:
        """``key`` is to wait no longer, if it does: something urgent waits for it."""
        if key in self._waiting:
            self._waiting[key].set()

"""One call for many who ask: whoever asks while a call is under way shares the next one with all others who do.

A hundred pull requests that are closed at once are so remembered with a few writes to their ReviewApp, and not with a
hundred that get into each other's way. Databases call it group commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Batch(Generic[V, T]):
    outcome: asyncio.Future[T]
    values: list[V] = field(default_factory=list)


class Joined(Generic[K, V, T]):
    """Calls ``call`` with a key, once at a time, and with the values of all who asked since the call before.

    Every answer, or error, is that of a call that began after it was asked for: a read sees what was written before.
    When the one who makes the call is cancelled, another of those who share it makes it again. It is used inside one
    event loop.
    """

    def __init__(self, call: Callable[[K, Sequence[V]], Awaitable[T]]) -> None:
        self._call = call
        self._turns: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()
        self._gathering: dict[K, _Batch[V, T]] = {}

    async def __call__(self, key: K, value: V) -> T:
        turn = self._turns.setdefault(key, asyncio.Lock())
        batch = self._gathering.setdefault(key, _Batch(asyncio.get_running_loop().create_future()))
        batch.values.append(value)
        try:
            async with turn:  # those of one batch come one after the other, before those of the next
                if not batch.outcome.done():
                    await self._make(key, batch)
                return batch.outcome.result()
        except asyncio.CancelledError:
            if self._gathering.get(key) is batch:  # whoever asks next must not send what is given up here
                batch.values.remove(value)
            raise

    async def _make(self, key: K, batch: _Batch[V, T]) -> None:
        if self._gathering.get(key) is batch:
            del self._gathering[key]
        try:
            batch.outcome.set_result(await self._call(key, batch.values))
        except Exception as error:  # noqa: BLE001 - it is raised again, by each who shares the call
            batch.outcome.set_exception(error)

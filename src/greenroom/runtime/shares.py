"""Places that keys share: whoever holds his for long leaves some to the others."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Shares(Generic[K]):
    """Twice ``alone`` places, of which a key may hold as many as are free then.

    So a key that is alone gets ``alone`` of them, and of three that want all they can get each gets a quarter. A key
    that gives none back leaves the others as many as it has. Switches share their buffers so (Choudhury and Hahne,
    "Dynamic queue length thresholds", 1998). The places of one key are given out in order.
    """

    def __init__(self, alone: int) -> None:
        self._free = 2 * alone
        self._held: Counter[K] = Counter()
        self._waiting: dict[K, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, key: K) -> AsyncIterator[None]:
        await self._take(key)
        try:
            yield
        finally:
            self._give_back(key)

    async def _take(self, key: K) -> None:
        if key not in self._waiting and self._may_enter(key):
            self._enter(key)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came in the same moment
                self._give_back(key)
            elif turn in self._waiting.get(key, ()):
                self._leave(key, turn)
            raise

    def _leave(self, key: K, turn: asyncio.Future[None]) -> None:
        self._waiting[key].remove(turn)
        if not self._waiting[key]:
            del self._waiting[key]

    def _give_back(self, key: K) -> None:
        self._free += 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        while keys := [each for each in self._waiting if self._may_enter(each)]:
            self._admit(min(keys, key=self._held.__getitem__))

    def _admit(self, key: K) -> None:
        turn = self._waiting[key][0]
        self._leave(key, turn)
        if not turn.cancelled():  # whoever waited for it may not have gone yet
            self._enter(key)
            turn.set_result(None)

    def _may_enter(self, key: K) -> bool:
        return self._held[key] < self._free

    def _enter(self, key: K) -> None:
        self._free -= 1
        self._held[key] += 1

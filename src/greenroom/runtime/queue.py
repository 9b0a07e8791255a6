"""The work queue between informers and reconciles: keys that wait, are due later, or are being handled.

The promises are those of client-go's workqueue. A key that is added many times before its turn is handled once. A key
is never handled twice at once: one added while it is being handled gets another turn afterwards, so that the last
change is always seen by a reconcile that began after it. Of two adds the sooner wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from greenroom.runtime.backoff import Backoff
from greenroom.runtime.monitor import UNWATCHED, Monitor

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to be handled, each with its own back-off. It is used inside one event loop."""

    def __init__(self, backoff: Backoff, monitor: Monitor = UNWATCHED) -> None:
        self._backoff = backoff
        self._monitor = monitor
        self._turns: asyncio.Queue[K] = asyncio.Queue()
        # Since when, in seconds of the loop. What waits has a place in _turns, or gets one when its present turn ends.
        self._waiting: dict[K, float] = {}
        self._running: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._closed = False

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Give ``key`` a turn, ``after`` seconds from now. Does nothing once the queue is closed."""
        if self._closed or key in self._waiting:
            return
        if after > 0:
            self._add_later(key, after)
            return
        self._cancel_timer(key)
        self._waiting[key] = asyncio.get_running_loop().time()
        self._monitor.added(waiting=len(self._waiting))
        if key not in self._running:
            self._turns.put_nowait(key)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[K]:
        """Wait for the next key. It is being handled until the context ends, however it ends."""
        key = await self._turns.get()
        now = self._running[key] = asyncio.get_running_loop().time()
        waited = now - self._waiting.pop(key)
        self._monitor.began(waited, waiting=len(self._waiting))
        try:
            yield key
        finally:
            del self._running[key]
            if key in self._waiting:
                self._turns.put_nowait(key)

    def longest_turn(self) -> float:
        """For how many seconds the key that is being handled for longest is; 0 when none is."""
        now = asyncio.get_running_loop().time()
        return max((now - since for since in self._running.values()), default=0.0)

    def retry(self, key: K, *, at_least: float = 0.0) -> int:
        """``key`` failed: add it after its back-off, or after ``at_least`` seconds if that is longer.

        Answers how often it has failed since it last succeeded.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._monitor.retried()
        self.add(key, after=max(self._backoff.delay(failures), at_least))
        return failures

    def succeeded(self, key: K) -> None:
        """Forget the failures of ``key``."""
        self._failures.pop(key, None)

    def close(self) -> None:
        """Take no more keys, and leave no timer behind."""
        self._closed = True
        for key in list(self._timers):
            self._cancel_timer(key)

    def _add_later(self, key: K, after: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + after
        timer = self._timers.get(key)
        if timer is None or due < timer.when():
            self._cancel_timer(key)
            self._timers[key] = loop.call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

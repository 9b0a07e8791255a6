"""Handing keys on at a bounded rate, for work that is many at once and never urgent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Pace(Generic[K]):
    """Hands on the first ``burst`` keys at once and the others ``rate`` a second, in order, each waiting once.

    It is a token bucket. It is used inside one event loop.
    """

    def __init__(self, hand_on: Callable[[K], None], *, rate: float, burst: int) -> None:
        self._hand_on = hand_on
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._counted_at = 0.0
        self._waiting: dict[K, None] = {}  # a set that keeps its order
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: K) -> None:
        self._waiting.setdefault(key)
        if self._timer is None:
            self._go_on()

    def close(self) -> None:
        """Forget what waits, and leave no timer behind."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
        while self._waiting and self._tokens >= 1 - 1e-6:  # rounding must not cost another timer
            self._tokens -= 1
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._hand_on(key)
        if self._waiting:
            self._timer = loop.call_later((1 - self._tokens) / self._rate, self._go_on)

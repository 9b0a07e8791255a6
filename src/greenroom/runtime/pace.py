"""Turns at a bounded rate, for work that is many at once and never urgent."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Pace(Generic[K]):
    """The first ``burst`` keys have their turn at once, the others ``rate`` a second, in the order in which they asked.

    It is a token bucket that gives tokens ahead, with the time from when they count. It is used inside one event loop.
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._ahead = (burst - 1) / rate
        self._full = 0.0  # when the bucket is full again, in seconds of the loop
        self._turns: dict[K, float] = {}
        self._granted: dict[K, str] = {}

    def wait(self, key: K, work: str) -> float:
        """Seconds until it is the key's turn: ask again then. With 0.0 it is.

        The turn lasts for this ``work``, however often it is tried. For other work the key needs another.
        """
        if self._granted.get(key) == work:
            return 0.0
        now = asyncio.get_running_loop().time()
        if key not in self._turns:
            self._full = max(self._full, now)
            self._turns[key] = self._full - self._ahead
            self._full += self._interval
        if self._turns[key] > now:
            return self._turns[key] - now
        del self._turns[key]
        self._granted[key] = work
        return 0.0

    def forget(self, key: K) -> None:
        """The key needs no turn any more. What it had stays taken."""
        self._turns.pop(key, None)
        self._granted.pop(key, None)

"""To do again what has just been done, ever more slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

from greenroom.runtime.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class Repeats(Generic[K]):
    """What was done to a key up to ``free`` times is done again at once, then with ``backoff``. When it was not needed
    for ``quiet`` seconds, that is forgotten. It is used inside one event loop."""

    def __init__(self, *, free: int, backoff: Backoff, quiet: float) -> None:
        self._free = free
        self._backoff = backoff
        self._quiet = quiet
        self._past: dict[K, tuple[int, float]] = {}  # how often, and when last, in seconds of the loop; oldest first

    def done(self, key: K) -> None:
        """It has been done, once more."""
        now = self._forget()
        times, _ = self._past.pop(key, (0, now))
        self._past[key] = times + 1, now

    def wait(self, key: K) -> float:
        """Seconds until it may be done again; 0.0 is now."""
        now = self._forget()
        times, last = self._past.get(key, (0, now))
        return max(0.0, last + self._backoff.delay(max(0, times - self._free)) - now)

    def lasting(self, key: K) -> float:
        """For how many seconds more this counts as being done too often, if it is not done again; 0.0 is not at all."""
        now = self._forget()
        times, last = self._past.get(key, (0, now))
        return last + self._quiet - now if times > self._free else 0.0

    def _forget(self) -> float:
        """Answers the time."""
        now = asyncio.get_running_loop().time()
        while self._past:
            key, (_, last) = next(iter(self._past.items()))
            if now < last + self._quiet:
                break
            del self._past[key]
        return now

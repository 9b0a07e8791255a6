"""Staying inside GitHub's limits: not asking while it said no, and never writing faster than it takes it.

"Rate limits for the REST API" and "Best practices for using the REST API" have the numbers. All times are the event
loop's, in seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from greenroom.model.errors import ForgeThrottled

FIRST_WAIT, LONGEST_WAIT = 60.0, 900.0
"""Seconds to wait when GitHub does not say how long: at least a minute, and longer each time that it goes on."""

A_MINUTE, AN_HOUR = (80, 60.0), (500, 3600.0)
"""How many writes in how many seconds GitHub takes: content-generating requests of one user or App."""

PATIENCE = 2.0
"""Seconds that a write waits here. What has to wait longer is told to come again: a worker has other things to do."""


class Throttles:
    """Until when GitHub does not want to be asked, for each owner of credentials: limits are theirs."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def check(self, owner: str) -> None:
        """Raises ForgeThrottled while it has to wait."""
        left = self._until.get(owner, 0.0) - _now()
        if left > 0:
            raise ForgeThrottled(f"GitHub's limits are used up for another {left:.0f} s", retry_after=left)

    def hold(self, owner: str, seconds: float | None) -> float:
        """It was refused: wait so long, None when that was not said. Answers how long, in seconds."""
        if seconds is None:
            untold = self._untold[owner] = self._untold.get(owner, 0) + 1
            seconds = min(FIRST_WAIT * 2.0 ** min(untold - 1, 10), LONGEST_WAIT)
        self._until[owner] = max(self._until.get(owner, 0.0), _now() + seconds)
        return seconds

    def passed(self, owner: str) -> None:
        """It was answered."""
        self._untold.pop(owner, None)


class WriteBudget:
    """One write at a time, and no more of them than ``limits`` allow: (how many, within how many seconds)."""

    def __init__(self, *limits: tuple[int, float], patience: float = PATIENCE) -> None:
        self._limits = limits or (A_MINUTE, AN_HOUR)
        self._patience = patience
        self._turn = asyncio.Lock()
        self._written: deque[float] = deque(maxlen=max(count for count, _ in self._limits))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Write while this is entered. Raises ForgeThrottled when that would have to wait for long."""
        async with self._turn:
            wait = self._wait()
            if wait > self._patience:
                raise ForgeThrottled(f"our own limit of writes is used up for another {wait:.0f} s", retry_after=wait)
            await asyncio.sleep(wait)
            try:
                yield
            finally:
                self._written.append(_now())  # counted from its end: GitHub may count it at any time until then

    def _wait(self) -> float:
        """Seconds until the next write has room in every window."""
        return max(0.0, *(self._free_at(count, seconds) - _now() for count, seconds in self._limits))

    def _free_at(self, count: int, seconds: float) -> float:
        return self._written[-count] + seconds if len(self._written) >= count else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()

"""When a forge may be written to: seldom enough for its limits, and not while it asks to be left alone.

GitHub takes 80 requests a minute that make content, and 500 an hour ("Rate limits for the REST API", secondary limits),
and whoever goes on regardless may be banned. Whoever waits for a turn looks again when it has come, and says then what
is true then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from greenroom.model.manifest import Ref
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.pace import Pace

AT_ONCE = 60
PER_SECOND = 420 / 3600
"""Both together are 67 writes in the first minute, and 480 in the first hour."""
LEFT_ALONE = Backoff(base=60.0, cap=3600.0)
"""After a limit, when the forge does not say for how long: GitHub asks for a minute at least, and ever more then."""


class ForgeTurns:
    """Of each forge, by its host."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace[tuple[Ref, str]]] = defaultdict(lambda: Pace(rate=PER_SECOND, burst=AT_ONCE))
        self._names: dict[Ref, set[str]] = defaultdict(set)
        self._until: dict[str, float] = {}
        self._refusals: dict[str, int] = {}

    def wait(self, host: str, ref: Ref, name: str, work: str) -> float:
        """Seconds until the write ``name`` of ``ref`` may be done: ask again then; 0.0 is now, however often it is
        tried. For other ``work`` it needs another turn."""
        self._names[ref].add(name)
        return self._paces[host].wait((ref, name), work)

    def pause(self, host: str) -> float:
        """Seconds for which it is left alone."""
        return max(self._until.get(host, 0.0) - asyncio.get_running_loop().time(), 0.0)

    def refused(self, host: str, retry_after: float) -> float:
        """It was too much; answers for how many seconds it is left alone now."""
        self._refusals[host] = self._refusals.get(host, 0) + 1
        seconds = retry_after or LEFT_ALONE.delay(self._refusals[host])
        self._until[host] = asyncio.get_running_loop().time() + seconds
        return seconds

    def listens(self, host: str) -> None:
        self._refusals.pop(host, None)

    def forget(self, ref: Ref) -> None:
        for name in self._names.pop(ref, ()):
            for pace in self._paces.values():
                pace.forget((ref, name))

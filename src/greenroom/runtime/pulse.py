"""Whether a loop goes on, told by the loop itself."""

from __future__ import annotations

import asyncio
import math


class Pulse:
    def __init__(self) -> None:
        self._due = math.inf  # of the loop

    def beat(self, within: float) -> None:
        """The loop goes on, and will say so again within so many seconds."""
        self._due = asyncio.get_running_loop().time() + within

    def is_overdue(self) -> bool:
        return asyncio.get_running_loop().time() > self._due

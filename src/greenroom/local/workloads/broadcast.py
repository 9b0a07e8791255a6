"""Waking everything that waits for a change, without telling what changed."""

from __future__ import annotations

import asyncio


class Broadcast:
    """Whoever waits looks again when notified. For one event loop: nothing is lost between looking and waiting."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout: float) -> None:
        """Return at the next notification, or after ``timeout`` seconds."""
        event = self._event
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return

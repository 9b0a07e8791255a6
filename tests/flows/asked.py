"""A pull request on which people comment ``/preview``, for tests of what becomes of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.flows.forge import FakeForge
from tests.flows.patrol import HERE, LABELED_ONLY, SHOP, Patrol
from tests.flows.world import START, VirtualClock, World, world

from greenroom.core.remembered import refused_message
from greenroom.flows.intake import Result
from greenroom.flows.report import Reports
from greenroom.model.manifest import annotations_of
from greenroom.model.pull import Command
from greenroom.ports import Logs


class Thread(Patrol):
    """``bob`` may push to the repository."""

    def __init__(self, here: World, forge: FakeForge) -> None:
        super().__init__(here, forge)
        forge.writers[HERE] = {"bob"}

    def command(self, word: str = "", argument: str = "", **more: Any) -> Command:
        """A comment that is written now, if no other ``second`` is given."""
        self.second = more.pop("second", self.second + 1)
        fields: dict[str, Any] = {
            "repository": self.address,
            "number": 7,
            "id": 1000 + self.second,
            "author": "bob",
            "association": "MEMBER",
            "at": START + timedelta(seconds=self.second),
            **more,
        }
        return Command(word=word, argument=argument, **fields)

    async def deliver(self, command: Command) -> list[Result]:
        return [outcome.result for outcome in await self.here.commands.handle(command)]

    async def comments(self, word: str = "", argument: str = "", **more: Any) -> list[Result]:
        return await self.deliver(self.command(word, argument, **more))

    @property
    def reactions(self) -> list[str]:
        return [reaction.value for _, reaction in self.forge.reactions]

    @property
    def answer(self) -> str:
        """The only comment of ours."""
        (said,) = self.forge.comments_.values()
        return said.body

    async def annotation(self, name: str) -> str:
        return annotations_of(await self.here.pr()).get(f"greenroom.dev/{name}", "")


@asynccontextmanager
async def thread(
    folder: Path, *apps: Any, forge: FakeForge | None = None, running: bool = False
) -> AsyncIterator[Thread]:
    forge = forge or FakeForge()
    async with world(folder, *(apps or [LABELED_ONLY]), forge=forge, running=running) as here:
        yield Thread(here, forge)


@asynccontextmanager
async def telling(there: Thread, *, logs: Logs | None = None) -> AsyncIterator[None]:
    """The replica that leads answers."""
    here = there.here
    reports = Reports(
        here.store,
        here.informers,
        there.forge,
        None,
        VirtualClock(),
        logs=logs,
        why_removed=lambda _: refused_message(here.informers.get(SHOP) or {}, "7"),
    )
    task = asyncio.create_task(reports.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

"""A world that is swept, for tests of what is repaired when webhooks are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.flows.forge import FakeForge
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    START,
    A,
    VirtualClock,
    World,
    config_map,
    review_app,
    world,
)

from greenroom.flows.sweep import SWEEP_SECONDS, Sweep
from greenroom.local.storage.store import Store
from greenroom.model.manifest import REVIEW_APP, Ref, condition_of, text
from greenroom.model.pull import Action, PullEvent, PullRequest, Traits

HERE = REPOSITORY.lower()
ELSEWHERE = "https://github.com/other/site"
SHOP = Ref(REVIEW_APP, NAMESPACE, "shop")
OFF = Traits("A title", "feature", "main", "alice", "MEMBER")
ON = replace(OFF, labels=frozenset({"pr-env"}))
FORK = replace(ON, is_fork=True, association="NONE", author="mallory")
HOOK = "https://greenroom.example.com/webhooks"


def app(name: str = "shop", **gate: Any) -> dict[str, Any]:
    made = review_app(config_map(f"{name}{{{{PR_NUMBER}}}}"), name=name)
    made["spec"]["gate"] = gate or {"labels": {"any": ["pr-env"]}}
    return made


LABELED_ONLY = app()


class Patrol:
    """A world, and GitHub, where things happen of which no webhook comes if nobody asks for it."""

    def __init__(self, here: World, forge: FakeForge) -> None:
        self.here = here
        self.forge = forge
        self.address = REPOSITORY
        self.second = 0

    def happens(
        self, head: str = A, traits: Traits = ON, *, number: int = 7, is_open: bool = True, action: str = "opened"
    ) -> PullEvent:
        """The next thing to a pull request; answers the webhook that would tell of it."""
        self.second += 1
        pull = PullRequest(self.address, number, head, is_open, traits)
        event = PullEvent(Action(action), pull, START + timedelta(seconds=self.second))
        self.forge.pulls[self.address.lower(), number] = replace(event, action=Action.SEEN)
        return event

    async def told(self, head: str = A, traits: Traits = ON, **more: Any) -> None:
        """It happens, and the webhook comes."""
        await self.here.intake.handle(self.happens(head, traits, **more))

    async def passes(self, seconds: float = SWEEP_SECONDS + 5) -> None:
        await asyncio.sleep(seconds)

    async def refusal(self, number: int = 7) -> str:
        return text(await self.here.store.get(SHOP), "status", "refused", str(number), "reason")

    async def reachable(self, name: str = "shop") -> Mapping[str, Any]:
        return condition_of(await self.here.store.get(Ref(REVIEW_APP, NAMESPACE, name)), "ForgeReachable")


@asynccontextmanager
async def patrol(
    folder: Path,
    *apps: Any,
    forge: FakeForge | None = None,
    webhook: str = "",
    clear: Callable[[str], Awaitable[None]] | None = None,
    opened: Callable[..., Store] = Store.open,
) -> AsyncIterator[Patrol]:
    forge = forge or FakeForge()
    async with world(folder, *(apps or [LABELED_ONLY]), forge=forge, opened=opened) as here:
        sweep = Sweep(here.store, here.informers, here.intake, forge, VirtualClock(), webhook=webhook, clear=clear)
        task = asyncio.create_task(sweep.run())
        try:
            yield Patrol(here, forge)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

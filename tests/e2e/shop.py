"""A whole Greenroom on one machine with the example application, for end-to-end tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp

from greenroom.app import manifests
from greenroom.app.example_repository import free_port, make_example
from greenroom.app.forge import LocalForge, Repository, Webhook
from greenroom.app.settings import OneMachineSettings, StateFolder
from greenroom.app.wiring import OneMachine, one_machine
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, condition_of, kind_of, text

T = TypeVar("T")

NAMESPACE = "pr-env"
DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    commit: str
    body: str


@dataclass(frozen=True, slots=True)
class Shop:
    machine: OneMachine
    forge: LocalForge
    repository: Repository
    session: aiohttp.ClientSession

    async def visit(self, host: str, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.machine.gateway_port}/"
        async with self.session.get(url, headers={"Host": host, **headers}) as response:
            return Answer(response.status, response.headers.get("X-Greenroom-Commit", ""), await response.text())

    async def until_shown(self, number: int, commit: str) -> Answer:
        async def shown() -> Answer | None:
            answer = await self.visit(f"pr{number}.localhost")
            return answer if answer.status == 200 and commit in answer.body else None

        return await eventually(shown)

    async def until_status(self, host: str, status: int) -> Answer:
        async def seen() -> Answer | None:
            answer = await self.visit(host)
            return answer if answer.status == status else None

        return await eventually(seen)

    def pr(self, number: int) -> Manifest:
        return self.machine.informers.get(Ref(PR, NAMESPACE, f"reviewapp-pr{number}")) or {}

    async def until_waiting(self, number: int, reason: str) -> str:
        """Until ``Ready`` is False for this reason; answers the message."""

        async def waiting() -> str | None:
            ready = condition_of(self.pr(number), "Ready")
            return text(ready, "message") if text(ready, "reason") == reason else None

        return await eventually(waiting)

    async def change(self, branch: str, old: str, new: str) -> str:
        """Commit a change to the application; answers the commit."""
        await self.repository.commit("app.py", old, new, branch=branch)
        return await self.repository.head_of(branch)


async def eventually(found: Callable[[], Awaitable[T | None]], *, seconds: float = DEADLINE) -> T:
    """Ask until there is something, and fail when the deadline has passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = await found()
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"{found.__qualname__} answered nothing within {seconds:g} s")


def settings_in(folder: Path, repository: Repository) -> OneMachineSettings:
    return OneMachineSettings(
        state=StateFolder(folder / "state"),
        repository=repository.path,
        namespace=NAMESPACE,
        gateway_port=free_port(0),
        webhook_port=0,
    )


@asynccontextmanager
async def shop_in(
    folder: Path, settings: OneMachineSettings | None = None, *, objects: Sequence[Manifest] = ()
) -> AsyncIterator[Shop]:
    """Start it, in a folder that may hold the state of an earlier one. ``objects`` stand for its ReviewApp."""
    path = folder / "shop"
    repository = Repository(path) if path.exists() else await make_example(path)
    settings = settings or settings_in(folder, repository)
    objects = objects or [each.manifest for each in manifests.load([str(path / "reviewapp.yaml")])]
    [review_app] = [each for each in objects if kind_of(each) == REVIEW_APP]
    async with (
        one_machine(settings, objects) as machine,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        html_url = text(review_app, "spec", "githubRepository")
        webhook = Webhook(machine.webhook_url, settings.state.webhook_secret())
        yield Shop(machine, LocalForge(settings.state.pulls, repository, html_url, webhook), repository, session)

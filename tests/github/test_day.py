"""What a day of 300 open pull requests in 50 repositories costs of GitHub's limits, counted by the stand-in."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from tests.flows.world import NAMESPACE, VirtualClock, World, config_map, review_app, world
from tests.github.faults import Perform
from tests.github.openapi import Match, Operation
from tests.github.standin import StandIn
from tests.github.state import Deployment, Pull, Repository
from tests.virtual import now, virtual_time

from greenroom.adapters.github import GitHub
from greenroom.adapters.github_credentials import Token
from greenroom.core.payloads import EVENTS
from greenroom.flows.report import Reports
from greenroom.flows.sweep import Sweep
from greenroom.model.manifest import PR, REVIEW_APP, Ref, number, text
from greenroom.model.pull import PullEvent
from greenroom.model.watch import Scope

REPOSITORIES, PULLS = 50, 300
PUSHES, TURNOVER, LABELS = 600, 100, 100
"""Turnover is of pull requests that are closed while others are opened; a label that is taken off is put on again."""
HOUR, HOURS = 3600.0, 12
"""A working day: at night there is only the sweep, half of what an hour costs by day, and no test waits for it."""
REQUESTS_AN_HOUR = 1000
HOOK = "https://greenroom.example.com/webhooks"
ON = "pr-env"

_COMMIT = re.compile(r"Commit: `([0-9a-f]{7})`")


class Counting(StandIn):
    def _check_request(self, request: web.Request, match: Match, content: bytes) -> None:
        """Other tests do that: these are thousands, and all alike."""


class Office:
    """GitHub, Greenroom, and a cluster in which everything is ready after a while."""

    def __init__(self, standin: StandIn, here: World, random: Random) -> None:
        self.standin = standin
        self.here = here
        self.random = random
        self.repositories: list[Repository] = []
        self.comment_writes: Counter[str] = Counter()
        self.lives: Counter[str] = Counter()
        """How often each commit got an environment: a label that is taken off and put on again makes another."""
        self.tasks: set[asyncio.Task[None]] = set()
        standin.fail(self._count_comment, "POST", "/repos/{owner}/{repo}/issues/{issue_number}/comments")
        standin.fail(self._count_comment, "PATCH", "/repos/{owner}/{repo}/issues/comments/{comment_id}")

    def open_pulls(self) -> list[Pull]:
        found = [pull for repository in self.repositories for pull in repository.pulls.values()]
        return [pull for pull in found if pull.is_open]

    async def opens(self) -> None:
        pull = self.standin.open_pull(self.random.choice(self.repositories), labels=(ON,))
        await self._told(pull, "opened")

    async def pushes(self) -> None:
        pull = self.random.choice(self.open_pulls())
        before = pull.head
        self.standin.push(pull)
        await self._told(pull, "synchronize", before=before)

    async def closes(self) -> None:
        pull = self.random.choice(self.open_pulls())
        self.standin.close(pull, merged=True)
        await self._told(pull, "closed")

    async def turns_over(self) -> None:
        await self.closes()
        await self.opens()

    async def relabels(self) -> None:
        """Two changes, with a while in between."""
        pull = self.random.choice(self.open_pulls())
        if ON not in pull.labels:
            return
        self.standin.unlabel(pull, ON)
        await self._told(pull, "unlabeled", label={"name": ON})
        await asyncio.sleep(self.random.uniform(60, 7200))
        self.standin.label(pull, ON)
        await self._told(pull, "labeled", label={"name": ON})

    def later(self, seconds: float, doing: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            await asyncio.sleep(seconds)
            await doing()

        task = asyncio.create_task(do())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _told(self, pull: Pull, action: str, **fields: Any) -> None:
        payload = self.standin.event(pull, action, **fields)
        event = EVENTS["pull_request"](json.dumps(payload).encode())
        assert isinstance(event, PullEvent)
        await self.here.intake.handle(event)
        if pull.is_open and ON in pull.labels:
            await self._roll_out(pull, pull.head)

    async def _roll_out(self, pull: Pull, commit: str) -> None:
        """Of ten one is ready at once, one fails, and the others take their time to be built."""
        self.lives[commit[:7]] += 1
        kind = self.random.randrange(10)
        if kind:
            self.later(1, lambda: self._status(pull, commit, "WaitingForImage"))
        end = "CrashLoopBackOff" if kind == 1 else "Ready"
        self.later(self.random.uniform(60, 600) if kind else 5, lambda: self._status(pull, commit, end))

    async def _status(self, pull: Pull, commit: str, reason: str) -> None:
        ref = Ref(PR, NAMESPACE, f"{pull.repository.name}-pr{pull.number}")
        pr = self.here.informers.get(ref)
        if pr is None or text(pr, "spec", "headCommitRef") != commit:
            return
        generation = number(pr, "metadata", "generation")
        condition = {"type": "Ready", "status": str(reason == "Ready"), "reason": reason, "message": ""}
        shown = commit if reason == "Ready" else None
        status = {"observedGeneration": generation, "commit": commit, "shownCommit": shown, "conditions": [condition]}
        await self.here.report(ref, status)

    async def _count_comment(self, request: web.Request, perform: Perform) -> web.StreamResponse:
        body = json.loads(await request.read())["body"]
        if commit := _COMMIT.search(body):
            self.comment_writes[commit[1]] += 1
        return perform()


@asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    standin = Counting(now=VirtualClock().now, checked=False)
    random = Random(7)  # noqa: S311 - the same day each time
    async with (
        standin.served() as server,
        GitHub(Token(standin.token("secret")), VirtualClock(), server=server) as forge,
        world(folder, forge=forge) as here,
    ):
        there = Office(standin, here, random)
        for index in range(REPOSITORIES):
            repository = standin.repository(f"acme/shop{index}")
            standin.hook(repository, HOOK)
            there.repositories.append(repository)
            app = review_app(config_map(), name=repository.name, repository=standin.address(repository))
            app["spec"]["gate"] = {"labels": {"any": [ON]}}
            await here.apply(app)
        await here.informers.synced(Scope(REVIEW_APP), Scope(PR))
        reports = Reports(here.store, here.informers, forge, None, VirtualClock())

        async def clear(repository: str) -> None:
            await reports.clear_left_behind(repository)

        sweep = Sweep(here.store, here.informers, here.intake, forge, VirtualClock(), webhook=HOOK, clear=clear)
        tasks = [asyncio.create_task(each) for each in (reports.run(), sweep.run())]
        try:
            yield there
        finally:
            for task in (*tasks, *there.tasks):
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


def said_of(deployment: Deployment) -> int:
    return sum(status["state"] != "inactive" for status in deployment.statuses)


def moment(random: Random) -> float:
    """Nine of ten things happen in the ten hours that people work."""
    return random.uniform(HOUR, (HOURS - 1) * HOUR) if random.random() < 0.9 else random.uniform(0, HOURS * HOUR)


@pytest.mark.timeout(240)
@virtual_time
async def test_a_day_of_three_hundred_pull_requests_stays_far_inside_githubs_limits(tmp_path: Path) -> None:
    async with office(tmp_path) as there:
        for _ in range(PULLS):
            await there.opens()
        await asyncio.sleep(3 * HOUR - now())
        for count, doing in ((PUSHES, there.pushes), (TURNOVER, there.turns_over), (LABELS, there.relabels)):
            for _ in range(count):
                there.later(moment(there.random), doing)
        hours: list[Counter[Operation]] = []
        for _ in range(HOURS):
            before = there.standin.calls.copy()
            await asyncio.sleep(HOUR)
            hours.append(there.standin.calls - before)
        assert len(there.open_pulls()) == PULLS
        assert max(hour.total() for hour in hours) < REQUESTS_AN_HOUR
        assert all(there.comment_writes[commit] <= 2 * lives for commit, lives in there.lives.items())
        deployments = [each for repository in there.repositories for each in repository.deployments]
        assert len(deployments) > PULLS + PUSHES
        assert max(map(said_of, deployments)) <= 1  # and it was begun

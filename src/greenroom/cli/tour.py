"""What ``greenroom demo`` does, step by step: each step is checked as a visitor's browser would see it, and timed."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
from rich.console import Console

from greenroom.app import manifests
from greenroom.app.example_repository import free_port, make_example
from greenroom.app.forge import LocalForge, Repository, Webhook
from greenroom.app.settings import OneMachineSettings, StateFolder
from greenroom.app.wiring import OneMachine, one_machine
from greenroom.cli.feed import follow
from greenroom.cli.printers import short
from greenroom.local.storage.statelock import StateLock
from greenroom.model.errors import GreenroomError, InvalidInput
from greenroom.model.manifest import text

STEP_TIMEOUT = 30.0
"""Seconds that a step may take before the demo calls it failed."""
SETTLE_SECONDS = 1.0
"""Long enough for the old commit's processes to end under the watchman's eyes."""
SHOP = "shop"
"""Folder of the example repository within the demo's folder."""


class DemoFailed(GreenroomError):
    """A step did not do what it should have done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor sees of an address."""

    status: int
    commit: str
    body: str


@dataclass(slots=True)
class Visitor:
    """Asks the gateway, as a browser that resolved ``pr1.localhost`` would."""

    session: aiohttp.ClientSession
    port: int

    async def visit(self, host: str) -> Answer:
        headers = {"Host": f"{host}:{self.port}", "Accept": "text/html"}
        async with self.session.get(f"http://127.0.0.1:{self.port}/", headers=headers) as response:
            commit = response.headers.get("X-Greenroom-Commit", "")
            return Answer(response.status, commit, await response.text())

    async def until(self, host: str, status: int, content: str) -> Answer:
        """Ask until the address answers like this. Raises DemoFailed with the last answer."""
        deadline = time.monotonic() + STEP_TIMEOUT
        last = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = await self.visit(host)
            except (aiohttp.ClientError, TimeoutError) as error:
                last = str(error) or "nothing"
            else:
                if answer.status == status and content in answer.body:
                    return answer
                last = f"{answer.status} {answer.body[:200]!r}"
            await asyncio.sleep(0.02)
        raise DemoFailed(f"http://{host}:{self.port} did not answer {status} within {STEP_TIMEOUT:g} s, but {last}")


@dataclass(slots=True)
class Watchman:
    """Asks two addresses without pause while a commit is pushed to one, and remembers what went wrong."""

    visitor: Visitor
    requests: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def watching(self, *hosts: str) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._watch(host)) for host in hosts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.failures += [repr(task.exception()) for task in tasks if not task.cancelled()]

    async def _watch(self, host: str) -> None:
        while True:
            try:
                answer = await self.visitor.visit(host)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(f"{host}: {error!r}")
            else:
                self.requests[host] = self.requests.get(host, 0) + 1
                if answer.status != 200:
                    self.failures.append(f"{host}: {answer.status}")
                elif answer.commit not in answer.body:
                    self.failures.append(f"{host}: header says {answer.commit}, page {answer.body[-60:]!r}")
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Step:
    """How long a step took, and what there is to say of it."""

    facts: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    reached: float = 0.0

    def reach(self) -> None:
        """What the step is timed by has happened; what follows is checking."""
        self.reached = time.monotonic()

    @property
    def seconds(self) -> float:
        return (self.reached or time.monotonic()) - self.started


class Tour:
    """The steps, and how they are told."""

    def __init__(self, machine: OneMachine, forge: LocalForge, repository: Repository, visitor: Visitor) -> None:
        self._machine = machine
        self._forge = forge
        self._repository = repository
        self._visitor = visitor
        self._console = Console(highlight=False, soft_wrap=True)

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[Step]:
        """Tell a step, with its time, when it is done."""
        step = Step()
        with self._console.status(f"{title} ..."):
            yield step
        self._console.print(f"[green]✓[/] {title}  [bold]{step.seconds:.2f} s[/]")
        for fact in step.facts:
            self._console.print(f"    {fact}")

    def url(self, number: int) -> str:
        return f"http://pr{number}.localhost:{self._visitor.port}"

    async def open(self, branch: str) -> None:
        async with self.step(f"pull request for branch [bold]{branch}[/] opened, webhook to first 200") as step:
            pull = await self._forge.open(branch)
            await self._visitor.until(f"pr{pull.number}.localhost", 200, pull.head)
            step.facts.append(f"{self.url(pull.number)} answers with commit {short(pull.head)}")

    async def push(self, number: int, other: int) -> None:
        before = self._forge.pull(number).head
        await self._repository.commit("app.py", "The shop", "The new shop", branch=self._forge.pull(number).branch)
        watchman = Watchman(self._visitor)
        hosts = f"pr{number}.localhost", f"pr{other}.localhost"
        title = f"commit pushed to pull request {number}, webhook to first answer of the new commit"
        async with self.step(title) as step:
            async with watchman.watching(*hosts):
                pull = await self._forge.push(number)
                await self._visitor.until(hosts[0], 200, pull.head)
                step.reach()
                await asyncio.sleep(SETTLE_SECONDS)
            if watchman.failures:
                raise DemoFailed(f"requests failed while a commit was pushed: {'; '.join(watchman.failures[:3])}")
            step.facts.append(f"{self.url(number)} went from {short(before)} to {short(pull.head)}")
            step.facts.append(
                f"meanwhile {watchman.requests.get(hosts[0], 0)} requests to it and"
                f" {watchman.requests.get(hosts[1], 0)} to {self.url(other)}: {len(watchman.failures)} failed"
            )

    async def close(self, number: int) -> None:
        async with self.step(f"pull request {number} closed, webhook to everything gone") as step:
            pull = await self._forge.close(number)
            await self._visitor.until(f"pr{number}.localhost", 404, "")
            step.facts.append(f"{self.url(number)} answers 404, and says that there is no such environment")
            await self._until_gone(pull.head)
            step.facts.append("its process, its worktree and its objects are gone")

    async def _until_gone(self, commit: str) -> None:
        deadline = time.monotonic() + STEP_TIMEOUT
        left: list[str] = []
        while time.monotonic() < deadline:
            left = self._machine.remains_of(commit)
            if not left:
                return
            await asyncio.sleep(0.05)
        raise DemoFailed(f"left behind {STEP_TIMEOUT:g} s after closing: {', '.join(left)}")

    def invite(self, state: StateFolder) -> None:
        """What to try next."""
        command = Path(sys.argv[0])
        greenroom = str(command.relative_to(Path.cwd())) if command.is_relative_to(Path.cwd()) else command.name
        shop = self._repository.path
        shown = shop.relative_to(Path.cwd()) if shop.is_relative_to(Path.cwd()) else shop
        url, third = self.url(2), self.url(3)
        tries = {
            f"{greenroom} get prs -w": "every change as it happens",
            f"{greenroom} get all": "what is running",
            f"{greenroom} describe pr/reviewapp-pr2": "why it is as it is",
            f"{greenroom} logs pr/reviewapp-pr2 -f": "what the application prints",
            f"$EDITOR {shown}/app.py": "change the application; pull request 2's branch is checked out",
            f"git -C {shown} commit -am 'My change'": "",
            f"{greenroom} pr push 2": f"and {url} shows it",
            f"{greenroom} pr open main": f"a third environment, {third}",
        }
        width = max(map(len, tries)) + 3
        lines = "\n".join(f"  {command:<{width}}{meaning}".rstrip() for command, meaning in tries.items())
        self._console.print(
            f"\n[bold]It is yours now.[/] Open {url} in a browser, and in another terminal try:\n\n{lines}\n\n"
            f"Everything is in {state.root}. Ctrl-C stops it.\n"
        )


async def run_demo(folder: Path, *, once: bool) -> None:
    """Raises DemoFailed at the first step that does not do what it should."""
    _empty(folder)
    click.echo(f"Making a git repository of a small web application in {folder / SHOP}, and starting Greenroom for it.")
    state = StateFolder(folder)
    state.create()
    repository = await make_example(folder / SHOP)
    settings = OneMachineSettings(
        state=state,
        repository=repository.path,
        namespace="pr-env",
        gateway_port=free_port(8080),
        webhook_port=free_port(3000),
    )
    documents = manifests.load([str(repository.path / "reviewapp.yaml")])
    html_url = text(documents[0].manifest, "spec", "githubRepository")
    async with (
        one_machine(settings, [document.manifest for document in documents]) as machine,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        forge = LocalForge(state.pulls, repository, html_url, Webhook(machine.webhook_url, state.webhook_secret()))
        tour = Tour(machine, forge, repository, Visitor(session, machine.gateway_port))
        await tour.open("blue-title")
        await tour.open("big-title")
        await tour.push(1, other=2)
        await tour.close(1)
        if once:
            click.echo("The demo did all it should.")
            return
        await repository.git("checkout", "--quiet", "big-title")
        tour.invite(state)
        await follow(machine.informers, click.echo)


def _empty(folder: Path) -> None:
    """Empty the demo's folder, but never somebody else's: only one that a demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / SHOP / ".git").exists():
            raise InvalidInput(f"{folder} is not a folder of an earlier demo", cure="choose an empty one with --state")
        StateLock(folder).release()  # raises when a demo is running in it
        shutil.rmtree(folder)

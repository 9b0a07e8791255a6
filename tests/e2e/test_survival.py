"""``greenroom up`` killed with SIGKILL at any moment: the next start gives the same state, and nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import psutil
import pytest
from tests.e2e.shop import DEADLINE, eventually

from greenroom.app.example_repository import free_port, make_example
from greenroom.app.forge import Repository
from greenroom.app.settings import StateFolder
from greenroom.local import instance


@dataclass(frozen=True, slots=True)
class Terminal:
    """A person with a repository, a gateway port, and the ``greenroom`` command."""

    repository: Repository
    port: int

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.repository.path / ".greenroom")

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        process = await self._spawn(*arguments)
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def ask(self, *arguments: str) -> str:
        code, output = await self.run(*arguments)
        assert code == 0, output
        return output

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Process]:
        """Greenroom in the foreground, ready to be used; ended with SIGTERM if it still runs."""
        process = await self._spawn("up", "-f", "reviewapp.yaml", "--port", str(self.port), "--webhook-port", "0")
        assert process.stdout is not None
        said = b""
        while b"Try `greenroom" not in said:
            line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
            assert line, said.decode()
            said += line
        drain = asyncio.create_task(process.stdout.read())
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), DEADLINE)
            await drain

    async def _spawn(self, *arguments: str) -> Process:
        command = (sys.executable, "-m", "greenroom.cli", *arguments)
        environment = {**os.environ, "GREENROOM_STATE": str(self.state.root)}
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.repository.path, env=environment, stdout=PIPE, stderr=STDOUT
        )

    async def shown(self, number: int) -> tuple[int, str]:
        """Status and commit that the address answers."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}/", headers={"Host": f"pr{number}.localhost"}) as answer,
            ):
                return answer.status, answer.headers.get("X-Greenroom-Commit", "")
        return 0, ""

    async def until_shown(self, number: int, status: int, commit: str = "") -> None:
        async def shown() -> bool:
            return await self.shown(number) == (status, commit)

        await eventually(shown)

    def processes(self) -> list[str]:
        """The programs that carry this Greenroom's mark."""
        names = []
        for process in instance.marked({"GREENROOM_INSTANCE": instance.instance_id(self.state.root)}):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
                names.append("python" if process.name().startswith("python") else process.name())
        return sorted(names)

    async def worktrees(self) -> set[str]:
        """The commits that are checked out beside the repository's own folder."""
        listing = await self.repository.git("worktree", "list", "--porcelain")
        blocks = [dict(line.partition(" ")[::2] for line in block.splitlines()) for block in listing.split("\n\n")]
        return {block["HEAD"] for block in blocks[1:]}


@pytest.fixture
async def terminal(tmp_path: Path) -> Terminal:
    return Terminal(await make_example(tmp_path / "shop"), free_port(0))


async def until_exactly(terminal: Terminal, commits: dict[int, str]) -> None:
    """Until there are the processes and worktrees of these pull requests, and no others."""
    expected = ["envoy", *["python"] * len(commits)]

    async def exact() -> bool:
        return terminal.processes() == expected and await terminal.worktrees() == set(commits.values())

    await eventually(exact)
    for number, commit in commits.items():
        await terminal.until_shown(number, 200, commit)


@pytest.mark.timeout(120)
async def test_after_kill_9_at_any_moment_everything_is_as_it_should_be(terminal: Terminal) -> None:
    commits: dict[int, str] = {}
    async with terminal.up():
        for number, branch in ((1, "blue-title"), (2, "big-title")):
            await terminal.ask("pr", "open", branch)
            commits[number] = await terminal.repository.head_of(branch)
        await until_exactly(terminal, commits)
    for round_, delay in enumerate((0.0, 0.03, 0.08, 0.15, 0.25, 0.4)):
        async with terminal.up() as process:
            await terminal.repository.commit("app.py", "</h1>", f"</h1>{round_}", branch="blue-title")
            await terminal.ask("pr", "push", "1")
            await asyncio.sleep(delay)
            process.kill()
        commits[1] = await terminal.repository.head_of("blue-title")
        async with terminal.up():
            await until_exactly(terminal, commits)
    async with terminal.up() as process:
        await terminal.ask("pr", "close", "2")
        process.kill()
    del commits[2]
    async with terminal.up():
        await until_exactly(terminal, commits)
        await terminal.until_shown(2, 404)
        await terminal.ask("pr", "close", "1")
        await until_exactly(terminal, {})
    assert terminal.processes() == []


async def test_a_second_start_carries_on_without_being_told_again(terminal: Terminal) -> None:
    async with terminal.up():
        await terminal.ask("pr", "open", "blue-title")
        head = await terminal.repository.head_of("blue-title")
        await terminal.until_shown(1, 200, head)
        uid = await terminal.ask("get", "pr/reviewapp-pr1", "-o", "json")
    assert terminal.processes() == []
    async with terminal.up():
        await terminal.until_shown(1, 200, head)
        again = await terminal.ask("get", "pr/reviewapp-pr1", "-o", "json")
    first, second = (msgspec.json.decode(text)["metadata"]["uid"] for text in (uid, again))
    assert first == second


async def test_the_commands_feel_like_kubectl(terminal: Terminal) -> None:
    code, said = await terminal.run("get", "prs")
    assert code == 1
    assert "no Greenroom has been started here" in said
    async with terminal.up():
        assert "No prs found" in await terminal.ask("get", "prs")
        assert "pull request 1 opened: blue-title" in await terminal.ask("pr", "open", "blue-title")
        head = await terminal.repository.head_of("blue-title")
        await terminal.until_shown(1, 200, head)
        table = (await terminal.ask("get", "prs")).splitlines()
        assert table[0].split() == ["NAME", "PR", "COMMIT", "SHOWN", "READY", "WAITING", "FOR", "URL", "AGE"]
        assert f"http://pr1.localhost:{terminal.port}" in table[1]
        everything = await terminal.ask("get", "all")
        for name in ("pr.kubetempura.mercari.com/reviewapp-pr1", "deployment.apps/pr1", "service/pr1", "gatewayroute"):
            assert name in everything
        assert "listens on port" in await terminal.ask("logs", "pr/reviewapp-pr1")
        described = await terminal.ask("describe", "pr/reviewapp-pr1")
        assert head in described
        assert "Conditions:" in described
        assert "Events:" in described
        assert "reviewapp.kubetempura.mercari.com/reviewapp unchanged" in await terminal.ask(
            "apply", "-f", "reviewapp.yaml"
        )
        code, said = await terminal.run("get", "prz")
        assert (code, "did you mean" in said) == (1, True)
        code, said = await terminal.run("up")
        assert code == 1
        assert "is in use by another Greenroom" in said
        assert "deleted" in await terminal.ask("delete", "pr/reviewapp-pr1")
        await terminal.until_shown(1, 404)
    code, said = await terminal.run("get", "prs")
    assert code == 1
    assert "greenroom up" in said

"""A Greenroom to measure: the demo's example application, in a folder of its own, on free ports."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from greenroom.app import manifests
from greenroom.app.example_repository import free_port, make_example
from greenroom.app.forge import LocalForge, Repository, Webhook
from greenroom.app.settings import OneMachineSettings, StateFolder
from greenroom.app.wiring import OneMachine, one_machine
from greenroom.cli.tour import Visitor
from greenroom.local.forge import payload
from greenroom.model.manifest import Manifest, text


@dataclass(frozen=True, slots=True)
class Bench:
    machine: OneMachine
    forge: LocalForge
    webhook: Webhook
    repository: Repository
    visitor: Visitor
    review_app: Manifest

    async def branches(self, prefix: str, count: int) -> list[str]:
        """New branches, each with a commit of its own."""
        names = [f"{prefix}-{index}" for index in range(count)]
        for name in names:
            await self.repository.git("branch", name, "main")
            await self.repository.commit("app.py", "The shop", f"The shop {name}", branch=name)
        return names


@asynccontextmanager
async def bench_machine() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        repository = await make_example(Path(folder) / "shop")
        state = StateFolder(Path(folder) / "state")
        settings = OneMachineSettings(
            state=state, repository=repository.path, namespace="pr-env", gateway_port=free_port(0), webhook_port=0
        )
        review_app = manifests.load([str(repository.path / "reviewapp.yaml")])[0].manifest
        async with (
            one_machine(settings, [review_app]) as machine,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
        ):
            webhook = Webhook(machine.webhook_url, state.webhook_secret())
            forge = LocalForge(state.pulls, repository, text(review_app, "spec", "githubRepository"), webhook)
            yield Bench(machine, forge, webhook, repository, Visitor(session, machine.gateway_port), review_app)


def opened(bench: Bench, number: int, branch: str, head: str) -> bytes:
    """The body of the delivery for a pull request that was opened."""
    return msgspec.json.encode(
        payload(
            "opened",
            html_url=text(bench.review_app, "spec", "githubRepository"),
            number=number,
            title=branch,
            branch=branch,
            head=head,
            state="open",
            updated_at="2026-11-01T12:00:00Z",
        )
    )


def line(name: str, ours: Sequence[float], peer: Sequence[float], *, peer_name: str, unit: str = "s") -> None:
    """One figure: the medians, and their ratio."""
    mine, other = statistics.median(ours), statistics.median(peer)
    print(
        f"{name:<42} {mine:8.3f} {unit}   {peer_name} {other:8.3f} {unit}   ratio {mine / other:5.2f}"
        f"   (of {len(ours)} and {len(peer)})",
        flush=True,
    )

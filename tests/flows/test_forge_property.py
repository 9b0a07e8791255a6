"""Many pull requests, of which webhooks come late, twice, in any order, or never, while GitHub fails now and then.

Two replicas take the deliveries, one of them sweeps. All the time: what is not to be trusted gets no environment, and
nobody loses one who was entitled to it. In the end: exactly the environments that there should be.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flows.forge import FakeForge
from tests.flows.strangers import Truth, Webhook, review_apps
from tests.flows.world import START, VirtualClock, World, world
from tests.virtual import now, run

from greenroom.core.ordering import OBSERVED, Knowledge
from greenroom.flows.intake import Intake
from greenroom.flows.sweep import SWEEP_SECONDS, Sweep
from greenroom.local.storage.store import Store
from greenroom.model.errors import ClusterError, ForgeForbidden, ForgeThrottled, ForgeUnavailable
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, annotations_of, kind_of, name_of, text
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers

GATED = [("free", "labeled"), ("forks", "paths"), ("free", "forks"), ("labeled", "paths")]
EXAMPLES, DELIVERIES = 12, 220
"""Of each, which together are more than ten thousand deliveries."""
ASKED = ("pull", "pull", "open_pulls", "open_pulls", "may_write", "approved_commits", "changed_paths")
ERRORS = (
    ForgeUnavailable("the listing was cut"),
    ForgeForbidden("no"),
    ForgeThrottled("enough", retry_after=45.0),
)


class Watched(Store):
    """A store that looks at each environment that comes, and at each that goes."""

    truth: Truth
    wrong: list[str]

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if kind_of(manifest) == PR:
            app, head = text(manifest, "spec", "parentReviewApp"), text(manifest, "spec", "headCommitRef")
            pull = self.truth.pulls[int(text(manifest, "spec", "prNumber"))]
            if not pull.may_run(app, head):
                self.wrong.append(f"{name_of(manifest)} ran a stranger's {head[-4:]}, which nobody had approved")
        return await super().apply(manifest, manager=manager, force=force)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        before = await self.get(ref)
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)
        known = Knowledge.parse(annotations_of(before).get(OBSERVED, ""))
        assert known is not None
        pull = self.truth.pulls[int(text(before, "spec", "prNumber"))]
        if not pull.was_refused_since(text(before, "spec", "parentReviewApp"), known.at):
            self.wrong.append(f"{ref.name} was taken away, to which nobody objected since {known.at}")


class Play:
    def __init__(self, random: Random, here: World, truth: Truth, replicas: list[Intake]) -> None:
        self.random = random
        self.here = here
        self.truth = truth
        self.replicas = replicas
        self.delivered = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def through(self) -> None:
        while self.delivered < DELIVERIES:
            pause = self.random.choice([0.2, 0.4, 3, 40, 200])
            await asyncio.sleep(pause)
            self.truth.at = max(self.truth.at, START + timedelta(seconds=now()))
            self._go_wrong()
            webhook = self.truth.happens()
            if webhook is not None:
                self._send(webhook)

    async def end(self) -> None:
        """Faults stop, what is under way comes, and there is one more sweep."""
        self.truth.forge.mend()
        while self._under_way:
            await asyncio.gather(*self._under_way)
        await asyncio.sleep(2 * SWEEP_SECONDS + 60)

    def _go_wrong(self) -> None:
        if self.random.random() < 0.2:
            times = self.random.choice([1, 3, 20])
            self.truth.forge.fail(self.random.choice(ASKED), self.random.choice(ERRORS), times=times)
        elif self.random.random() < 0.1:
            self.truth.forge.mend()

    def _send(self, webhook: Webhook) -> None:
        """Once, twice, or never; soon or late."""
        for _ in range(self.random.choice([1 if webhook.is_lasting else 0, 1, 1, 1, 1, 2, 3])):
            delay = self.random.choice([0.01, 0.01, 0.5, 2, 30, 900])
            self.delivered += 1
            task = asyncio.create_task(self._deliver(webhook, delay, self.random.choice(self.replicas)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _deliver(self, webhook: Webhook, delay: float, replica: Intake) -> None:
        """GitHub sends again what was answered with a failure, if it is asked to."""
        while True:
            await asyncio.sleep(delay)
            try:
                await replica.handle(webhook.event)
            except ClusterError:
                delay = 60.0
            else:
                return


async def play(random: Random, folder: Path, apps: tuple[str, ...]) -> None:
    forge = FakeForge()
    truth = Truth(random, forge)
    Watched.truth, Watched.wrong = truth, []
    async with world(folder, *review_apps(apps), forge=forge, opened=Watched.open) as here:
        others = Informers(here.store)
        replicas = [here.intake, Intake(here.store, others, VirtualClock(), forge=forge)]
        sweep = Sweep(here.store, here.informers, here.intake, forge, VirtualClock())
        tasks = [asyncio.create_task(each) for each in (others.run(), sweep.run())]
        try:
            await others.synced(Scope(REVIEW_APP), Scope(PR))
            there = Play(random, here, truth, replicas)
            await there.through()
            await there.end()
            assert Watched.wrong == []
            found = await here.prs()
            assert found == truth.expected(apps, found)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


@pytest.mark.parametrize("apps", GATED, ids="-".join)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_whatever_is_lost_the_right_environments_are_there_in_the_end_and_no_wrong_one_ever(
    apps: tuple[str, ...], seed: int
) -> None:
    with TemporaryDirectory() as folder:
        run(play(Random(seed), Path(folder), apps))  # noqa: S311 - a test is to be repeated

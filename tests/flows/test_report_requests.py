"""What the forge is not asked again, since the answer is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.flows.test_report import Desk, desk
from tests.flows.world import A, B, C
from tests.virtual import run, virtual_time

from greenroom.model.errors import ForgeUnavailable


async def is_ready(here: Desk, commit: str) -> None:
    await here.ready(commit)
    await asyncio.sleep(60)


@virtual_time
async def test_who_recorded_the_last_deployment_does_not_look_for_the_next(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await is_ready(here, A)
        for commit in (B, C):
            await here.deliver("synchronize", commit)
            await is_ready(here, commit)
        assert here.forge.requests["deployments"] == 1
        await here.deliver("closed", C)
        await asyncio.sleep(60)
        assert here.forge.requests["deployments"] == 1
        assert here.deployed == [(A, "inactive"), (B, "inactive"), (C, "inactive")]
        assert here.forge.writes["set_deployment"] == 4


@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "refused"])
def test_a_deployment_of_which_the_answer_was_lost_is_found_and_not_begun_twice(tmp_path: Path, *, after: bool) -> None:
    async def play() -> None:
        async with desk(tmp_path) as here, here.told():
            await here.deliver("opened")
            await is_ready(here, A)
            here.forge.fail("deploy", ForgeUnavailable("reset"), times=1, after=after)
            await here.deliver("synchronize", B)
            await is_ready(here, B)
            assert here.deployed == [(A, "inactive"), (B, "success")]

    run(play())


@virtual_time
async def test_who_leads_no_more_looks_again_when_he_leads_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told() as first:
        await here.deliver("opened")
        await is_ready(here, A)
        first._leads = lambda: False
        await asyncio.sleep(60)
        asked = here.forge.requests["deployments"]
        await here.deliver("synchronize", B)
        await here.ready(B)
        await first.reconcile(here.here.pr_ref())
        first._leads = lambda: True
        await asyncio.sleep(60)
        assert here.forge.requests["deployments"] == asked + 1


@virtual_time
async def test_when_the_last_commit_failed_all_deployments_are_looked_for_in_the_end(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await is_ready(here, A)
        await here.deliver("synchronize", B)
        await here.crash(B)
        await asyncio.sleep(60)
        assert here.deployed == [(A, "success"), (B, "failure")]
        await here.deliver("closed", B)
        await asyncio.sleep(60)
        assert here.deployed == [(A, "inactive"), (B, "inactive")]

"""What is left on a forge that lets nothing be removed, or whose repository has moved."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.flows.test_report import ENVIRONMENT, HERE, Desk, desk
from tests.flows.world import REPOSITORY, A
from tests.virtual import virtual_time

from greenroom.model.errors import ForgeForbidden
from greenroom.model.pull import Move

ELSEWHERE = "https://github.com/other/site"


async def lived(here: Desk) -> None:
    """An environment that was ready, and told so."""
    await here.deliver("opened")
    await here.ready()
    await asyncio.sleep(10)
    assert here.deployed == [(A, "success")]


@virtual_time
async def test_an_environment_that_may_not_be_removed_is_tried_once_and_written_to_no_more(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told() as reports:
        here.forge.fail("remove_environment", ForgeForbidden("no administrator"))
        await lived(here)
        await here.deliver("closed")
        await asyncio.sleep(100)
        assert (here.deployed, here.said[-1]) == ([(A, "inactive")], "removed")
        asked, writes = here.forge.requests.total(), here.writes
        for _ in range(10):
            assert await reports.clear_left_behind(REPOSITORY) == 0
            await asyncio.sleep(100)
        assert (here.forge.requests.total(), here.writes) == (asked + 10, writes)


@virtual_time
async def test_one_that_comes_back_and_goes_again_is_cleared_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told() as reports:
        for _ in range(2):
            await here.deliver("reopened")
            await here.ready()
            await asyncio.sleep(10)
            await here.deliver("closed")
            await asyncio.sleep(100)
            assert here.forge.environments_ == {HERE: set()}
        here.forge.environments_ = {HERE: {ENVIRONMENT}}
        assert await reports.clear_left_behind(REPOSITORY) == 0


@virtual_time
async def test_in_a_repository_that_has_moved_what_was_left_behind_is_cleared(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        async with here.told():
            await lived(here)
        await here.deliver("closed")
        await here.here.intake.move(Move(REPOSITORY, ELSEWHERE))
        here.forge.moved[ELSEWHERE] = HERE  # the same repository
        async with here.told() as reports:
            assert await reports.clear_left_behind(ELSEWHERE) == 1
            await asyncio.sleep(100)
            assert here.forge.environments_ == {HERE: set()}

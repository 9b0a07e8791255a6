"""Many pull requests at once: what their authors wait for comes first, and writes are shared."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    VirtualClock,
    World,
    config_map,
    event,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import now, virtual_time

from greenroom.flows.children import SHARE
from greenroom.flows.intake import MANAGER, Intake
from greenroom.flows.reconcile import LULL_SECONDS
from greenroom.local.storage.store import Store
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import CONFIG_MAP, PR, REVIEW_APP, Manifest, Ref, kind_of, name_of, table

APP = Ref(REVIEW_APP, NAMESPACE, "shop")
HANGING = 1
"""The pull request whose object takes an hour to be made."""


class Slow(Store):
    """A store in which Greenroom's writes to objects and statuses take a second."""

    patches = 0
    """Of ReviewApps."""
    reads = 0

    async def get(self, ref: Ref) -> Manifest:
        self.reads += 1
        return await super().get(ref)

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == MANAGER and kind_of(manifest) in (CONFIG_MAP, PR):
            await asyncio.sleep(3600 if name_of(manifest) == f"pr{HANGING}" else 1)
        return await super().apply(manifest, manager=manager, force=force)

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        await asyncio.sleep(1)
        self.patches += ref.kind == REVIEW_APP
        return await super().patch_status(ref, status, resource_version=resource_version)


async def seen(here: World, *numbers: int) -> None:
    for number in numbers:
        await here.apply(pr_object(number=number))


async def made(here: World) -> int:
    return len(await here.objects("ConfigMap"))


async def told(here: World) -> int:
    return sum("status" in each for each in (await here.objects("PR", PR.api_version)).values())


@virtual_time
async def test_all_environments_are_made_before_any_status_is_written(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Slow.open) as here:
        await seen(here, *range(101, 181))
        for _ in range(60):
            await asyncio.sleep(0.1)
            assert not await told(here) or await made(here) == 80
        await asyncio.sleep(5)
        assert await told(here) == 80


@virtual_time
async def test_an_environment_that_takes_for_ever_keeps_the_status_of_no_other_for_long(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Slow.open) as here:
        await seen(here, HANGING, 101)
        await asyncio.sleep(LULL_SECONDS)
        assert await told(here) == 0
        await asyncio.sleep(3)
        assert await told(here) == 1


class Stuck(Store):
    """A store in which the writes to objects called ``hangs-…`` take as long as an API server waits, and fail then."""

    hanging = 0

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if name_of(manifest).startswith("hangs-"):
            self.hanging += 1
            try:
                await asyncio.sleep(30)
            finally:
                self.hanging -= 1
            raise Unavailable("failed calling webhook")
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_environments_whose_writes_hang_hold_up_neither_another_repository_nor_a_deletion(tmp_path: Path) -> None:
    stuck = review_app(
        config_map(), *(config_map(f"hangs-{each}-{{{{PR_NUMBER}}}}") for each in range(8)), name="stuck"
    )
    apps = (
        stuck,
        review_app(config_map("other-{{PR_NUMBER}}"), name="other", repository="https://github.com/shop/other"),
    )
    async with world(tmp_path, *apps, running=True, opened=Stuck.open) as here:
        store = here.store
        assert isinstance(store, Stuck)
        for number in range(1, 201):
            await here.apply(pr_object(number=number, parentReviewApp="stuck"))
        for _ in range(5):  # whatever hangs now, and whichever are tried again
            await asyncio.sleep(7)
            assert 0 < store.hanging <= SHARE
            number = 1000 + int(now())
            await here.apply(pr_object(number=number, parentReviewApp="other"))
            await asyncio.sleep(1)
            assert f"other-{number}" in await here.objects("ConfigMap")
            ours = next(name for name in await here.objects("ConfigMap") if name.startswith("pr"))
            for deleted in (number, int(ours.removeprefix("pr"))):  # of the one that hangs, too
                await here.store.delete(here.pr_ref(deleted))
            await asyncio.sleep(1)
            assert not {f"other-{number}", ours} & set(await here.objects("ConfigMap"))


@virtual_time
async def test_a_push_does_not_wait_for_the_status_of_the_commit_before(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Slow.open) as here:
        await seen(here, HANGING, 101)
        await asyncio.sleep(2)
        await here.apply(pr_object(B, number=101))
        await asyncio.sleep(2.5)
        assert (await here.objects("ConfigMap"))["pr101"]["data"] == {"commit": B}


@virtual_time
async def test_pull_requests_that_are_closed_together_are_remembered_together(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), opened=Slow.open) as here:
        assert isinstance(here.store, Slow)
        await asyncio.gather(*(here.intake.handle(event("closed", number=number)) for number in range(100)))
        closed = (await here.store.get(APP))["status"]
        assert closed == {"closed": {str(number): f"2026-01-31T12:00:00Z closed::{A}" for number in range(100)}}
        assert here.store.patches <= 3
        assert now() <= 3


@virtual_time
async def test_pull_requests_that_are_closed_together_are_not_read_one_by_one(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), opened=Slow.open) as here:
        assert isinstance(here.store, Slow)
        await seen(here, *range(100))
        await settled()
        before = here.store.reads
        await asyncio.gather(*(here.intake.handle(event("closed", number=number)) for number in range(100)))
        assert here.store.reads - before <= 3
        assert await here.prs() == {}


@virtual_time
async def test_two_replicas_remember_together_what_they_are_told_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), opened=Slow.open) as here:
        assert isinstance(here.store, Slow)
        replicas = here.intake, Intake(here.store, here.informers, VirtualClock())
        closes = (replicas[number % 2].handle(event("closed", number=number)) for number in range(100))
        await asyncio.gather(*closes)
        assert len(table(await here.store.get(APP), "status", "closed")) == 100
        assert here.store.patches <= 8


@virtual_time
@pytest.mark.parametrize("numbers", [(7, 8), (8, 7)])
async def test_what_is_closed_is_not_forgotten_because_its_earlier_close_was_long_ago(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    long_ago = {"7": f"2020-01-31T12:00:00Z closed::{A}", "6": f"2026-01-31T12:00:00Z closed::{A}"}
    async with world(tmp_path, review_app(config_map()), opened=Slow.open) as here:
        await here.report(APP, {"closed": long_ago})
        await asyncio.gather(*(here.intake.handle(event("closed", number=number)) for number in (5, *numbers)))
        app: Any = await here.store.get(APP)
        assert app["status"]["closed"].keys() == {"5", "6", "7", "8"}

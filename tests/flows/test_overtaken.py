"""What comes while an environment is being made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.contract.suite import with_metadata
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    C,
    VirtualClock,
    config_map,
    event,
    made,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import virtual_time

from greenroom.flows.intake import MANAGER, Intake
from greenroom.flows.reconcile import CLOSING_SECONDS
from greenroom.local.storage.store import Store
from greenroom.model.manifest import CONFIG_MAP, REVIEW_APP, Json, Manifest, Ref, get, kind_of, name_of, uid_of


class Slow(Store):
    """A store in which writing an object of an environment takes a second; of pull request 1 an hour."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == MANAGER and kind_of(manifest) == CONFIG_MAP:
            await asyncio.sleep(3600 if name_of(manifest) == "pr1" else 1)
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_the_status_of_a_deleted_environment_is_not_told_of_the_next_of_its_name(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Slow.open) as here:
        await made(here)
        await here.apply(pr_object(B))
        await asyncio.sleep(0.5)  # the objects of B are being written
        await here.store.delete(here.pr_ref())
        await here.apply(pr_object(A))
        while (told := get(await here.pr(), "status", "commit")) is None:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        assert told == A
        await settled()
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": A}


class Replaced(Store):
    """A store in which a PR object gives way to another of its name just before its first status is written."""

    successor: Manifest | None = with_metadata(pr_object(B), namespace=NAMESPACE)
    told: Json = None
    """Of which commit the first status tells that was written."""

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        successor, self.successor = self.successor, None
        if successor is not None:
            await super().delete(ref)
            await super().apply(successor, manager="test")
        stored = await super().patch_status(ref, status, resource_version=resource_version)
        self.told = self.told or get(stored, "status", "commit")
        return stored


@virtual_time
async def test_a_status_is_not_told_of_what_took_the_environments_place_at_the_last_moment(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Replaced.open) as here:
        assert isinstance(here.store, Replaced)
        await here.apply(pr_object(A))
        await settled()
        assert here.store.told == B


@virtual_time
async def test_a_status_that_is_refused_is_not_told_in_events(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Replaced.open) as here:
        await here.apply(pr_object(A))
        await settled()
        created = {each["message"] for each in (await here.objects("Event")).values() if each["reason"] == "Created"}
        assert created == {f"the environment is made for commit {B[:7]}"}


class Reopening(Store):
    """A store in which something else happens just before an object is deleted."""

    before_delete: Callable[[], Awaitable[object]] | None = None
    deletions = 0
    """That were tried."""

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        meanwhile, self.before_delete = self.before_delete, None
        self.deletions += 1
        if meanwhile is not None:
            await meanwhile()
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
async def test_a_pull_request_that_is_reopened_while_its_environment_is_about_to_be_deleted_keeps_it(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Reopening.open) as here:
        assert isinstance(here.store, Reopening)
        await here.intake.handle(event("opened"))
        await settled()
        before = uid_of(await here.pr())
        replica = Intake(here.store, here.informers, VirtualClock())
        here.store.before_delete = lambda: replica.handle(event("reopened", B, second=2))
        closed = {"7": f"2026-01-31T12:00:01Z closed::{A}"}
        await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": closed})
        await asyncio.sleep(CLOSING_SECONDS + 5)
        assert here.store.deletions == 1
        assert uid_of(await here.pr()) == before
        assert await here.prs() == {"shop-pr7": B}


@virtual_time
async def test_a_push_while_the_objects_are_written_does_not_wait_until_others_are_made(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Slow.open) as here:
        await here.apply(pr_object(number=1))
        await made(here)
        await here.until("True")
        await here.apply(pr_object(B))
        await asyncio.sleep(0.5)  # the objects of B are being written
        await here.apply(pr_object(C))
        await asyncio.sleep(2)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": C}

"""What comes while an environment is being made."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.contract.suite import with_metadata
from tests.flows.world import NAMESPACE, A, B, C, config_map, made, pr_object, review_app, settled, world
from tests.virtual import virtual_time

from greenroom.flows.intake import MANAGER
from greenroom.local.storage.store import Store
from greenroom.model.manifest import CONFIG_MAP, Json, Manifest, Ref, get, kind_of, name_of


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

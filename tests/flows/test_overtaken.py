"""What comes while an environment is being made."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.flows.watched import made
from tests.flows.world import A, B, C, config_map, pr_object, review_app, settled, world
from tests.virtual import virtual_time

from greenroom.flows.intake import MANAGER
from greenroom.local.storage.store import Store
from greenroom.model.manifest import CONFIG_MAP, Manifest, get, kind_of, name_of


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

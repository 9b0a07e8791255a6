"""What is put right, what is made again, and what is not: objects that others change or delete."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.flows.world import (
    NAMESPACE,
    B,
    World,
    config_map,
    made,
    names,
    pr_object,
    push,
    review_app,
    settled,
    world,
)
from tests.virtual import now, virtual_time

from greenroom.flows.children import PEACE_SECONDS, REPAIRS_AT_ONCE
from greenroom.flows.intake import MANAGER
from greenroom.local.storage.store import Store
from greenroom.model.errors import Immutable, NotFound
from greenroom.model.manifest import CONFIG_MAP, Kind, Manifest, Ref, get, is_deleting, kind_of, ref_of, uid_of

CHILD = Ref(CONFIG_MAP, NAMESPACE, "pr7")
JOB = Ref(Kind.of("batch/v1", "Job"), NAMESPACE, "pr7")


# Objects that are missing while an edited template waits for its turn


@virtual_time
async def test_what_is_deleted_while_an_edit_reaches_many_environments_is_made_again_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(word="old")), running=True) as here:
        for number in range(1, 101):
            await here.apply(pr_object(number=number))
        await settled()
        await here.apply(review_app(config_map(word="new")))
        await asyncio.sleep(1)
        waiting = [name for name, each in (await here.objects("ConfigMap")).items() if each["data"]["word"] == "old"]
        assert len(waiting) > 50
        await here.store.delete(Ref(CONFIG_MAP, NAMESPACE, waiting[-1]))
        await asyncio.sleep(1)
        assert waiting[-1] in await names(here)


# Jobs that are cleaned away when they have finished


def job(word: str = "seed", **spec: Any) -> dict[str, Any]:
    container = {"name": "app", "image": f"shop:{word}"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": "pr{{PR_NUMBER}}"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template, **spec}}


async def finished(here: World) -> str:
    """What the cluster does with the Job some time after it has finished. Answers the UID that it had."""
    uid = uid_of(await here.store.get(JOB))
    await here.store.delete(JOB)
    await settled()
    return uid


async def runs(here: World) -> bool:
    try:
        await here.store.get(JOB)
    except NotFound:
        return False
    return True


@virtual_time
async def test_a_job_that_is_cleaned_away_runs_once_and_the_environment_stays_ready(tmp_path: Path) -> None:
    app = review_app(config_map(word="a"), job(ttlSecondsAfterFinished=60))
    async with world(tmp_path, app, running=True) as here:
        await made(here)
        await finished(here)
        assert not await runs(here)
        await here.store.delete(CHILD)  # another reason to look
        await settled()
        assert await names(here) == {"pr7"}
        assert not await runs(here)
        assert (await here.condition())["status"] == "True"
        assert (await here.condition("Applied"))["message"] == "2 objects"


@virtual_time
async def test_a_job_that_was_cleaned_away_is_not_run_again_by_the_next_process(tmp_path: Path) -> None:
    app = review_app(job(ttlSecondsAfterFinished=60))
    async with world(tmp_path, app, running=True) as here:
        await made(here)
        await finished(here)
    async with world(tmp_path, app, running=True) as here:
        await settled()
        assert not await runs(here)


@virtual_time
async def test_a_job_that_was_cleaned_away_runs_again_for_a_push_that_changes_it(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(job("{{COMMIT_REF}}", ttlSecondsAfterFinished=60)), running=True) as here:
        await made(here)
        await finished(here)
        await push(here, B)
        assert await runs(here)
        await finished(here)
        assert not await runs(here)


@virtual_time
async def test_a_job_that_was_cleaned_away_and_does_not_name_the_commit_is_not_run_again_for_the_next(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, review_app(config_map(), job(ttlSecondsAfterFinished=60)), running=True) as here:
        await made(here)
        await finished(here)
        await push(here, B)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}
        assert not await runs(here)


@virtual_time
async def test_an_edited_job_that_was_cleaned_away_everywhere_runs_again_at_the_rate_of_edits(tmp_path: Path) -> None:
    count = 60
    async with world(tmp_path, review_app(job(ttlSecondsAfterFinished=60)), running=True) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        for number in range(1, count + 1):
            await here.store.delete(Ref(JOB.kind, NAMESPACE, f"pr{number}"))
        await settled()
        await here.apply(review_app(job("again", ttlSecondsAfterFinished=60)))
        await asyncio.sleep(1)
        assert len(await here.objects("Job", "batch/v1")) < count / 2
        assert (await here.condition(number=count))["status"] == "True"
        await asyncio.sleep(count)
        assert len(await here.objects("Job", "batch/v1")) == count


@virtual_time
async def test_a_job_that_nobody_cleans_away_is_made_again(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(job()), running=True) as here:
        await made(here)
        before = await finished(here)
        assert uid_of(await here.store.get(JOB)) != before


class Rigid(Store):
    """A store in which the spec of a Job cannot be changed."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == MANAGER and kind_of(manifest) == JOB.kind:
            with suppress(NotFound):
                if get(await self.get(ref_of(manifest)), "spec") != get(manifest, "spec"):
                    raise Immutable(f"{ref_of(manifest)} is invalid: spec: field is immutable")
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_a_job_that_was_deleted_for_an_edit_runs_again_when_the_edit_is_taken_back(tmp_path: Path) -> None:
    before, after = (review_app(job(word, ttlSecondsAfterFinished=60)) for word in ("before", "after"))
    async with world(tmp_path, before, running=True, opened=Rigid.open) as here:
        await made(here)
        held = {"name": "pr7", "finalizers": ["example.com/held"]}
        await here.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": held})
        await here.apply(after)
        await settled()
        assert is_deleting(await here.store.get(JOB))
        await here.apply(before)
        await settled()
        await here.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pr7"}})
        await settled()
        assert not is_deleting(await here.store.get(JOB))


# Somebody who changes an object back whenever it is put right


class Counting(Store):
    """A store that says how often Greenroom wrote a ConfigMap."""

    written = 0

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        self.written += manager == MANAGER and kind_of(manifest) == CONFIG_MAP
        return await super().apply(manifest, manager=manager, force=force)


async def spoil(here: World) -> None:
    await here.apply(config_map("pr7", commit="mine"))


async def fight(here: World, seconds: float) -> tuple[int, set[str]]:
    """How often Greenroom wrote in that time, and what ``Ready`` was."""
    assert isinstance(here.store, Counting)
    before, ready, end = here.store.written, set(), now() + seconds
    while now() < end:
        await asyncio.sleep(0.01)
        if (await here.store.get(CHILD))["data"] != {"commit": "mine"}:
            await spoil(here)
        ready.add((await here.condition())["status"])
    return here.store.written - before, ready


@virtual_time
async def test_two_who_want_an_object_otherwise_do_not_write_without_end_and_that_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Counting.open) as here:
        await made(here)
        written, ready = await fight(here, 60)
        assert REPAIRS_AT_ONCE < written < REPAIRS_AT_ONCE + 10
        assert ready == {"True"}
        told = await here.condition("DriftWarning")
        assert told["reason"] == "Contested"
        assert "ConfigMap/pr7" in told["message"]

        before = await here.pr()
        written, ready = await fight(here, 180)
        assert 2 <= written <= 4
        assert ready == {"True"}
        assert (await here.pr())["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


@virtual_time
async def test_an_environment_of_which_somebody_deletes_an_object_all_the_time_is_not_ready(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Counting.open) as here:
        assert isinstance(here.store, Counting)
        await made(here)
        for _ in range(600):
            await asyncio.sleep(0.1)
            with suppress(NotFound):
                await here.store.delete(CHILD)
        assert here.store.written < REPAIRS_AT_ONCE + 10
        condition = await here.condition()
        assert (condition["status"], condition["message"]) == ("False", "pr7: ConfigMap/pr7 is not there")
        assert (await here.condition("DriftWarning"))["reason"] == "Contested"


@virtual_time
async def test_a_push_does_not_wait_because_somebody_changes_the_object(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Counting.open) as here:
        await made(here)
        await fight(here, 60)
        await here.apply(pr_object(B))
        await asyncio.sleep(0.5)
        assert (await here.store.get(CHILD))["data"] == {"commit": B}


@virtual_time
async def test_when_the_other_gives_up_the_object_is_put_right_and_the_warning_goes(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Counting.open) as here:
        await made(here)
        wanted = (await here.store.get(CHILD))["data"]
        await fight(here, 60)
        await asyncio.sleep(61)
        assert (await here.store.get(CHILD))["data"] == wanted
        assert await here.condition("DriftWarning")
        await asyncio.sleep(PEACE_SECONDS)
        assert not await here.condition("DriftWarning")
        await spoil(here)
        await asyncio.sleep(0.5)
        assert (await here.store.get(CHILD))["data"] == wanted


@virtual_time
async def test_what_is_changed_a_few_times_is_put_right_at_once_and_nothing_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        wanted = (await here.store.get(CHILD))["data"]
        for _ in range(REPAIRS_AT_ONCE):
            await spoil(here)
            await asyncio.sleep(0.5)
            assert (await here.store.get(CHILD))["data"] == wanted
        assert not await here.condition("DriftWarning")

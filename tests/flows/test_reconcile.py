"""What an environment becomes, and stays, whatever happens to its objects."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    config_map,
    deployment,
    event,
    gateway_route,
    made,
    names,
    pr_object,
    push,
    review_app,
    settled,
    world,
)
from tests.virtual import virtual_time

from greenroom.flows.reconcile import CLOSING_SECONDS
from greenroom.local.storage.store import Store
from greenroom.model.errors import NotFound
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, PR, REVIEW_APP, Manifest, Ref, kind_of

CHILD = Ref(CONFIG_MAP, NAMESPACE, "pr7")


@virtual_time
async def test_a_pr_object_gets_the_objects_of_the_template(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
        child = (await here.objects("ConfigMap"))["pr7"]
        pr = await here.pr()
        assert child["data"] == {"commit": A}
        assert child["metadata"]["ownerReferences"][0]["uid"] == pr["metadata"]["uid"]
        assert child["metadata"]["labels"] == {"greenroom.dev/environment": "shop-pr7"}
        assert set(await here.objects("Deployment", "apps/v1")) == {"pr7"}
        assert {(each["kind"], each["name"]) for each in pr["status"]["inventory"]} == {
            ("ConfigMap", "pr7"),
            ("Deployment", "pr7"),
        }


@virtual_time
async def test_a_push_updates_objects_that_have_no_spec(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        await push(here, B)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}
        assert (await here.condition())["status"] == "True"


@virtual_time
async def test_an_edited_template_reaches_live_environments(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), config_map("old-{{PR_NUMBER}}")), running=True) as here:
        await made(here)
        assert await names(here) == {"pr7", "old-7"}
        await here.apply(review_app(config_map(text="new"), config_map("new-{{PR_NUMBER}}")))
        await settled()
        assert await names(here) == {"pr7", "new-7"}
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"text": "new"}


@virtual_time
async def test_a_kind_that_left_the_template_is_pruned_by_another_process(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
    async with world(tmp_path, review_app(deployment()), running=True) as here:
        await settled()
        assert await names(here) == set()


@virtual_time
async def test_what_was_made_just_before_its_kind_left_the_template_is_pruned_where_another_environment_has_the_kind(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
        await made(here, pr_object(number=8))
    async with world(tmp_path, review_app(deployment())) as here:
        await here.report(here.pr_ref(8), {"inventory": None})  # as if its leader had died before it told
        leading = asyncio.create_task(here.reconcile.run())
        await settled()
        assert await names(here) == set()
        leading.cancel()
        await asyncio.wait([leading])


@virtual_time
async def test_what_somebody_deletes_or_changes_is_put_right(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), config_map("b")), running=True) as here:
        await made(here)
        await here.store.delete(CHILD)
        await here.apply(config_map("b", commit="?"))
        await settled()
        assert {name: each["data"] for name, each in (await here.objects("ConfigMap")).items()} == {
            "pr7": {"commit": A},
            "b": {"commit": A},
        }


@virtual_time
async def test_objects_of_others_are_never_touched(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map("mine"), config_map("theirs")), running=True) as here:
        await here.apply(config_map("lonely"))
        await here.apply(pr_object(number=8, parentReviewApp="none"))
        other = await here.pr(8)
        owner = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr8", "controller": True}
        theirs = config_map("theirs")
        theirs["metadata"]["ownerReferences"] = [{**owner, "uid": other["metadata"]["uid"]}]
        before = await here.apply(theirs)
        await made(here)
        assert (await here.objects("ConfigMap"))["theirs"] == before
        assert (await here.condition())["reason"] == "NameTaken"
        assert "ConfigMap/theirs belongs to PR/shop-pr8" in (await here.condition())["message"]
        await here.store.delete(here.pr_ref())
        await settled()
        assert await names(here) == {"lonely", "theirs"}


@virtual_time
async def test_a_pr_object_that_goes_takes_its_objects_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
        await made(here, pr_object(number=8))
        await here.store.delete(here.pr_ref())
        await settled()
        assert await names(here) == {"pr8"}
        assert set(await here.objects("Deployment", "apps/v1")) == {"pr8"}
        assert not [each for each in await here.objects("Event") if each.startswith("shop-pr7")]


@virtual_time
async def test_a_pull_request_that_is_closed_and_reopened_at_once_gets_a_new_environment(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        for second, action in enumerate(("opened", "closed", "reopened", "closed", "reopened")):
            await here.intake.handle(event(action, second=second))
        await settled()
        pr = await here.pr()
        child = (await here.objects("ConfigMap"))["pr7"]
        assert child["metadata"]["ownerReferences"][0]["uid"] == pr["metadata"]["uid"]
        assert (await here.condition())["status"] == "True"


@virtual_time
async def test_when_all_is_well_another_look_writes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment(), gateway_route()), running=True) as here:
        await made(here)
        assert await here.writes(lambda: here.reconcile.reconcile(here.pr_ref())) == 0


@virtual_time
async def test_the_death_of_an_intake_between_remembering_and_deleting_is_made_good(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await here.intake.handle(event("opened"))
        await settled()
        closed = {"7": f"2026-01-31T12:00:01Z closed::{A}"}
        await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": closed})
        await asyncio.sleep(CLOSING_SECONDS + 1)
        with pytest.raises(NotFound):
            await here.pr()
        assert await names(here) == set()


@virtual_time
async def test_a_pull_request_that_was_reopened_a_moment_ago_is_not_deleted_for_its_earlier_close(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, review_app(config_map())) as here:
        await here.intake.handle(event("opened"))
        closed = {"7": f"2026-01-31T12:00:01Z closed::{A}"}
        await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": closed})
        await settled()
        await here.intake.handle(event("reopened", second=2))
        await here.reconcile.reconcile(here.pr_ref())  # the informers have not heard of it yet
        assert await here.prs() == {"shop-pr7": A}


class Overtaken(Store):
    """A store from which somebody else deletes, always a moment before us."""

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        await super().delete(ref)
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
async def test_what_somebody_else_deleted_first_is_as_good_as_deleted(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Overtaken.open) as here:
        await made(here)
        await here.apply(review_app())
        await settled()
        assert await names(here) == set()
        assert (await here.condition("Applied"))["message"] == "0 objects"
        assert {each["reason"] for each in (await here.objects("Event")).values()} == {"Created", "Ready"}


class Watching(Store):
    """A store that is slow with ConfigMaps, and remembers how many there were when a Deployment came."""

    seen = 0

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if kind_of(manifest) == CONFIG_MAP:
            await asyncio.sleep(1)
        if kind_of(manifest) == DEPLOYMENT:
            self.seen = len((await self.list(CONFIG_MAP)).items)
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_a_program_starts_when_what_it_reads_is_there(tmp_path: Path) -> None:
    app = review_app(deployment(), config_map("a"), config_map("b"))
    async with world(tmp_path, app, running=True, opened=Watching.open) as here:
        assert isinstance(here.store, Watching)
        await made(here)
        assert here.store.seen == 2


@virtual_time
async def test_a_pr_object_made_by_hand_for_a_closed_pull_request_stays(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await here.intake.handle(event("closed"))
        await made(here)
        assert await names(here) == {"pr7"}

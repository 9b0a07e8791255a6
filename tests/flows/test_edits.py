"""What an edited template does to the environments that live, and what does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
    gateway_route,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import now, virtual_time

from greenroom.flows.reconcile import EDITS_AT_ONCE, EDITS_PER_SECOND, Reconcile
from greenroom.local.storage.store import Store
from greenroom.model.errors import Forbidden, Immutable, NotFound, Unavailable
from greenroom.model.manifest import CONFIG_MAP, Kind, Manifest, Ref, get, kind_of, name_of, ref_of, uid_of

REFUSED = "refused-{{PR_NUMBER}}"


class Picky(Store):
    """A store that takes some ConfigMaps never, and a status of one PR object not the first time."""

    unlucky: Ref | None = None
    refused = 0
    """Statuses."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if name_of(manifest).startswith("refused-"):
            raise Forbidden("a policy does not allow it")
        return await super().apply(manifest, manager=manager, force=force)

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        if ref == self.unlucky:
            self.unlucky = None
            self.refused += 1
            raise Unavailable("no connection")
        return await super().patch_status(ref, status, resource_version=resource_version)


@asynccontextmanager
async def keeping(here: World, *, routed: bool = True) -> AsyncIterator[None]:
    """A block in which somebody keeps the environments."""
    reconcile = Reconcile(here.store, here.informers, VirtualClock(), url_of=str, routed=routed)
    task = asyncio.create_task(reconcile.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


CHILD = Ref(CONFIG_MAP, NAMESPACE, "pr7")
CLAIM = Ref(Kind("", "v1", "PersistentVolumeClaim"), NAMESPACE, "pr7")


async def data(here: World) -> dict[str, Any]:
    return {name: each["data"] for name, each in (await here.objects("ConfigMap")).items()}


async def edited(here: World, word: str) -> int:
    return sum(each == {"word": word} for each in (await data(here)).values())


# At what rate


@virtual_time
async def test_an_edit_reaches_many_environments_one_after_the_other_and_a_push_does_not_wait(tmp_path: Path) -> None:
    count = 60
    async with world(tmp_path, review_app(config_map(word="old")), running=True) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        await here.apply(review_app(config_map(word="new")))
        began = now()
        await asyncio.sleep(1)
        assert EDITS_AT_ONCE <= await edited(here, "new") <= EDITS_AT_ONCE + EDITS_PER_SECOND + 1

        waiting = next(name for name, each in (await data(here)).items() if each == {"word": "old"})
        await here.apply(pr_object(B, number=int(waiting.removeprefix("pr"))))
        await asyncio.sleep(0.1)
        assert (await data(here))[waiting] == {"word": "new"}

        needed = (count - EDITS_AT_ONCE) / EDITS_PER_SECOND
        await asyncio.sleep(began + needed - 2 - now())
        assert await edited(here, "new") < count
        await asyncio.sleep(3)
        assert await edited(here, "new") == count


@virtual_time
async def test_an_edit_of_an_edit_under_way_reaches_all_at_the_same_rate(tmp_path: Path) -> None:
    count = 60
    async with world(tmp_path, review_app(config_map(word="old")), running=True) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        for word in ("one", "two", "three"):
            await here.apply(review_app(config_map(word=word)))
            await asyncio.sleep(2)
        await asyncio.sleep(count / EDITS_PER_SECOND)
        assert await edited(here, "three") == count


@virtual_time
async def test_an_edit_that_was_made_while_nobody_looked_reaches_all_at_the_same_rate(tmp_path: Path) -> None:
    count = 40
    async with world(tmp_path, review_app(config_map(word="old"))) as here:
        async with keeping(here):
            for number in range(1, count + 1):
                await here.apply(pr_object(number=number))
            await settled()
        await here.apply(review_app(config_map(word="new")))
        async with keeping(here):
            await asyncio.sleep(1)
            assert EDITS_AT_ONCE <= await edited(here, "new") <= EDITS_AT_ONCE + EDITS_PER_SECOND + 1
            assert (await here.condition(number=count))["status"] == "True"
            await asyncio.sleep(count / EDITS_PER_SECOND)
            assert await edited(here, "new") == count


@virtual_time
@pytest.mark.parametrize(
    ("broken", "reason"),
    [("PR_{{PR_NUMBER}}", "InvalidTemplate"), (REFUSED, "ApplyFailed"), ("more-{{PR_NUMBER}}", "Applied")],
)
async def test_an_edit_that_mends_or_follows_another_reaches_all_at_the_same_rate(
    tmp_path: Path, broken: str, reason: str
) -> None:
    count = 60
    async with world(tmp_path, review_app(config_map(word="old")), running=True, opened=Picky.open) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        await here.apply(review_app(config_map(word="old"), config_map(broken, word="old")))
        await asyncio.sleep(count / EDITS_PER_SECOND)
        assert (await here.condition("Applied"))["reason"] == reason
        await here.apply(review_app(config_map(word="new")))
        await asyncio.sleep(1)
        assert EDITS_AT_ONCE <= await edited(here, "new") <= EDITS_AT_ONCE + EDITS_PER_SECOND + 1
        await asyncio.sleep(count / EDITS_PER_SECOND)
        assert await edited(here, "new") == count
        assert (await here.condition("Applied"))["message"] == "1 object"


@virtual_time
async def test_an_edit_that_only_adds_an_object_reaches_all_at_the_same_rate(tmp_path: Path) -> None:
    count = 40
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        await here.apply(review_app(config_map(), config_map("more-{{PR_NUMBER}}", word="new")))
        await asyncio.sleep(1)
        assert EDITS_AT_ONCE <= await edited(here, "new") <= EDITS_AT_ONCE + EDITS_PER_SECOND + 1
        await asyncio.sleep(count / EDITS_PER_SECOND)
        assert await edited(here, "new") == count


@virtual_time
async def test_while_a_mended_template_waits_for_its_turn_what_failed_is_not_told_to_be_well(tmp_path: Path) -> None:
    count = 60
    app = review_app(config_map(word="old"), config_map(REFUSED))
    async with world(tmp_path, app, running=True, opened=Picky.open) as here:
        for number in range(1, count + 1):
            await here.apply(pr_object(number=number))
        await settled()
        await here.apply(review_app(config_map(word="new"), config_map(REFUSED)))
        await asyncio.sleep(1)
        waiting = [name for name, each in (await data(here)).items() if each == {"word": "old"}]
        assert len(waiting) > count / 2
        for name in waiting:
            assert (await here.condition(number=int(name.removeprefix("pr"))))["reason"] == "ApplyFailed"


@virtual_time
async def test_an_edit_whose_status_is_refused_once_is_told_at_once_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(word="old")), running=True, opened=Picky.open) as here:
        assert isinstance(here.store, Picky)
        for number in range(1, 101):
            await here.apply(pr_object(number=number))
        await settled()
        before = (await here.pr(1))["status"]["inventory"]
        here.store.unlucky = here.pr_ref(1)
        await here.apply(review_app(config_map(word="new")))
        while (await data(here))["pr1"] != {"word": "new"}:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert here.store.refused == 1
        assert (await here.pr(1))["status"]["inventory"] != before
        assert await edited(here, "new") < 100


# Fields that cannot be changed


class Rigid(Store):
    """A store in which the data of ConfigMaps and the spec of claims cannot be changed."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if kind_of(manifest) in (CONFIG_MAP, CLAIM.kind):
            with suppress(NotFound):
                present = await self.get(ref_of(manifest))
                field = "data" if kind_of(manifest) == CONFIG_MAP else "spec"
                if get(present, field) != get(manifest, field):
                    raise Immutable(f"{ref_of(manifest)} is invalid: {field}: field is immutable")
        return await super().apply(manifest, manager=manager, force=force)


def claim(size: str) -> dict[str, Any]:
    metadata = {"name": "pr{{PR_NUMBER}}"}
    return {"apiVersion": "v1", "kind": CLAIM.kind.name, "metadata": metadata, "spec": {"size": size}}


@virtual_time
async def test_an_object_that_cannot_be_changed_is_made_anew_and_that_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(word="old")), running=True, opened=Rigid.open) as here:
        await here.apply(pr_object())
        await settled()
        before = uid_of(await here.store.get(CHILD))
        await here.apply(review_app(config_map(word="new")))
        await settled()
        child = await here.store.get(CHILD)
        assert get(child, "data") == {"word": "new"}
        assert uid_of(child) != before
        assert (await here.condition())["status"] == "True"
        why = "ConfigMap/pr7 is made anew, for a field of it cannot be changed"
        told = [each["message"] for each in (await here.objects("Event")).values() if each["reason"] == "Replacing"]
        assert told == [f"{why}: ConfigMap/pr7 is invalid: data: field is immutable"]


@virtual_time
async def test_what_holds_data_is_never_made_anew(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(claim("1Gi"), config_map()), running=True, opened=Rigid.open) as here:
        await here.apply(pr_object())
        await settled()
        before = uid_of(await here.store.get(CLAIM))
        await here.apply(review_app(claim("2Gi"), config_map(word="new")))
        await settled()
        assert uid_of(await here.store.get(CLAIM)) == before
        assert (await data(here))["pr7"] == {"word": "new"}
        condition = await here.condition()
        assert condition["reason"] == "ImmutableField"
        assert "PersistentVolumeClaim/pr7" in condition["message"]
        assert "would lose its data" in condition["message"]
        assert "delete the old one yourself" in condition["message"]


@virtual_time
async def test_what_somebody_else_made_is_not_deleted_because_it_cannot_be_changed(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(word="ours")), running=True, opened=Rigid.open) as here:
        await here.apply({**config_map("pr7", word="theirs")})
        await here.apply(pr_object())
        await settled()
        assert (await data(here))["pr7"] == {"word": "theirs"}
        assert (await here.condition())["reason"] == "ApplyFailed"


# Who keeps the environments


@virtual_time
async def test_without_a_gateway_of_ours_a_route_counts_only_when_somebody_says_something_of_it(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(gateway_route())) as here, keeping(here, routed=False):
        await here.apply(pr_object())
        await settled()
        assert (await here.condition())["status"] == "True"

        route = Ref(Kind("appmesh.k8s.aws", "v1beta2", "GatewayRoute"), NAMESPACE, "pr7")
        refused = {"type": "GatewayRouteActive", "status": "False", "reason": "NoGateway", "message": "no gateway"}
        await here.report(route, {"conditions": [refused]})
        await settled()
        assert (await here.condition())["reason"] == "WaitingForRoute"


@virtual_time
async def test_whoever_takes_over_keeps_what_the_one_before_made(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map())) as here:
        for commit in (A, B):
            async with keeping(here):
                await here.apply(pr_object(commit))
                await settled()
                assert (await data(here))["pr7"] == {"commit": commit}
        await here.store.delete(CHILD)
        await settled()
        assert await data(here) == {}  # nobody is there to bring it back

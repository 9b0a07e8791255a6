"""What no trouble with the cluster, and no change of a template, deletes or takes away from anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.flows.watched import Watched, missing, watched
from tests.flows.world import NAMESPACE, B, World, config_map, deployment, made, pr_object, review_app, settled, world
from tests.virtual import virtual_time

from greenroom.flows.intake import MANAGER
from greenroom.local.storage.store import Store
from greenroom.model.errors import ClusterError, Immutable, NotFound, Unavailable, UnknownKind
from greenroom.model.manifest import CONFIG_MAP, PR, Kind, Manifest, Ref, get, kind_of, ref_of, uid_of
from greenroom.model.watch import Listing, WatchEvent

CHILD = Ref(CONFIG_MAP, NAMESPACE, "pr7")
CLAIM = Kind("", "v1", "PersistentVolumeClaim")
DATABASE = Kind("databases.example.com", "v1", "Database")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet")
OLD, NEW = Kind("autoscaling", "v1", "HorizontalPodAutoscaler"), Kind("autoscaling", "v2", "HorizontalPodAutoscaler")


def thing(kind: Kind, name: str = "pr{{PR_NUMBER}}", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}


async def uid(here: World, ref: Ref) -> str:
    """``""`` when it is gone."""
    with suppress(NotFound):
        return uid_of(await here.store.get(ref))
    return ""


# Kinds that cannot be seen


class Failing(Watched):
    """A store that cannot tell of some kinds, and ends a watch that is refused with the next change."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.undiscovered: dict[Kind, ClusterError] = {}

    async def resource(self, kind: Kind) -> Any:
        if kind in self.undiscovered:
            raise self.undiscovered[kind]
        return await super().resource(kind)

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        async for change in super().watch(kind, since=since, namespace=namespace, labels=labels):
            if kind in self.unwatchable:
                raise self.unwatchable[kind]
            yield change


def failing(here: World) -> Failing:
    assert isinstance(here.store, Failing)
    return here.store


@virtual_time
async def test_a_hiccup_of_discovery_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True, opened=Failing.open) as here:
        await made(here)
        before = await here.store.get(CHILD)
        failing(here).undiscovered = {CONFIG_MAP: Unavailable("no connection")}
        await here.apply(pr_object(B))
        await settled()
        assert (await here.condition("Applied"))["message"] == "ConfigMap/pr7: no connection"
        assert await here.store.get(CHILD) == before


@virtual_time
async def test_losing_the_right_to_watch_deletes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True, opened=Failing.open) as here:
        await made(here)
        before = await uid(here, CHILD)
        watched(here).unwatchable = {CONFIG_MAP: missing("watch", "configmaps")}
        await here.apply(pr_object(B))
        await settled()
        assert "may not watch configmaps" in (await here.condition("Applied"))["message"]
        assert await uid(here, CHILD) == before


class Uninstalled(Failing):
    """A store in which somebody uninstalls the databases' CRD, and their objects with it, after they were made."""

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        if ref.kind == DATABASE:
            raise UnknownKind("no such kind")
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
@pytest.mark.parametrize("noticed", [False, True])
async def test_a_kind_that_is_uninstalled_and_left_the_template_is_done_with(tmp_path: Path, noticed: bool) -> None:
    app = review_app(thing(DATABASE), config_map())
    async with world(tmp_path, app, running=True, opened=Uninstalled.open) as here:
        await made(here)
        if noticed:
            gone: dict[Kind, ClusterError] = {DATABASE: UnknownKind("no such kind")}
            failing(here).undiscovered = watched(here).refused = watched(here).unwatchable = gone
        await here.apply(review_app(config_map()))
        await settled()
        applied = await here.condition("Applied")
        assert (applied["status"], applied["message"]) == ("True", "1 object")


# Kinds in two versions


class Versions(Store):
    """A store that serves autoscalers in two versions, as Kubernetes does with every kind that has them."""

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        listing = await super().list(_stored(kind), namespace=namespace, labels=labels)
        return Listing([_served(item, kind) for item in listing.items], listing.resource_version)

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        async for event in super().watch(_stored(kind), since=since, namespace=namespace, labels=labels):
            yield WatchEvent(event.change, _served(event.object, kind))

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        kind = kind_of(manifest)
        return _served(await super().apply(_served(manifest, _stored(kind)), manager=manager, force=force), kind)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        stored = Ref(_stored(ref.kind), ref.namespace, ref.name)
        await super().delete(stored, uid=uid, grace_seconds=grace_seconds)


def _stored(kind: Kind) -> Kind:
    return NEW if kind == OLD else kind


def _served(manifest: Manifest, kind: Kind) -> Manifest:
    return {**manifest, "apiVersion": kind.api_version}


@virtual_time
async def test_a_template_that_goes_to_the_next_version_of_a_kind_deletes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(thing(OLD)), running=True, opened=Versions.open) as here:
        await made(here)
        before = await uid(here, Ref(NEW, NAMESPACE, "pr7"))
        await here.apply(review_app(thing(NEW, maxReplicas=3)))
        await asyncio.sleep(700)
        assert before
        assert await uid(here, Ref(NEW, NAMESPACE, "pr7")) == before
        assert (await here.condition("Applied"))["message"] == "1 object"


@virtual_time
async def test_templates_that_name_two_versions_of_a_kind_delete_nothing_of_each_other(tmp_path: Path) -> None:
    apps = review_app(thing(OLD)), review_app(thing(NEW), name="other")
    async with world(tmp_path, *apps, running=True, opened=Versions.open) as here:
        await made(here)
        before = await uid(here, Ref(NEW, NAMESPACE, "pr7"))
        await here.apply(pr_object(number=8, parentReviewApp="other"))
        await settled()
        assert before
        assert await uid(here, Ref(NEW, NAMESPACE, "pr7")) == before
        await here.apply(review_app())
        await settled()
        assert set(await here.objects(NEW.name, NEW.api_version)) == {"pr8"}


@virtual_time
@pytest.mark.parametrize("kind", [NEW, DATABASE._replace(version="v2")], ids=str)
async def test_a_template_that_goes_to_a_version_that_cannot_be_used_yet_deletes_nothing(
    tmp_path: Path, kind: Kind
) -> None:
    before = kind._replace(version="v1")
    async with world(tmp_path, review_app(thing(before)), running=True, opened=Failing.open) as here:
        await made(here)
        failing(here).undiscovered = {kind: UnknownKind("no such version")}
        kept = await uid(here, Ref(before, NAMESPACE, "pr7"))
        await here.apply(review_app(thing(kind)))
        await settled()
        assert "no such version" in (await here.condition("Applied"))["message"]
        assert kept
        assert await uid(here, Ref(before, NAMESPACE, "pr7")) == kept


# What may hold data


@virtual_time
@pytest.mark.parametrize("kind", [CLAIM, DATABASE], ids=str)
async def test_data_that_was_there_before_is_not_taken_over(tmp_path: Path, kind: Kind) -> None:
    async with world(tmp_path, review_app(thing(kind, size="1Gi"), config_map()), running=True) as here:
        before = await here.apply(thing(kind, "pr7", size="9Gi"))
        await made(here)
        condition = await here.condition()
        assert condition["reason"] == "NameTaken"
        assert f"{ref_of(before)} was there before" in condition["message"]
        assert await uid(here, CHILD)
        await here.store.delete(here.pr_ref())
        await settled()
        assert await here.store.get(ref_of(before)) == before


@virtual_time
async def test_a_stateful_set_that_was_there_before_and_ends_with_its_data_is_not_taken_over(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(thing(STATEFUL_SET, serviceName="pr7")), running=True) as here:
        before = await here.apply(
            thing(STATEFUL_SET, "pr7", persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})
        )
        await made(here)
        assert (await here.condition())["reason"] == "NameTaken"
        assert await here.store.get(ref_of(before)) == before


class Rigid(Store):
    """A store in which no spec of an object of an environment can be changed."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == MANAGER and kind_of(manifest) != PR:
            with suppress(NotFound):
                if get(await self.get(ref_of(manifest)), "spec") != get(manifest, "spec"):
                    raise Immutable(f"{ref_of(manifest)} is invalid: spec: field is immutable")
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
@pytest.mark.parametrize(
    ("kind", "spec", "stays"),
    [
        (DATABASE, {}, True),
        (STATEFUL_SET, {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}, True),
        (STATEFUL_SET, {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}, False),
        (STATEFUL_SET, {}, False),
    ],
)
async def test_what_cannot_be_changed_is_made_anew_only_if_no_data_goes_with_it(
    tmp_path: Path, kind: Kind, spec: dict[str, Any], stays: bool
) -> None:
    ref = Ref(kind, NAMESPACE, "pr7")
    async with world(tmp_path, review_app(thing(kind, **spec)), running=True, opened=Rigid.open) as here:
        await made(here)
        before = await uid(here, ref)
        assert before
        await here.apply(review_app(thing(kind, **spec, serviceName="new")))
        await settled()
        assert (await uid(here, ref) == before) == stays
        assert ((await here.condition())["reason"] == "ImmutableField") == stays
        assert get(await here.store.get(ref), "spec", "serviceName") == (None if stays else "new")

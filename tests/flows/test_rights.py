"""A right that is missing: what is told, what goes on all the same, and what becomes of it once it is granted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.flows.watched import OWN, Watched, labelled, missing, watched
from tests.flows.world import NAMESPACE, B, config_map, deployment, made, pr_object, review_app, settled, world
from tests.virtual import run, virtual_time

from greenroom.model.errors import Unavailable
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, POD, REPLICA_SET, Kind, Ref


@virtual_time
async def test_a_kind_that_may_not_be_listed_is_told_at_once_with_the_rule_to_add(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True, opened=Watched.open) as here:
        watched(here).refused = {CONFIG_MAP: missing("list", "configmaps")}
        await here.apply(pr_object())
        condition = await here.until("False", within=2)
        assert condition["reason"] == "MissingPermission"
        assert f"{OWN} may not list configmaps in namespace {NAMESPACE}" in condition["message"]
        assert set(await here.objects("Deployment", "apps/v1")) == {"pr7"}
        watched(here).refused = {}
        await asyncio.sleep(11)
        assert set(await here.objects("ConfigMap")) == {"pr7"}
        assert (await here.condition("Applied"))["status"] == "True"


@pytest.mark.parametrize("seen", [set(), {DEPLOYMENT}, {POD, REPLICA_SET}])
def test_all_rights_that_are_missing_to_look_are_told_at_once(tmp_path: Path, seen: set[Kind]) -> None:
    async def look() -> Any:
        app = review_app(config_map(), deployment())
        async with world(tmp_path, app, running=True, opened=Watched.open) as here:
            watched(here).refused = {kind: refusal for kind, refusal in UNSEEN.items() if kind not in seen}
            await made(here)
            return await here.condition()

    message = run(look())["message"]
    told = {kind for kind, refusal in UNSEEN.items() if str(refusal).partition("cannot ")[2] in message}
    assert told == UNSEEN.keys() - seen


UNSEEN = {
    CONFIG_MAP: missing("list", "configmaps"),
    DEPLOYMENT: missing("list", "deployments", "apps"),
    REPLICA_SET: missing("list", "replicasets", "apps"),
    POD: missing("list", "pods"),
}


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize(("kind", "resource", "group"), [(POD, "pods", ""), (REPLICA_SET, "replicasets", "apps")])
def test_an_environment_whose_pods_cannot_be_seen_is_not_said_to_be_ready(
    tmp_path: Path, kind: Kind, resource: str, group: str, verb: str
) -> None:
    async def look() -> Any:
        async with world(tmp_path, review_app(deployment()), running=True, opened=Watched.open) as here:
            refused = watched(here).refused if verb == "list" else watched(here).unwatchable
            refused[kind] = missing(verb, resource, group)
            await made(here)
            condition = await here.condition()
            status = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1}
            await here.report(Ref(DEPLOYMENT, NAMESPACE, "pr7"), status)
            await settled()
            assert (await here.condition())["status"] == "False"
            assert (await here.condition("Applied"))["status"] == "True"
            del refused[kind]
            await here.until("True", within=75)
            return condition

    condition = run(look())
    assert condition["reason"] == "MissingPermission"
    assert f"may not {verb} {resource}" in condition["message"]


@virtual_time
async def test_a_kind_that_may_be_listed_and_not_watched_is_told_too(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
        watched(here).unwatchable = {CONFIG_MAP: missing("watch", "configmaps")}
        await made(here)
        condition = await here.condition()
        assert (condition["status"], condition["reason"]) == ("False", "MissingPermission")
        assert "may not watch configmaps" in condition["message"]
        await asyncio.sleep(300)
        assert await here.condition() == condition
        watched(here).unwatchable = {}
        await here.until("True", within=75)


@virtual_time
async def test_the_log_warns_once_of_a_watch_that_is_refused(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
            watched(here).refused = {CONFIG_MAP: missing("list", "configmaps")}
            await made(here)
            await asyncio.sleep(300)
    (line,) = (each for each in logs if each["log_level"] == "warning" and "watch" in each["event"])
    assert (line["scope"], line["error"]) == (str(labelled(CONFIG_MAP)), f"{OWN} cannot list configmaps")


@virtual_time
async def test_what_left_the_template_while_it_could_not_be_seen_is_deleted_later(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
    async with world(tmp_path, review_app(deployment()), running=True, opened=Watched.open) as here:
        watched(here).refused = {CONFIG_MAP: missing("list", "configmaps")}
        await asyncio.sleep(150)
        assert (await here.condition("Applied"))["reason"] == "MissingPermission"
        assert set(await here.objects("ConfigMap")) == {"pr7"}
        watched(here).refused = {}
        await asyncio.sleep(75)
        assert set(await here.objects("ConfigMap")) == set()
        assert (await here.condition("Applied"))["status"] == "True"


@virtual_time
async def test_a_list_that_fails_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
        watched(here).refused = {CONFIG_MAP: Unavailable("down")}
        await here.apply(pr_object())
        await asyncio.sleep(3)
        watched(here).refused = {}
        await here.until("True", within=5)
        assert {each["reason"] for each in (await here.objects("Event")).values()} == {"Created", "Ready"}


@virtual_time
async def test_a_watch_that_fails_for_a_moment_keeps_no_environment_from_being_made(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
        watched(here).unwatchable = {CONFIG_MAP: Unavailable("down")}
        await made(here)
        await here.apply(pr_object(B))
        await settled()
        assert (await here.condition())["status"] == "True"
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}

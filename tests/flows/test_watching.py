"""What is watched for environments, and what becomes of objects that carry no label of ours and are not."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

from tests.flows.watched import APP, Watched, environments_watches, labelled, watched
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    VirtualClock,
    config_map,
    deployment,
    event,
    made,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import virtual_time

from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.local.storage.store import Store
from greenroom.model.errors import Invalid
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    PR,
    REPLICA_SET,
    REVIEW_APP,
    Json,
    Manifest,
    Ref,
    get,
    kind_of,
)
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers


@virtual_time
async def test_an_environment_has_its_kinds_watched_in_its_namespace_and_by_its_label(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
        await settled()
        assert environments_watches(here) == set()
        await made(here)
        assert environments_watches(here) == {labelled(CONFIG_MAP)}


@virtual_time
async def test_pods_are_watched_only_for_workloads_and_whatever_they_are_labelled(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(deployment()), running=True, opened=Watched.open) as here:
        await made(here)
        whole = {Scope(kind, NAMESPACE) for kind in (REPLICA_SET, POD)}
        assert environments_watches(here) == {labelled(DEPLOYMENT), *whole}


@virtual_time
async def test_what_no_template_and_no_environment_needs_is_watched_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True, opened=Watched.open) as here:
        await made(here)
        await here.apply(review_app(config_map()))
        await asyncio.sleep(250)
        assert environments_watches(here) == {labelled(CONFIG_MAP)}
        await here.store.delete(here.pr_ref())
        await asyncio.sleep(250)
        assert environments_watches(here) == {labelled(CONFIG_MAP)}  # the next pull request wants it again
        await here.store.delete(APP)
        await asyncio.sleep(250)
        assert environments_watches(here) == set()


@virtual_time
async def test_an_operator_of_one_namespace_looks_at_no_other(tmp_path: Path) -> None:
    with closing(Watched.open(tmp_path / "cluster.db", clock=VirtualClock())) as store:
        assert isinstance(store, Watched)
        informers = Informers(store)
        reconcile = Reconcile(store, informers, VirtualClock(), url_of=str, namespace=NAMESPACE, routed=False)
        intake = Intake(store, informers, VirtualClock(), namespace=NAMESPACE)
        running = [asyncio.create_task(each.run()) for each in (informers, reconcile)]
        await store.apply(review_app(deployment()), manager="test")
        await settled()
        await intake.handle(event("opened"))
        await settled()
        assert {scope.namespace for scope in store.watches} == {NAMESPACE}
        assert {scope.kind for scope in store.watches} == {PR, REVIEW_APP, DEPLOYMENT, REPLICA_SET, POD}
        for task in running:
            task.cancel()
        await asyncio.wait(running)


@virtual_time
async def test_a_kind_of_no_namespace_is_not_watched(tmp_path: Path) -> None:
    everywhere = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr{{PR_NUMBER}}"}}
    async with world(tmp_path, review_app(everywhere), running=True, opened=Watched.open) as here:
        await made(here)
        assert environments_watches(here) == set()


@virtual_time
async def test_an_environment_whose_review_app_is_gone_is_still_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path, running=True, opened=Watched.open) as here:
        await here.apply(review_app(config_map()))
        await made(here)
        await here.store.delete(APP)
        await asyncio.sleep(300)
        assert environments_watches(here) == {labelled(CONFIG_MAP)}


@virtual_time
async def test_a_replica_that_leads_no_longer_watches_no_environments(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), opened=Watched.open) as here:
        leading = asyncio.create_task(here.reconcile.run())
        await made(here)
        leading.cancel()
        await asyncio.wait([leading])
        await settled()
        assert environments_watches(here) == set()


# Objects that carry no label of ours


@virtual_time
async def test_an_object_that_nobody_owns_is_taken_over(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Watched.open) as here:
        await here.apply(config_map("pr7", mine="kept"))
        await made(here)
        read = watched(here).read
        child = (await here.objects("ConfigMap"))["pr7"]
        assert child["data"] == {"mine": "kept", "commit": A}
        assert (await here.condition())["status"] == "True"
        assert read == 0


class Haunted(Store):
    """A store in which the PR object's predecessor, long gone, still controls an object, as before a real garbage
    collector has come round."""

    ghost = True

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if self.ghost and kind_of(manifest) == CONFIG_MAP:
            raise Invalid("Only one reference can have Controller set to true")
        return await super().apply(manifest, manager=manager, force=force)

    async def get(self, ref: Ref) -> Manifest:
        if ref.kind != CONFIG_MAP:
            return await super().get(ref)
        owner: Manifest = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr7", "uid": "past"}
        metadata: Manifest = {"name": "pr7", "namespace": NAMESPACE, "uid": "old"}
        owners: Json = [{**owner, "controller": True}]
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "ownerReferences": owners}}

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        assert (ref, uid) == (Ref(CONFIG_MAP, NAMESPACE, "pr7"), "old")
        self.ghost = False


@virtual_time
async def test_an_object_of_an_earlier_environment_of_the_name_is_made_anew(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Haunted.open) as here:
        await made(here)
        assert (await here.condition())["status"] == "True"
        assert "Replacing" in {each["reason"] for each in (await here.objects("Event")).values()}


@virtual_time
async def test_a_name_that_somebody_else_gives_up_is_used(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await here.apply(pr_object(number=8, parentReviewApp="none"))
        theirs = config_map("pr7")
        owner = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr8", "controller": True}
        theirs["metadata"]["ownerReferences"] = [{**owner, "uid": (await here.pr(8))["metadata"]["uid"]}]
        await here.apply(theirs)
        await made(here)
        assert (await here.condition())["reason"] == "NameTaken"
        await here.store.delete(Ref(CONFIG_MAP, NAMESPACE, "pr7"))
        await here.until("True", within=75)


class Strict(Watched):
    """A store that takes no object with the second commit."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if get(manifest, "data", "commit") == B:
            raise Invalid("this commit is unlucky")
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_an_object_of_ours_that_is_refused_is_not_read_for_that(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Strict.open) as here:
        await made(here)
        await here.apply(pr_object(B))
        await settled()
        assert watched(here).read == 0
        assert "this commit is unlucky" in (await here.condition())["message"]

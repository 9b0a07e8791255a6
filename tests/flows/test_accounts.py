"""In whose name the objects of environments are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from tests.flows.watched import APP, OWN, Watched, missing, watched
from tests.flows.world import NAMESPACE, B, config_map, deployment, made, pr_object, review_app, settled, world
from tests.virtual import virtual_time

from greenroom.adapters.writes import Counted
from greenroom.local.storage.store import Store
from greenroom.model.manifest import CONFIG_MAP, POD, Kind, Manifest, Ref
from greenroom.model.watch import Change
from greenroom.ports import Cluster, WatchEvent


class Account:
    """The store as users write to it: who wrote what, and whom to refuse."""

    def __init__(self) -> None:
        self.wrote: set[tuple[str, str, str]] = set()
        self.refused: set[str] = set()
        self.tried = 0
        self.asked = 0
        self.may_create = True

    def __call__(self, store: Store, user: str) -> Cluster:
        account = self

        class Writer(Counted):
            async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
                account.asked += 1
                assert (verb, namespace) == ("create", NAMESPACE)
                if not account.may_create:
                    raise missing(verb, "configmaps", user=user)

            async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
                account.check(user, "patch")
                return await super().apply(manifest, manager=manager, force=force)

            async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
                account.check(user, "patch")
                return await super().adopt(manifest, manager=manager, former=former)

            async def delete(
                self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
            ) -> None:
                account.check(user, "delete")
                await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)

        return Writer(store, partial(self._note, user))

    def check(self, user: str, verb: str) -> None:
        self.tried += 1
        if user in self.refused:
            raise missing(verb, "configmaps", user=user)

    def _note(self, user: str, verb: str, kind: Kind, _result: str) -> None:
        self.wrote.add((user, verb, kind.name))


def with_account(*resources: Any) -> Any:
    app = review_app(*resources)
    return {**app, "spec": {**app["spec"], "serviceAccountName": "shop"}}


USER = f"system:serviceaccount:{NAMESPACE}:shop"


@virtual_time
async def test_the_objects_of_an_environment_are_written_in_the_name_of_its_account(tmp_path: Path) -> None:
    account = Account()
    app = with_account(config_map(), config_map("other"))
    async with world(tmp_path, app, running=True, impersonating=account) as here:
        await made(here)
        assert (await here.condition())["status"] == "True"
        assert account.wrote == {(USER, "apply", "ConfigMap")}
        await here.apply(with_account(config_map()))
        await settled()
        assert account.wrote == {(USER, "apply", "ConfigMap"), (USER, "delete", "ConfigMap")}


@virtual_time
async def test_where_an_account_writes_greenroom_asks_for_no_right_to_write(tmp_path: Path) -> None:
    app = with_account(config_map(), deployment())
    async with world(tmp_path, app, running=True, impersonating=Account(), opened=Watched.open) as here:
        watched(here).refused = {CONFIG_MAP: missing("list", "configmaps"), POD: missing("watch", "pods")}
        await made(here)
        message = (await here.condition())["message"]
        assert f"{OWN} may not list configmaps, watch pods in namespace {NAMESPACE}" in message
        assert message.endswith('{apiGroups: [""], resources: [configmaps, pods], verbs: [get, list, watch]}')


@virtual_time
async def test_an_account_does_not_become_ours_when_its_review_app_goes_at_the_wrong_moment(tmp_path: Path) -> None:
    account, app = Account(), with_account(config_map())
    async with world(tmp_path, app, running=True, impersonating=account, opened=Watched.open) as here:
        watched(here).slow = 2
        await here.apply(pr_object())
        await asyncio.sleep(1)
        await here.store.delete(APP)
        await settled()
        assert set(await here.objects("ConfigMap")) == {"pr7"}
        assert account.wrote == {(USER, "apply", "ConfigMap")}


@virtual_time
async def test_no_right_to_write_is_asked_for_when_the_review_app_goes_at_the_wrong_moment(tmp_path: Path) -> None:
    app = with_account(config_map())
    with capture_logs() as logs:
        async with world(tmp_path, app, running=True, impersonating=Account(), opened=Watched.open) as here:
            watched(here).refused = {CONFIG_MAP: missing("list", "configmaps")}
            watched(here).slow = 2
            await here.apply(pr_object())
            await asyncio.sleep(1)
            await here.store.delete(APP)
            await settled()
    told = [line["message"] for line in logs if line["event"] == "readiness changed"]
    assert [OWN in message for message in told] == [True, False]
    assert "create" not in told[0]


class Lagging(Store):
    """A store that tells late of ConfigMaps that are deleted, and may refuse to delete one."""

    deletes = 0
    forbidden = False

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        async for change in super().watch(kind, since=since, namespace=namespace, labels=labels):
            if kind == CONFIG_MAP and change.change is Change.DELETED:
                await asyncio.sleep(1)
            yield change

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        if ref.kind == CONFIG_MAP:
            self.deletes += 1
            if self.forbidden:
                raise missing("delete", "configmaps")
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
async def test_the_objects_of_a_closed_pull_request_are_deleted_in_the_name_of_its_account(tmp_path: Path) -> None:
    account, app = Account(), with_account(config_map())
    async with world(tmp_path, app, running=True, impersonating=account, opened=Lagging.open) as here:
        await made(here)
        await here.store.delete(here.pr_ref())
        await settled()
        assert account.wrote == {(USER, "apply", "ConfigMap"), (USER, "delete", "ConfigMap")}


@virtual_time
async def test_what_we_may_not_delete_is_left_to_the_garbage_collector(tmp_path: Path) -> None:
    account, app = Account(), with_account(config_map())
    async with world(tmp_path, app, running=True, impersonating=account, opened=Lagging.open) as here:
        assert isinstance(here.store, Lagging)
        here.store.forbidden = True
        held = pr_object()
        held["metadata"]["finalizers"] = ["acme.example/hold"]
        await here.apply(held)
        await settled()
        await here.store.delete(APP)  # with it goes the name of the account
        await here.store.delete(here.pr_ref())
        await asyncio.sleep(600)
        assert here.store.deletes == 1
        assert {user for user, verb, _ in account.wrote if verb == "delete"} == set()


@virtual_time
async def test_an_account_that_may_not_is_named_and_nothing_is_written_in_our_own_name(tmp_path: Path) -> None:
    account = Account()
    account.refused = {USER}
    async with world(tmp_path, with_account(config_map()), running=True, impersonating=account) as here:
        await made(here)
        condition = await here.condition("Applied")
        assert condition["reason"] == "MissingPermission"
        assert f"{USER} may not patch configmaps in namespace {NAMESPACE}" in condition["message"]
        assert set(await here.objects("ConfigMap")) == set()
        account.refused = set()
        await here.until("True", within=75)


@virtual_time
async def test_an_account_that_may_not_make_an_object_takes_over_none_that_is_there(tmp_path: Path) -> None:
    account = Account()
    account.may_create = False
    async with world(tmp_path, with_account(config_map()), running=True, impersonating=account) as here:
        theirs = await here.apply(config_map("pr7", whose="theirs"))
        await made(here)
        condition = await here.condition("Applied")
        assert condition["reason"] == "MissingPermission"
        assert f"{USER} may not create configmaps in namespace {NAMESPACE}" in condition["message"]
        assert (await here.objects("ConfigMap"))["pr7"] == theirs

        account.may_create = True
        await here.until("True", within=75)
        asked = account.asked
        await here.apply(config_map("pr7", commit="somebody else's"))
        await here.apply(pr_object(B))
        await asyncio.sleep(1800)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}
        assert account.asked == asked

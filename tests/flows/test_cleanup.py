"""`greenroom cleanup` over a real store: what it deletes, what it leaves, and that one trouble stops nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract.suite import exists
from tests.flows.watched import missing
from tests.flows.world import NAMESPACE, START, deployment, pr_object

from greenroom.core.cleanup import HASH_LABEL, Outcome, Result, Tally
from greenroom.flows.cleanup import Cleanup
from greenroom.local.storage.store import Store
from greenroom.model.errors import ClusterError, Forbidden, Unavailable
from greenroom.model.manifest import DEPLOYMENT, POD, PR, Manifest, Ref, get, owner_reference
from greenroom.ports import Listing

AGE = timedelta(minutes=60)
HASH = "5f7d"


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


class Rights(Store):
    """A store that refuses what it is told to, by verb and kind, or verb and name.

    What is to happen ``meanwhile`` happens once, before what such a verb and kind ask for.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.refused: Mapping[tuple[str, str], ClusterError] = {}
        self.meanwhile: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
        self.asked: list[str] = []

    async def get(self, ref: Ref) -> Manifest:
        await self._happens("get", ref.kind.name)
        self._refuse("get", ref.kind.name, ref.name)
        return await super().get(ref)

    async def list(self, kind: Any, *, namespace: str = "", labels: str = "") -> Listing:
        self.asked.append(f"list {kind.name} {namespace}")
        self._refuse("list", kind.name)
        return await super().list(kind, namespace=namespace, labels=labels)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        await self._happens("delete", ref.kind.name)
        self._refuse("delete", ref.kind.name, ref.name)
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)

    async def remove(self, ref: Ref) -> None:
        """As somebody else does."""
        await super().delete(ref, grace_seconds=0)

    async def _happens(self, verb: str, kind: str) -> None:
        if meanwhile := self.meanwhile.pop((verb, kind), None):
            await meanwhile()

    def _refuse(self, verb: str, *names: str) -> None:
        for name in names:
            if (verb, name) in self.refused:
                raise self.refused[verb, name]


NO_REPLICA_SETS = {("get", "ReplicaSet"): missing("get", "replicasets", "apps")}


class Place:
    """A namespace with environments: ``made`` makes one as Greenroom and Kubernetes' controllers do."""

    def __init__(self, store: Rights, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.said: list[tuple[Result, str]] = []
        self.why: list[str] = []

    async def made(self, number: int, *reasons: str, minutes: float = 0) -> None:
        """With a pod for each reason, ``""`` for one that runs."""
        name = f"pr{number}"
        pr = await self.apply(pr_object(number=number))
        web = await self.apply(deployment(name), pr)
        labels = {"app": name, HASH_LABEL: HASH}
        replica_set = await self.apply(
            {
                **deployment(f"{name}-{HASH}"),
                "kind": "ReplicaSet",
                "spec": {**deployment(name)["spec"], "replicas": len(reasons)},
            },
            web,
        )
        self.clock.time += timedelta(minutes=minutes)
        for index, reason in enumerate(reasons):
            await self.pod(f"{name}-{index}", reason, replica_set, labels)

    async def pod(self, name: str, reason: str, owner: Manifest, labels: Any) -> None:
        spec = {"containers": [{"name": "app", "image": "shop:1"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        await self.apply(pod, owner)
        await self.reports(name, reason)

    async def reports(self, pod: str, reason: str) -> None:
        state: Any = {"waiting": {"reason": reason}} if reason else {"running": {}}
        await self.store.patch_status(Ref(POD, NAMESPACE, pod), {"containerStatuses": [{"name": "a", "state": state}]})

    async def apply(self, manifest: Any, owner: Manifest | None = None) -> Manifest:
        owners = {"ownerReferences": [owner_reference(owner)]} if owner else {}
        metadata = {**manifest["metadata"], "namespace": NAMESPACE, **owners}
        return await self.store.apply({**manifest, "metadata": metadata}, manager="test")

    async def clean(self, *, dry_run: bool = False, later: timedelta = AGE) -> Tally:
        self.said.clear()
        self.why.clear()
        self.clock.time += later
        job = Cleanup(self.store, self.clock, self._note, namespace=NAMESPACE, age=AGE, dry_run=dry_run)
        return await job.run()

    def _note(self, outcome: Outcome) -> None:
        self.said.append((outcome.result, outcome.ref.name))
        self.why.append(outcome.why)

    async def prs(self) -> list[int]:
        found = (await self.store.list(PR, namespace=NAMESPACE)).items
        return sorted(int(str(get(each, "spec", "prNumber"))) for each in found)


@asynccontextmanager
async def place(folder: Path, refused: Mapping[tuple[str, str], ClusterError] | None = None) -> AsyncIterator[Place]:
    clock = Clock()
    with closing(Rights.open(folder / "cluster.db", clock=clock)) as store:
        assert isinstance(store, Rights)
        store.refused = refused or {}
        yield Place(store, clock)


rights = pytest.mark.parametrize("refused", [{}, NO_REPLICA_SETS], ids=["all rights", "none on ReplicaSets"])
Refusals = Mapping[tuple[str, str], ClusterError]


@rights
async def test_who_waits_in_vain_goes_and_who_runs_stays(tmp_path: Path, refused: Refusals) -> None:
    async with place(tmp_path, refused) as here:
        await here.made(1, "ImagePullBackOff")
        await here.made(2, "")
        await here.made(3, "CrashLoopBackOff")
        tally = await here.clean()
        assert here.said == [(Result.DELETED, "shop-pr1")]
        assert (tally.pods, tally.waiting, tally.results) == (3, 1, {Result.DELETED: 1})
        assert await here.prs() == [2, 3]
        assert not await exists(here.store, Ref(DEPLOYMENT, NAMESPACE, "pr1"))


@rights
async def test_it_waits_until_a_pod_is_old_enough(tmp_path: Path, refused: Refusals) -> None:
    async with place(tmp_path, refused) as here:
        await here.made(1, "ErrImagePull", minutes=600)  # the age is the pod's, not the environment's
        await here.clean(later=AGE - timedelta(seconds=1))
        assert here.said == []
        await here.clean(later=timedelta(seconds=1))
        assert here.said == [(Result.DELETED, "shop-pr1")]


@rights
async def test_each_is_deleted_once_however_many_pods_wait(tmp_path: Path, refused: Refusals) -> None:
    async with place(tmp_path, refused) as here:
        await here.made(1, "ImagePullBackOff", "", "InvalidImageName", "ErrImagePull")
        tally = await here.clean()
        assert (tally.waiting, here.said) == (3, [(Result.DELETED, "shop-pr1")])
        assert (await here.clean()).results == {}


@rights
async def test_a_dry_run_tells_and_deletes_nothing(tmp_path: Path, refused: Refusals) -> None:
    async with place(tmp_path, refused) as here:
        await here.made(1, "ImagePullBackOff")
        await here.clean(dry_run=True)
        assert here.said == [(Result.WOULD_DELETE, "shop-pr1")]
        assert await here.prs() == [1]


async def test_where_nothing_waits_only_pods_are_looked_at(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.made(1, "")
        here.store.asked.clear()
        assert (await here.clean()).results == {}
        assert here.store.asked == [f"list Pod {NAMESPACE}"]


async def test_without_rights_on_replica_sets_deployments_are_listed_once(tmp_path: Path) -> None:
    async with place(tmp_path, NO_REPLICA_SETS) as here:
        for number in (1, 2, 3):
            await here.made(number, "ImagePullBackOff")
        here.store.asked.clear()
        await here.clean()
        assert here.store.asked == [f"list Pod {NAMESPACE}", f"list Deployment {NAMESPACE}"]
        assert await here.prs() == []


FAILURES: Mapping[str, Refusals] = {
    "it may not be deleted": {("delete", "shop-pr1"): Forbidden("no")},
    "it may not be read": {("get", "shop-pr1"): Forbidden("no")},
    "its ReplicaSet cannot be read": {("get", f"pr1-{HASH}"): Unavailable("down")},
    "its Deployment may not be read": {("get", "pr1"): Forbidden("no")},
    "its pod cannot be read again": {("get", "pr1-0"): Unavailable("down")},
}


@pytest.mark.parametrize("refused", FAILURES.values(), ids=FAILURES)
async def test_a_trouble_is_told_and_the_others_are_cleaned_up(tmp_path: Path, refused: Refusals) -> None:
    async with place(tmp_path, refused) as here:
        for number in (1, 2):
            await here.made(number, "ImagePullBackOff")
        tally = await here.clean()
        assert tally.results == {Result.FAILED: 1, Result.DELETED: 1}
        assert (Result.DELETED, "shop-pr2") in here.said
        assert await here.prs() == [1]


async def test_with_no_right_to_find_the_owner_it_fails_for_each_pod(tmp_path: Path) -> None:
    refused = {**NO_REPLICA_SETS, ("list", "Deployment"): missing("list", "deployments", "apps")}
    async with place(tmp_path, refused) as here:
        await here.made(1, "ImagePullBackOff", "ImagePullBackOff")
        assert (await here.clean()).results == {Result.FAILED: 2}
        assert "cannot list deployments" in here.why[0]


async def test_pods_that_cannot_be_listed_end_it(tmp_path: Path) -> None:
    async with place(tmp_path, {("list", "Pod"): missing("list", "pods")}) as here:
        with pytest.raises(Forbidden):
            await here.clean()


async def _image_came(here: Place) -> None:
    await here.reports("pr1-0", "")


async def _pod_is_gone(here: Place) -> None:
    await here.store.remove(Ref(POD, NAMESPACE, "pr1-0"))


async def _pr_is_gone(here: Place) -> None:
    await here.store.remove(Ref(PR, NAMESPACE, "shop-pr1"))


async def _pr_is_made_anew(here: Place) -> None:
    await _pr_is_gone(here)
    await here.apply(pr_object(number=1))


MEANWHILE = [
    ("get", _image_came, [1]),
    ("get", _pod_is_gone, [1]),
    ("get", _pr_is_gone, []),
    ("get", _pr_is_made_anew, [1]),
    ("delete", _pr_is_gone, []),
    ("delete", _pr_is_made_anew, [1]),
]
"""Before which question for the PR object, what happens, and which PR objects there are then."""


@pytest.mark.parametrize(("verb", "changed", "left"), MEANWHILE)
@rights
async def test_what_changes_while_it_looks_is_left(
    tmp_path: Path, refused: Refusals, verb: str, changed: Callable[[Place], Awaitable[None]], left: list[int]
) -> None:
    async with place(tmp_path, refused) as here:
        await here.made(1, "ImagePullBackOff")
        here.store.meanwhile = {(verb, "PR"): lambda: changed(here)}
        assert (await here.clean()).results == {Result.LEFT: 1}
        assert here.said == [(Result.LEFT, "shop-pr1")]
        assert await here.prs() == left

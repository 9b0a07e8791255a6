"""What deliveries leave in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.suite import with_metadata
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    START,
    A,
    B,
    C,
    VirtualClock,
    World,
    event,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import run, virtual_time

from greenroom.flows.intake import Intake, Result
from greenroom.local.storage.store import Store
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import REVIEW_APP, Kind, Manifest, Ref, name_of, ref_of, table, uid_of
from greenroom.model.pull import Action, PullEvent, PullRequest
from greenroom.ports import Listing, WatchEvent
from greenroom.runtime.informer import Informers

APP = review_app()
SHOP = Ref(REVIEW_APP, NAMESPACE, "shop")


async def results(here: World, *events: PullEvent) -> list[Result]:
    return [outcome.result for each in events for outcome in await here.intake.handle(each)]


@virtual_time
async def test_a_pull_request_gets_a_pr_object_that_its_review_app_owns(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        assert await results(here, event("opened")) == [Result.CREATED]
        pr = await here.pr()
        assert pr["spec"] == {"parentReviewApp": "shop", "prNumber": "7", "headCommitRef": A}
        (owner,) = pr["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("ReviewApp", "shop", True)


@virtual_time
async def test_a_push_a_close_and_a_reopening_are_followed(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.intake.handle(event("opened"))
        assert await results(here, event("synchronize", B, second=1, before=A)) == [Result.UPDATED]
        assert await here.prs() == {"shop-pr7": B}
        assert await results(here, event("closed", B, second=2)) == [Result.DELETED]
        assert await here.prs() == {}
        assert await results(here, event("reopened", B, second=3)) == [Result.CREATED]
        assert await here.prs() == {"shop-pr7": B}


@virtual_time
async def test_a_push_that_comes_after_the_close_brings_nothing_back(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.intake.handle(event("opened"))
        await here.intake.handle(event("closed", B, second=2))
        assert await results(here, event("synchronize", B, second=1, before=A)) == [Result.UNCHANGED]
        assert await results(here, event("synchronize", B, second=2, before=A)) == [Result.UNCHANGED]
        assert await here.prs() == {}


@virtual_time
async def test_a_close_of_a_pull_request_never_heard_of_is_remembered(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.intake.handle(event("closed", second=1))
        await here.intake.handle(event("opened"))
        assert await here.prs() == {}


@virtual_time
async def test_an_older_push_does_not_undo_a_newer_one(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        newer, older = event("synchronize", C, second=2, before=B), event("synchronize", B, second=1, before=A)
        assert await results(here, newer, older) == [Result.CREATED, Result.UNCHANGED]
        assert await here.prs() == {"shop-pr7": C}


@pytest.mark.parametrize("last", ["synchronize", "closed"])
def test_a_redelivery_writes_nothing(tmp_path: Path, last: str) -> None:
    async def redeliver() -> None:
        async with world(tmp_path, APP) as here:
            history = [event("opened"), event(last, B, second=1, before=A)]
            await results(here, *history)
            assert await here.writes(lambda: results(here, *history, *history)) == 0

    run(redeliver())


@virtual_time
async def test_variables_set_by_hand_outlive_a_push(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.intake.handle(event("opened"))
        await here.apply(pr_object(envVars=[{"name": "DEBUG", "value": "1"}]))
        await here.intake.handle(event("synchronize", B, second=1, before=A))
        pr = await here.pr()
        assert pr["spec"]["envVars"] == [{"name": "DEBUG", "value": "1"}]
        assert pr["spec"]["headCommitRef"] == B


@virtual_time
async def test_a_pr_object_made_by_hand_is_taken_over(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.apply(pr_object(A))
        assert await results(here, event("synchronize", B, before=A)) == [Result.UPDATED]
        assert await here.prs() == {"shop-pr7": B}


@virtual_time
async def test_every_review_app_of_the_repository_gets_its_own(tmp_path: Path) -> None:
    same = review_app(name="same", repository="https://github.com/shop/web.git/")
    other = review_app(name="other", repository="https://github.com/Shop/other")
    async with world(tmp_path, APP, same, other) as here:
        assert len(await here.intake.handle(event("opened"))) == 2
        assert await here.prs() == {"shop-pr7": A, "same-pr7": A}


@virtual_time
async def test_a_template_that_is_wrong_loses_no_delivery(tmp_path: Path) -> None:
    async with world(tmp_path, review_app("nonsense")) as here:
        assert await results(here, event("opened")) == [Result.CREATED]


@virtual_time
async def test_many_pull_requests_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        numbers = range(1, 51)
        deliveries = [
            *(event("opened", number=number) for number in numbers),
            *(event("closed", second=1, number=number) for number in numbers if number % 2),
        ]
        await asyncio.gather(*(here.intake.handle(each) for each in reversed(deliveries)))
        assert await here.prs() == {f"shop-pr{number}": A for number in numbers if number % 2 == 0}


@virtual_time
async def test_a_delivery_before_anything_is_known_is_refused_not_lost(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cluster.db", clock=VirtualClock())
    try:
        with pytest.raises(Unavailable):
            await Intake(store, Informers(store), VirtualClock()).handle(event("opened"))
    finally:
        store.close()


class Failing(Store):
    """A store that fails for the PR objects of one ReviewApp."""

    broken = ""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if self.broken and name_of(manifest).startswith(self.broken):
            raise Unavailable("the API server is down", retry_after=3.0)
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_one_review_app_that_fails_does_not_stop_the_others_and_a_redelivery_completes_it(tmp_path: Path) -> None:
    async with world(tmp_path, APP, review_app(name="zoo"), opened=Failing.open) as here:
        assert isinstance(here.store, Failing)
        here.store.broken = "shop-"
        with pytest.raises(Unavailable):
            await here.intake.handle(event("opened"))
        assert await here.prs() == {"zoo-pr7": A}
        here.store.broken = ""
        assert await results(here, event("opened")) == [Result.CREATED, Result.UNCHANGED]


class Interleaved(Store):
    """A store in which, after some more reads, something else happens."""

    reads = 0
    meanwhile: Callable[[], Awaitable[object]]

    async def get(self, ref: Ref) -> Manifest:
        try:
            return await super().get(ref)
        finally:
            self.reads -= 1
            if self.reads == 0:
                await self.meanwhile()


@pytest.mark.parametrize("reads", [1, 2])
@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (event("synchronize", C, second=2, before=B), {"shop-pr7": C}),
        (event("closed", B, second=2), {}),
    ],
)
def test_another_replica_that_is_told_something_newer_is_not_overwritten(
    tmp_path: Path, late: PullEvent, expected: dict[str, str], reads: int
) -> None:
    async def race() -> None:
        async with world(tmp_path, APP, opened=Interleaved.open) as here:
            assert isinstance(here.store, Interleaved)
            await here.intake.handle(event("opened"))
            other = Intake(here.store, here.informers, VirtualClock())
            here.store.meanwhile = lambda: other.handle(late)
            here.store.reads = reads
            await here.intake.handle(event("synchronize", B, second=1, before=A))
            assert await here.prs() == expected

    run(race())


class Forestalled(Store):
    """A store in which something else happens just before the next status is written, or an object deleted."""

    before_patch: Callable[[], Awaitable[object]] | None = None
    before_delete: Callable[[], Awaitable[object]] | None = None

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        meanwhile, self.before_patch = self.before_patch, None
        if meanwhile is not None:
            await meanwhile()
        return await super().patch_status(ref, status, resource_version=resource_version)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        meanwhile, self.before_delete = self.before_delete, None
        if meanwhile is not None:
            await meanwhile()
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
async def test_what_another_replica_remembers_of_a_later_close_is_not_overwritten(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Forestalled.open) as here:
        assert isinstance(here.store, Forestalled)
        other = Intake(here.store, here.informers, VirtualClock())
        here.store.before_patch = lambda: other.handle(event("closed", B, second=2))
        await here.intake.handle(event("closed", second=1))
        await here.intake.handle(event("synchronize", B, second=1, before=A))
        assert await here.prs() == {}
        app = await here.store.get(SHOP)
        assert table(app, "status", "closed") == {"7": f"2026-01-31T12:00:02Z closed::{B}"}


@virtual_time
async def test_a_pull_request_that_another_replica_reopens_meanwhile_keeps_its_environment(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Forestalled.open) as here:
        assert isinstance(here.store, Forestalled)
        await here.intake.handle(event("opened"))
        await settled()
        before = uid_of(await here.pr())
        other = Intake(here.store, here.informers, VirtualClock())
        here.store.before_delete = lambda: other.handle(event("reopened", B, second=2))
        assert await results(here, event("closed", second=1)) == [Result.UNCHANGED]
        assert await here.prs() == {"shop-pr7": B}
        assert uid_of(await here.pr()) == before


class Slow(Store):
    """A store in which every write takes a second less than the one before."""

    seconds = 10

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        self.seconds -= 1
        await asyncio.sleep(self.seconds)
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_deliveries_that_come_at_the_same_time_end_in_the_newest(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Slow.open) as here:
        deliveries = [event("opened"), event("synchronize", C, second=2, before=B), event("synchronize", B, second=1)]
        await asyncio.gather(*(here.intake.handle(each) for each in deliveries))
        assert await here.prs() == {"shop-pr7": C}


class History:
    """What happened to one pull request, in order; ``seconds`` between two events may be 0."""

    def __init__(self, number: int, steps: Sequence[tuple[str, int]]) -> None:
        self.number = number
        self.events: list[PullEvent] = []
        self._second, self._heads, self._open = 0, 1, True
        self._add("opened", 0)
        for what, seconds in steps:
            self._step(what, seconds)

    def _step(self, what: str, seconds: int) -> None:
        if what == "push" and self._open:
            self._heads += 1
            self._add("synchronize", seconds)
        elif what == "toggle":
            self._open = not self._open
            # Reopened and closed within a second cannot be told from closed and reopened.
            self._add("reopened" if self._open else "closed", seconds if self._open else 1)

    def _add(self, action: str, seconds: int) -> None:
        self._second += seconds
        before = self._sha(self._heads - 1) if action == "synchronize" else ""
        pull = PullRequest(REPOSITORY, self.number, self._sha(self._heads), self._open)
        self.events.append(PullEvent(Action(action), pull, START + timedelta(seconds=self._second), before))

    def _sha(self, head: int) -> str:
        return sha256(f"{self.number}/{head}".encode()).hexdigest()  # in no order that sorting would find


steps = st.lists(st.tuples(st.sampled_from(["push", "push", "toggle"]), st.integers(0, 1)), max_size=8)


def outcome_of(deliveries: Sequence[PullEvent]) -> dict[str, str]:
    async def deliver() -> dict[str, str]:
        with TemporaryDirectory() as folder:
            async with world(Path(folder), APP) as here:
                for each in deliveries:
                    await here.intake.handle(each)
                return await here.prs()

    return run(deliver())


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, min_size=1, max_size=3), st.randoms(use_true_random=False), st.floats(0, 0.6))
def test_any_order_repetition_and_loss_of_deliveries_ends_in_the_last_truth_that_came(
    histories: list[list[tuple[str, int]]], random: Random, lost: float
) -> None:
    delivered: list[PullEvent] = []
    expected = {}
    for number, history in enumerate(histories, start=1):
        events = History(number, history).events
        # Deliveries are lost by the second: of one with gaps nobody can say what came last.
        kept_seconds = {each.at for each in events if random.random() >= lost}
        kept = [each for each in events if each.at in kept_seconds]
        delivered += kept
        if kept and kept[-1].pull.open:
            expected[f"shop-pr{number}"] = kept[-1].pull.head
    shuffled = [*delivered, *(each for each in delivered if random.random() < 0.5)]
    random.shuffle(shuffled)
    assert outcome_of(shuffled) == expected


@settings(max_examples=30, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_with_gaps_within_a_second_the_order_of_deliveries_still_makes_no_difference(
    history: list[tuple[str, int]], random: Random
) -> None:
    events = [each for each in History(1, history).events if random.random() < 0.7]
    shuffled = random.sample(events, len(events))
    assert outcome_of(shuffled) == outcome_of(events)


@virtual_time
async def test_old_tombstones_are_cleared_away(tmp_path: Path) -> None:
    async with world(tmp_path, APP) as here:
        await here.intake.handle(event("closed", number=1))
        await here.intake.handle(event("closed", number=2, second=40 * 24 * 3600))
        await here.intake.handle(event("closed", number=3, second=40 * 24 * 3600))
        app = await here.store.get(SHOP)
        closed = table(app, "status", "closed")
        assert set(closed) == {"2", "3"}


@pytest.mark.parametrize("reads", [1, 2])
async def test_a_pr_object_that_another_replica_makes_meanwhile_for_something_newer_is_not_overwritten(
    tmp_path: Path, reads: int
) -> None:
    async with world(tmp_path, APP, opened=Interleaved.open) as here:
        assert isinstance(here.store, Interleaved)
        other = Intake(here.store, here.informers, VirtualClock())
        here.store.meanwhile = lambda: other.handle(event("synchronize", C, second=2, before=B))
        here.store.reads = reads
        await here.intake.handle(event("opened"))
        assert await here.prs() == {"shop-pr7": C}


async def test_a_review_app_that_is_being_deleted_gets_no_new_environment_and_its_old_ones_are_still_closed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, with_metadata(APP, finalizers=["example.com/keep"])) as here:
        await here.intake.handle(event("opened"))
        await here.store.delete(ref_of(APP))
        assert await results(here, event("synchronize", B, second=1, before=A)) == [Result.REFUSED]
        assert await here.prs() == {"shop-pr7": A}
        assert await results(here, event("closed", B, second=2)) == [Result.DELETED]


class Lagging(Store):
    """A store whose watches tell nothing while it is ``behind``."""

    behind = False

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        async for change in super().watch(kind, since=since, namespace=namespace, labels=labels):
            while self.behind:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
            yield change


def fall_behind(here: World) -> None:
    assert isinstance(here.store, Lagging)
    here.store.behind = True


@virtual_time
async def test_an_environment_whose_deletion_is_not_heard_of_yet_comes_back_with_the_next_delivery(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, APP, opened=Lagging.open) as here:
        await here.intake.handle(event("opened"))
        await settled()
        fall_behind(here)
        await here.store.delete(here.pr_ref())
        assert await results(here, event("opened")) == [Result.CREATED]
        assert await here.prs() == {"shop-pr7": A}


@virtual_time
async def test_a_pull_request_is_closed_whatever_somebody_wrote_that_is_not_heard_of_yet(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Lagging.open) as here:
        await here.intake.handle(event("opened"))
        await settled()
        fall_behind(here)
        await here.apply(pr_object(envVars=[{"name": "DEBUG", "value": "1"}]))
        assert await results(here, event("closed", second=1)) == [Result.DELETED]
        assert await here.prs() == {}


@virtual_time
async def test_a_close_is_remembered_next_to_those_that_are_not_heard_of_yet(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Lagging.open) as here:
        fall_behind(here)
        other = f"2026-01-31T12:00:00Z closed::{B}"
        await here.report(SHOP, {"closed": {"8": other}})
        await here.intake.handle(event("closed"))
        app = await here.store.get(SHOP)
        assert table(app, "status", "closed") == {"7": f"2026-01-31T12:00:00Z closed::{A}", "8": other}


@virtual_time
async def test_what_was_just_remembered_is_known_before_it_is_heard_of(tmp_path: Path) -> None:
    async with world(tmp_path, APP, opened=Lagging.open) as here:
        fall_behind(here)
        await here.intake.handle(event("closed"))
        assert table(here.informers.get(SHOP), "status", "closed").keys() == {"7"}


class CutOff(Store):
    """A store of which, while it is ``cut``, the ReviewApps can be neither listed nor watched."""

    cut = False

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        self._check(kind)
        return await super().list(kind, namespace=namespace, labels=labels)

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        self._check(kind)
        async for change in super().watch(kind, since=since, namespace=namespace, labels=labels):
            self._check(kind)
            yield change

    def _check(self, kind: Kind) -> None:
        if self.cut and kind == REVIEW_APP:
            raise Unavailable("no connection")


@virtual_time
async def test_a_delivery_is_refused_while_a_review_app_for_it_may_have_come_unseen(tmp_path: Path) -> None:
    known = review_app(name="known", repository="https://github.com/Shop/known")
    async with world(tmp_path, known, opened=CutOff.open) as here:
        assert isinstance(here.store, CutOff)
        assert await results(here, event("opened")) == []
        here.store.cut = True
        await here.apply(APP)
        await settled()
        with pytest.raises(Unavailable, match=r"no connection"):
            await here.intake.handle(event("opened"))
        here.store.cut = False
        await asyncio.sleep(60)
        assert await results(here, event("opened")) == [Result.CREATED]


@virtual_time
async def test_a_delivery_for_a_review_app_that_is_known_is_taken_though_new_ones_cannot_be_seen(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, APP, opened=CutOff.open) as here:
        assert isinstance(here.store, CutOff)
        here.store.cut = True
        await here.apply(review_app(name="other"))
        await settled()
        assert await results(here, event("opened")) == [Result.CREATED]

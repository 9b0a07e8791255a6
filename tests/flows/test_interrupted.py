"""Killed at any step and started again: the same end state, and nothing left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    World,
    config_map,
    deployment,
    event,
    gateway_route,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import run

from greenroom.local.storage.store import Store
from greenroom.model.manifest import EVENT, PR, RECEIVED_ANNOTATION, REVIEW_APP, Kind, Manifest, Ref, text
from greenroom.ports import Resource

P = ParamSpec("P")
T = TypeVar("T")

TIMES = {"creationTimestamp", "deletionTimestamp", "lastTransitionTime", RECEIVED_ANNOTATION}
VOLATILE = {"uid", "resourceVersion", "hash", "live"} | TIMES
"""The hashes of the inventory, too, are of objects that carry their owner's UID."""
CHILDREN = [
    Kind.of("v1", "ConfigMap"),
    Kind.of("apps/v1", "Deployment"),
    Kind.of("appmesh.k8s.aws/v1beta2", "GatewayRoute"),
]


def interruptible(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """May be cut off just before it does something, and just after."""

    @wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        store = args[0]
        assert isinstance(store, Interrupted)
        await store.step()
        result = await method(*args, **kwargs)
        await store.step()
        return result

    return wrapped


class Interrupted(Store):
    """A store at whose n-th step the task that uses it dies."""

    victim: asyncio.Task[None] | None = None
    steps_left = 0

    async def step(self) -> None:
        if self.victim is None:
            return
        if self.steps_left == 0:
            self.victim.cancel()
            await asyncio.Event().wait()
        self.steps_left -= 1
        await asyncio.sleep(0)

    @interruptible
    async def get(self, ref: Ref) -> Manifest:
        return await super().get(ref)

    @interruptible
    async def resource(self, kind: Kind) -> Resource:
        return await super().resource(kind)

    @interruptible
    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        return await super().apply(manifest, manager=manager, force=force)

    @interruptible
    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)

    @interruptible
    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        return await super().patch_status(ref, status, resource_version=resource_version)


Work = Callable[[World], Awaitable[object]]


async def die_at(step: int, store: Interrupted, work: Awaitable[object]) -> bool:
    """Whether the work died at that step; if not, it was done before."""

    async def doing() -> None:
        await work

    store.steps_left, store.victim = step, asyncio.create_task(doing())
    with suppress(asyncio.CancelledError):
        await store.victim
    died = store.victim.cancelled()
    store.victim = None
    return died


async def state_of(here: World) -> list[Any]:
    """Everything that is stored, without what is never twice the same."""
    listings = [await here.store.list(kind) for kind in (*CHILDREN, PR, REVIEW_APP)]
    told = sorted(text(each, "reason") for each in (await here.store.list(EVENT)).items)
    return [told, *([_lasting(each) for each in listing.items] for listing in listings)]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in VOLATILE}
    return [_lasting(item) for item in value] if isinstance(value, list | tuple) else value


async def outcome(folder: Path, before: Work, work: Work, step: int | None) -> tuple[list[Any], bool]:
    """The state after the work, which dies at a step and is then begun anew; and whether it died."""
    app = review_app(config_map(), config_map("b-{{PR_NUMBER}}"), deployment(), gateway_route())
    folder.mkdir()
    async with world(folder, app, opened=Interrupted.open) as here:
        assert isinstance(here.store, Interrupted)
        await before(here)
        await settled()
        died = step is not None and await die_at(step, here.store, work(here))
        await settled()
        if died or step is None:
            await work(here)
        await settled()
        assert await here.writes(lambda: work(here)) == 0
        return await state_of(here), died


def check(folder: Path, before: Work, work: Work) -> None:
    """Die at each step in turn, until there is no more step to die at."""
    (events, *expected), _ = run(outcome(folder / "undisturbed", before, work, None))
    step, died = 0, True
    while died:
        found, died = run(outcome(folder / str(step), before, work, step))
        told, *found = found
        assert set(told) <= set(events), f"after dying at step {step}"  # an Event that was not written yet is lost
        assert found == expected, f"after dying at step {step}"
        step += 1
    assert step > 1


async def nothing(_: World) -> None:
    pass


async def opened(here: World) -> None:
    await here.intake.handle(event("opened"))


async def reconciled(here: World) -> None:
    await here.reconcile.reconcile(here.pr_ref())


def in_turn(*works: Work) -> Work:
    async def one_after_the_other(here: World) -> None:
        for work in works:
            await work(here)
            await settled()

    return one_after_the_other


async def pushed(here: World) -> None:
    await here.apply(pr_object(B))


async def template_edited(here: World) -> None:
    await here.apply(review_app(config_map(text="new"), deployment(), gateway_route()))


async def going(here: World) -> None:
    """Deleted, and held by somebody's finalizer, so that the garbage collector does not come first."""
    pr = pr_object()
    await here.apply({**pr, "metadata": {**pr["metadata"], "finalizers": ["example.com/held"]}})
    await here.store.delete(here.pr_ref())


async def remembered_as_closed(here: World) -> None:
    await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": {"7": f"2026-01-31T12:00:01Z closed::{A}"}})


def test_opening_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    check(tmp_path, nothing, opened)


def test_a_push_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    async def push(here: World) -> None:
        await here.intake.handle(event("synchronize", B, second=1))

    check(tmp_path, opened, push)


def test_closing_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    async def close(here: World) -> None:
        await here.intake.handle(event("closed", second=1))

    check(tmp_path, opened, close)


def test_making_an_environment_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    check(tmp_path, opened, reconciled)


def test_changing_an_environment_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    check(tmp_path, in_turn(opened, reconciled, pushed, template_edited), reconciled)


def test_removing_an_environment_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    check(tmp_path, in_turn(opened, reconciled, going), reconciled)


def test_removing_what_was_remembered_as_closed_survives_being_cut_off_anywhere(tmp_path: Path) -> None:
    check(tmp_path, in_turn(opened, reconciled, remembered_as_closed), reconciled)

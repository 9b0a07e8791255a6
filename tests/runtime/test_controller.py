from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from tests.virtual import now, virtual_time

from greenroom.model.errors import Invalid, Throttled, Unavailable
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.controller import Controller
from greenroom.runtime.monitor import Monitor, Outcome

Reconcile = Callable[[str], Awaitable[float | None]]


@asynccontextmanager
async def running(reconcile: Reconcile, *, workers: int = 4, timeout: float = 120.0) -> AsyncIterator[Controller[str]]:
    controller = Controller("test", reconcile, workers=workers, timeout=timeout)
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Journal:
    """A reconcile that notes who was handled when, and does what it is told in ``plan``, one entry a call."""

    def __init__(self, *plan: float | None | BaseException) -> None:
        self._plan = list(plan)
        self.entries: list[tuple[str, float]] = []

    async def __call__(self, key: str) -> float | None:
        self.entries.append((key, now()))
        outcome = self._plan.pop(0) if self._plan else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def times(self) -> list[float]:
        return [round(time, 6) for _, time in self.entries]

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.entries]


@virtual_time
async def test_a_key_added_many_times_before_its_turn_is_handled_once() -> None:
    journal = Journal()
    async with running(journal) as controller:
        for _ in range(5):
            controller.add("a")
        await asyncio.sleep(1)

    assert journal.keys == ["a"]


@virtual_time
async def test_a_key_added_while_it_is_handled_is_handled_again_and_never_twice_at_once() -> None:
    spans: list[tuple[float, float]] = []

    async def slow(_key: str) -> None:
        began = now()
        await asyncio.sleep(10)
        spans.append((began, now()))

    async with running(slow) as controller:
        controller.add("a")
        await asyncio.sleep(3)
        controller.add("a")
        controller.add("a")
        await asyncio.sleep(60)

    assert spans == [(0, 10), (10, 20)]


@virtual_time
async def test_keys_are_handled_side_by_side_up_to_the_number_of_workers() -> None:
    done: list[tuple[str, float]] = []

    async def slow(key: str) -> None:
        await asyncio.sleep(10)
        done.append((key, now()))

    async with running(slow, workers=2) as controller:
        for key in "abc":
            controller.add(key)
        await asyncio.sleep(60)

    assert done == [("a", 10), ("b", 10), ("c", 20)]


@virtual_time
async def test_a_reconcile_is_called_again_after_the_seconds_it_asks_for() -> None:
    journal = Journal(30.0, 0.0, None)
    async with running(journal) as controller:
        controller.add("a")
        await asyncio.sleep(100)

    assert journal.times == [0, 30, 30]


@virtual_time
async def test_of_a_later_and_a_sooner_add_the_sooner_wins() -> None:
    journal = Journal()
    async with running(journal) as controller:
        controller.add("a", after=50)
        controller.add("a", after=5)
        controller.add("a", after=20)
        controller.add("b", after=50)
        controller.add("b")
        await asyncio.sleep(100)

    assert journal.entries == [("b", 0), ("a", 5)]


@virtual_time
async def test_the_back_off_doubles_up_to_a_minute() -> None:
    journal = Journal(*[Unavailable("no")] * 14)
    async with running(journal) as controller:
        controller.add("a")
        await asyncio.sleep(600)

    waits = [round(after - before, 6) for before, after in zip(journal.times, journal.times[1:], strict=False)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60]


@virtual_time
async def test_success_resets_the_back_off() -> None:
    journal = Journal(*[Unavailable("no")] * 10, 100.0, Unavailable("no"))
    async with running(journal) as controller:
        controller.add("a")
        await asyncio.sleep(300)

    failed_again, retried = journal.times[-2:]
    assert round(retried - failed_again, 6) == 0.05


@virtual_time
async def test_the_back_off_of_one_key_is_its_own() -> None:
    seen: list[tuple[str, float]] = []

    async def reconcile(key: str) -> None:
        seen.append((key, now()))
        if key == "bad" or len(seen) < 8:
            raise Unavailable("no")

    async with running(reconcile) as controller:
        controller.add("bad")
        await asyncio.sleep(0.2)
        controller.add("good")
        await asyncio.sleep(0.04)

    assert ("good", 0.2) in seen


@virtual_time
async def test_the_cluster_is_left_alone_for_as_long_as_it_asks() -> None:
    journal = Journal(Throttled("slow down", retry_after=7), Throttled("slow down", retry_after=0.01))
    async with running(journal) as controller:
        controller.add("a")
        await asyncio.sleep(60)

    assert journal.times == [0, 7, 7.1]


@virtual_time
async def test_a_change_is_not_kept_waiting_by_a_back_off() -> None:
    journal = Journal(Unavailable("no", retry_after=50))
    async with running(journal) as controller:
        controller.add("a")
        await asyncio.sleep(3)
        controller.add("a")
        await asyncio.sleep(100)

    assert journal.times == [0, 3]


@virtual_time
async def test_a_hanging_reconcile_is_ended_and_tried_again_and_stops_nobody_else() -> None:
    seen: list[tuple[str, float]] = []

    async def reconcile(key: str) -> None:
        seen.append((key, now()))
        if len(seen) == 1:
            await asyncio.Event().wait()

    async with running(reconcile, workers=2, timeout=20) as controller:
        controller.add("hangs")
        await asyncio.sleep(1)
        controller.add("works")
        await asyncio.sleep(60)

    assert seen == [("hangs", 0), ("works", 1), ("hangs", 20.05)]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("bug"), Invalid("wrong"), TimeoutError(), asyncio.CancelledError(), ExceptionGroup("g", [OSError()])],
)
def test_no_error_ends_the_only_worker(error: BaseException) -> None:
    journal = Journal(error)

    @virtual_time
    async def scenario() -> None:
        async with running(journal, workers=1) as controller:
            controller.add("a")
            controller.add("b")
            await asyncio.sleep(60)

    scenario()
    assert journal.keys == ["a", "b", "a"]


@virtual_time
async def test_stopping_cancels_and_awaits_what_runs_and_leaves_nothing_behind() -> None:
    cleaned_up: list[str] = []

    async def reconcile(key: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(2)
            cleaned_up.append(key)

    async with running(reconcile, workers=2) as controller:
        controller.add("a")
        controller.add("b")
        controller.add("waits")
        controller.add("later", after=30)
        await asyncio.sleep(1)

    controller.add("too late", after=30)
    assert sorted(cleaned_up) == ["a", "b"]


@virtual_time
async def test_the_first_failure_is_told_once_and_a_crash_with_its_traceback() -> None:
    away = Unavailable("cluster is away")
    journal = Journal(away, away, KeyError("bug"), TimeoutError("its own, not ours"))
    with capture_logs([merge_contextvars]) as logs:
        async with running(journal) as controller:
            controller.add("a")
            await asyncio.sleep(60)

    assert [(line["log_level"], line["key"], line.get("error"), "exc_info" in line) for line in logs] == [
        ("info", "a", "cluster is away", False),
        ("debug", "a", "cluster is away", False),
        ("error", "a", None, True),
        ("error", "a", None, True),
    ]


def test_the_back_off_neither_overflows_nor_waits_before_any_failure() -> None:
    assert Backoff().delay(0) == 0
    assert Backoff().delay(1_000_000) == 60


@settings(max_examples=60, deadline=None)
@given(
    adds=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 1.0, 5.0]), st.sampled_from([0.0, 0.5, 3.0])),
        max_size=20,
    ),
    workers=st.integers(1, 3),
)
@virtual_time
async def test_any_add_is_followed_by_a_reconcile_that_began_after_it(
    adds: list[tuple[str, float, float]], workers: int
) -> None:
    """Each add is (key, after, seconds until the next add); reconciles take a second."""
    began: dict[str, float] = {}
    busy: set[str] = set()

    async def reconcile(key: str) -> None:
        assert key not in busy
        busy.add(key)
        began[key] = now()
        await asyncio.sleep(1)
        busy.remove(key)

    wanted: dict[str, float] = {}
    async with running(reconcile, workers=workers) as controller:
        for key, after, pause in adds:
            controller.add(key, after=after)
            wanted[key] = now()
            await asyncio.sleep(pause)
        await asyncio.sleep(100)

    assert began.keys() == wanted.keys()
    assert all(began[key] >= wanted[key] for key in wanted)


class Counts(Monitor):
    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []
        self.outcomes: list[Outcome] = []

    def added(self, *, waiting: int) -> None:
        self.entries.append(("waiting", waiting))

    def retried(self) -> None:
        self.entries.append(("retried", 0))

    def began(self, waited: float, *, waiting: int) -> None:
        self.entries.append(("waited", round(waited, 6)))

    def ended(self, seconds: float, outcome: Outcome) -> None:
        self.entries.append(("took", round(seconds, 6)))
        self.outcomes.append(outcome)


@virtual_time
async def test_a_monitor_is_told_how_long_keys_wait_and_take_and_how_they_end() -> None:
    counts = Counts()
    plan: list[float | None | Exception] = [Unavailable("away"), 60.0, None]

    async def reconcile(_key: str) -> float | None:
        await asyncio.sleep(2)
        outcome = plan.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    controller = Controller("test", reconcile, workers=1, monitor=counts)
    task = asyncio.create_task(controller.run())
    controller.add("a")
    controller.add("b")
    await asyncio.sleep(10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert counts.outcomes == [Outcome.ERROR, Outcome.REQUEUE_AFTER, Outcome.SUCCESS]
    assert counts.entries[:6] == [
        *(("waiting", 1), ("waiting", 2), ("waited", 0), ("retried", 0), ("took", 2), ("waited", 2))
    ]


@virtual_time
async def test_a_controller_whose_reconcile_cannot_even_be_cancelled_is_stuck_and_one_that_is_slow_is_not() -> None:
    released = asyncio.Event()

    async def stubborn(_key: str) -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async with running(stubborn, timeout=10) as controller:
        assert not controller.is_stuck()
        controller.add("a")
        await asyncio.sleep(19)
        assert not controller.is_stuck()
        await asyncio.sleep(2)
        assert controller.is_stuck()
        released.set()
        await asyncio.sleep(1)
        assert not controller.is_stuck()


@virtual_time
async def test_whoever_logs_within_a_reconcile_names_the_key() -> None:
    async def reconcile(_key: str) -> None:
        structlog.get_logger().info("hello")

    with capture_logs([merge_contextvars]) as logs:
        async with running(reconcile) as controller:
            controller.add("a")
            await asyncio.sleep(1)
    assert [(line["event"], line["controller"], line["key"]) for line in logs] == [("hello", "test", "a")]

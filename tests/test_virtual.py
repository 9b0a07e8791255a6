from __future__ import annotations

import asyncio

import pytest
from tests import virtual


def test_a_year_of_sleep_takes_no_time() -> None:
    async def sleep() -> float:
        await asyncio.sleep(365 * 24 * 3600.0)
        return virtual.now()

    assert virtual.run(sleep()) == 365 * 24 * 3600.0


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(virtual.Deadlock):
        virtual.run(wait())


def test_a_task_left_behind_fails_the_test() -> None:
    async def leave() -> None:
        leave.task = asyncio.create_task(asyncio.sleep(1))  # type: ignore[attr-defined]

    with pytest.raises(virtual.Leak, match="sleep"):
        virtual.run(leave())


def test_a_timer_left_behind_fails_the_test() -> None:
    async def leave() -> None:
        asyncio.get_running_loop().call_later(60, print)

    with pytest.raises(virtual.Leak, match="print"):
        virtual.run(leave())

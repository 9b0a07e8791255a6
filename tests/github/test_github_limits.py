"""Our own limits, and how long GitHub's refusals are heeded."""

from __future__ import annotations

import asyncio

import pytest
from tests import virtual
from tests.virtual import virtual_time

from greenroom.adapters.github_limits import Throttles, WriteBudget
from greenroom.model.errors import ForgeThrottled


async def written(budget: WriteBudget, times: int) -> int:
    """How many of ``times`` writes went through."""
    done = 0
    for _ in range(times):
        try:
            async with budget.turn():
                done += 1
        except ForgeThrottled:
            break
    return done


@virtual_time
async def test_eighty_writes_a_minute_and_five_hundred_an_hour() -> None:
    budget, counts = WriteBudget(), []
    for minute in range(61):
        await asyncio.sleep(minute * 60 - virtual.now())
        counts.append(await written(budget, 100))
    assert counts == [80, 80, 80, 80, 80, 80, 20, *[0] * 53, 80]


@virtual_time
async def test_the_next_write_is_told_when_it_may_come() -> None:
    budget = WriteBudget()
    await written(budget, 80)
    await asyncio.sleep(10)
    with pytest.raises(ForgeThrottled, match="our own limit") as caught:
        async with budget.turn():
            pass
    assert caught.value.retry_after == 50
    await asyncio.sleep(50)
    assert await written(budget, 1) == 1


@virtual_time
async def test_a_short_wait_is_waited_for() -> None:
    budget = WriteBudget()
    await written(budget, 80)
    await asyncio.sleep(58.5)
    assert await written(budget, 1) == 1
    assert virtual.now() == 60


@virtual_time
async def test_writes_come_one_at_a_time() -> None:
    budget, running, most = WriteBudget(), 0, 0

    async def write() -> None:
        nonlocal running, most
        async with budget.turn():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1

    await asyncio.gather(*[write() for _ in range(20)])
    assert most == 1
    assert virtual.now() == pytest.approx(2)


@virtual_time
async def test_a_write_that_fails_or_is_cancelled_counts_and_lets_others_pass() -> None:
    budget = WriteBudget((2, 60.0))
    with pytest.raises(ZeroDivisionError):
        async with budget.turn():
            raise ZeroDivisionError
    task = asyncio.create_task(_forever(budget))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(1)
    assert await written(budget, 1) == 0


@virtual_time
async def test_a_refusal_is_heeded_until_it_is_over() -> None:
    throttles = Throttles()
    throttles.hold("token", 30.0)
    throttles.hold("token", 10.0)  # does not shorten it
    throttles.check("installation 7")
    await asyncio.sleep(29)
    with pytest.raises(ForgeThrottled) as caught:
        throttles.check("token")
    assert caught.value.retry_after == 1
    await asyncio.sleep(1)
    throttles.check("token")


@virtual_time
async def test_a_refusal_without_a_time_is_heeded_longer_each_time() -> None:
    throttles = Throttles()
    assert [throttles.hold("token", None) for _ in range(6)] == [60, 120, 240, 480, 900, 900]
    throttles.passed("token")
    assert throttles.hold("token", None) == 60


async def _forever(budget: WriteBudget) -> None:
    async with budget.turn():
        await asyncio.Event().wait()

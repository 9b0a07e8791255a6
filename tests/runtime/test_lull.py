from __future__ import annotations

import asyncio

import pytest
from tests.virtual import now, virtual_time

from greenroom.runtime.lull import Lull


async def work(lull: Lull[str], seconds: float) -> float:
    async with lull.urgent():
        await asyncio.sleep(seconds)
    return now()


@virtual_time
async def test_nobody_waits_while_there_is_nothing_urgent() -> None:
    await Lull[str](slots=1, longest=10).come("a")
    assert now() == 0


@virtual_time
async def test_what_can_wait_comes_after_all_that_cannot() -> None:
    lull = Lull[str](slots=2, longest=10)
    working = [asyncio.create_task(work(lull, 1)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(lull.come("a"), lull.come("b"))
    assert now() == 3
    assert await asyncio.gather(*working) == [1, 1, 2, 2, 3]


@virtual_time
async def test_it_does_not_wait_for_ever() -> None:
    lull = Lull[str](slots=1, longest=2)
    working = asyncio.create_task(work(lull, 60))
    await asyncio.sleep(0)
    await lull.come("a")
    assert now() == 2
    await working


@virtual_time
async def test_one_that_is_to_hurry_waits_no_longer_and_the_others_do() -> None:
    lull = Lull[str](slots=1, longest=60)
    working = asyncio.create_task(work(lull, 5))
    await asyncio.sleep(0)
    hurried, other = (asyncio.create_task(lull.come(key)) for key in "ab")
    await asyncio.sleep(1)
    lull.hurry("a")
    lull.hurry("one that does not wait")
    await hurried
    assert now() == 1
    await other
    assert now() == 5
    await working


@virtual_time
async def test_work_that_fails_or_is_cancelled_before_its_turn_holds_up_nobody() -> None:
    lull = Lull[str](slots=1, longest=60)
    with pytest.raises(ZeroDivisionError):
        async with lull.urgent():
            raise ZeroDivisionError
    working, waiting = (asyncio.create_task(work(lull, 1)) for _ in range(2))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await lull.come("a")
    assert now() == 1
    await working

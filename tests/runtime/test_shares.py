from __future__ import annotations

import asyncio

import pytest
from tests.virtual import now, virtual_time

from greenroom.runtime.shares import Shares


async def hold(shares: Shares[str], key: str, seconds: float) -> float:
    """Answers when it was let in."""
    async with shares.place(key):
        began = now()
        await asyncio.sleep(seconds)
    return began


def holders(shares: Shares[str], key: str, count: int, seconds: float) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(hold(shares, key, seconds)) for _ in range(count)]


@virtual_time
async def test_one_that_is_alone_gets_its_places_in_order() -> None:
    assert await asyncio.gather(*holders(Shares(alone=2), "a", 5, 1)) == [0, 0, 1, 1, 2]


@virtual_time
async def test_whoever_holds_its_places_for_ever_leaves_some_to_each_of_many_others() -> None:
    shares = Shares[str](alone=8)
    hanging = [task for key in "abc" for task in holders(shares, key, 100, 3600)]
    await asyncio.sleep(1)
    for key in "defgh":
        assert await hold(shares, key, 1) == now() - 1
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


@virtual_time
async def test_places_that_are_given_back_even_out() -> None:
    shares = Shares[str](alone=6)
    first = holders(shares, "a", 60, 1)
    await asyncio.sleep(0.5)
    second = await asyncio.gather(*holders(shares, "b", 12, 1))
    assert second[-1] <= 3.5  # of twelve places four each, and four free
    await asyncio.gather(*first)


@virtual_time
async def test_work_that_fails_or_is_cancelled_at_any_moment_gives_its_place_back() -> None:
    shares = Shares[str](alone=1)
    with pytest.raises(ZeroDivisionError):
        async with shares.place("a"):
            raise ZeroDivisionError
    working, waiting, admitted, gone = holders(shares, "a", 4, 1)
    await asyncio.sleep(0.5)
    waiting.cancel()
    await working
    admitted.cancel()  # it was let in, and does not know yet
    gone.cancel()
    await asyncio.gather(waiting, admitted, gone, return_exceptions=True)
    assert await asyncio.gather(*holders(shares, "a", 2, 1)) == [1, 2]


@virtual_time
async def test_one_that_is_cancelled_when_a_place_is_given_back_is_passed_over() -> None:
    shares = Shares[str](alone=1)
    working, cancelled, last = holders(shares, "a", 3, 1)
    await asyncio.sleep(0.5)
    working.cancel()
    cancelled.cancel()
    assert await last == 0.5
    await asyncio.gather(working, cancelled, return_exceptions=True)

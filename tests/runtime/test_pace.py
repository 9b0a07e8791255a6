from __future__ import annotations

import asyncio

from tests.virtual import now, virtual_time

from greenroom.runtime.pace import Pace


async def turns(pace: Pace[str], keys: str) -> list[tuple[str, float]]:
    """When each key has its turn, of keys that all ask now."""
    journal: list[tuple[str, float]] = []

    async def take(key: str) -> None:
        while (seconds := pace.wait(key, "work")) > 0:  # noqa: ASYNC110 - it is no event that is waited for
            await asyncio.sleep(seconds)
        journal.append((key, round(now(), 3)))

    await asyncio.gather(*map(take, keys))
    return journal


@virtual_time
async def test_the_first_go_at_once_and_the_others_at_the_rate_in_order() -> None:
    expected = [("a", 0), ("b", 0), ("c", 0), ("d", 0.5), ("e", 1), ("f", 1.5)]
    assert await turns(Pace(rate=2, burst=3), "abcdef") == expected


@virtual_time
async def test_who_asks_too_early_keeps_its_turn_whatever_it_is_for() -> None:
    pace: Pace[str] = Pace(rate=1, burst=1)
    assert pace.wait("a", "1") == 0.0
    assert [pace.wait("b", "1"), pace.wait("b", "2"), pace.wait("c", "1")] == [1.0, 1.0, 2.0]
    await asyncio.sleep(1)
    assert [pace.wait("b", "2"), pace.wait("c", "1")] == [0.0, 1.0]


@virtual_time
async def test_who_had_its_turn_may_try_again_and_needs_another_for_other_work() -> None:
    pace: Pace[str] = Pace(rate=1, burst=1)
    assert [pace.wait("a", "1"), pace.wait("b", "1"), pace.wait("a", "1")] == [0.0, 1.0, 0.0]
    assert [pace.wait("a", "2"), pace.wait("a", "1")] == [2.0, 0.0]


@virtual_time
async def test_after_a_pause_there_is_room_for_a_burst_and_no_more() -> None:
    pace: Pace[str] = Pace(rate=1, burst=2)
    assert await turns(pace, "abc") == [("a", 0), ("b", 0), ("c", 1)]
    await asyncio.sleep(99)
    assert await turns(pace, "def") == [("d", 100), ("e", 100), ("f", 101)]


@virtual_time
async def test_a_key_that_is_forgotten_asks_anew() -> None:
    pace: Pace[str] = Pace(rate=1, burst=1)
    assert [pace.wait("a", "1"), pace.wait("b", "1")] == [0.0, 1.0]
    for key in "ab":
        pace.forget(key)
    await asyncio.sleep(1)
    assert [pace.wait("b", "1"), pace.wait("a", "1")] == [1.0, 2.0]

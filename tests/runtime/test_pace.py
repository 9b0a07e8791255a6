from __future__ import annotations

import asyncio

from tests.virtual import now, virtual_time

from greenroom.runtime.pace import Pace


class Journal:
    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []

    def __call__(self, key: str) -> None:
        self.entries.append((key, round(now(), 3)))


@virtual_time
async def test_the_first_go_at_once_and_the_others_at_the_rate_in_order() -> None:
    journal = Journal()
    pace = Pace(journal, rate=2, burst=3)
    for key in "abcdef":
        pace.add(key)
    await asyncio.sleep(10)
    assert journal.entries == [("a", 0), ("b", 0), ("c", 0), ("d", 0.5), ("e", 1), ("f", 1.5)]


@virtual_time
async def test_what_waits_is_not_added_twice_and_what_went_may_come_again() -> None:
    journal = Journal()
    pace = Pace(journal, rate=1, burst=1)
    for key in "aabba":
        pace.add(key)
    await asyncio.sleep(10)
    assert journal.entries == [("a", 0), ("a", 1), ("b", 2)]


@virtual_time
async def test_after_a_pause_there_is_room_for_a_burst_and_no_more() -> None:
    journal = Journal()
    pace = Pace(journal, rate=1, burst=2)
    for key in "abc":
        pace.add(key)
    await asyncio.sleep(100)
    for key in "def":
        pace.add(key)
    await asyncio.sleep(10)
    assert journal.entries == [("a", 0), ("b", 0), ("c", 1), ("d", 100), ("e", 100), ("f", 101)]


@virtual_time
async def test_when_it_is_closed_nothing_more_goes() -> None:
    journal = Journal()
    pace = Pace(journal, rate=1, burst=1)
    for key in "abc":
        pace.add(key)
    pace.close()
    await asyncio.sleep(10)
    assert journal.entries == [("a", 0)]

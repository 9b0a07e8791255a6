from __future__ import annotations

import asyncio

from tests.virtual import now, virtual_time

from greenroom.runtime.backoff import Backoff
from greenroom.runtime.repeats import Repeats


def repeats() -> Repeats[str]:
    return Repeats(free=2, backoff=Backoff(base=1, cap=8), quiet=20)


async def moments(made: Repeats[str], key: str, times: int) -> list[float]:
    """When something is done that is wanted all the time."""
    journal = []
    for _ in range(times):
        await asyncio.sleep(made.wait(key))
        made.done(key)
        journal.append(now())
    return journal


@virtual_time
async def test_the_first_repetitions_are_at_once_and_the_others_ever_later_up_to_a_limit() -> None:
    assert await moments(repeats(), "a", 9) == [0, 0, 0, 1, 3, 7, 15, 23, 31]


@virtual_time
async def test_one_key_waits_for_no_other() -> None:
    made = repeats()
    await moments(made, "a", 5)
    assert (made.wait("a") > 0, made.wait("b")) == (True, 0.0)


@virtual_time
async def test_it_counts_as_too_often_until_it_was_not_needed_for_a_while_and_is_forgotten_then() -> None:
    made = repeats()
    await moments(made, "a", 2)
    assert made.lasting("a") == 0.0
    await moments(made, "b", 4)
    assert made.lasting("b") == 20.0
    await asyncio.sleep(19)
    assert made.lasting("b") == 1.0
    await asyncio.sleep(1)
    assert made.lasting("b") == 0.0
    assert await moments(made, "b", 4) == [21, 21, 21, 22]


@virtual_time
async def test_what_was_forgotten_keeps_nothing_of_what_came_later() -> None:
    made = repeats()
    await moments(made, "a", 3)
    await asyncio.sleep(15)
    await moments(made, "b", 3)
    await moments(made, "a", 1)
    await asyncio.sleep(10)
    assert (made.lasting("a"), made.lasting("b")) == (10.0, 10.0)

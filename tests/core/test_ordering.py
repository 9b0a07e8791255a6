"""Late, repeated and lost deliveries: what is believed in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.ordering import TOMBSTONE_LIMIT, Fact, Knowledge, join, outdated

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B, C = "c" * 40, "a" * 40, "b" * 40  # in no order that sorting would find


def known(*facts: Fact, second: int = 0) -> Knowledge:
    return Knowledge(START + timedelta(seconds=second), frozenset(facts))


OPENED = Fact("opened", A)
PUSHED = Fact("synchronize", B, A)
PUSHED_AGAIN = Fact("synchronize", C, B)
CLOSED = Fact("closed", B)
REOPENED = Fact("reopened", B)


@pytest.mark.parametrize(
    ("facts", "head"),
    [
        ([OPENED], A),
        ([OPENED, PUSHED], B),
        ([OPENED, PUSHED, PUSHED_AGAIN], C),
        ([PUSHED, PUSHED_AGAIN], C),
        ([OPENED, PUSHED_AGAIN], C),
        ([PUSHED, CLOSED, REOPENED], B),
        ([CLOSED, REOPENED, PUSHED_AGAIN], C),
    ],
)
def test_of_pushes_in_one_second_the_last_of_the_chain_counts(facts: list[Fact], head: str) -> None:
    assert known(*facts).is_open
    assert known(*facts).head == head


def test_heads_that_went_round_in_a_circle_have_an_answer() -> None:
    there, back = Fact("synchronize", B, A), Fact("synchronize", A, B)
    assert known(there, back).head == known(back, there).head


@pytest.mark.parametrize(
    ("facts", "is_open"),
    [
        ([OPENED, CLOSED], False),
        ([PUSHED, CLOSED], False),
        ([CLOSED, REOPENED], True),
        ([REOPENED, Fact("merged", B)], False),
    ],
)
def test_of_one_second_the_close_counts_unless_it_was_reopened(facts: list[Fact], is_open: bool) -> None:
    assert known(*facts).is_open is is_open


def test_a_later_second_beats_an_earlier_one() -> None:
    closed, late_push = known(CLOSED, second=5), known(PUSHED, second=4)
    assert join(late_push, closed) == closed
    assert join(known(REOPENED, second=6), closed, None).is_open


facts = st.sampled_from([OPENED, PUSHED, PUSHED_AGAIN, CLOSED, REOPENED, Fact("merged", C)])
knowledge = st.builds(lambda fact, second: known(fact, second=second), facts, st.integers(0, 2))


@given(st.lists(knowledge, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(told: list[Knowledge], random: Random) -> None:
    again = [*told, *told]
    random.shuffle(again)
    assert reduce(join, again) == reduce(join, told)


@given(st.lists(knowledge, min_size=1, max_size=8))
def test_what_is_written_down_is_read_back(told: list[Knowledge]) -> None:
    belief = reduce(join, told)
    assert Knowledge.parse(str(belief)) == belief


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z opened", "x opened::a", "🌿"]
)
def test_what_somebody_else_wrote_is_nothing_known(text: str) -> None:
    assert Knowledge.parse(text) is None


def test_old_unreadable_and_too_many_tombstones_go() -> None:
    recent = {str(n): str(known(CLOSED, second=n)) for n in range(TOMBSTONE_LIMIT)}
    old = {"old": str(known(CLOSED, second=-31 * 24 * 3600)), "broken": "?"}
    assert outdated(recent) == set()
    assert outdated(recent | old) == {"old", "broken"}
    assert outdated(recent | {"1000": str(known(CLOSED, second=1000))}) == {"0"}

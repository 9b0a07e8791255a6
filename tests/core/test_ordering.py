"""Late, repeated and lost deliveries: what is believed in the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.ordering import TOMBSTONE_LIMIT, Fact, Knowledge, join, join_seen, outdated
from greenroom.model.pull import APPROVED, WITHDRAWN, Action, Mark, PullEvent, PullRequest, Traits

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


# Traits, marks and readings

LABELS = ("pr-env", "bug")
HOSTILE = [
    "",
    "{",
    " {",
    "a {b} :c:",
    '"\\',
    "\n2026-01-31T12:00:00Z opened::a",
    "{{PR_NUMBER}}",
    "\x1b[2J",
    "🌿\u202e",
    "\0",
]
titles = st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=20)
traits = st.builds(
    Traits,
    title=titles,
    branch=titles,
    author=titles,
    is_draft=st.booleans(),
    is_fork=st.booleans(),
    labels=st.frozensets(st.sampled_from(LABELS)),
)
marks = st.builds(
    Mark,
    at=st.integers(0, 2).map(lambda second: START + timedelta(seconds=second)),
    what=st.sampled_from([APPROVED, WITHDRAWN]),
    commit=st.sampled_from([A, B]),
    by=titles,
)


@st.composite
def events(draw: st.DrawFn, seconds: int = 2) -> PullEvent:
    action = draw(st.sampled_from(Action))
    is_open = action is not Action.CLOSED and (action is not Action.SEEN or draw(st.booleans()))
    pull = PullRequest("https://x", 7, draw(st.sampled_from([A, B, C])), is_open, draw(st.none() | traits))
    return PullEvent(
        action=action,
        pull=pull,
        at=START + timedelta(seconds=draw(st.integers(0, seconds))),
        before=draw(st.sampled_from([A, B])) if action is Action.SYNCHRONIZE else "",
        merged=not is_open and draw(st.booleans()),
        label=draw(st.sampled_from(LABELS)) if action in {Action.LABELED, Action.UNLABELED} else "",
        approval=draw(st.none() | marks),
    )


told_of = st.builds(lambda event, wish: Knowledge.of(event).with_marks(wish=wish), events(), st.none() | marks)


@given(told_of, told_of, told_of)
def test_joining_is_associative_commutative_and_idempotent(one: Knowledge, two: Knowledge, three: Knowledge) -> None:
    assert join(one, two) == join(two, one)
    assert join(join(one, two), three) == join(one, join(two, three)) == join(one, two, three)
    assert join(one, one) == one
    assert join(join(one, two), two) == join(one, two)


@given(st.lists(told_of, min_size=1, max_size=6))
def test_whatever_was_told_is_written_down_and_read_back(told: list[Knowledge]) -> None:
    belief = reduce(join, told)
    assert Knowledge.parse(str(belief)) == belief
    assert str(Knowledge.parse(str(belief))) == str(belief)


@given(st.lists(told_of, min_size=1, max_size=6))
def test_the_newest_marks_outlast_the_second_that_brought_them(told: list[Knowledge]) -> None:
    belief = reduce(join, told)
    approvals = [each.approval for each in told if each.approval]
    assert belief.approval == max(approvals, key=lambda mark: mark.order, default=None)


def test_what_an_older_greenroom_wrote_is_still_read() -> None:
    text = f"2026-01-31T12:00:00Z closed::{B} synchronize:{A}:{B}"
    found = Knowledge.parse(text)
    assert found == known(CLOSED, PUSHED)
    assert found is not None
    assert (found.traits, found.approval, found.wish) == (None, None, None)
    assert str(found) == text


@pytest.mark.parametrize("tail", ["{", "{}x", '{"told"', '{"told": 7}', '{"wish": {"at": "now", "what": "preview"}}'])
def test_a_damaged_tail_is_nothing_known(tail: str) -> None:
    assert Knowledge.parse(f"2026-01-31T12:00:00Z opened::{A} {tail}") is None


def event(action: Action, labels: set[str], label: str = "", head: str = A, before: str = "") -> Knowledge:
    pull = PullRequest("https://x", 7, head, action is not Action.CLOSED, Traits(labels=frozenset(labels)))
    return Knowledge.of(PullEvent(action, pull, START, label=label, before=before))


@pytest.mark.parametrize("turned", [False, True])
def test_of_one_second_every_label_counts_that_was_put_on_and_none_that_was_taken_off(turned: bool) -> None:
    put_on = [event(Action.LABELED, {"bug"}, "bug"), event(Action.LABELED, {"bug", "pr-env"}, "pr-env")]
    taken_off = event(Action.UNLABELED, {"pr-env"}, "bug")
    opened = event(Action.OPENED, set())
    told = [opened, put_on[1], event(Action.UNLABELED, {"bug"}, "pr-env")]
    belief = reduce(join, reversed(told) if turned else told)
    assert belief.traits is not None
    assert belief.traits.labels == {"bug", "pr-env"}, "both put on and taken off: on, until somebody looks"
    belief = reduce(join, [opened, taken_off] if turned else [taken_off, opened])
    assert belief.traits is not None
    assert belief.traits.labels == {"pr-env"}


# Readings of the forge


@given(events(seconds=0), st.lists(told_of, max_size=5))
def test_a_reading_is_the_last_word_of_its_second(reading: PullEvent, before: list[Knowledge]) -> None:
    seen = Knowledge.of(replace(reading, action=Action.SEEN, before="", at=START, approval=None))
    found = join_seen(seen, *(each for each in before if each.at <= START))
    assert found.at == START
    assert found.is_open is seen.is_open
    assert found.traits == seen.traits
    assert join_seen(seen, found) == found


@given(events(), st.lists(told_of, min_size=1, max_size=5))
def test_a_reading_of_an_older_second_changes_nothing_that_was_told(reading: PullEvent, later: list[Knowledge]) -> None:
    old = Knowledge.of(replace(reading, action=Action.SEEN, at=START - timedelta(seconds=1), approval=None))
    belief = reduce(join, later)
    assert join_seen(old, belief) == belief


def test_a_push_that_replaced_the_head_which_was_read_wins() -> None:
    """The reading came from a copy of the forge's that lagged."""
    push = event(Action.SYNCHRONIZE, set(), head=B, before=A)
    stale, fresh = event(Action.SEEN, {"pr-env"}, head=A), event(Action.SEEN, {"pr-env"}, head=B)
    assert join_seen(stale, push).head == B
    assert join_seen(fresh, push).head == B
    assert join_seen(fresh, join_seen(stale, push)).head == B
    assert join(push, stale).head == B, "nor does it matter which of them comes first"


def test_a_later_reading_of_the_same_second_replaces_the_earlier_one() -> None:
    before, after = event(Action.SEEN, {"pr-env"}), event(Action.SEEN, set())
    found = join_seen(after, join_seen(before, event(Action.LABELED, {"pr-env"}, "pr-env")))
    assert found.traits is not None
    assert found.traits.labels == frozenset()

"""What a ReviewApp remembers of pull requests without an environment, and what it forgets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.gate import Admission, Reason, Refusal, Undecided
from greenroom.core.ordering import TOMBSTONE_AGE, TOMBSTONE_LIMIT, Knowledge
from greenroom.core.remembered import (
    BYTES_LIMIT,
    Decided,
    change,
    closed_knowledge,
    refused_knowledge,
    refused_numbers,
)
from greenroom.model.manifest import Json, Manifest, table, text
from greenroom.model.pull import Action, PullEvent, PullRequest, Traits

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
CLOSED, LABELS = Refusal(Reason.CLOSED, "closed"), Refusal(Reason.LABELS, "it needs the label pr-env")
ADMITTED = Admission("Labeled", "the label pr-env is on")


def known(second: int = 0, *, is_open: bool = True, title: str = "a title") -> Knowledge:
    pull = PullRequest("https://x", 7, "a" * 40, is_open, Traits(title))
    action = Action.OPENED if is_open else Action.CLOSED
    return Knowledge.of(PullEvent(action, pull, START + timedelta(seconds=second)))


def refused(number: int = 7, second: int = 0, answer: Refusal | Undecided = LABELS, title: str = "") -> Decided:
    return Decided(number, known(second, title=title), answer)


def closed(number: int = 7, second: int = 0) -> Decided:
    return Decided(number, known(second, is_open=False), CLOSED)


def patched(app: Manifest, *decided: Decided) -> Manifest:
    """The ReviewApp after the merge patch of its status."""
    status = {name: dict(table(app, "status", name)) for name in ("closed", "refused")}
    for name, part in change(app, decided).items():
        for key, value in table(part).items():
            if value is None:
                status[name].pop(key, None)
            else:
                status[name][key] = value
    return {"status": status}


def numbers(app: Manifest, part: str) -> set[str]:
    return set(table(app, "status", part))


def test_one_that_is_refused_is_remembered_with_its_reason_and_what_is_known() -> None:
    app = patched({}, refused())
    assert text(app, "status", "refused", "7", "reason") == "Labels"
    assert text(app, "status", "refused", "7", "message") == LABELS.message
    assert refused_knowledge(app, 7) == known(title="")
    assert refused_numbers(app) == [7]
    assert change(app, [refused()]) == {}, "and is written once"


def test_of_one_that_is_closed_only_what_matters_is_kept() -> None:
    app = patched(patched({}, refused()), closed(second=1))
    assert (numbers(app, "closed"), numbers(app, "refused")) == ({"7"}, set())
    found = closed_knowledge(app, 7)
    assert found is not None
    assert found.traits is None
    assert change(app, [closed(second=1)]) == {}


def test_one_that_is_let_through_is_refused_no_more_and_its_tombstone_does_no_harm() -> None:
    app = patched(patched({}, closed()), refused(second=1), Decided(7, known(2), ADMITTED))
    assert numbers(app, "refused") == set()
    assert numbers(app, "closed") == {"7"}, "which is older than what lets it through"


@pytest.mark.parametrize("later", [closed(second=5), refused(second=5)])
@pytest.mark.parametrize("late", [closed(second=4), refused(second=4), Decided(7, known(4), ADMITTED)])
def test_what_is_newer_stays(later: Decided, late: Decided) -> None:
    app = patched({}, later)
    assert change(app, [late]) == {}


@given(st.permutations([refused(second=1), closed(second=2), refused(second=3), Decided(7, known(4), ADMITTED)]))
def test_whatever_comes_last_the_newest_tombstone_is_kept(order: list[Decided]) -> None:
    app: Manifest = {}
    for each in order:
        app = patched(app, each)
    found = [each for each in (closed_knowledge(app, 7), refused_knowledge(app, 7)) if each is not None]
    told = {each.known.at for each in order if not isinstance(each.answer, Admission)}
    assert all(each.at in told for each in found)


def test_many_at_once_are_one_change() -> None:
    app = patched({}, refused(1), closed(2), refused(3, answer=Undecided("not known")))
    assert (refused_numbers(app), numbers(app, "closed")) == ([1, 3], {"2"})
    assert text(app, "status", "refused", "3", "reason") == "Unknown"


def test_too_many_are_forgotten_from_the_oldest_on() -> None:
    app = patched({}, *(refused(number, number) for number in range(1, TOMBSTONE_LIMIT + 1)))
    app = patched(app, *(closed(number, number) for number in range(2001, 2001 + TOMBSTONE_LIMIT)))
    assert len(numbers(app, "refused")) == TOMBSTONE_LIMIT
    found = patched(patched(app, refused(5000, 5000), refused(5001, 5001)), closed(5002, 5002))
    found = patched(found, refused(5003, 5003), closed(5004, 5004))
    for part in ("refused", "closed"):
        assert len(numbers(found, part)) <= TOMBSTONE_LIMIT + 2
    assert "1" not in numbers(found, "refused")
    assert "2001" not in numbers(found, "closed")
    assert {"5000", "5001", "5003"} <= numbers(found, "refused")


def test_old_ones_are_forgotten_by_the_forges_clock() -> None:
    seconds = int(TOMBSTONE_AGE.total_seconds())
    app = patched({}, refused(1), refused(2, 10), closed(3))
    app = patched(patched(app, refused(4, seconds + 5)), closed(5, seconds + 5))
    app = patched(patched(app, refused(6, seconds + 6)), closed(7, seconds + 6))
    assert numbers(app, "refused") == {"2", "4", "6"}
    assert numbers(app, "closed") == {"5", "7"}


@pytest.mark.parametrize("title", ["x" * 256, "🌿" * 256, '"' * 256, "\x00" * 256])
def test_the_largest_titles_stay_within_what_an_object_may_have(title: str) -> None:
    """The limit is of bytes as the API server counts them: JSON in UTF-8."""
    app: Manifest = {}
    for start in range(0, 1000, 50):
        app = patched(app, *(refused(number, number, title=title) for number in range(start + 1, start + 51)))
    kept: Json = table(app, "status", "refused")
    size = len(json.dumps(kept, ensure_ascii=False).encode())
    assert size < BYTES_LIMIT * 1.01, "and a little for the table itself"
    assert "1000" in numbers(app, "refused")


def seen(number: int, second: int, title: str = "") -> Decided:
    pull = PullRequest("https://x", number, "a" * 40, True, Traits(title))
    return Decided(number, Knowledge.of(PullEvent(Action.SEEN, pull, START + timedelta(seconds=second))), LABELS)


def handed_in_singly(app: Manifest, decided: list[Decided]) -> tuple[Manifest, int]:
    """The ReviewApp after a sweep, and how often that wrote."""
    writes = 0
    for each in decided:
        writes += bool(change(app, [each]))
        app = patched(app, each)
    return app, writes


DAY = int(timedelta(days=1).total_seconds())


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([seen(number, number, "\x00" * 256) for number in range(1, 261)], id="too large"),
        pytest.param([seen(number, number * DAY) for number in range(1, 61)], id="too old"),
        pytest.param([seen(number, 1000 - number, "🌿" * (number % 256)) for number in range(1, 561)], id="mixed"),
    ],
)
def test_sweeps_soon_write_nothing_though_more_are_refused_than_are_remembered(listed: list[Decided]) -> None:
    app, _ = handed_in_singly({}, listed)
    app, _ = handed_in_singly(app, listed)
    assert len(numbers(app, "refused")) < len(listed)
    app, writes = handed_in_singly(app, listed)
    assert writes == 0
    newest = max(listed, key=lambda each: each.known.at)
    assert str(newest.number) in numbers(app, "refused")


def test_a_push_to_one_that_was_forgotten_is_remembered() -> None:
    app, _ = handed_in_singly({}, [seen(number, number, "\x00" * 256) for number in range(1, 261)])
    assert "1" not in numbers(app, "refused")
    assert "1" in numbers(patched(app, seen(1, 1000)), "refused")


@pytest.mark.parametrize("broken", ["", "yesterday", 7, None, {"observed": 7}])
def test_what_somebody_else_wrote_there_is_forgotten_and_breaks_nothing(broken: Json) -> None:
    app: Manifest = {"status": {"refused": {"9": broken, "x": broken}, "closed": {"8": broken}}}
    assert refused_knowledge(app, 9) is None
    assert refused_numbers(app) == [9]
    after = patched(app, refused())
    assert numbers(after, "refused") == {"7"}
    assert "8" not in numbers(patched(app, closed()), "closed") or not isinstance(broken, str)

"""What GitHub's other events say: reviews, comments, builds, moves; and pull requests of which something is gone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_webhook import BEFORE, COMMIT, delivery, json_values

from greenroom.core.payloads import EVENTS, IMAGE_EVENT, Content, Ignored
from greenroom.core.webhook import Malformed, parse
from greenroom.model.pull import APPROVED, WITHDRAWN, Action, Build, Command, Mark, Move, PullEvent

URL = "https://github.com/acme/shop"
TIME, LATER = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z"
KINDS = (PullEvent, Command, Build, Move, Ignored, Malformed)
NOON, ONE = datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 1, 31, 13, tzinfo=UTC)
REPOSITORY = {"html_url": URL, "full_name": "acme/shop"}
ALICE = {"login": "alice", "type": "User"}


def parsed(event: str, content: object) -> Content | Malformed:
    return parse({"X-GitHub-Event": event}, json.dumps(content).encode())


def changed(content: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy in which the field at ``path`` is ``value``, or missing when that is ``...``."""
    step, _, rest = path.partition(".")
    if rest:
        return {**content, step: changed(content[step], rest, value)}
    return {key: each for key, each in {**content, step: value}.items() if each is not ...}


def pull(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = delivery("opened", html_url=URL)["pull_request"]
    return {**content, **changes}


# Pull requests


@pytest.mark.parametrize(
    ("path", "value", "is_fork"),
    [
        ("pull_request.head.repo", None, True),
        ("pull_request.head.repo", ..., True),
        ("pull_request.head.repo", {}, True),
        ("pull_request.head.repo.id", 1, True),
        ("pull_request.head.repo.full_name", "mallory/web", True),
        ("pull_request.base.repo", None, True),
        ("pull_request.base", None, True),
        ("pull_request.title", "another", False),
    ],
)
def test_what_is_not_said_to_be_the_same_repository_is_a_fork(path: str, value: Any, is_fork: bool) -> None:
    found = parsed("pull_request", changed(delivery(), path, value))
    assert isinstance(found, PullEvent)
    assert found.pull.traits is not None
    assert found.pull.traits.is_fork is is_fork


def test_two_sides_of_which_nothing_is_said_are_no_proof_of_being_the_same() -> None:
    nothing = changed(changed(delivery(), "pull_request.head.repo", {}), "pull_request.base.repo", {})
    found = parsed("pull_request", nothing)
    assert isinstance(found, PullEvent)
    assert found.pull.traits is not None
    assert found.pull.traits.is_fork


@pytest.mark.parametrize("path", ["pull_request.user", "sender", "label", "pull_request.labels", "pull_request.draft"])
@pytest.mark.parametrize("value", [None, ...])
def test_people_and_things_that_are_gone_are_nobody(path: str, value: Any) -> None:
    found = parsed("pull_request", changed(delivery("labeled", label="x"), path, value))
    assert isinstance(found, PullEvent)
    if path == "pull_request.user":
        assert found.pull.traits is not None
        assert (found.pull.traits.author, found.pull.traits.is_bot) == ("", False)


def test_a_bot_is_told_from_people() -> None:
    bot = {"login": "renovate[bot]", "type": "Bot"}
    found = parsed("pull_request", changed(delivery(), "pull_request.user", bot))
    assert isinstance(found, PullEvent)
    assert found.pull.traits is not None
    assert (found.pull.traits.author, found.pull.traits.is_bot) == ("renovate[bot]", True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pull_request.user", "alice"),
        ("pull_request.user.login", None),
        ("pull_request.labels", {"name": "x"}),
        ("pull_request.draft", "yes"),
        ("pull_request.title", 7),
        ("pull_request.head.repo", "acme/shop"),
        ("label", "pr-env"),
        ("sender", 7),
    ],
)
def test_a_field_of_another_type_is_named(path: str, value: Any) -> None:
    found = parsed("pull_request", changed(delivery(), path, value))
    assert isinstance(found, Malformed)
    assert found.path == path


def test_a_label_without_a_name_is_told_with_its_place() -> None:
    found = parsed("pull_request", changed(delivery(), "pull_request.labels", [{"name": "x"}, {"name": None}]))
    assert isinstance(found, Malformed)
    assert found.path == "pull_request.labels[1].name"


# Reviews


def review(state: str = "approved", **changes: Any) -> dict[str, Any]:
    content = {"state": state, "commit_id": BEFORE, "submitted_at": TIME, "author_association": "MEMBER", "user": ALICE}
    found = pull(number=7, updated_at=LATER)
    return {"action": "submitted", "repository": REPOSITORY, "pull_request": found, "review": {**content, **changes}}


@pytest.mark.parametrize("state", ["approved", "APPROVED"])
def test_a_review_approves_the_commit_that_it_was_written_of(state: str) -> None:
    found = parsed("pull_request_review", review(state))
    assert isinstance(found, PullEvent)
    assert found.approval == Mark(NOON, APPROVED, BEFORE, "alice")
    assert (found.action, found.at, found.pull.head, found.pull.number) == (Action.REVIEWED, ONE, COMMIT, 7)


@pytest.mark.parametrize("state", ["changes_requested", "dismissed"])
def test_a_review_that_takes_it_back_does_so_when_that_happens(state: str) -> None:
    found = parsed("pull_request_review", review(state))
    assert isinstance(found, PullEvent)
    assert found.approval == Mark(ONE, WITHDRAWN, BEFORE, "alice")


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "commented"},
        {"state": "\x1b[2J" * 50},
        {"commit_id": None},
        {"author_association": "CONTRIBUTOR"},
        {"author_association": None},
        {"author_association": "member"},
    ],
)
def test_a_review_that_says_nothing_or_of_a_stranger_is_ignored(changes: dict[str, Any]) -> None:
    found = parsed("pull_request_review", review(**changes))
    assert isinstance(found, Ignored)
    assert found.reason.isprintable()
    assert len(found.reason) < 300


def test_a_review_of_somebody_who_is_gone_is_nobodys() -> None:
    found = parsed("pull_request_review", review(user=None, submitted_at=None))
    assert isinstance(found, PullEvent)
    assert found.approval == Mark(ONE, APPROVED, BEFORE, "")


# Comments


def comment(body: str | None = "/preview", action: str = "created", **changes: Any) -> dict[str, Any]:
    written = {"id": 5, "created_at": TIME, "body": body, "user": ALICE, "author_association": "OWNER"}
    issue = {"number": 7, "pull_request": {"url": "…"}}
    return {"action": action, "repository": REPOSITORY, "issue": issue, "comment": {**written, **changes}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("/preview", ("", "")),
        ("/preview ", ("", "")),
        ("/preview destroy", ("destroy", "")),
        ("  /preview   EXTEND   3d  \r\nplease", ("extend", "3d")),
        ("\n\n/preview logs web now", ("logs", "web now")),
        ("/preview " + "x" * 300, ("x" * 255, "")),
    ],
)
def test_a_command_is_the_first_line_of_a_comment(body: str, words: tuple[str, str]) -> None:
    assert parsed("issue_comment", comment(body)) == Command(URL, 7, 5, *words, "alice", "OWNER", NOON)


@pytest.mark.parametrize("body", ["", None, "hello\n/preview", "/previews", "/Preview", "> /preview", "`/preview`"])
def test_another_comment_is_none(body: str | None) -> None:
    assert isinstance(parsed("issue_comment", comment(body)), Ignored)


@pytest.mark.parametrize(
    "content", [comment(action="edited"), comment(action="deleted"), comment() | {"issue": {"number": 7}}]
)
def test_only_new_comments_on_pull_requests_are_read(content: dict[str, Any]) -> None:
    assert isinstance(parsed("issue_comment", content), Ignored)


def test_a_comment_of_somebody_who_is_gone_is_a_strangers() -> None:
    found = parsed("issue_comment", comment(user=None, author_association=None))
    assert isinstance(found, Command)
    assert (found.author, found.association) == ("", "")


# Builds


def run(conclusion: str | None = "success", action: str = "completed", **changes: Any) -> dict[str, Any]:
    made = {"head_sha": COMMIT, "updated_at": TIME, "conclusion": conclusion, "html_url": f"{URL}/actions/runs/1"}
    made |= {"name": "Preview", "path": ".github/workflows/preview.yml@refs/heads/main"}
    return {"action": action, "repository": REPOSITORY, "workflow_run": {**made, **changes}}


@pytest.mark.parametrize(
    ("conclusion", "succeeded"),
    [("success", True), ("failure", False), ("timed_out", False), ("startup_failure", False)],
)
def test_the_end_of_a_workflow_is_the_end_of_a_build(conclusion: str, succeeded: bool) -> None:
    ran = ("Preview", ".github/workflows/preview.yml")
    assert parsed("workflow_run", run(conclusion)) == Build(URL, COMMIT, succeeded, NOON, f"{URL}/actions/runs/1", ran)


@pytest.mark.parametrize(
    "content", [run("cancelled"), run("skipped"), run(None), run(action="requested"), run("\x1b" * 99)]
)
def test_a_workflow_that_says_nothing_of_its_image_is_ignored(content: dict[str, Any]) -> None:
    found = parsed("workflow_run", content)
    assert isinstance(found, Ignored)
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    "url", [None, "javascript:alert(1)", "https://x/)[a](b", "https://x/ y", 'https://x/"', "https://x/" + "a" * 3000]
)
def test_a_link_that_could_do_harm_is_left_out(url: str | None) -> None:
    found = parsed("workflow_run", run(html_url=url))
    assert isinstance(found, Build)
    assert found.url == ""


def test_a_build_can_tell_of_itself() -> None:
    content = {"repository": REPOSITORY, "commit": COMMIT, "conclusion": "failure", "url": URL, "at": TIME}
    assert parsed(IMAGE_EVENT, content) == Build(URL, COMMIT, False, NOON, URL)
    least = {"repository": {"html_url": URL}, "commit": COMMIT, "conclusion": "success"}
    assert parsed(IMAGE_EVENT, least) == Build(URL, COMMIT, True, datetime.fromtimestamp(0, UTC))


# Moves


@pytest.mark.parametrize(
    ("action", "changes", "former"),
    [
        ("renamed", {"repository": {"name": {"from": "store"}}}, "https://github.com/acme/store"),
        ("transferred", {"owner": {"from": {"user": {"login": "alice"}}}}, "https://github.com/alice/shop"),
        ("transferred", {"owner": {"from": {"organization": {"login": "old"}}}}, "https://github.com/old/shop"),
        ("transferred", {"owner": {"from": {"user": None, "organization": None}}}, URL),
        ("renamed", None, URL),
    ],
)
def test_a_repository_that_has_moved_is_told_with_both_addresses(action: str, changes: Any, former: str) -> None:
    assert parsed("repository", {"action": action, "repository": REPOSITORY, "changes": changes}) == Move(former, URL)


def test_what_else_happens_to_a_repository_is_ignored() -> None:
    assert isinstance(parsed("repository", {"action": "archived", "repository": REPOSITORY}), Ignored)


# Wrong types


GOOD: dict[str, dict[str, Any]] = {
    "pull_request_review": review(),
    "issue_comment": comment(),
    "workflow_run": run(),
    "repository": {"action": "renamed", "repository": REPOSITORY, "changes": {"repository": {"name": {"from": "a"}}}},
    IMAGE_EVENT: {"repository": REPOSITORY, "commit": COMMIT, "conclusion": "success", "at": TIME},
}
PLACES = [
    ("pull_request_review", "review.state"),
    ("pull_request_review", "pull_request.number"),
    ("pull_request_review", "pull_request.head.sha"),
    ("issue_comment", "issue.number"),
    ("issue_comment", "comment.id"),
    ("issue_comment", "comment.created_at"),
    ("issue_comment", "action"),
    ("workflow_run", "workflow_run.head_sha"),
    ("workflow_run", "workflow_run.updated_at"),
    ("repository", "repository.html_url"),
    ("repository", "changes.repository.name.from"),
    (IMAGE_EVENT, "commit"),
    (IMAGE_EVENT, "conclusion"),
]


@pytest.mark.parametrize(("event", "path"), PLACES)
@pytest.mark.parametrize("value", [None, ..., [], True, 1.5])
def test_a_wrong_field_is_named(event: str, path: str, value: Any) -> None:
    found = parsed(event, changed(GOOD[event], path, value))
    assert isinstance(found, Malformed)
    assert found.path == path
    assert found.message


def test_every_event_that_is_read_is_tried_here() -> None:
    assert {*GOOD, "pull_request"} == set(EVENTS)


@given(st.sampled_from(PLACES), json_values)
def test_any_value_in_any_field_is_understood_or_refused(place: tuple[str, str], value: object) -> None:
    event, path = place
    assert isinstance(parsed(event, changed(GOOD[event], path, value)), KINDS)

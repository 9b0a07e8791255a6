"""Which pull requests a gate lets through, and what it says of those that it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.gate import (
    DESTROY,
    NO_WISH,
    PREVIEW,
    Admission,
    Question,
    Reason,
    Refusal,
    answers,
    canonical,
    decide,
)
from greenroom.model.errors import InvalidInput
from greenroom.model.gate import Gate
from greenroom.model.pull import APPROVED, WITHDRAWN, Mark, PullRequest, Traits

HEAD, OTHER = "a" * 40, "b" * 40
TRAITS = Traits("Add a cart", "feat/cart", "main", "alice", "MEMBER", labels=frozenset({"pr-env", "Size/L"}))
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def asked(gate: Any = None, *, is_open: bool = True, traits: Traits | None = TRAITS, **more: Any) -> Question:
    pull = PullRequest("https://github.com/acme/shop", 7, HEAD, is_open, traits)
    return Question(pull, None if gate is None else Gate.parse(gate), **more)


def verdict(gate: Any = None, **more: Any) -> Any:
    """True where it is let through, None where that cannot be told, else the reason of the refusal."""
    found = decide(asked(gate, **more))
    if isinstance(found, Refusal):
        assert found.message
        return found.reason
    return True if isinstance(found, Admission) else None


def mark(what: str, commit: str = HEAD) -> Mark:
    return Mark(NOW, what, commit, "bob")


@pytest.mark.parametrize(
    ("named", "same"),
    [
        ("https://github.com/Shop/Web", True),
        ("https://github.com/shop/web/", True),
        ("https://github.com/Shop/Web.git/", True),
        ("https://GitHub.com/Shop/Web.GIT", True),
        ("  https://github.com/Shop/Web\n", True),
        ("https://github.com/Shop/Web2", False),
        ("https://github.com/Shop", False),
        ("https://github.example.com/Shop/Web", False),
        ("", False),
    ],
)
def test_a_repository_may_be_written_in_several_ways(named: str, same: bool) -> None:
    assert (canonical(named) == canonical("https://github.com/Shop/Web")) is same


def test_a_repository_named_git_keeps_its_name() -> None:
    assert canonical("https://github.com/git/git.git") == "https://github.com/git/git"


@pytest.mark.parametrize("gate", [None, {"labels": {"any": ["pr-env"]}}])
def test_a_closed_pull_request_is_refused(gate: Any) -> None:
    assert verdict(gate, is_open=False) is Reason.CLOSED


def test_without_a_gate_every_open_pull_request_gets_an_environment_even_one_nothing_is_known_of() -> None:
    assert verdict() is True
    assert verdict(traits=None) is True
    assert verdict(traits=replace(TRAITS, is_draft=True, is_bot=True, labels=frozenset())) is True


@pytest.mark.parametrize(
    ("gate", "changes", "expected"),
    [
        ({"labels": {"any": ["PR-Env", "x"]}}, {}, True),
        ({"labels": {"any": ["x", "y"]}}, {}, Reason.LABELS),
        ({"labels": {"all": ["pr-env", "size/l"]}}, {}, True),
        ({"labels": {"all": ["pr-env", "x"]}}, {}, Reason.LABELS),
        ({"labels": {"none": ["x"]}}, {}, True),
        ({"labels": {"any": ["pr-env"], "none": ["SIZE/L"]}}, {}, Reason.LABELS),
        ({"labels": {"any": ["pr-env"]}}, {"labels": frozenset()}, Reason.LABELS),
        ({"drafts": True}, {"is_draft": True}, True),
        ({"drafts": False}, {"is_draft": True}, Reason.DRAFT),
        ({"drafts": False}, {}, True),
        ({"bots": False}, {"is_bot": True}, Reason.BOT),
        ({"bots": False}, {}, True),
        ({"authors": {"any": ["Alice"]}}, {}, True),
        ({"authors": {"any": ["bob", "carol"]}}, {}, Reason.AUTHOR),
        ({"authors": {"none": ["ali*"]}}, {}, Reason.AUTHOR),
        ({"baseBranches": {"any": ["main", "release/*"]}}, {}, True),
        ({"baseBranches": {"any": ["release/*"]}}, {"base": "release/1.2"}, True),
        ({"baseBranches": {"any": ["release/*"]}}, {"base": "release/1/2"}, Reason.BASE_BRANCH),
        ({"baseBranches": {"any": ["release/**"]}}, {"base": "release/1/2"}, True),
        ({"baseBranches": {"none": ["main"]}}, {}, Reason.BASE_BRANCH),
        ({"title": {"none": ["wip*"]}}, {"title": "WIP: a/b"}, Reason.TITLE),
        ({"title": {"any": ["*/*"]}}, {"title": "WIP: a/b"}, True),
        ({"title": {"any": ["*[preview]*"]}}, {}, Reason.TITLE),
        ({"expression": "!title.startsWith('WIP') && labels.exists(l, l == 'pr-env')"}, {}, True),
        ({"expression": "number > 7"}, {}, Reason.EXPRESSION),
    ],
)
def test_a_gate_asks_for_what_is_written(gate: Any, changes: dict[str, Any], expected: Any) -> None:
    assert verdict(gate, traits=replace(TRAITS, **changes)) is expected


@pytest.mark.parametrize(
    ("choice", "paths", "expected"),
    [
        ({"any": ["app/**"]}, {"app/a/b.py", "docs/x.md"}, True),
        ({"any": ["app/*"]}, {"app/a/b.py"}, Reason.PATHS),
        ({"none": ["**/*.md", "*.md"]}, {"README.md", "docs/x.md"}, Reason.PATHS),
        ({"none": ["**/*.md", "*.md"]}, {"README.md", "app/x.py"}, True),
        ({"any": ["app/**"], "none": ["**/*.md"]}, {"app/README.md", "web/x.js"}, Reason.PATHS),
        ({"any": ["app/**"]}, set(), Reason.PATHS),
        ({"any": ["app/**"]}, None, None),
    ],
)
def test_changed_paths_are_asked_for(choice: Any, paths: set[str] | None, expected: Any) -> None:
    known = None if paths is None else frozenset(paths)
    assert verdict({"paths": choice}, paths=known) is expected


def test_a_gate_decides_nothing_of_a_pull_request_that_nothing_is_known_of() -> None:
    assert verdict({"labels": {"none": ["x"]}}, traits=None) is None


FORK = replace(TRAITS, is_fork=True, association="CONTRIBUTOR", author="mallory")


@pytest.mark.parametrize(
    ("gate", "changes", "more", "expected"),
    [
        (None, {}, {}, Reason.FORK),
        (None, {"association": "MEMBER"}, {}, True),
        (None, {}, {"approval": mark(APPROVED)}, True),
        ({"drafts": True}, {"association": "OWNER"}, {}, Reason.FORK),
        ({"forks": "never"}, {}, {"approval": mark(APPROVED), "wish": mark(PREVIEW)}, Reason.FORK),
        ({"forks": "always"}, {}, {}, True),
        ({"forks": "approved"}, {}, {}, Reason.FORK),
        ({"forks": "approved"}, {}, {"approval": mark(APPROVED)}, True),
        ({"forks": "approved"}, {}, {"approval": mark(APPROVED, OTHER)}, Reason.FORK),
        ({"forks": "approved"}, {}, {"approval": mark(WITHDRAWN)}, Reason.FORK),
        ({"forks": "approved"}, {}, {"wish": mark(PREVIEW)}, True),
        ({"forks": "approved"}, {}, {"wish": mark(PREVIEW, OTHER)}, Reason.FORK),
        ({"forks": "approved", "labels": {"any": ["x"]}}, {}, {"approval": mark(APPROVED)}, Reason.LABELS),
    ],
)
def test_of_a_fork_only_what_somebody_of_the_team_has_looked_at_runs(
    gate: Any, changes: dict[str, Any], more: dict[str, Any], expected: Any
) -> None:
    assert verdict(gate, traits=replace(FORK, **changes), **more) is expected


def test_who_asks_for_an_environment_in_a_comment_gets_it_against_all_but_trust() -> None:
    gate = {"labels": {"any": ["x"]}, "drafts": False, "title": {"none": ["*"]}}
    assert verdict(gate, wish=mark(PREVIEW)) is True
    assert verdict(gate, wish=mark(PREVIEW), is_open=False) is Reason.CLOSED
    assert verdict(gate, wish=mark(NO_WISH)) is Reason.LABELS


@pytest.mark.parametrize("gate", [None, {"labels": {"any": ["pr-env"]}}])
def test_what_somebody_had_destroyed_stays_away(gate: Any) -> None:
    assert verdict(gate, wish=mark(DESTROY)) is Reason.DESTROYED


@pytest.mark.parametrize(
    ("gate", "wish", "reason"),
    [
        (None, None, "NoGate"),
        ({"labels": {"any": ["x", "pr-env"]}}, None, "Labeled"),
        ({"drafts": False}, None, "Admitted"),
        ({"labels": {"any": ["x"]}}, mark(PREVIEW), "Requested"),
    ],
)
def test_a_pull_request_that_is_let_through_is_told_why(gate: Any, wish: Mark | None, reason: str) -> None:
    found = decide(asked(gate, wish=wish))
    assert isinstance(found, Admission)
    assert found.reason == reason


def test_every_policy_that_was_asked_can_be_read() -> None:
    told = dict(answers(asked({"labels": {"any": ["x"]}, "drafts": False})))
    assert told["drafts"] is None
    assert isinstance(told["labels"], Refusal)
    assert told["paths"] is None


def test_an_expression_that_has_no_answer_for_a_pull_request_decides_nothing() -> None:
    assert verdict({"expression": "number == 0 || labels[5] == 'x'"}) is None


@pytest.mark.parametrize(
    ("gate", "path"),
    [
        ([], "gate"),
        ({"label": {"any": ["x"]}}, "gate.label"),
        ({"labels": ["x"]}, "gate.labels"),
        ({"labels": {"any": "x"}}, "gate.labels.any"),
        ({"labels": {"any": []}}, "gate.labels.any"),
        ({"labels": {"any": ["x", 7]}}, "gate.labels.any[1]"),
        ({"labels": {"some": ["x"]}}, "gate.labels.some"),
        ({"drafts": "no"}, "gate.drafts"),
        ({"forks": "sometimes"}, "gate.forks"),
        ({"approvalLabel": "ok"}, "gate.approvalLabel"),
        ({"forks": "approved", "approvalLabel": ""}, "gate.approvalLabel"),
        ({"authors": {"any": ["x" * 300]}}, "gate.authors.any[0]"),
        ({"paths": {"none": ["x"] * 101}}, "gate.paths.none"),
        ({"expression": "title +"}, "gate.expression"),
        ({"expression": "titel == ''"}, "gate.expression"),
        ({"expression": "1 + 1"}, "gate.expression"),
        ({"expression": "x" * 1025}, "gate.expression"),
    ],
)
def test_a_wrong_gate_is_refused_with_the_field_that_is_wrong(gate: Any, path: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Gate.parse(gate)
    assert error.value.path == path
    assert error.value.cure


@given(st.text(), st.text(), st.text())
def test_no_title_branch_or_author_breaks_a_gate(title: str, branch: str, author: str) -> None:
    gate = {
        "title": {"any": ["*a*?*"], "none": ["x**"]},
        "baseBranches": {"any": ["**/*"]},
        "authors": {"none": ["?*"]},
        "expression": "title != branch || author.size() > 3",
    }
    decide(asked(gate, traits=Traits(title=title, branch=branch, author=author, base=branch)))

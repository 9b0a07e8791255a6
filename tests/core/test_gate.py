"""Which pull requests a ReviewApp takes in."""

from __future__ import annotations

import pytest

from greenroom.core.gate import Reason, canonical, refusal
from greenroom.model.pull import PullRequest
from greenroom.model.reviewapp import ReviewApp


def reason_of(repository: str, named: str, *, is_open: bool = True) -> Reason | None:
    found = refusal(PullRequest(repository, 7, "a" * 40, is_open), ReviewApp("default", "shop", named, ()))
    return found.reason if found else None


@pytest.mark.parametrize(
    "named",
    [
        "https://github.com/Shop/Web",
        "https://github.com/shop/web",
        "https://github.com/Shop/Web/",
        "https://github.com/Shop/Web.git",
        "https://github.com/Shop/Web.git/",
        "https://GitHub.com/Shop/Web.GIT",
        "  https://github.com/Shop/Web\n",
    ],
)
def test_a_repository_may_be_written_in_several_ways(named: str) -> None:
    assert reason_of("https://github.com/Shop/Web", named) is None


@pytest.mark.parametrize(
    "named",
    [
        "https://github.com/Shop/Web2",
        "https://github.com/Shop/We",
        "https://github.com/Shop",
        "https://github.example.com/Shop/Web",
        "https://github.com/Other/Web",
        "",
    ],
)
def test_another_repository_is_refused(named: str) -> None:
    assert reason_of("https://github.com/Shop/Web", named) is Reason.OTHER_REPOSITORY


def test_a_closed_pull_request_is_refused() -> None:
    address = "https://github.com/Shop/Web"
    assert reason_of(address, address, is_open=False) is Reason.CLOSED


def test_a_repository_of_another_is_not_told_of_its_state() -> None:
    assert reason_of("https://github.com/a/b", "https://github.com/c/d", is_open=False) is Reason.OTHER_REPOSITORY


def test_a_repository_named_git_keeps_its_name() -> None:
    assert canonical("https://github.com/git/git.git") == "https://github.com/git/git"

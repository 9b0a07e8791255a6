"""When a pull request is told something, and that it is told seldom."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.phases import Phase
from greenroom.core.report import News, Plan, plan
from greenroom.model.forge import DeploymentState
from greenroom.model.report import Report, Told

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 40
STARTING, FAILED, READY = Phase.STARTING, Phase.FAILED, Phase.READY


class Forge:
    """Does what is planned, second by second, and counts."""

    def __init__(self) -> None:
        self.report = Report()
        self.second = 0
        self.comments: list[tuple[int, str, Phase]] = []
        self.deployments: list[tuple[int, str, str]] = []
        self._since = (0, "")
        self._commit = (0, "")

    def live(self, phase: Phase, seconds: int, commit: str = A) -> None:
        """What becomes of an environment that is so for some seconds."""
        for _ in range(seconds):
            self._look(phase, commit)
            self.second += 1

    def _look(self, phase: Phase, commit: str) -> None:
        gist = f"{phase.value} {commit}"
        self._since = self._since if self._since[1] == gist else (self.second, gist)
        self._commit = self._commit if self._commit[1] == commit else (self.second, commit)
        news = News(commit, phase, gist, self.second - self._commit[0], self.second - self._since[0])
        now = NOW + timedelta(seconds=self.second)
        self._write(plan(news, self.report, now), news, now)

    def _write(self, plan_: Plan, news: News, now: datetime) -> None:
        comment, deployment = self.report.comment, self.report.deployment
        if plan_.comment:
            self.comments.append((self.second, news.commit, news.phase))
            comment = comment.wrote(news.commit, news.gist, now, id_=1)
        if plan_.begin:
            self.deployments.append((self.second, news.commit, "begun"))
            deployment = deployment.wrote(news.commit, "", now, id_=1)
        if plan_.state:
            self.deployments.append((self.second, news.commit, plan_.state.value))
            deployment = deployment.wrote(news.commit, plan_.state.value, now, id_=1)
        self.report = Report(comment, deployment)


def test_a_commit_that_starts_and_is_ready_is_two_writes_each() -> None:
    forge = Forge()
    forge.live(STARTING, 30)
    forge.live(Phase.WAITING_FOR_IMAGE, 200)
    forge.live(STARTING, 40)
    forge.live(Phase.UNANSWERED, 5)
    forge.live(READY, 5000)
    assert forge.comments == [(20, A, STARTING), (275, A, READY)]
    assert forge.deployments == [(20, A, "begun"), (275, A, "success")]


def test_a_commit_that_is_ready_at_once_is_one_write_of_the_comment() -> None:
    forge = Forge()
    forge.live(STARTING, 12)
    forge.live(READY, 100)
    assert forge.comments == [(12, A, READY)]
    assert forge.deployments == [(12, A, "begun"), (12, A, "success")]


def test_a_failure_of_a_moment_is_not_told() -> None:
    forge = Forge()
    forge.live(STARTING, 30)
    forge.live(FAILED, 5)
    forge.live(READY, 100)
    assert [phase for _, _, phase in forge.comments] == [STARTING, READY]


def test_a_failure_and_its_recovery_are_told() -> None:
    forge = Forge()
    forge.live(STARTING, 60)
    forge.live(FAILED, 600)
    forge.live(READY, 600)
    assert forge.comments == [(20, A, STARTING), (70, A, FAILED), (660, A, READY)]
    assert forge.deployments == [(20, A, "begun"), (70, A, "failure"), (660, A, "success")]


def test_what_goes_up_and_down_is_told_ever_more_seldom_and_what_it_ends_with_is_told() -> None:
    forge = Forge()
    for _ in range(24 * 60):
        forge.live(FAILED, 30)
        forge.live(READY, 30)
    assert len(forge.comments) <= 5 + 24
    assert len(forge.deployments) <= 6 + 24
    forge.live(READY, 3601)
    assert forge.comments[-1][2] is READY
    assert forge.deployments[-1][2] == "success"


def test_pushes_in_a_row_are_told_of_once() -> None:
    forge = Forge()
    for number in range(10):
        forge.live(STARTING, 15, commit=f"{number:040}")
    forge.live(STARTING, 10, commit=B)
    forge.live(READY, 10, commit=B)
    assert [(commit, phase) for _, commit, phase in forge.comments] == [(B, READY)]
    assert [commit for _, commit, _ in forge.deployments] == [B, B]


def test_a_new_commit_is_not_kept_quiet_by_the_one_before() -> None:
    forge = Forge()
    for _ in range(100):
        forge.live(FAILED, 30)
        forge.live(READY, 30)
    before = len(forge.comments)
    forge.live(STARTING, 25, commit=B)
    forge.live(READY, 1, commit=B)
    assert [each[1:] for each in forge.comments[before:]] == [(B, STARTING), (B, READY)]


def test_what_lasts_is_told_in_between() -> None:
    forge = Forge()
    forge.live(STARTING, 60)
    forge.live(Phase.WAITING_FOR_IMAGE, 400)
    forge.live(Phase.UNANSWERED, 100)
    assert forge.comments == [(20, A, STARTING), (360, A, Phase.WAITING_FOR_IMAGE), (520, A, Phase.UNANSWERED)]
    assert forge.deployments == [(20, A, "begun")]


NEWS = News(A, READY, "new", age=1000.0, lasting=1000.0)
TOLD = Told(id=1, commit=A, said="old", writes=1, at=NOW - timedelta(hours=1))


def test_a_deleted_comment_is_never_written_again_and_a_deleted_deployment_with_the_next_commit() -> None:
    deleted = replace(TOLD, deleted=True)
    assert plan(NEWS, Report(deleted, deleted), NOW) == Plan()
    pushed = plan(replace(NEWS, commit=B), Report(deleted, deleted), NOW)
    assert pushed == Plan(comment=False, begin=True, state=DeploymentState.SUCCESS)


def test_what_is_being_removed_begins_no_deployment() -> None:
    assert not plan(replace(NEWS, commit=B, phase=Phase.REMOVING), Report(), NOW).begin


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=-1)])
def test_a_clock_that_is_wrong_delays_a_word_and_does_not_prevent_it(ahead: timedelta) -> None:
    young = replace(NEWS, phase=STARTING, age=ahead.total_seconds())
    again = plan(young, Report(), NOW).again
    assert (again or 0) <= 20
    flapping = Report(replace(TOLD, writes=4, at=NOW + ahead), replace(TOLD, said="success"))
    assert (plan(NEWS, flapping, NOW).again or 0) <= 3600


phases = st.sampled_from([phase for phase in Phase if phase is not Phase.REMOVED])


@given(st.lists(st.tuples(phases, st.integers(1, 200), st.sampled_from([A, B])), max_size=12))
def test_in_the_end_the_newest_is_told_and_nothing_is_told_twice(
    life: list[tuple[Phase, int, str]],
) -> None:
    forge = Forge()
    for phase, seconds, commit in [*life, (READY, 3700, A)]:
        forge.live(phase, seconds, commit)
    assert forge.comments[-1][1:] == (A, READY)
    assert forge.deployments[-1][1:] == (A, "success")
    told = [each[1:] for each in forge.comments]
    assert all(one != next_ for one, next_ in itertools.pairwise(told))


def test_a_report_is_read_as_it_was_written() -> None:
    report = Report(TOLD, Told().wrote(B, "", NOW, id_=7), "no right")
    assert Report.of({"status": report.patch()}) == report
    assert Report.of({"status": {"report": {"comment": [], "deployment": {"id": "7", "at": "?"}}}}) == Report()

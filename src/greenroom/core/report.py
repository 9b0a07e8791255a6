"""What there is to say of an environment, and what was said -> what to write to the forge now, and what later.

A commit costs two writes to the comment in its normal life, one while it starts and one when it is ready or has failed,
and two to the deployment: it is begun and it ends. GitHub takes 80 writes a minute and 500 an hour of all pull requests
together ("Rate limits for the REST API", secondary limits), and notifies nobody of an edit, so that nothing is lost by
waiting: what is over within seconds is never told, and what goes up and down is told ever more seldom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from greenroom.core.phases import FINAL, Phase
from greenroom.model.forge import DeploymentState
from greenroom.model.manifest import PR, Ref
from greenroom.model.report import Report, Told

FIRST_SECONDS = 20.0
"""How long after a push its commit is first told of, unless it is ready sooner: then one write says it all."""
FAILED_SECONDS = 10.0
"""How long an environment has to have failed. A pod that comes before its Secret fails for a moment."""
UNANSWERED_SECONDS = 60.0
LASTING_SECONDS = 300.0
"""How long something else has to last that is told between the first word of a commit and its end."""
QUIET_SECONDS = 30.0
QUIET_FACTOR = 4.0
QUIET_LIMIT = 3600.0
"""After two writes for one commit a third waits so many seconds, each further one ``QUIET_FACTOR`` times as long."""
_FREE_WRITES = 2
_MOMENT = 0.05
"""Seconds that are not waited for: what is left over by rounding would be waited for again and again."""

_STATES: Mapping[Phase, DeploymentState] = {
    Phase.READY: DeploymentState.SUCCESS,
    Phase.FAILED: DeploymentState.FAILURE,
}
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_ENDING = frozenset({Phase.REMOVING, Phase.REMOVED})


@dataclass(frozen=True, slots=True)
class News:
    """What there is to say. ``age`` is for how many seconds the commit has been wanted, ``lasting`` for how many the
    gist (``core.phases.gist_of``) has been the same."""

    commit: str
    phase: Phase
    gist: str
    age: float
    lasting: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write now; ``begin`` a deployment of the commit, and give it ``state``. After ``again`` seconds there is
    something to write if nothing changes; None: there is not."""

    comment: bool = False
    begin: bool = False
    state: DeploymentState | None = None
    again: float | None = None


def plan(news: News, report: Report, now: datetime) -> Plan:
    comment = _comment_wait(news, report.comment, now)
    begin = _begin_wait(news, report.deployment)
    state = _state_wait(news, report.deployment, now)
    waits = [wait for wait in (comment, begin, state) if wait is not None and not _is_now(wait)]
    return Plan(
        comment=_is_now(comment),
        begin=_is_now(begin),
        state=_STATES[news.phase] if _is_now(state) else None,
        again=min(waits, default=None),
    )


def _is_now(wait: float | None) -> bool:
    return wait is not None and wait < _MOMENT


def _comment_wait(news: News, told: Told, now: datetime) -> float | None:
    """Seconds until the comment is to be written, None when it says it already. Nobody's deletion is fought over."""
    if told.deleted or told.said == news.gist:
        return None
    if _question(news.gist) not in ("", _question(told.said)):
        return 0.0  # somebody waits for the answer
    if told.commit != news.commit:
        return _first_wait(news)
    return max(_steady_wait(news), _quiet_wait(told, now))


def _question(gist: str) -> str:
    return gist.partition(".")[2]


def _begin_wait(news: News, told: Told) -> float | None:
    """One deployment for each commit. One that somebody deleted was the commit's."""
    if told.commit == news.commit or news.phase in _ENDING:
        return None
    return _first_wait(news)


def _state_wait(news: News, told: Told, now: datetime) -> float | None:
    state = _STATES.get(news.phase)
    if state is None:
        return None
    if told.commit != news.commit:
        return _first_wait(news)  # it is begun then
    if told.deleted or told.said == state.value:
        return None
    return max(_steady_wait(news), _quiet_wait(told, now))


def _first_wait(news: News) -> float:
    if news.phase is Phase.READY:
        return 0.0
    settled = FIRST_SECONDS - max(news.age, 0.0)  # where our clock is behind the one that stamped the push
    return max(settled, _steady_wait(news) if news.phase in FINAL else 0.0, 0.0)


def _steady_wait(news: News) -> float:
    """What may be over in a moment has to last before it is told."""
    needed = {
        Phase.READY: 0.0,
        Phase.REMOVED: 0.0,
        Phase.FAILED: FAILED_SECONDS,
        Phase.UNANSWERED: UNANSWERED_SECONDS,
    }.get(news.phase, LASTING_SECONDS)
    return max(needed - news.lasting, 0.0)


def _quiet_wait(told: Told, now: datetime) -> float:
    """The time that has to pass since the last write; that was never in the future, whatever its clock said."""
    more = told.writes - _FREE_WRITES
    if told.at is None or more < 0:
        return 0.0
    quiet = min(QUIET_SECONDS * QUIET_FACTOR ** min(more, 100), QUIET_LIMIT)
    return max(quiet - max((now - told.at).total_seconds(), 0.0), 0.0)


def environment_name(ref: Ref) -> str:
    """The forge's environment of a PR object. The namespace is part of it: two may have a ReviewApp of that name for
    one repository, and what is cleared as left behind must not be another's."""
    return f"{ref.namespace}/{ref.name}"


def pr_of_environment(name: str, apps: Iterable[Ref]) -> tuple[Ref, Ref, int] | None:
    """The PR object that an environment of the forge is of, its ReviewApp, and the number of its pull request; None
    when it is of none of ``apps``, and so not ours to touch."""
    namespace, _, rest = name.rpartition("/")
    for app in apps:
        number = rest.removeprefix(f"{app.name}-pr")
        if namespace == app.namespace and rest == f"{app.name}-pr{number}" and _NUMBER.fullmatch(number):
            return Ref(PR, namespace, rest), app, int(number)
    return None

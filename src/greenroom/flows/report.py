"""A PR object -> what its pull request is told: one comment, and a deployment for each commit.

``core.report`` decides by the status that ``flows.reconcile`` writes and by what was told before, which the PR object
keeps; ``flows.answers`` writes. Nothing else waits for this: a forge that refuses, is slow or is gone keeps no
environment from being made or removed, and is told the newest state once it listens again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from greenroom.core.asking import ASKED_ANNOTATION, EXPLAIN, LOGS, Asked, note_of
from greenroom.core.comment import Answer, comment
from greenroom.core.culprit import culprit, spokesman
from greenroom.core.explanation import explanation
from greenroom.core.gate import canonical
from greenroom.core.ordering import OBSERVED
from greenroom.core.phases import Phase, gist_of, phase_of, reason_of
from greenroom.core.relations import pull_number, review_app_of
from greenroom.core.report import FIRST_SECONDS, News, Plan, plan, pr_of_environment
from greenroom.core.standing import repository_of
from greenroom.flows.answers import Answers, Place
from greenroom.flows.farewell import WRITE_DEPLOYMENTS, WRITE_PULLS, Farewells, Gone
from greenroom.flows.forge_turns import ForgeTurns
from greenroom.flows.visits import Visits
from greenroom.model.errors import (
    ClusterError,
    ForgeForbidden,
    ForgeInvalid,
    ForgeNotFound,
    ForgeThrottled,
    ForgeUnavailable,
    NotFound,
)
from greenroom.model.forge import DeploymentState
from greenroom.model.manifest import (
    PR,
    RECEIVED_ANNOTATION,
    REVIEW_APP,
    Json,
    Manifest,
    Ref,
    annotations_of,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.report import Report
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster, Forge, Logs, Visitor
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import UNWATCHED, Monitor

REFUSED_SECONDS = 600.0
"""When to try again what the forge refused, and to look whether there are credentials by now."""
FOLLOWING_SECONDS = 15.0
"""How soon a replica looks whether it leads by now: as long as a lease lasts."""
CHANGED_SECONDS = 0.1
"""Changes of a status come in bursts."""
RETRY = Backoff(base=2.0, cap=300.0)
LOGS_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Step:
    """A write to the forge; ``cure`` is what to do when it is forbidden."""

    name: str
    cure: str
    do: Callable[[], Awaitable[None]]


class Reports:
    """Tells the pull requests of the PR objects of ``namespace``, by default of all, that deliveries made.

    ``visitor`` is None where gateways that are not ours serve the environments. ``logs`` is None where none can be had.
    ``leads`` tells whether this replica is to write. ``why_removed`` answers, for the last of a PR object that is
    gone, why its environment was removed while the pull request is open; ``""`` when it was closed.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        forge: Forge,
        visitor: Visitor | None,
        clock: Clock,
        *,
        namespace: str = "",
        logs: Logs | None = None,
        leads: Callable[[], bool] = lambda: True,
        why_removed: Callable[[Manifest], str] = lambda _: "",
        monitor: Monitor = UNWATCHED,
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._forge = forge
        self._clock = clock
        self._logs = logs
        self._leads = leads
        self._prs, self._apps = Scope(PR, namespace), Scope(REVIEW_APP, namespace)
        self._answers = Answers(cluster, informers, forge, clock, leads=leads)
        self._visits = Visits(visitor)
        self._turns = ForgeTurns()
        self._farewells = Farewells(self._answers, forge, self._turns, why_removed)
        self._gone: dict[Ref, Gone] = {}
        self._cleared: set[Ref] = set()  # of those that are gone; what the forge refused then, it refuses again
        self._repositories: dict[Ref, str] = {}  # a ReviewApp may go before its PR objects
        self._since: dict[Ref, tuple[str, float]] = {}  # the gist of each, and since when it has been so
        self._refused: dict[Ref, dict[str, tuple[str, float]]] = {}  # by step: with what, and when to try again
        self._controller: Controller[Ref] = Controller(
            "reports", self.reconcile, backoff=RETRY, describe=_named, monitor=monitor
        )

    async def run(self) -> None:
        """Until cancelled, and once only."""
        self._informers.start(self._apps)
        self._informers.subscribe(self._prs, self._changed)
        try:
            await self._controller.run()
        finally:
            self._informers.unsubscribe(self._changed)

    async def clear_left_behind(self, repository: str) -> int:
        """Have the environments of the forge cleared that are ours by their name, and of no PR object; answers how
        many. They go in their turn, after this returns. Raises ForgeError and ClusterError."""
        await self._informers.synced(self._prs, self._apps)
        if not self._leads() or not self._forge.has_credentials(repository):
            return 0
        apps = [ref_of(app) for app in self._informers.list(REVIEW_APP) if _is_of(app, repository)]
        found = [pr_of_environment(name, apps) for name in await self._forge.environments(repository)]
        ours = [each for each in found if each is not None and each[0] not in self._cleared]
        left = [each for each in ours if await self._is_gone(each[0])]
        for ref, app, number in left:
            spec: Manifest = {"parentReviewApp": app.name, "prNumber": str(number)}
            metadata: Manifest = {"name": ref.name, "namespace": ref.namespace}
            pr: Manifest = {"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata, "spec": spec}
            self._gone[ref] = Gone(pr, repository, left_behind=True)
            self._controller.add(ref)
        return len(left)

    async def reconcile(self, ref: Ref) -> float | None:
        """Answers when to look again, in seconds. Raises ForgeError and ClusterError for what to try again soon."""
        await self._informers.synced(self._prs, self._apps)
        pr = self._informers.get(ref)
        if not self._leads():
            self._gone.pop(ref, None)  # whoever leads has seen it go, too; if not, it is found as left behind
            self._answers.doubt(uid_of(pr or {}))
            return None if pr is None else FOLLOWING_SECONDS
        if pr is not None:
            self._cleared.discard(ref)
            if (gone := self._gone.pop(ref, None)) is not None:  # it has come back
                self._answers.forget(uid_of(gone.pr))
            return await self._tell(pr) if _is_delivered(pr) else None
        gone = self._gone.get(ref)
        if gone is not None and self._answers_to(gone.repository):
            if (wait := await self._clear(gone)) is not None:
                return wait
            if self._gone.get(ref) is not gone:
                return None  # the next of its name has gone, too, and its turn comes
        self._forget(ref)
        return None

    def _answers_to(self, repository: str) -> bool:
        return bool(repository) and self._forge.has_credentials(repository)

    async def _clear(self, gone: Gone) -> float | None:
        host = _host(gone.repository)
        if not gone.left_behind and not self._answers.has_said(gone.pr):
            return None
        wait = await self._unless_left_alone(host, lambda: self._farewells.clear(gone, host))
        if wait is None:
            self._cleared.add(ref_of(gone.pr))
        return wait

    async def _tell(self, pr: Manifest) -> float | None:
        repository, number = self._repository_of(pr), pull_number(pr)
        if not number or not self._answers_to(repository):
            return REFUSED_SECONDS
        answered, ask_again = await self._visits.answered(pr)
        if self._informers.get(ref_of(pr)) != pr:
            return CHANGED_SECONDS  # meanwhile
        place, host = Place.of(ref_of(pr), repository, number), _host(repository)
        news = self._news(pr, phase_of(pr, answered=answered))
        again = await self._unless_left_alone(host, lambda: self._say(pr, place, news, host))
        waits = [max(wait, CHANGED_SECONDS) for wait in (again, ask_again) if wait is not None]
        return min(waits, default=None)

    async def _unless_left_alone(self, host: str, doing: Callable[[], Awaitable[float | None]]) -> float | None:
        if (wait := self._turns.pause(host)) > 0:
            return wait
        try:
            return await doing()
        except (ForgeThrottled, ForgeUnavailable) as error:
            return self._pause(host, error)

    def _pause(self, host: str, error: ForgeThrottled | ForgeUnavailable) -> float:
        """Everybody waits when the forge says for how long, or that it is too much. Raises what is to be tried anew."""
        if isinstance(error, ForgeUnavailable) and not error.retry_after:
            raise error
        wait = self._turns.refused(host, error.retry_after)
        log.info("the forge is left alone for a while", host=host, seconds=round(wait), error=str(error))
        return wait

    # What is said

    async def _say(self, pr: Manifest, place: Place, news: News, host: str) -> float | None:
        ref, to_do = ref_of(pr), plan(news, Report.of(pr), self._clock.now())
        refused, waits = self._refused.setdefault(ref, {}), [to_do.again]
        steps = self._steps(pr, place, news, to_do)
        for name in refused.keys() - {step.name for step in steps}:
            del refused[name]
        for step in steps:
            wait = self._turns.wait(host, ref, step.name, news.gist)
            waits.append(wait or await self._attempt(refused, step, host))
        if not any(step.name not in refused and wait for step, wait in zip(steps, waits[1:], strict=True)):
            await self._say_problem(pr, "; ".join(sorted({problem for problem, _ in refused.values()})))
        return min((wait for wait in waits if wait is not None), default=None)

    def _steps(self, pr: Manifest, place: Place, news: News, to_do: Plan) -> list[_Step]:
        """Each is tried by itself: whoever may not comment may perhaps deploy."""
        steps: list[_Step] = []
        if to_do.comment:
            steps.append(_Step("comment", WRITE_PULLS, lambda: self._comment(pr, place, news)))
        if to_do.begin:
            steps.append(_Step("begin", WRITE_DEPLOYMENTS, lambda: self._begin(pr, place, news)))
        if (state := to_do.state) is not None:
            steps.append(_Step("finish", WRITE_DEPLOYMENTS, lambda: self._finish(pr, place, news, state)))
        return steps

    async def _attempt(self, refused: dict[str, tuple[str, float]], step: _Step, host: str) -> float | None:
        """Answers after how many seconds to try again what the forge refuses."""
        now = asyncio.get_running_loop().time()
        _, due = refused.get(step.name, ("", 0.0))
        if due > now:
            return due - now
        try:
            await step.do()
        except (ForgeForbidden, ForgeInvalid, ForgeNotFound) as error:
            problem = f"{error}: {step.cure}" if isinstance(error, ForgeForbidden) else str(error)
            refused[step.name] = (problem, now + REFUSED_SECONDS)
            return REFUSED_SECONDS
        refused.pop(step.name, None)
        self._turns.listens(host)
        return None

    async def _comment(self, pr: Manifest, place: Place, news: News) -> None:
        lines = await self._last_lines(pr) if news.phase is Phase.FAILED else ()
        body = comment(pr, news.phase, log=lines, answer=await self._answer(pr))
        await self._answers.comment(place, pr, body, commit=news.commit, gist=news.gist)

    async def _answer(self, pr: Manifest) -> Answer | None:
        asked = Asked.of(pr)
        if asked is None:
            return None
        lines: tuple[str, ...] = ()
        if asked.word == EXPLAIN:
            lines = explanation(self._informers.get(review_app_of(pr)) or {}, pr, pull_number(pr))
        elif asked.word == LOGS:
            lines = await self._log(pr, spokesman(pr, self._informers.owned)) or ("nothing was printed",)
        return Answer(asked.word, asked.by, asked.note or note_of(pr, asked.word), lines)

    async def _begin(self, pr: Manifest, place: Place, news: News) -> None:
        await self._answers.begin(place, self._newest(pr), commit=news.commit)

    async def _finish(self, pr: Manifest, place: Place, news: News, state: DeploymentState) -> None:
        """Only of a deployment that was begun: the step before may have been refused."""
        newest = self._newest(pr)
        told = Report.of(newest).deployment
        if told.commit == news.commit and not told.deleted:
            description = "ready" if state is DeploymentState.SUCCESS else reason_of(pr)
            await self._answers.finish(place, newest, state, description=description)

    async def _say_problem(self, pr: Manifest, problem: str) -> None:
        """In the PR object, and, where it is new, in the log."""
        if problem == Report.of(self._newest(pr)).problem:
            return
        await self._answers.record(pr, lambda report: replace(report, problem=problem))
        if problem:
            log.warning("the pull request cannot be told", problem=problem)

    async def _last_lines(self, pr: Manifest) -> tuple[str, ...]:
        """Of the container that failed. They are worth a try, and no more."""
        return await self._log(pr, culprit(pr, self._informers.owned))

    async def _log(self, pr: Manifest, found: tuple[str, str] | None) -> tuple[str, ...]:
        if self._logs is None or found is None:
            return ()
        try:
            async with asyncio.timeout(LOGS_SECONDS):
                return tuple(await self._logs(ref_of(pr).namespace, *found))
        except (ClusterError, TimeoutError) as error:
            log.info("the log cannot be read", pod=found[0], error=str(error) or type(error).__name__)
            return ()

    def _news(self, pr: Manifest, phase: Phase) -> News:
        ref, gist, now = ref_of(pr), gist_of(pr, phase), asyncio.get_running_loop().time()
        before, since = self._since.get(ref, ("", now))
        since = since if before == gist else now
        self._since[ref] = gist, since
        age = _age(pr, self._clock.now())
        return News(text(pr, "spec", "headCommitRef"), phase, gist, age=age, lasting=now - since)

    def _newest(self, pr: Manifest) -> Manifest:
        """With what the steps before recorded."""
        found = self._informers.get(ref_of(pr))
        return found if found is not None and uid_of(found) == uid_of(pr) else pr

    # What there is

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        ref = ref_of(new or old or {})
        if new is None and old is not None and _is_delivered(old):
            self._gone[ref] = Gone(old, self._repository_of(old))
            self._controller.add(ref)
        elif new is not None and _is_delivered(new) and (old is None or _told_of(old) != _told_of(new)):
            self._controller.add(ref, after=CHANGED_SECONDS)

    def _repository_of(self, pr: Manifest) -> str:
        """Of a ReviewApp that is gone, the one that it had; ``""`` when nobody knows."""
        ref = ref_of(pr)
        app = self._informers.get(Ref(REVIEW_APP, ref.namespace, text(pr, "spec", "parentReviewApp")))
        found = (repository_of(app) if app is not None else "") or self._repositories.get(ref, "")
        if found:
            self._repositories[ref] = found
        return found

    async def _is_gone(self, ref: Ref) -> bool:
        """As the cluster itself says: an informer may lag behind."""
        if ref in self._gone or self._informers.get(ref) is not None:
            return False
        try:
            await self._cluster.get(ref)
        except NotFound:
            return True
        return False

    def _forget(self, ref: Ref) -> None:
        gone = self._gone.pop(ref, None)
        if gone is not None:
            self._answers.forget(uid_of(gone.pr))
            self._visits.forget(uid_of(gone.pr))
        self._repositories.pop(ref, None)
        self._since.pop(ref, None)
        self._refused.pop(ref, None)
        self._turns.forget(ref)


def _named(ref: Ref) -> Mapping[str, str]:
    return {"environment": f"{ref.namespace}/{ref.name}"}


def _host(repository: str) -> str:
    return urlsplit(repository).netloc.lower()


def _is_of(app: Manifest, repository: str) -> bool:
    return canonical(repository_of(app)) == canonical(repository)


def _is_delivered(pr: Manifest) -> bool:
    """One that somebody wrote by hand may be for any pull request, and nobody there has asked for it."""
    return OBSERVED in annotations_of(pr)


def _told_of(pr: Manifest) -> tuple[Json, ...]:
    """What may make a difference to what is told. What we record ourselves does not."""
    status = {name: value for name, value in table(pr, "status").items() if name not in ("report", "inventory")}
    metadata, asked = table(pr, "metadata"), annotations_of(pr).get(ASKED_ANNOTATION)
    return (
        status,
        table(pr, "spec"),
        asked,
        *(metadata.get(name) for name in ("uid", "generation", "deletionTimestamp")),
    )


def _age(pr: Manifest, now: datetime) -> float:
    """Seconds since the delivery that the PR object was last written for; long ago when it does not say."""
    try:
        return (now - datetime.fromisoformat(annotations_of(pr).get(RECEIVED_ANNOTATION, ""))).total_seconds()
    except (ValueError, TypeError):
        return FIRST_SECONDS

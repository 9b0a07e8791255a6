"""From a delivery to PR objects: the web layer answers 2xx only after this is done.

For every ReviewApp of the repository: read what is known of the pull request, add what was told (``core.ordering``),
ask the gate, then write or delete the PR object. ``flows.reconcile`` does the rest.

A closed pull request is remembered first, in ``status.closed`` of the ReviewApp, and deleted then. Whoever dies in
between has decided already: ``flows.reconcile`` deletes a PR object that its ReviewApp remembers as closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TypeVar
from weakref import WeakValueDictionary

from greenroom.core import gate
from greenroom.core.ordering import OBSERVED, Knowledge, join, outdated
from greenroom.model.environment import pr_name
from greenroom.model.errors import ClusterError, Conflict, NotFound, Unavailable
from greenroom.model.manifest import (
    PR,
    RECEIVED_ANNOTATION,
    REVIEW_APP,
    Json,
    Manifest,
    Ref,
    annotations_of,
    is_deleting,
    owner_reference,
    ref_of,
    table,
    text,
    uid_of,
    version_of,
)
from greenroom.model.pull import PullEvent, PullRequest
from greenroom.model.reviewapp import ReviewApp
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.informer import Informers
from greenroom.runtime.joined import Joined

T = TypeVar("T")

MANAGER = "greenroom"
ATTEMPTS = 8
CONTENDED = Backoff(base=0.01, cap=0.5)
"""Between attempts. Another replica may have many deliveries of the same pull request, and each of them writes."""
NO_VERSION = "1"
"""A resource version that no object has: etcd's own first revision. Applied with it, an object is made, or is a
Conflict, but never written over."""
SYNC_SECONDS = 5.0
"""How long a delivery waits while Greenroom starts. GitHub waits 10 seconds for an answer."""


class Result(Enum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery at one ReviewApp. ``message`` says why, for a person, where that is not plain."""

    review_app: Ref
    result: Result
    message: str = ""


@dataclass(frozen=True, slots=True)
class _State:
    """What the cluster holds of a pull request, and what is known of it, the delivery included."""

    app: Manifest
    pr: Manifest | None
    ref: Ref
    recorded: Knowledge | None
    buried: Knowledge | None
    known: Knowledge
    pull: PullRequest


class Intake:
    """Takes deliveries for the ReviewApps of ``namespace``, by default of all.

    Those of one pull request are handled one after the other, in whatever order they came.
    """

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock, *, namespace: str = "") -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._apps = Scope(REVIEW_APP, namespace)
        self._turns: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()
        # Of deliveries that come together, as when many pull requests are closed by one script.
        self._read_app: Joined[Ref, None, Manifest] = Joined(lambda ref, _: cluster.get(ref))
        self._bury: Joined[Ref, _State, Manifest] = Joined(self._write_tombstones)

    async def synced(self) -> None:
        """Wait, not long, until the ReviewApps are known. Raises Unavailable."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._informers.synced(self._apps)
        except TimeoutError as error:
            cause = self._informers.failure(self._apps) or "the cluster has not answered"
            raise Unavailable(f"the ReviewApps are not known yet: {cause}", retry_after=SYNC_SECONDS) from error
        if not self._informers.has_listed(self._apps):
            raise Unavailable(
                f"the cluster does not serve {REVIEW_APP}: is its CRD installed?", retry_after=SYNC_SECONDS
            )

    async def handle(self, event: PullEvent) -> tuple[Outcome, ...]:
        """What was done at each ReviewApp of the repository; nothing at all when there is none.

        Raises ClusterError when it could not be done at one of them, after all were tried, or when there may be one
        that is not known yet. Handling the delivery again completes it.
        """
        await self.synced()
        repository = gate.canonical(event.pull.repository)
        turn = self._turns.setdefault((repository, event.pull.number), asyncio.Lock())
        outcomes: list[Outcome] = []
        failures: list[ClusterError] = []
        async with turn:
            for app in self._apps_of(repository):
                try:
                    outcomes.append(await self._settle(app, event))
                except ClusterError as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        if not outcomes:
            self._check_that_none_is_missed(repository)
        return tuple(outcomes)

    def _check_that_none_is_missed(self, repository: str) -> None:
        if cause := self._informers.failure(self._apps):
            message = f"no ReviewApp of {repository} is known, and new ones cannot be seen now: {cause}"
            raise Unavailable(message, retry_after=SYNC_SECONDS)

    def _apps_of(self, repository: str) -> list[Ref]:
        apps = self._informers.list(REVIEW_APP)
        return sorted(ref_of(app) for app in apps if gate.canonical(_repository(app)) == repository)

    async def _settle(self, app: Ref, event: PullEvent) -> Outcome:
        """Read, decide, write."""
        try:
            return await _while_others_write(lambda is_first: self._settle_once(app, event, from_copies=is_first))
        except NotFound:
            return Outcome(app, Result.REFUSED, "the ReviewApp was deleted just now, or its namespace is being deleted")

    async def _settle_once(self, app: Ref, event: PullEvent, *, from_copies: bool) -> Outcome:
        state = self._copied(app, event) if from_copies else None
        return await self._decide(state or await self._read(app, event), app)

    async def _decide(self, state: _State, app: Ref) -> Outcome:
        refusal = gate.refusal(state.pull, _review_app(state.app))
        if refusal is None and is_deleting(state.app):
            return Outcome(app, Result.REFUSED, "the ReviewApp is being deleted")
        if refusal is None:
            return Outcome(app, await self._admit(state))
        if refusal.reason is gate.Reason.CLOSED:
            return Outcome(app, await self._retire(state), refusal.message)
        return Outcome(app, Result.REFUSED, refusal.message)

    def _copied(self, app_ref: Ref, event: PullEvent) -> _State | None:
        """What the informers know of a pull request that is closed, if they know its PR object.

        That saves a request for each of many. A copy may be old: but nothing is deleted in another version than that
        of the copy, and a tombstone that is not the newest does no harm.
        """
        app, pr = self._informers.get(app_ref), self._informers.get(_pr_ref(app_ref, event))
        if app is None or pr is None:
            return None
        state = _state(app, pr, event)
        return None if state.pull.open else state

    async def _read(self, app_ref: Ref, event: PullEvent) -> _State:
        """From the cluster itself: an informer's copy may be older than the last delivery's writes.

        The ReviewApp comes last: should another replica close the pull request right now, either its tombstone is
        seen, or the PR object has changed since it was read.
        """
        try:
            pr: Manifest | None = await self._cluster.get(_pr_ref(app_ref, event))
        except NotFound:
            pr = None
        return _state(await self._read_app(app_ref, None), pr, event)

    async def _admit(self, state: _State) -> Result:
        if state.pr is not None and is_deleting(state.pr):
            raise Unavailable(f"{state.ref} is still being deleted", retry_after=1.0)
        if state.known == state.recorded:
            return Result.UNCHANGED
        await self._cluster.apply(_pr_object(state, self._clock.now()), manager=MANAGER)
        return Result.CREATED if state.pr is None else Result.UPDATED

    async def _retire(self, state: _State) -> Result:
        if state.known != state.buried:
            await self._bury(ref_of(state.app), state)
        if state.pr is None:
            return Result.UNCHANGED
        try:
            await self._cluster.delete(state.ref, resource_version=version_of(state.pr))
        except NotFound:
            return Result.UNCHANGED
        return Result.DELETED

    async def _write_tombstones(self, app: Ref, states: Sequence[_State]) -> Manifest:
        """Over those only that were read: another replica may write newer ones."""

        async def write(is_first: bool) -> Manifest:
            copy = self._informers.get(app) if is_first else None
            present = copy or await self._cluster.get(app)
            closed = _tombstones(present, states)
            return await self._cluster.patch_status(app, {"closed": closed}, resource_version=version_of(present))

        written = await _while_others_write(write)
        self._informers.observe(written)  # for those who come next
        return written


async def _while_others_write(attempt: Callable[[bool], Awaitable[T]]) -> T:
    """Try with True, and then, as long as somebody else writes in between, with False."""
    for number in range(1, ATTEMPTS):
        try:
            return await attempt(number == 1)
        except Conflict:
            await asyncio.sleep(CONTENDED.delay(number))
    return await attempt(False)


def _pr_ref(app: Ref, event: PullEvent) -> Ref:
    return Ref(PR, app.namespace, pr_name(app.name, event.pull.number))


def _state(app: Manifest, pr: Manifest | None, event: PullEvent) -> _State:
    recorded = Knowledge.parse(annotations_of(pr).get(OBSERVED, "")) if pr is not None else None
    buried = Knowledge.parse(text(app, "status", "closed", str(event.pull.number)))
    known = join(Knowledge.of(event), recorded, buried)
    pull = replace(event.pull, head=known.head, open=known.is_open)
    return _State(app, pr, _pr_ref(ref_of(app), event), recorded, buried, known, pull)


def _repository(app: Manifest) -> str:
    return text(app, "spec", "githubRepository")


def _review_app(app: Manifest) -> ReviewApp:
    """Without its template. One that is wrong is reported by the environment, and must not lose a delivery."""
    ref = ref_of(app)
    return ReviewApp(ref.namespace, ref.name, _repository(app), ())


def _pr_object(state: _State, received: datetime) -> Manifest:
    """Only the fields that are ours, so that ``envVars`` set by hand stay. An object that was read must not have
    changed since, nor, which only its UID says, come anew after it was deleted; one that was not there must not be."""
    metadata: dict[str, Json] = {
        "name": state.ref.name,
        "namespace": state.ref.namespace,
        "annotations": {
            OBSERVED: str(state.known),
            RECEIVED_ANNOTATION: received.isoformat(timespec="milliseconds"),
        },
        "ownerReferences": [owner_reference(state.app)],
        "resourceVersion": NO_VERSION,
    }
    if state.pr is not None:
        metadata["uid"] = uid_of(state.pr)
        metadata["resourceVersion"] = version_of(state.pr)
    return {
        "apiVersion": PR.api_version,
        "kind": PR.name,
        "metadata": metadata,
        "spec": {
            "parentReviewApp": ref_of(state.app).name,
            "prNumber": str(state.pull.number),
            "headCommitRef": state.pull.head,
        },
    }


def _tombstones(app: Manifest, states: Sequence[_State]) -> Mapping[str, Json]:
    """A merge patch: the pull requests' own, and away with those nobody needs any more."""
    closed = {key: value for key, value in table(app, "status", "closed").items() if isinstance(value, str)}
    knowledge = {str(state.pull.number): state.known for state in states}
    own = {key: str(join(known, Knowledge.parse(closed.get(key, "")))) for key, known in knowledge.items()}
    return {**dict.fromkeys(outdated(closed) - own.keys()), **own}

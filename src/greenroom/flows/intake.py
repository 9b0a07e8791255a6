"""From a delivery to PR objects: the web layer answers 2xx only after this is done.

For every ReviewApp of the repository: read what is known of the pull request, add what was told (``core.ordering``),
ask the gate (``core.gate``), then write or delete the PR object. ``flows.reconcile`` does the rest. With credentials
for the forge (``flows.pulls``) a delivery is a hint, and what is true now is asked; without, what it says counts.

A pull request that is closed, or that the gate refuses, is remembered first, in the status of the ReviewApp
(``core.remembered``), and its PR object is deleted then. Whoever dies in between has decided already:
``flows.reconcile`` deletes a PR object that its ReviewApp remembers so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from greenroom.core import remembered
from greenroom.core.events import refusal_event
from greenroom.core.gate import Admission, Reason, Refusal, Undecided, canonical, decide, question
from greenroom.core.remembered import Decided
from greenroom.core.standing import State, Told, gate_or_error, pr_object, pr_ref, repository_of, state_of
from greenroom.core.told import approval_of
from greenroom.flows.pulls import Pulls
from greenroom.model.errors import ClusterError, Conflict, InvalidInput, NotFound, Unavailable
from greenroom.model.gate import Gate
from greenroom.model.manifest import (
    REVIEW_APP,
    Manifest,
    Ref,
    is_deleting,
    name_of,
    ref_of,
    text,
    version_of,
)
from greenroom.model.pull import WITHDRAWN, Action, Mark, Move, PullEvent
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster, Forge
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.informer import Informers
from greenroom.runtime.joined import Joined

T = TypeVar("T")

MANAGER = "greenroom"
ATTEMPTS = 8
CONTENDED = Backoff(base=0.01, cap=0.5)
"""Between attempts. Another replica may have many deliveries of the same pull request, and each of them writes."""
SYNC_SECONDS = 5.0
"""How long a delivery waits while Greenroom starts. GitHub waits 10 seconds for an answer."""

log = structlog.get_logger(__name__)


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


class Intake:
    """Takes deliveries for the ReviewApps of ``namespace``, by default of all.

    Those of one pull request are handled one after the other, in whatever order they came.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        clock: Clock,
        *,
        namespace: str = "",
        forge: Forge | None = None,
    ) -> None:
        self._cluster = cluster
        self._pulls = Pulls(forge)
        self._informers = informers
        self._clock = clock
        self._apps = Scope(REVIEW_APP, namespace)
        self._turns: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()
        # Of deliveries that come together, as when many pull requests are closed by one script.
        self._read_app: Joined[Ref, None, Manifest] = Joined(lambda ref, _: cluster.get(ref))
        self._remember: Joined[Ref, Decided, None] = Joined(self._write_remembered)

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
        repository, number = event.pull.repository, event.pull.number
        if not await self.wanted_by(repository):
            return ()
        # What a reading says needs no other one.
        present = event if event.action is Action.SEEN else await self._pulls.present(repository, number)
        is_trusted = await self._is_trusted(event)
        return await self._settle_all(Told(repository, number, event, present, is_trusted=is_trusted))

    async def _is_trusted(self, event: PullEvent) -> bool:
        """Whether an approval counts. Where nobody can be asked, the forge let the sender put the label on, and called
        the reviewer one of the team."""
        repository = event.pull.repository
        approver = event.approval.by if event.approval is not None else event.sender
        if event.action is Action.UNLABELED or (event.approval is not None and event.approval.what == WITHDRAWN):
            return True  # whoever may do that at the forge
        if event.approval is None and not any(self._approves(app, event) for app in self.review_apps_of(repository)):
            return True
        if not approver or not self._pulls.can_ask(repository):
            return True
        may_write = await self._pulls.may_write(repository, approver)
        if may_write is None:
            raise Unavailable(f"whether {approver} may push is not known now", retry_after=SYNC_SECONDS)
        return may_write

    def _approves(self, app: Ref, event: PullEvent) -> bool:
        gate = gate_or_error(self._informers.get(app) or {})
        return isinstance(gate, Gate) and approval_of(event, gate) is not None

    async def wish(self, repository: str, number: int, wish: Mark) -> tuple[Outcome, ...]:
        """As ``handle``, of what somebody who may push asked for. Where nothing is known of the pull request, nothing
        is done."""
        await self.synced()
        present = await self._pulls.present(repository, number)
        return await self._settle_all(Told(repository, number, present=present, wish=wish))

    async def move(self, move: Move) -> tuple[Outcome, ...]:
        """The ReviewApps of a repository that has moved are for it at its new address, too. Raises ClusterError."""
        await self.synced()
        outcomes = []
        for app in self.review_apps_of(move.former):
            named = text(self._informers.get(app), "spec", "githubRepository")
            status: Manifest = {"repository": {"named": named, "address": move.repository}}
            self._informers.observe(await self._cluster.patch_status(app, status))
            outcomes.append(Outcome(app, Result.UPDATED, f"{move.former} is at {move.repository} now"))
        return tuple(outcomes)

    async def ask_again(self, app: Ref, number: int) -> Outcome | None:
        """Ask the gate of one ReviewApp again, as when it was edited. Raises ClusterError."""
        await self.synced()
        manifest = self._informers.get(app)
        if manifest is None:
            return None
        told = Told(repository_of(manifest), number)
        async with self._turn(told):
            return await self._settle(app, told)

    def is_settled(self, app: Ref, told: Told) -> bool:
        """Whether there is nothing to do, as far as the informers' copies tell. Asks and writes nothing."""
        manifest = self._informers.get(app)
        pr = self._informers.get(pr_ref(app, told))
        state = state_of(manifest, pr, told) if manifest is not None else None
        if state is None or manifest is None or isinstance(state.gate, InvalidInput):
            return True
        answer = decide(question(state.pull, state.gate, state.known))
        if isinstance(answer, Undecided):
            return not state.gate_asks_the_forge
        if isinstance(answer, Admission):
            return state.recorded is not None and state.known.says_as_much_as(state.recorded)
        return pr is None and not remembered.change(manifest, [Decided(told.number, state.known, answer)])

    async def _settle_all(self, told: Told) -> tuple[Outcome, ...]:
        outcomes: list[Outcome] = []
        failures: list[ClusterError] = []
        async with self._turn(told):
            for app in self.review_apps_of(told.repository):
                try:
                    outcome = await self._settle(app, told)
                    outcomes.extend([outcome] if outcome else [])
                except ClusterError as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        return tuple(outcomes)

    def _turn(self, told: Told) -> asyncio.Lock:
        return self._turns.setdefault((canonical(told.repository), told.number), asyncio.Lock())

    def _check_that_none_is_missed(self, repository: str) -> None:
        if cause := self._informers.failure(self._apps):
            message = f"no ReviewApp of {repository} is known, and new ones cannot be seen now: {cause}"
            raise Unavailable(message, retry_after=SYNC_SECONDS)

    async def wanted_by(self, repository: str) -> list[Ref]:
        """Its ReviewApps. Raises ClusterError when there may be one that is not known yet."""
        await self.synced()
        found = self.review_apps_of(repository)
        if not found:
            self._check_that_none_is_missed(repository)
        return found

    def review_apps_of(self, repository: str) -> list[Ref]:
        """Those that are known, at its present address."""
        wanted = canonical(repository)
        return sorted(
            ref_of(app) for app in self._informers.list(REVIEW_APP) if canonical(repository_of(app)) == wanted
        )

    async def _settle(self, app: Ref, told: Told) -> Outcome | None:
        """Read, decide, write. Answers None where nothing is known of the pull request."""
        try:
            return await _while_others_write(lambda is_first: self._settle_once(app, told, from_copies=is_first))
        except NotFound:
            return Outcome(app, Result.REFUSED, "the ReviewApp was deleted just now, or its namespace is being deleted")

    async def _settle_once(self, app: Ref, told: Told, *, from_copies: bool) -> Outcome | None:
        state = self._copied(app, told) if from_copies else None
        state = state or await self._read(app, told)
        return await self._act(state, app) if state else None

    async def _act(self, state: State, app: Ref) -> Outcome:
        answer = await self._decide(state)
        decided = Decided(state.pull.number, state.known, answer)
        if isinstance(answer, Refusal) or (isinstance(answer, Undecided) and state.pr is None):
            result = await self._retire(state, decided)
            if answer.reason is not Reason.CLOSED:
                await self._tell_refusal(state, answer)
            is_done = answer.reason is Reason.CLOSED or result is Result.DELETED
            return Outcome(app, result if is_done else Result.REFUSED, answer.message)
        if is_deleting(state.app):
            return Outcome(app, Result.REFUSED, "the ReviewApp is being deleted")
        if isinstance(answer, Undecided) and state.is_of_unknown_trust:
            await self._write_down(state, decided)  # for the gate that is put right; what runs goes on as it is
            return Outcome(app, Result.UNCHANGED, answer.message)
        result = await self._admit(state)
        if isinstance(answer, Admission):
            await self._write_down(state, decided)
        return Outcome(app, result)

    async def _decide(self, state: State) -> Admission | Refusal | Undecided:
        if isinstance(state.gate, InvalidInput):
            closed = decide(question(state.pull, None, state.known))
            if isinstance(closed, Refusal) and closed.reason is Reason.CLOSED:
                return closed
            return Undecided(f"the gate cannot be asked: {state.gate}")
        asked = question(state.pull, state.gate, state.known)
        answer = decide(asked)
        if isinstance(answer, Undecided) and state.gate is not None and state.gate.needs_paths:
            paths = await self._pulls.changed_paths(state.pull)
            answer = decide(replace(asked, paths=paths))
        return answer

    def _copied(self, app_ref: Ref, told: Told) -> State | None:
        """What the informers know of a pull request that is closed, if they know its PR object.

        That saves a request for each of many. A copy may be old: but nothing is deleted in another version than that
        of the copy, and what is remembered that is not the newest does no harm.
        """
        app, pr = self._informers.get(app_ref), self._informers.get(pr_ref(app_ref, told))
        if app is None or pr is None:
            return None
        state = state_of(app, pr, told)
        return None if state is None or state.pull.open else state

    async def _read(self, app_ref: Ref, told: Told) -> State | None:
        """From the cluster itself: an informer's copy may be older than the last delivery's writes.

        The ReviewApp comes last: should another replica close the pull request right now, either its tombstone is
        seen, or the PR object has changed since it was read.
        """
        try:
            pr: Manifest | None = await self._cluster.get(pr_ref(app_ref, told))
        except NotFound:
            pr = None
        return state_of(await self._read_app(app_ref, None), pr, told)

    async def _admit(self, state: State) -> Result:
        if state.pr is not None and is_deleting(state.pr):
            raise Unavailable(f"{state.ref} is still being deleted", retry_after=1.0)
        if state.known == state.recorded or (state.known.was_read and state.known.says_as_much_as(state.recorded)):
            return Result.UNCHANGED
        await self._cluster.apply(pr_object(state, self._clock.now()), manager=MANAGER)
        return Result.CREATED if state.pr is None else Result.UPDATED

    async def _retire(self, state: State, decided: Decided) -> Result:
        await self._write_down(state, decided)
        if state.pr is None or (state.recorded is None and state.pull.open):
            return Result.UNCHANGED  # of those that are open, what people wrote by hand is theirs
        try:
            await self._cluster.delete(state.ref, resource_version=version_of(state.pr))
        except NotFound:
            return Result.UNCHANGED
        return Result.DELETED

    async def _tell_refusal(self, state: State, answer: Refusal | Undecided) -> None:
        """In an Event, where it is news. It is worth a try, and no more: the status says the same."""
        number = state.pull.number
        if remembered.refused_message(state.app, str(number)) == answer.message:
            return
        event = refusal_event(state.app, number, answer.reason.value, answer.message, self._clock.now())
        try:
            await self._cluster.apply(event, manager=MANAGER)
        except ClusterError as error:
            log.info("event was not written", event_name=name_of(event), error=str(error))

    async def _write_down(self, state: State, decided: Decided) -> None:
        if remembered.change(state.app, [decided]):
            await self._remember(ref_of(state.app), decided)

    async def _write_remembered(self, app: Ref, decided: Sequence[Decided]) -> None:
        """Over what was read only: another replica may write something newer."""

        async def write(is_first: bool) -> None:
            copy = self._informers.get(app) if is_first else None
            present = copy or await self._cluster.get(app)
            if change := remembered.change(present, decided):
                written = await self._cluster.patch_status(app, change, resource_version=version_of(present))
                self._informers.observe(written)  # for those who come next

        await _while_others_write(write)


async def _while_others_write(attempt: Callable[[bool], Awaitable[T]]) -> T:
    """Try with True, and then, as long as somebody else writes in between, with False."""
    for number in range(1, ATTEMPTS):
        try:
            return await attempt(number == 1)
        except Conflict:
            await asyncio.sleep(CONTENDED.delay(number))
    return await attempt(False)

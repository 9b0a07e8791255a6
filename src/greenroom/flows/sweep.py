"""What the forge says is compared with what is here, at the start and every ten minutes: so no lost delivery matters.

Nothing is concluded from what the forge did not say. A pull request that is not in a listing is asked for by its
number, and only the answer that it is closed closes it here; a listing that failed, or was cut, tells nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from greenroom.core.forge_health import FORGE_REACHABLE, forge_condition
from greenroom.core.gate import Reason, canonical
from greenroom.core.remembered import refused_knowledge
from greenroom.core.standing import Told, gate_or_error, known_numbers, repository_of
from greenroom.flows.intake import Intake
from greenroom.model.errors import ClusterError, ForgeError, ForgeNotFound, GreenroomError, InvalidInput
from greenroom.model.gate import Forks, Gate
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, items, ref_of, text
from greenroom.model.pull import APPROVED, WITHDRAWN, Action, Mark, Move, PullEvent
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster, Forge
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

SWEEP_SECONDS = 600.0
REDELIVER_SECONDS = 3600.0
"""How often failed deliveries are looked for: mostly they are redelivered for what a listing does not tell."""
CLEAR_SECONDS = 3600.0
"""How often the forge is asked what was left behind there: only who dies, or is refused, leaves anything."""
REDELIVER_WITHIN = timedelta(days=3)
"""GitHub redelivers what is no older ("Redelivering webhooks")."""
RETRY = Backoff(base=60.0, cap=SWEEP_SECONDS)
"""After a failure. Each try costs a listing, and a wrong address or lacking rights stay so until a person comes."""

log = structlog.get_logger(__name__)


class Sweep:
    """For the repositories of all ReviewApps of ``namespace``, by default of all. To be run by one replica.

    ``webhook`` is the address that the forge delivers to, ``""`` where failed deliveries are not to be asked for.
    ``clear`` takes away what was left behind on the forge of environments that are gone.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        intake: Intake,
        forge: Forge,
        clock: Clock,
        *,
        namespace: str = "",
        webhook: str = "",
        clear: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._intake = intake
        self._forge = forge
        self._clock = clock
        self._webhook = webhook
        self._clear = clear
        self._apps, self._prs = Scope(REVIEW_APP, namespace), Scope(PR, namespace)
        self._failures: dict[str, int] = {}
        self._due: dict[tuple[str, str], float] = {}  # when what is done now and then is to be done next
        self._controller: Controller[str] = Controller("sweep", self._sweep, workers=2, timeout=600.0)

    async def run(self) -> None:
        """Until cancelled, and once only."""
        await self._informers.synced(self._apps, self._prs)
        self._informers.subscribe(self._apps, self._app_changed)
        try:
            await self._controller.run()
        finally:
            self._informers.unsubscribe(self._app_changed)

    def _app_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is not None and (old is None or repository_of(old) != repository_of(new)):
            self._controller.add(canonical(repository_of(new)))

    async def _sweep(self, key: str) -> float | None:
        apps = [app for app in self._informers.list(REVIEW_APP) if canonical(repository_of(app)) == key]
        if not apps:
            return None
        repository = repository_of(apps[0])
        if not self._forge.has_credentials(repository):
            return SWEEP_SECONDS
        try:
            failures = await self._compare(repository, apps)
        except ForgeError as error:
            log.warning("the forge could not be asked", repository=repository, error=str(error))
            await self._say(apps, error)
            return self._patience(key, error.retry_after)
        await self._say(apps, None)
        await self._do_besides(repository)
        return self._patience(key, max(each.retry_after for each in failures)) if failures else self._calm(key)

    def _patience(self, key: str, retry_after: float) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        return max(RETRY.delay(self._failures[key]), retry_after)

    def _calm(self, key: str) -> float:
        self._failures.pop(key, None)
        return SWEEP_SECONDS

    async def _compare(self, repository: str, apps: Sequence[Manifest]) -> Sequence[ClusterError]:
        """What could not be done of it: one pull request that fails keeps no other from being compared."""
        failures: list[ClusterError] = []
        listed = await self._forge.open_pulls(repository)
        for event in listed:
            await self._hand_in(event, repository, apps, failures)
        known = {number for app in apps for number in known_numbers(app, self._prs_of(app))}
        for number in sorted(known - {event.pull.number for event in listed}):
            await self._ask_for(repository, number, failures)
        for app in apps:
            await self._look_for_approvals(repository, app, listed, failures)
        return failures

    def _prs_of(self, app: Manifest) -> Sequence[Manifest]:
        return self._informers.list(PR, namespace=text(app, "metadata", "namespace"))

    async def _hand_in(
        self, event: PullEvent, repository: str, apps: Sequence[Manifest], failures: list[ClusterError]
    ) -> None:
        told = Told(event.pull.repository, event.pull.number, present=event)
        if _has_moved(event, repository) or not all(self._intake.is_settled(ref_of(app), told) for app in apps):
            await self._take_in(event, repository, failures)

    async def _ask_for(self, repository: str, number: int, failures: list[ClusterError]) -> None:
        """One that is not in the listing: closed, most likely. One that is not found tells nothing: the credentials may
        not reach it any more."""
        try:
            event = await self._forge.pull(repository, number)
        except ForgeNotFound as error:
            log.info("a pull request is not found", repository=repository, number=number, error=str(error))
            return
        await self._take_in(event, repository, failures)

    async def _take_in(self, event: PullEvent, repository: str, failures: list[ClusterError]) -> None:
        try:
            if _has_moved(event, repository):
                await self._intake.move(Move(repository, event.pull.repository))
            await self._intake.handle(event)
        except ClusterError as error:
            log.warning("a pull request was not compared", number=event.pull.number, error=str(error))
            failures.append(error)

    async def _look_for_approvals(
        self, repository: str, app: Manifest, listed: Sequence[PullEvent], failures: list[ClusterError]
    ) -> None:
        """A review whose delivery was lost. Without a gate a review approves a fork, too."""
        gate = gate_or_error(app)
        if isinstance(gate, InvalidInput) or (isinstance(gate, Gate) and gate.forks is not Forks.APPROVED):
            return
        for event in listed:
            if not self._waits_for_approval(ref_of(app), event):
                continue
            if event.pull.head in await self._forge.approved_commits(repository, event.pull.number):
                approval = Mark(event.at, APPROVED, event.pull.head)
                await self._take_in(replace(event, action=Action.REVIEWED, approval=approval), repository, failures)

    def _waits_for_approval(self, ref: Ref, event: PullEvent) -> bool:
        """What somebody withdrew of this very commit, an older review does not bring back."""
        app, number = self._informers.get(ref) or {}, event.pull.number
        known = refused_knowledge(app, number)
        last = known.approval if known is not None else None
        is_withdrawn = last is not None and (last.what, last.commit) == (WITHDRAWN, event.pull.head)
        return text(app, "status", "refused", str(number), "reason") == Reason.FORK.value and not is_withdrawn

    async def _do_besides(self, repository: str) -> None:
        if self._webhook:
            await self._now_and_then("redeliver", repository, REDELIVER_SECONDS, self._redeliver)
        if self._clear is not None:
            await self._now_and_then("clear", repository, CLEAR_SECONDS, self._clear)

    async def _now_and_then(
        self, name: str, repository: str, seconds: float, doing: Callable[[str], Awaitable[None]]
    ) -> None:
        """A forge that refuses it is asked again when it is due again: pull requests are compared all the same."""
        now = asyncio.get_running_loop().time()
        if now < self._due.get((name, repository), 0.0):
            return
        self._due[name, repository] = now + seconds
        try:
            await doing(repository)
        except GreenroomError as error:
            log.warning("the forge was asked in vain", what=name, repository=repository, error=str(error))

    async def _redeliver(self, repository: str) -> None:
        count = await self._forge.redeliver(repository, self._webhook, REDELIVER_WITHIN)
        if count:
            log.warning("failed deliveries are sent again", repository=repository, count=count)

    async def _say(self, apps: Sequence[Manifest], error: ForgeError | None) -> None:
        """In the condition ``ForgeReachable`` of each ReviewApp, where it is news."""
        for app in apps:
            await self._say_at(ref_of(app), error)

    async def _say_at(self, ref: Ref, error: ForgeError | None) -> None:
        app = self._informers.get(ref)
        condition = forge_condition(app, error, self._clock.now()) if app is not None else None
        if app is None or condition is None:
            return
        others = [each for each in items(app, "status", "conditions") if text(each, "type") != FORGE_REACHABLE]
        try:
            self._informers.observe(await self._cluster.patch_status(ref, {"conditions": [*others, condition]}))
        except ClusterError as failed:
            log.info("the condition was not written", review_app=ref.name, error=str(failed))


def _has_moved(event: PullEvent, repository: str) -> bool:
    return canonical(event.pull.repository) != canonical(repository)

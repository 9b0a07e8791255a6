"""Many pull requests opened, pushed to and closed at once: through the operator, and written straight to the server.

The peer writes what the operator writes for its users, the PR objects and the rendered objects, with the operator's own
HTTP client, as many pull requests at a time as goes fastest, and nothing else: no status, no Event, and
nobody else's informers but the one that sees when it is done, which watches the operator's side, too. On a push it
applies all objects again, as ``kubectl apply -f`` does; and once more, those only that the push changes. On a close it
deletes everything in parallel. The controller manager works for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import quantiles
from typing import Protocol

import msgspec

from bench.cluster.site import MANAGER, REPOSITORY, Sample, Site, cpu_seconds
from bench.cluster.watching import Watching, watching
from greenroom.adapters.kube import KubeCluster
from greenroom.app.forge import Webhook
from greenroom.core.ordering import OBSERVED
from greenroom.core.template import render
from greenroom.local.forge import payload
from greenroom.model.environment import Environment, pr_name
from greenroom.model.errors import GreenroomError, NotFound
from greenroom.model.manifest import (
    PR,
    RECEIVED_ANNOTATION,
    Manifest,
    Ref,
    kind_of,
    owner_reference,
    ref_of,
    text,
)
from greenroom.model.reviewapp import ReviewApp

WRITERS, DELETERS = 64, 16
"""Pull requests that the peer writes or deletes at once: of 4 to 64, what was fastest on two cores."""
DELIVERIES = 64
"""Webhooks under way at once."""
CHANGES = "changes only"
"""A push of the peer's that knows what it changes."""
COMMITS = {"opened": "a" * 40, "synchronize": "b" * 40, CHANGES: "c" * 40, "closed": "c" * 40}


class Side(Protocol):
    """Somebody who can do to a pull request what ``action`` (as in a webhook) says."""

    async def do(self, action: str, number: int) -> None: ...


class Deliveries:
    """The operator's side: a signed webhook a pull request.

    One that is not answered with 2xx within GitHub's ten seconds has ``failed``, and comes again once.
    """

    def __init__(self, webhook: Webhook) -> None:
        self.failed = 0
        self._webhook = webhook
        self._turns = asyncio.Semaphore(DELIVERIES)

    async def do(self, action: str, number: int) -> None:
        body = msgspec.json.encode(
            payload(
                action,
                html_url=REPOSITORY,
                number=number,
                title="a title",
                branch="a-branch",
                head=COMMITS[action],
                state="closed" if action == "closed" else "open",
                updated_at=f"2026-11-01T12:00:{[*COMMITS].index(action):02}Z",
                before=COMMITS["opened"] if action == "synchronize" else "",
            )
        )
        async with self._turns:
            try:
                await self._webhook.deliver("pull_request", body)
            except GreenroomError:
                self.failed += 1
                await self._webhook.deliver("pull_request", body)


class PlainWrites:
    """The peer's side."""

    def __init__(self, cluster: KubeCluster, app: Manifest) -> None:
        self._cluster = cluster
        self._app = app
        self._writing, self._deleting = asyncio.Semaphore(WRITERS), asyncio.Semaphore(DELETERS)
        self._written: dict[int, Sequence[Manifest]] = {}  # by the pull request's number

    async def do(self, action: str, number: int) -> None:
        if action == "closed":
            async with self._deleting:
                refs = map(ref_of, (self._pr(number, ""), *self._written[number]))
                await asyncio.gather(*map(self._delete, refs))
            return
        async with self._writing:
            pr = await self._cluster.apply(self._pr(number, COMMITS[action]), manager=MANAGER)
            rendered = render(Environment.parse(pr), ReviewApp.parse(self._app), owner_reference(pr), lambda _: True)
            known = self._written.get(number, ()) if action == CHANGES else ()
            changed = (manifest for manifest in rendered.manifests if manifest not in known)
            await asyncio.gather(*(self._cluster.apply(each, manager=MANAGER) for each in changed))
            self._written[number] = rendered.manifests

    async def _delete(self, ref: Ref) -> None:
        with suppress(NotFound):  # the garbage collector may be faster
            await self._cluster.delete(ref)

    def _pr(self, number: int, commit: str) -> Manifest:
        """As the operator writes it."""
        app = ref_of(self._app)
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {
            "apiVersion": PR.api_version,
            "kind": PR.name,
            "metadata": {
                "name": pr_name(app.name, number),
                "namespace": app.namespace,
                "annotations": {OBSERVED: f"2026-11-01T12:00:00Z opened::{commit}", RECEIVED_ANNOTATION: received},
                "ownerReferences": [owner_reference(self._app)],
            },
            "spec": {"parentReviewApp": app.name, "prNumber": str(number), "headCommitRef": commit},
        }


@dataclass(frozen=True, slots=True)
class Timing:
    """What became of one action on many pull requests. ``seconds`` are those until its objects are as they should be,
    ``told`` those until the status says so, all since the first one was under way. ``cpu`` is until the objects are."""

    seconds: Sequence[float]
    told: Sequence[float]
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Pull requests a second, until the last."""
        return len(self.seconds) / max(self.seconds)

    @property
    def p50(self) -> float:
        return quantiles(self.seconds, n=100)[49]

    @property
    def p95(self) -> float:
        return quantiles(self.seconds, n=100)[94]


Run = Mapping[str, Timing]
"""By action."""


@dataclass(frozen=True, slots=True)
class Operated:
    """A run of the operator, and what it and the API server counted meanwhile."""

    run: Run
    failed: int
    operator: Sequence[Sample]
    server: Sequence[Sample]


async def through_operator(site: Site, count: int) -> Operated:
    async with (
        site.namespace() as app,
        site.operator(text(app, "metadata", "namespace")) as operator,
        watching_of(site, app) as watched,
    ):
        side = Deliveries(operator.webhook)
        await _warm_up(side, watched)
        before = await operator.metrics(), await site.metrics()
        run = await _life(side, watched, count, ("opened", "synchronize", "closed"), tells=True)
        after = await operator.metrics(), await site.metrics()
        return Operated(run, side.failed, *map(difference, before, after))


async def plain_writes(site: Site, count: int) -> Run:
    async with site.namespace() as app, watching_of(site, app) as watched:
        side = PlainWrites(site.cluster, app)
        await _warm_up(side, watched)
        return await _life(side, watched, count, ("opened", "synchronize", CHANGES, "closed"))


@asynccontextmanager
async def watching_of(site: Site, app: Manifest) -> AsyncIterator[Watching]:
    ref, kinds = ref_of(app), map(kind_of, ReviewApp.parse(app).resources)
    async with watching(site.cluster, ref.namespace, ref.name, kinds) as watched:
        yield watched


async def _warm_up(side: Side, watched: Watching) -> None:
    """A pull request's life: connections are made and watches started."""
    for action in ("opened", "closed"):
        await side.do(action, 1)
        await watched.when([1], _stage(watched, action))
    await watched.quiet()


async def _life(side: Side, watched: Watching, count: int, actions: Sequence[str], *, tells: bool = False) -> Run:
    numbers = range(1001, 1001 + count)
    run: dict[str, Timing] = {}
    for action in actions:
        told = watched.told(COMMITS[action]) if tells and action != "closed" else None
        run[action] = await timed(side, watched, action, numbers, _stage(watched, action), told)
        await watched.quiet()
    return run


def _stage(watched: Watching, action: str) -> Callable[[int], bool]:
    """What holds once it is done."""
    return watched.gone if action == "closed" else watched.applied(COMMITS[action])


async def timed(
    side: Side,
    watched: Watching,
    action: str,
    numbers: Sequence[int],
    holds: Callable[[int], bool],
    told: Callable[[int], bool] | None = None,
) -> Timing:
    before, start = cpu_seconds(), time.perf_counter()
    says = asyncio.create_task(watched.when(numbers if told is not None else (), told or holds))
    async with asyncio.TaskGroup() as group:
        seen = group.create_task(watched.when(numbers, holds))
        for number in numbers:
            group.create_task(side.do(action, number))
    after = cpu_seconds()
    cpu = {name: used - before.get(name, 0.0) for name, used in after.items()}
    return Timing([at - start for at in seen.result().values()], [at - start for at in (await says).values()], cpu)


def difference(before: Sequence[Sample], after: Sequence[Sample]) -> list[Sample]:
    """What was counted in between."""
    known = {(sample.name, tuple(sample.labels.items())): sample.value for sample in before}
    return [
        Sample(each.name, each.labels, each.value - known.get((each.name, tuple(each.labels.items())), 0.0))
        for each in after
    ]

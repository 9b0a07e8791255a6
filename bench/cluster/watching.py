"""Sees through watches, as any client could, when what was asked for is in the cluster."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from greenroom.adapters.kube import KubeCluster
from greenroom.core.status import APPLIED
from greenroom.model.environment import pr_name
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    PR,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    condition_of,
    is_deleting,
    name_of,
    number,
    text,
)
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers

QUIET_SECONDS = 3.0
_NUMBER = re.compile(r"\d+\Z")


class Watching:
    """The environments of one namespace: their PR objects and the objects of ``kinds``, one of each."""

    def __init__(self, informers: Informers, namespace: str, review_app: str, kinds: Iterable[Kind]) -> None:
        self._informers = informers
        self._namespace = namespace
        self._review_app = review_app
        self._kinds = tuple(kinds)
        self._changed_at = time.perf_counter()
        self._waits: list[_Wait] = []
        for kind in (PR, *self._kinds):
            informers.subscribe(Scope(kind, namespace), self._changed)

    async def when(self, numbers: Iterable[int], holds: Callable[[int], bool]) -> dict[int, float]:
        """When it first held for each of the pull requests, on the clock of ``perf_counter``."""
        wait = _Wait(holds, set(numbers))
        if not wait.numbers:
            return {}
        self._waits.append(wait)
        for each in tuple(wait.numbers):
            wait.look(each)
        await wait.over.wait()
        self._waits.remove(wait)
        return wait.seen

    async def quiet(self) -> None:
        """Until the controllers have come to rest."""
        while not self._is_quiet():  # noqa: ASYNC110 - silence is no event
            await asyncio.sleep(0.1)

    def applied(self, commit: str) -> Callable[[int], bool]:
        """Whether all objects are there, those that show it with this commit."""

        def holds(number_: int) -> bool:
            pr = self._pr(number_)
            children = [self._child(kind, number_) for kind in self._kinds]
            if pr is None or text(pr, "spec", "headCommitRef") != commit:
                return False
            return all(child is not None and _is_of(child, commit) for child in children)

        return holds

    def told(self, commit: str) -> Callable[[int], bool]:
        """Whether the status says so."""

        def holds(number_: int) -> bool:
            pr = self._pr(number_) or {}
            applied = text(condition_of(pr, APPLIED), "status") == "True"
            return applied and text(pr, "status", "commit") == commit

        return holds

    def gone(self, number_: int) -> bool:
        return self._pr(number_) is None and not any(self._child(kind, number_) for kind in self._kinds)

    def _pr(self, number_: int) -> Manifest | None:
        return self._informers.get(Ref(PR, self._namespace, pr_name(self._review_app, number_)))

    def _child(self, kind: Kind, number_: int) -> Manifest | None:
        return self._informers.get(Ref(kind, self._namespace, f"pr{number_}"))

    def _is_quiet(self) -> bool:
        if time.perf_counter() - self._changed_at < QUIET_SECONDS:
            return False
        deployments = self._informers.list(DEPLOYMENT)
        return all(
            number(each, "status", "observedGeneration") == number(each, "metadata", "generation")
            and number(each, "status", "updatedReplicas") == 1
            for each in deployments
        )

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        self._changed_at = time.perf_counter()
        found = _NUMBER.search(name_of(new or old or {}))
        if found is not None:
            for wait in self._waits:
                wait.look(int(found[0]))


@dataclass(slots=True)
class _Wait:
    """For something to hold for each of some pull requests."""

    holds: Callable[[int], bool]
    numbers: set[int]
    seen: dict[int, float] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self, number_: int) -> None:
        if number_ in self.numbers and self.holds(number_):
            self.numbers.discard(number_)
            self.seen[number_] = time.perf_counter()
        if not self.numbers:
            self.over.set()


def _is_of(child: Manifest, commit: str) -> bool:
    return not is_deleting(child) and annotations_of(child).get(COMMIT_ANNOTATION, commit) == commit


@asynccontextmanager
async def watching(
    cluster: KubeCluster, namespace: str, review_app: str, kinds: Iterable[Kind]
) -> AsyncIterator[Watching]:
    informers = Informers(cluster)
    running = asyncio.create_task(informers.run())
    try:
        watching = Watching(informers, namespace, review_app, kinds)
        await informers.synced()
        yield watching
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

"""A build came to its end -> the PR objects that want its commit say so; ``flows.reconcile`` acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from greenroom.core.build import BUILD_ANNOTATION, build_text, is_news, tells
from greenroom.core.gate import canonical
from greenroom.core.relations import review_app_of
from greenroom.core.standing import repository_of
from greenroom.flows.annotating import annotate
from greenroom.flows.intake import SYNC_SECONDS, Outcome, Result
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, name_of, text
from greenroom.model.pull import Build
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.informer import Informers

MANAGER = "greenroom-build"


class Builds:
    """For the PR objects of ``namespace``, by default of all."""

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock, *, namespace: str = "") -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._scopes = Scope(REVIEW_APP, namespace), Scope(PR, namespace)

    async def handle(self, build: Build) -> Sequence[Outcome]:
        """What was done at each PR object. Raises ClusterError."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._informers.synced(*self._scopes)
        except TimeoutError as error:
            raise Unavailable("the PR objects are not known yet", retry_after=SYNC_SECONDS) from error
        return [await self._tell(pr, build) for pr in self._informers.list(PR) if self._wants(pr, build)]

    def _wants(self, pr: Manifest, build: Build) -> bool:
        app = self._informers.get(review_app_of(pr))
        is_of = app is not None and canonical(repository_of(app)) == canonical(build.repository)
        return is_of and text(pr, "spec", "headCommitRef") == build.commit and tells(app or {}, build)

    async def _tell(self, pr: Manifest, build: Build) -> Outcome:
        if not is_news(pr, build):
            return Outcome(review_app_of(pr), Result.UNCHANGED, f"{name_of(pr)}: that, or something newer, is known")
        annotations = {BUILD_ANNOTATION: build_text(build, self._clock.now())}
        if not await annotate(self._cluster, pr, annotations, manager=MANAGER):
            return Outcome(review_app_of(pr), Result.UNCHANGED, f"{name_of(pr)} is gone")
        told = "succeeded" if build.succeeded else "failed"
        return Outcome(review_app_of(pr), Result.UPDATED, f"{name_of(pr)}: the build {told}")

"""``greenroom cleanup``: deletes the PR objects whose pods wait for an image in vain. ``core.cleanup`` judges.

It runs once and ends, as a job. A pod that cannot be judged, or a PR object that cannot be deleted, holds up no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from greenroom.core.cleanup import (
    Outcome,
    Owner,
    Result,
    Stays,
    Tally,
    likely_deployment,
    owner_of,
    pr_of,
    require_same,
    waits_in_vain,
)
from greenroom.model.errors import ClusterError, Conflict, Forbidden, NotFound
from greenroom.model.manifest import DEPLOYMENT, POD, REPLICA_SET, Manifest, Ref, ref_of, uid_of
from greenroom.ports import Clock, Cluster


class Cleanup:
    """In one namespace, of pods that are at least ``age`` old. With ``dry_run`` it deletes nothing.

    ``say`` is called with each outcome at once, so that what was done is told even when the job is cut short.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        say: Callable[[Outcome], None],
        *,
        namespace: str,
        age: timedelta,
        dry_run: bool = False,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._tell = say
        self._namespace = namespace
        self._age = age
        self._dry_run = dry_run
        self._results = Counter[Result]()
        self._deployments: Sequence[Manifest] | None = None

    async def run(self) -> Tally:
        """Raises ClusterError when the pods cannot be listed. Any later error is an outcome."""
        pods = (await self._cluster.list(POD, namespace=self._namespace)).items
        waiting = [pod for pod in pods if self._waits(pod)]
        for owner, theirs in (await self._environments(waiting)).items():
            with self._saying(owner.ref):
                await self._delete(owner, theirs)
        return Tally(len(pods), len(waiting), self._results)

    def _waits(self, pod: Manifest) -> bool:
        return waits_in_vain(pod, self._clock.now(), self._age)

    async def _environments(self, pods: Sequence[Manifest]) -> dict[Owner, list[Manifest]]:
        """The PR objects to which the pods belong, all of them before the first is deleted: its pods go with it."""
        found: dict[Owner, list[Manifest]] = {}
        for pod in pods:
            with self._saying(ref_of(pod)):
                found.setdefault(pr_of(await self._deployment_of(pod)), []).append(pod)
        return found

    async def _deployment_of(self, pod: Manifest) -> Manifest:
        try:
            replica_set = await self._read(owner_of(pod, REPLICA_SET))
        except Forbidden:  # the Role that was published grants no access to ReplicaSets
            return likely_deployment(pod, await self._all_deployments())
        return await self._read(owner_of(replica_set, DEPLOYMENT))

    async def _all_deployments(self) -> Sequence[Manifest]:
        """Of the namespace, read once."""
        if self._deployments is None:
            self._deployments = (await self._cluster.list(DEPLOYMENT, namespace=self._namespace)).items
        return self._deployments

    async def _read(self, owner: Owner) -> Manifest:
        found = await self._cluster.get(owner.ref)
        require_same(found, owner.uid)
        return found

    async def _delete(self, owner: Owner, pods: Sequence[Manifest]) -> None:
        await self._read(owner)
        if not any([await self._still_waits(pod) for pod in pods]):
            raise Stays("none of its pods waits any more")
        if not self._dry_run:
            await self._cluster.delete(owner.ref, uid=owner.uid)
        self._say(Outcome(Result.WOULD_DELETE if self._dry_run else Result.DELETED, owner.ref))

    async def _still_waits(self, pod: Manifest) -> bool:
        """Meanwhile its image may have come, or the pod may be gone."""
        try:
            present = await self._cluster.get(ref_of(pod))
        except NotFound:
            return False
        return uid_of(present) == uid_of(pod) and self._waits(present)

    @contextmanager
    def _saying(self, ref: Ref) -> Iterator[None]:
        """A block after which others go on: what goes wrong in it is the outcome of ``ref``."""
        try:
            yield
        except (Stays, NotFound, Conflict) as why:  # gone, or replaced, since it was listed
            self._say(Outcome(Result.LEFT, ref, str(why)))
        except ClusterError as error:
            self._say(Outcome(Result.FAILED, ref, str(error)))

    def _say(self, outcome: Outcome) -> None:
        self._results[outcome.result] += 1
        self._tell(outcome)

"""Leader election: of several replicas one does the work, the one that a Lease (``coordination.k8s.io/v1``) names.

The rules are those of client-go's ``tools/leaderelection``. The leader renews its lease every ``retry`` seconds, and
stops its work when that did not succeed for ``renew`` seconds. A candidate takes a lease that nobody holds, or that was
not seen to change for as long as its holder promised. Both are measured with the replica's own monotonic clock; the
times in the lease are for people to read. So clocks that disagree, or jump, make no second leader.

Two candidates that write at the same time are told apart by the version of the lease that they read. Since a version
does not keep a lease that is gone from being made anew, a missing one is made first, empty, by a field manager of its
own, which can take no field from anybody, and is taken like any other then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from greenroom.model.errors import ClusterError, Conflict, GreenroomError, NotFound
from greenroom.model.manifest import Json, Kind, Manifest, Ref, number, text, uid_of
from greenroom.ports import Clock
from greenroom.runtime.monitor import UNWATCHED, Monitor
from greenroom.runtime.pulse import Pulse

LEASE = Kind("coordination.k8s.io", "v1", "Lease")
MANAGER = "greenroom"
CREATOR = "greenroom-create"
TRY_SECONDS = 60.0
"""Within so many seconds the lease is tried for, or renewed, again; also when work has to end between. Else the replica
is stuck."""
RELEASE_SECONDS = 3.0
"""How long a replica that ends tries to give its lease back."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, client-go's by default. ``renew`` must leave the work time to end before ``lease`` is over."""

    lease: int = 15
    renew: float = 10.0
    retry: float = 2.0


_CLIENT_GO = Timing()


class Leases(Protocol):
    """The part of ``ports.Cluster`` that a lease needs."""

    async def get(self, ref: Ref) -> Manifest: ...

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest: ...


class Leader:
    """One candidate for ``lease``. ``identity`` is its name there, and must be nobody else's."""

    def __init__(
        self,
        cluster: Leases,
        clock: Clock,
        lease: Ref,
        identity: str,
        *,
        timing: Timing = _CLIENT_GO,
        monitor: Monitor = UNWATCHED,
    ) -> None:
        self._monitor = monitor
        self._pulse = Pulse()
        self._cluster = cluster
        self._clock = clock
        self._ref = lease
        self._identity = identity
        self._timing = timing
        self._seen_version = ""
        self._seen_at = -math.inf  # of the loop, as the next
        self._leads_until = -math.inf

    def leads(self) -> bool:
        """Whether this replica may write now. Ask before each write: a process may have been stopped for a while."""
        return asyncio.get_running_loop().time() < self._leads_until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled: wait for the lease, work while it is held, and begin anew when it was lost.

        ``work`` runs until it is cancelled; when it ends by itself that is an error here. At the end the lease is given
        back, so that the next replica need not wait until it is over.
        """
        try:
            with self._monitor.running(self._pulse.is_overdue):
                while True:
                    await self._acquire()
                    log.info("this replica leads", lease=self._ref.name, identity=self._identity)
                    try:
                        await self._lead(work)
                    finally:
                        self._leads_until = -math.inf
                    log.warning("this replica leads no more", lease=self._ref.name, identity=self._identity)
        finally:
            await self._release()

    async def _acquire(self) -> None:
        failed = False
        while True:
            try:
                async with asyncio.timeout(self._timing.renew):
                    if await self._take():
                        return
                failed = False
            except (ClusterError, TimeoutError) as error:
                # One line tells a person; the repetitions of the same trouble are for those who look closer.
                report = log.debug if failed or isinstance(error, Conflict) else log.info
                report("lease cannot be read or taken", lease=self._ref.name, error=str(error) or "no answer")
                failed = True
            await asyncio.sleep(self._timing.retry)

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_endless(work), name="leader")
            await self._hold()
            working.cancel()

    async def _hold(self) -> None:
        """Renew the lease; returns when it was lost."""
        while self.leads():
            try:
                async with asyncio.timeout_at(self._leads_until):
                    await asyncio.sleep(self._timing.retry)
                    if not await self._take():
                        return
            except TimeoutError:
                return
            except ClusterError as error:
                log.info("lease was not renewed, trying again", lease=self._ref.name, error=str(error))

    async def _take(self) -> bool:
        """Take the lease, or renew it; False when another replica holds it. Raises ClusterError."""
        self._pulse.beat(within=TRY_SECONDS)
        began = asyncio.get_running_loop().time()
        lease = await self._read()
        holder = text(lease, "spec", "holderIdentity")
        if holder not in ("", self._identity) and not self._is_over(lease):
            self._leads_until = -math.inf
            return False
        self._note(await self._write(lease, self._identity, self._timing.lease))
        # The others count from when they see the write, which is later than when it began.
        self._leads_until = began + self._timing.renew
        return True

    async def _read(self) -> Manifest:
        try:
            lease = await self._cluster.get(self._ref)
        except NotFound:
            lease = await self._cluster.apply(_bare(self._ref), manager=CREATOR)
        self._note(lease)
        return lease

    def _note(self, lease: Manifest) -> None:
        version = text(lease, "metadata", "resourceVersion")
        if version != self._seen_version:
            self._seen_version = version
            self._seen_at = asyncio.get_running_loop().time()

    def _is_over(self, lease: Manifest) -> bool:
        """Whether its holder did not keep the promise to renew it in time."""
        promised = number(lease, "spec", "leaseDurationSeconds", default=self._timing.lease)
        return asyncio.get_running_loop().time() >= self._seen_at + promised

    async def _write(self, lease: Manifest, holder: str, seconds: int) -> Manifest:
        """Raises Conflict when the lease is not as it was read."""
        now = _micro_time(self._clock.now())
        acquired = text(lease, "spec", "acquireTime")
        transitions = number(lease, "spec", "leaseTransitions")
        if holder and holder != text(lease, "spec", "holderIdentity"):
            transitions += 1 if acquired else 0
            acquired = now
        spec: Manifest = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        version = text(lease, "metadata", "resourceVersion")
        bare = _bare(self._ref, uid=uid_of(lease), resourceVersion=version)
        return await self._cluster.apply({**bare, "spec": spec}, manager=MANAGER)

    async def _release(self) -> None:
        """Read first: a write whose answer never came may have been done."""
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                lease = await self._cluster.get(self._ref)
                if text(lease, "spec", "holderIdentity") == self._identity:
                    await self._write(lease, "", 1)


async def _endless(work: Callable[[], Awaitable[None]]) -> None:
    await work()
    raise GreenroomError("the leader's work ended by itself")


def _bare(ref: Ref, **metadata: Json) -> dict[str, Json]:
    named: dict[str, Json] = {"name": ref.name, "namespace": ref.namespace, **metadata}
    return {"apiVersion": ref.kind.api_version, "kind": ref.kind.name, "metadata": named}


def _micro_time(time: datetime) -> str:
    """A time, in UTC, as ``meta/v1 MicroTime``."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

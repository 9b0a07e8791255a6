"""Leader election in virtual time: several candidates, an API server that fails, clocks that disagree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.virtual import now, virtual_time

from greenroom.model.errors import ClusterError, Conflict, GreenroomError, NotFound, Unavailable
from greenroom.model.manifest import Manifest, Ref, get, ref_of, table, text
from greenroom.runtime.leader import LEASE, Leader

REF = Ref(LEASE, "greenroom", "greenroom")


class LeaseCluster:
    """Keeps one lease, as Kubernetes does, with a delay before and after each request takes effect."""

    def __init__(self, *, latency: float = 0.01) -> None:
        self.lease: Manifest | None = None
        self.version = 0
        self.latency = latency
        self._managers: set[str] = set()  # of the fields in spec

    async def get(self, ref: Ref) -> Manifest:
        await asyncio.sleep(self.latency)
        if self.lease is None:
            raise NotFound(str(ref))
        lease = self.lease
        await asyncio.sleep(self.latency)
        return lease

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        await asyncio.sleep(self.latency)
        stored = self._store(manifest, manager)
        await asyncio.sleep(self.latency)
        return stored

    def _store(self, manifest: Manifest, manager: str) -> Manifest:
        assert ref_of(manifest) == REF
        present, given = table(self.lease, "metadata"), table(manifest, "metadata")
        if "uid" in given and given["uid"] != present.get("uid"):
            raise Conflict("another uid")
        if self.lease is not None and given.get("resourceVersion") not in (None, present["resourceVersion"]):
            raise Conflict("the object has been modified")
        if self.lease is not None and "spec" not in manifest and manager not in self._managers:
            return self.lease  # whoever holds no field takes none away
        if "spec" in manifest:
            self._managers = {manager}
        self.version += 1
        uid = present.get("uid", f"uid-{self.version}")
        metadata = {"name": REF.name, "namespace": REF.namespace, "uid": uid, "resourceVersion": str(self.version)}
        self.lease = {**manifest, "metadata": metadata, "spec": table(manifest, "spec")}
        return self.lease

    @property
    def holder(self) -> str:
        return text(self.lease, "spec", "holderIdentity")


class Link:
    """One candidate's connection, which can fail, hang, or lose the answers to what it did."""

    def __init__(self, server: LeaseCluster) -> None:
        self._server = server
        self.trouble: ClusterError | None = None
        self.hangs = False
        self.slow_to_write = 0.0
        self.loses_answers = False

    async def get(self, ref: Ref) -> Manifest:
        return await self._pass(lambda: self._server.get(ref))

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        await asyncio.sleep(self.slow_to_write)
        return await self._pass(lambda: self._server.apply(manifest, manager=manager))

    async def _pass(self, request: Callable[[], Awaitable[Manifest]]) -> Manifest:
        if self.trouble is not None:
            raise self.trouble
        if self.hangs:
            await asyncio.Event().wait()
        answer = await request()
        if self.loses_answers:
            raise Unavailable("the connection was lost before the answer came")
        return answer


class SkewedClock:
    def __init__(self, seconds: float) -> None:
        self._skew = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=now()) + self._skew


class Candidate:
    """Notes when it worked: (began, ended); the last one has no end while it works."""

    def __init__(self, server: LeaseCluster, name: str, *, skew: float = 0.0) -> None:
        self.link = Link(server)
        self.name = name
        self.terms: list[tuple[float, float | None]] = []
        self.leader = Leader(self.link, SkewedClock(skew), REF, name)
        self._task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        self.terms.append((now(), None))
        try:
            await asyncio.Event().wait()
        finally:
            self.terms[-1] = (self.terms[-1][0], now())

    @property
    def works(self) -> bool:
        return bool(self.terms) and self.terms[-1][1] is None

    def start(self) -> None:
        self._task = asyncio.create_task(self.leader.run(self.work))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


@asynccontextmanager
async def candidates(
    server: LeaseCluster, *names: str, skews: tuple[float, ...] = ()
) -> AsyncIterator[list[Candidate]]:
    made = [Candidate(server, name, skew=skew) for name, skew in zip(names, skews or (0.0,) * len(names), strict=True)]
    for candidate in made:
        candidate.start()
    try:
        yield made
    finally:
        for candidate in made:
            await candidate.stop()


def at_work(made: list[Candidate]) -> list[str]:
    return [candidate.name for candidate in made if candidate.works]


def the_leader(made: list[Candidate]) -> Candidate:
    (leader,) = (candidate for candidate in made if candidate.works)
    return leader


def overlap(made: list[Candidate]) -> list[tuple[float, float]]:
    """The moments at which one began to work while another still did."""
    spans = sorted((began, ended if ended is not None else now()) for each in made for began, ended in each.terms)
    return [(one[1], two[0]) for one, two in pairwise(spans) if two[0] < one[1]]


@virtual_time
async def test_of_three_replicas_that_start_at_once_one_works_and_goes_on_working() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b", "c") as made:
        await asyncio.sleep(1)
        first = at_work(made)
        await asyncio.sleep(3600)
        assert len(first) == 1
        assert at_work(made) == first == [server.holder]
        assert get(server.lease, "spec", "leaseTransitions") == 0


@virtual_time
async def test_a_replica_that_ends_hands_over_within_a_retry() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(60)
        ended = the_leader(made)
        at = now()
        await ended.stop()
        await asyncio.sleep(2.5)
        other = the_leader(made)
        assert other is not ended
        assert other.terms[0][0] - at <= 2.1
        assert get(server.lease, "spec", "leaseTransitions") == 1
        assert not overlap(made)


@virtual_time
async def test_when_the_leader_vanishes_another_takes_over_after_the_lease() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(60)
        gone = the_leader(made)
        gone.link.hangs = True  # as if killed: the lease is not given back
        await asyncio.sleep(20)
        other = the_leader(made)
        assert other is not gone
        # It renewed up to two seconds before, and the other looks every two seconds.
        assert 60 + 13 <= other.terms[0][0] <= 60 + 15 + 2.1
        assert not overlap(made)


@virtual_time
async def test_a_leader_that_cannot_renew_stops_before_another_starts() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(60)
        cut_off = the_leader(made)
        cut_off.link.trouble = Unavailable("no connection")
        await asyncio.sleep(7)
        assert cut_off.works
        await asyncio.sleep(4)
        assert at_work(made) == []
        assert not cut_off.leader.leads()
        await asyncio.sleep(10)
        ended = cut_off.terms[0][1]
        began = the_leader(made).terms[0][0]
        assert ended is not None
        assert began - ended >= 4  # the time that requests under way have to end
        cut_off.link.trouble = None
        await asyncio.sleep(3600)
        assert len(at_work(made)) == 1
        assert not overlap(made)


@virtual_time
async def test_a_short_outage_of_the_api_server_changes_no_leader() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(60)
        leader = the_leader(made)
        for candidate in made:
            candidate.link.trouble = Unavailable("the API server is restarted")
        await asyncio.sleep(7)
        for candidate in made:
            candidate.link.trouble = None
        await asyncio.sleep(60)
        assert the_leader(made) is leader
        assert leader.terms == [(leader.terms[0][0], None)]


@virtual_time
async def test_after_a_long_outage_for_all_one_leads_again() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b", "c") as made:
        await asyncio.sleep(60)
        for candidate in made:
            candidate.link.trouble = Unavailable("the API server is away")
        await asyncio.sleep(600)
        assert at_work(made) == []
        for candidate in made:
            candidate.link.trouble = None
        await asyncio.sleep(20)
        assert len(at_work(made)) == 1
        assert not overlap(made)


@virtual_time
async def test_replicas_started_while_the_api_server_is_away_elect_one_when_it_is_back() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        for candidate in made:
            candidate.link.hangs = True
        await asyncio.sleep(300)
        for candidate in made:
            candidate.link.hangs = False
        await asyncio.sleep(15)
        assert len(at_work(made)) == 1


@virtual_time
@pytest.mark.parametrize("skews", [(0.0, 86400.0), (86400.0, 0.0), (-3600.0, 3600.0)])
async def test_clocks_that_disagree_by_hours_change_nothing(skews: tuple[float, float]) -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b", skews=skews) as made:
        await asyncio.sleep(600)
        assert sum(len(candidate.terms) for candidate in made) == 1
        the_leader(made).link.hangs = True
        await asyncio.sleep(30)
        assert len(at_work(made)) == 1
        assert not overlap(made)


@virtual_time
async def test_a_lease_that_is_deleted_is_made_again_and_one_leads() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(61)
        server.lease = None
        await asyncio.sleep(60)
        assert len(at_work(made)) == 1
        assert server.holder == the_leader(made).name


@virtual_time
async def test_who_makes_the_lease_a_moment_too_late_takes_it_from_nobody() -> None:
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        made[1].link.slow_to_write = 5  # it found no lease either
        await asyncio.sleep(5.5)
        assert at_work(made) == [server.holder] == ["a"]
        made[1].link.slow_to_write = 0
        await asyncio.sleep(60)
        assert at_work(made) == [server.holder] == ["a"]
        assert not overlap(made)


@virtual_time
async def test_a_lease_whose_answer_was_lost_is_given_back_at_the_end() -> None:
    server = LeaseCluster()
    async with candidates(server, "a") as made:
        made[0].link.loses_answers = True
        await asyncio.sleep(0.035)  # it reads and makes the lease, and hears of neither
        await asyncio.sleep(2)
        made[0].link.loses_answers = False
        await asyncio.sleep(5)
        assert at_work(made) == ["a"]
    assert server.holder == ""


@virtual_time
async def test_work_that_crashes_ends_the_replica_and_frees_the_lease() -> None:
    server = LeaseCluster()

    async def crash() -> None:
        await asyncio.sleep(1)
        raise KeyError("bug")

    async def end() -> None:
        await asyncio.sleep(1)

    for work, error in ((crash, KeyError), (end, GreenroomError)):
        with pytest.raises(ExceptionGroup) as caught:
            await Leader(Link(server), SkewedClock(0), REF, "a").run(work)
        assert caught.group_contains(error)
        assert server.holder == ""


@virtual_time
async def test_a_leader_that_was_paused_does_not_write_when_it_wakes() -> None:
    """``leads`` tells by the time of the last renewal, not by what tasks have got to do meanwhile."""
    server = LeaseCluster()
    async with candidates(server, "a", "b") as made:
        await asyncio.sleep(60)
        leader = the_leader(made)
        assert leader.leader.leads()
        leader.link.hangs = True
        await asyncio.sleep(10.1)
        assert not leader.leader.leads()

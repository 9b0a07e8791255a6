"""What a pull request is told, on a forge that may refuse, be slow, or lose its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.flows.forge import Deployed, FakeForge
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    A,
    B,
    C,
    VirtualClock,
    World,
    deployment,
    event,
    made,
    pr_object,
    review_app,
    world,
)
from tests.virtual import virtual_time

from greenroom.flows.report import Reports
from greenroom.model.errors import (
    ForgeError,
    ForgeForbidden,
    ForgeNotFound,
    ForgeThrottled,
    ForgeUnavailable,
    NotFound,
    Unavailable,
    VisitFailed,
)
from greenroom.model.manifest import POD, PR, REVIEW_APP, Ref
from greenroom.model.watch import Scope
from greenroom.ports import Forge, Logs

HERE = REPOSITORY.lower()
ENVIRONMENT = f"{NAMESPACE}/shop-pr7"
URL = "http://pr7.localhost:8080"


class FakeVisitor:
    """Sees ``shows``, or nobody who answers when that is None."""

    def __init__(self, shows: str | None = None) -> None:
        self.shows = shows
        self.visits = 0

    async def commit_at(self, url: str) -> str:
        self.visits += 1
        await asyncio.sleep(0.01)
        if self.shows is None:
            raise VisitFailed(f"{url} does not answer")
        return self.shows


class Desk:
    """A world whose pull requests are told, and what stands on the forge."""

    def __init__(self, here: World, forge: FakeForge) -> None:
        self.here = here
        self.forge = forge
        self.visitor = FakeVisitor(A)
        self._second = 0

    @asynccontextmanager
    async def told(self, *, leads: bool = True, logs: Logs | None = None, why: str = "") -> AsyncIterator[Reports]:
        """One replica that tells."""
        reports = Reports(
            self.here.store,
            self.here.informers,
            self.forge,
            self.visitor,
            VirtualClock(),
            logs=logs,
            leads=lambda: leads,
            why_removed=lambda _: why,
        )
        task = asyncio.create_task(reports.run())
        try:
            yield reports
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def deliver(self, action: str, commit: str = A, number: int = 7) -> None:
        self._second += 1
        await self.here.intake.handle(event(action, commit, second=self._second, number=number))

    async def status(
        self, reason: str, message: str = "", *, commit: str = A, shown: str = "", url: str = URL, number: int = 7
    ) -> None:
        """What ``flows.reconcile`` writes."""
        pr = await self.here.pr(number)
        is_ready = reason == "Ready"
        condition = {"type": "Ready", "status": str(is_ready), "reason": reason, "message": message}
        await self.here.report(
            self.here.pr_ref(number),
            {
                "observedGeneration": pr["metadata"]["generation"],
                "commit": commit,
                "shownCommit": shown or (commit if is_ready else None),
                "url": url or None,
                "conditions": [condition],
            },
        )

    async def ready(self, commit: str = A, **more: Any) -> None:
        """And the address shows it."""
        self.visitor.shows = commit
        await self.status("Ready", commit=commit, **more)

    async def crash(self, commit: str = A) -> None:
        await self.status("CrashLoopBackOff", "pr7: container app: back-off 10s restarting", commit=commit)

    async def record(self) -> Any:
        return (await self.here.pr())["status"].get("report", {})

    @property
    def comment(self) -> str:
        """The only one."""
        (said,) = self.forge.comments_.values()
        return said.body

    @property
    def said(self) -> list[str]:
        """The states that the comment told of, one after the other."""
        (said,) = self.forge.comments_.values()
        return [body.split("`: ")[1].split("**")[0] for body in said.history]

    @property
    def deployed(self) -> list[tuple[str, str]]:
        """Commit and state of each deployment, oldest first."""
        return [(each.commit, each.state) for _, each in sorted(self.forge.deployments_.items())]

    @property
    def writes(self) -> int:
        return self.forge.writes.total()


@asynccontextmanager
async def desk(folder: Path, *, apps: Sequence[Any] = (), forge: FakeForge | None = None) -> AsyncIterator[Desk]:
    async with world(folder, *(apps or [review_app(deployment())])) as here:
        yield Desk(here, forge or FakeForge())


# The life of a commit


@virtual_time
async def test_an_environment_that_starts_and_is_ready_is_told_in_two_writes_each(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut", "pr7: 0 of 1 new replicas are ready")
        await asyncio.sleep(15)
        assert here.writes == 0
        await asyncio.sleep(15)
        assert here.said == ["starting"]
        assert here.deployed == [(A, "")]
        await here.ready()
        await asyncio.sleep(5)
        assert here.said == ["starting", "ready"]
        assert f"<{URL}>" in here.comment
        assert here.deployed == [(A, "success")]
        await asyncio.sleep(5000)
        assert here.forge.writes == {"comment": 1, "edit_comment": 1, "deploy": 1, "set_deployment": 1}
        (deployed,) = here.forge.deployments_.values()
        assert (deployed.environment, deployed.url) == (ENVIRONMENT, URL)
        assert (await here.record())["deployment"]["said"] == "success"


@virtual_time
async def test_an_environment_that_is_ready_at_once_is_one_write_of_the_comment(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(5)
        await here.ready()
        await asyncio.sleep(100)
        assert here.said == ["ready"]
        assert here.writes == 3


@virtual_time
async def test_an_environment_without_an_address_is_ready_when_the_cluster_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.visitor.shows = None
        await here.deliver("opened")
        await here.status("Ready", url="")
        await asyncio.sleep(5)
        assert here.said == ["ready"]
        assert here.deployed == [(A, "success")]


@virtual_time
async def test_success_waits_for_the_address_to_answer_with_that_very_commit(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("Ready")
        here.visitor.shows = None
        await asyncio.sleep(60)
        assert here.said == ["not reached yet"]
        here.visitor.shows = B
        await asyncio.sleep(600)
        assert here.deployed == [(A, "")]
        assert here.visitor.visits < 25
        here.visitor.shows = A
        await asyncio.sleep(70)
        assert here.said == ["not reached yet", "ready"]
        assert here.deployed == [(A, "success")]
        visits = here.visitor.visits
        await asyncio.sleep(1000)
        assert here.visitor.visits == visits


@virtual_time
async def test_an_address_that_stays_silent_is_told_of_after_a_while(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        here.visitor.shows = None
        await here.status("Ready")
        await asyncio.sleep(50)
        assert here.said == ["starting"]
        await asyncio.sleep(50)
        assert here.said == ["starting", "not reached yet"]


@virtual_time
async def test_a_failure_is_told_with_the_last_lines_of_the_log_and_so_is_the_recovery(tmp_path: Path) -> None:
    async def logs(namespace: str, pod: str, container: str) -> list[str]:
        return [f"{namespace} {pod} {container}", "password=hunter2", "boom @octocat"]

    async with desk(tmp_path) as here, here.told(logs=logs):
        await here.deliver("opened")
        await here.here.informers.synced()
        await crashing_pod(here)
        await here.crash()
        await asyncio.sleep(40)
        assert here.said == ["failed"]
        assert here.deployed == [(A, "failure")]
        assert f"{NAMESPACE} pr7-x app" in here.comment
        assert "hunter2" not in here.comment
        assert "@octocat" not in here.comment
        await here.status("CrashLoopBackOff", "pr7: container app: back-off 5m0s restarting")
        await asyncio.sleep(1000)
        assert here.said == ["failed"]
        await here.ready()
        await asyncio.sleep(60)
        assert here.said == ["failed", "ready"]
        assert here.deployed == [(A, "success")]


async def crashing_pod(here: Desk) -> None:
    owner = await here.here.pr()
    reference = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr7", "uid": owner["metadata"]["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pr7-x", "ownerReferences": [{**reference, "controller": True}]},
        "spec": {"containers": [{"name": "app", "image": "shop"}]},
    }
    await here.here.informers.synced(Scope(POD))
    await here.here.apply(pod)
    waiting = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    await here.here.report(Ref(POD, NAMESPACE, "pr7-x"), {"containerStatuses": [waiting]})


@virtual_time
async def test_a_log_that_cannot_be_read_keeps_nobody_from_telling(tmp_path: Path) -> None:
    async def logs(namespace: str, pod: str, container: str) -> list[str]:
        raise NotFound("it is gone")

    async with desk(tmp_path) as here, here.told(logs=logs):
        await here.deliver("opened")
        await crashing_pod(here)
        await here.crash()
        await asyncio.sleep(40)
        assert here.said == ["failed"]


@virtual_time
async def test_a_push_while_the_commit_before_starts_ends_with_the_newest(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        await here.deliver("synchronize", B)
        await here.status("Ready", commit=A)  # of the commit before, which nobody wants any more
        await asyncio.sleep(30)
        assert here.deployed == [(A, "inactive"), (B, "")]
        assert "`bbbbbbb`; until it is ready, the address shows `aaaaaaa`" in here.comment
        await here.ready(B)
        await asyncio.sleep(5)
        assert here.said == ["starting", "starting", "ready"]
        assert here.deployed == [(A, "inactive"), (B, "success")]


@virtual_time
async def test_success_of_the_next_commit_makes_the_one_before_inactive(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(30)
        await here.deliver("synchronize", B)
        await here.ready(B)
        await asyncio.sleep(30)
        assert here.deployed == [(A, "inactive"), (B, "success")]
        assert here.said == ["ready", "ready"]
        assert here.writes == 6


@virtual_time
async def test_an_environment_that_goes_up_and_down_is_told_of_ever_more_seldom(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        for _ in range(120):
            await here.crash()
            await asyncio.sleep(15)
            await here.ready()
            await asyncio.sleep(15)
        assert 2 < len(here.said) <= 6
        assert here.writes <= 13
        await asyncio.sleep(4000)
        assert here.said[-1] == "ready"
        assert here.deployed == [(A, "success")]


@virtual_time
async def test_an_object_written_by_hand_is_not_told_of(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await made(here.here, pr_object())
        await here.ready()
        await asyncio.sleep(100)
        await here.here.store.delete(here.here.pr_ref())
        await asyncio.sleep(100)
        assert not here.forge.requests


@virtual_time
async def test_nothing_is_asked_of_a_forge_without_credentials_until_there_are_some(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.repositories = set()
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(1000)
        assert not here.forge.requests
        here.forge.repositories = {HERE}
        await asyncio.sleep(610)
        assert here.said == ["ready"]


@virtual_time
async def test_each_review_app_of_a_repository_has_a_comment_and_an_environment_of_its_own(tmp_path: Path) -> None:
    apps = [review_app(deployment()), review_app(deployment(), name="docs")]
    async with desk(tmp_path, apps=apps) as here, here.told():
        await here.deliver("opened")
        await asyncio.sleep(40)
        assert here.forge.environments_ == {HERE: {ENVIRONMENT, f"{NAMESPACE}/docs-pr7"}}
        assert len(here.forge.comments_) == 2
        await asyncio.sleep(1000)
        assert len(here.forge.comments_) == 2


# Told once


@virtual_time
async def test_after_a_restart_nothing_is_told_twice(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        async with here.told():
            await here.deliver("opened")
            await here.ready()
            await asyncio.sleep(30)
        before = here.writes
        for _ in range(3):
            async with here.told():
                await asyncio.sleep(1000)
        assert here.writes == before


STEPS = ["comment", "edit_comment", "deploy", "set_deployment"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
@virtual_time
async def test_a_process_that_dies_at_a_write_is_followed_by_one_that_completes_it(
    tmp_path: Path, step: str, after: bool
) -> None:
    async with desk(tmp_path) as here:
        here.forge.fail(step, None, times=1, after=after)
        async with here.told():
            await here.deliver("opened")
            await here.status("RollingOut")
            await asyncio.sleep(30)
            await here.ready()
            await asyncio.sleep(30)
        async with here.told():
            await asyncio.sleep(60)
            assert here.said[-1] == "ready"
            assert len(here.forge.comments_) == 1
            assert here.deployed == [(A, "success")]
            assert here.said.count("ready") == 1
            await here.deliver("closed")
            await asyncio.sleep(60)
            assert not here.forge.environments_[HERE]


@pytest.mark.parametrize("step", STEPS)
@virtual_time
async def test_an_answer_that_is_lost_makes_nothing_twice(tmp_path: Path, step: str) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.fail(step, ForgeUnavailable("connection reset"), times=2, after=True)
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(40)
        await here.ready()
        await asyncio.sleep(60)
        assert len(here.forge.comments_) == 1
        assert here.deployed == [(A, "success")]
        assert here.said[-1] == "ready"


@virtual_time
async def test_a_deployment_that_was_not_recorded_is_not_taken_for_that_of_a_later_push(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.forge.fail("deploy", None, times=1, after=True)
        async with here.told():
            await here.deliver("opened")
            await here.ready()
            await asyncio.sleep(30)
        await here.deliver("synchronize", B)
        await here.ready(B)
        async with here.told():
            await asyncio.sleep(60)
        assert here.deployed == [(A, ""), (B, "success")]


@virtual_time
async def test_of_two_replicas_only_the_leader_writes(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told(), here.told(leads=False):
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        await here.ready()
        await asyncio.sleep(100)
        await here.deliver("closed")
        await asyncio.sleep(100)
        assert here.said == ["starting", "ready", "removed"]
        assert here.deployed == [(A, "inactive")]


@virtual_time
async def test_a_replica_that_leads_from_now_on_tells_what_there_is(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        leading = {"now": False}
        reports = Reports(
            here.here.store,
            here.here.informers,
            here.forge,
            here.visitor,
            VirtualClock(),
            leads=lambda: leading["now"],
        )
        task = asyncio.create_task(reports.run())
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(100)
        assert here.writes == 0
        leading["now"] = True
        await asyncio.sleep(20)
        assert here.said == ["ready"]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@virtual_time
async def test_a_replica_that_loses_the_lead_while_it_reads_writes_no_more(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        reports = Reports(
            here.here.store,
            here.here.informers,
            here.forge,
            here.visitor,
            VirtualClock(),
            leads=lambda: not here.forge.requests["comments"],
        )
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(1)
        with pytest.raises(Unavailable, match="another replica"):
            await reports.reconcile(here.here.pr_ref())
        assert here.writes == 0


# What people do


@virtual_time
async def test_a_comment_that_somebody_deleted_is_not_written_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        async with here.told():
            await here.deliver("opened")
            await here.ready()
            await asyncio.sleep(30)
            here.forge.delete_comment()
            await here.deliver("synchronize", B)
            await here.ready(B)
            await asyncio.sleep(30)
        async with here.told():
            await here.deliver("synchronize", C)
            await here.ready(C)
            await asyncio.sleep(30)
            await here.deliver("closed")
            await asyncio.sleep(30)
        assert not here.forge.comments_
        assert [commit for commit, _ in here.deployed] == [A, B, C]


@virtual_time
async def test_a_deployment_that_somebody_deleted_is_begun_anew_with_the_next_commit_only(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        here.forge.deployments_.clear()
        await here.ready()
        await asyncio.sleep(100)
        assert here.deployed == []
        assert here.said[-1] == "ready"
        await here.deliver("synchronize", B)
        await here.ready(B)
        await asyncio.sleep(30)
        assert here.deployed == [(B, "success")]


@pytest.mark.parametrize("unlisted", [True, False], ids=["listings fail, too", "listings work"])
@virtual_time
async def test_what_is_out_of_reach_for_a_while_is_not_taken_for_deleted(tmp_path: Path, unlisted: bool) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        refused = ["edit_comment", "set_deployment", *(["comments", "deployments"] if unlisted else [])]
        for name in refused:
            here.forge.fail(name, ForgeNotFound("Not Found"))
        await here.ready()
        await asyncio.sleep(300)
        here.forge.mend()
        await asyncio.sleep(1000)
        assert here.said[-1] == "ready"
        assert here.deployed == [(A, "success")]


# What the forge does


@pytest.mark.parametrize(
    "error", [ForgeThrottled("slow down", retry_after=300), ForgeUnavailable("502", retry_after=300)]
)
@virtual_time
async def test_a_forge_that_asks_to_wait_is_left_alone_and_then_told_the_newest_only(
    tmp_path: Path, error: ForgeError
) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.fail("*", error, times=1)
        await here.deliver("opened")
        await here.status("RollingOut")
        await asyncio.sleep(30)
        asked = here.forge.requests.total()
        await here.crash()
        await asyncio.sleep(60)
        await here.deliver("synchronize", B)
        await here.deliver("opened", number=8)
        await here.ready(B)
        await asyncio.sleep(200)
        assert here.forge.requests.total() == asked == 1
        await asyncio.sleep(60)
        bodies = [said.body for said in here.forge.comments_.values()]
        assert len(bodies) == 2
        assert "ready" in bodies[0] + bodies[1]
        assert (B, "success") in here.deployed
        assert A not in [commit for commit, state in here.deployed if state == "success"]


@virtual_time
async def test_a_limit_without_an_end_is_waited_for_ever_longer(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.fail("*", ForgeThrottled("secondary limit"))
        for number in range(1, 20):
            await here.deliver("opened", number=number)
        await here.ready(number=1)
        await asyncio.sleep(4 * 3600)
        assert here.forge.requests.total() < 40
        here.forge.mend()
        await asyncio.sleep(3610)
        assert len(here.forge.comments_) == 19


@virtual_time
async def test_a_forge_that_is_down_for_hours_is_asked_seldom(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.fail("*", ForgeUnavailable("502"))
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(4 * 3600)
        assert here.forge.requests.total() < 4 * 15 + 15
        here.forge.mend()
        await asyncio.sleep(310)
        assert here.said == ["ready"]


@virtual_time
async def test_a_right_that_is_missing_is_told_once_and_stops_nothing_else(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with desk(tmp_path) as here:
            for _ in range(2):
                async with here.told():
                    here.forge.fail("comment", ForgeForbidden("Resource not accessible by integration"))
                    if not await here.here.prs():
                        await here.deliver("opened")
                        await here.ready()
                    await asyncio.sleep(3000)
                    assert here.deployed == [(A, "success")]
                    problem = (await here.record())["problem"]
                    assert problem == (
                        "Resource not accessible by integration: let the credentials write pull requests"
                    )
            assert 8 <= here.forge.requests["comment"] <= 12
            async with here.told():
                here.forge.mend()
                await asyncio.sleep(610)
                assert here.said == ["ready"]
                assert "problem" not in await here.record()
    assert len([line for line in logs if line["event"] == "the pull request cannot be told"]) == 1


@virtual_time
async def test_who_may_not_deploy_may_still_comment(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.forge.fail("deploy", ForgeForbidden("no"))
        await here.deliver("opened")
        await here.ready()
        await asyncio.sleep(30)
        assert here.said == ["ready"]
        assert (await here.record())["problem"] == "no: let the credentials write deployments"
        here.forge.mend()
        await asyncio.sleep(610)
        assert here.deployed == [(A, "success")]


@virtual_time
async def test_the_status_keeps_what_was_told_while_others_write_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")

        async def others() -> None:
            for number in range(600):
                await here.status("RollingOut", f"pr7: {number} of 600")
                await asyncio.sleep(0.1)

        await others()
        await here.ready()
        await asyncio.sleep(30)
        assert here.said == ["starting", "ready"]
        record = await here.record()
        assert record["comment"]["writes"] == 2
        assert record["deployment"]["said"] == "success"


@virtual_time
async def test_many_at_once_stay_within_the_limits_of_the_forge(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        here.visitor.shows = A
        for number in range(1, 101):
            await here.deliver("opened", number=number)
            await here.ready(number=number)
        first = await count(here, minutes=1)
        assert first < 80
        assert first + await count(here, minutes=59) < 500
        await asyncio.sleep(3600)
        assert len(here.forge.comments_) == 100
        assert {state for _, state in here.deployed} == {"success"}


async def count(here: Desk, *, minutes: int) -> int:
    before = here.writes
    await asyncio.sleep(60 * minutes)
    return here.writes - before


# The end


async def lived(here: Desk) -> None:
    """A pull request with two commits, the second of which failed."""
    await here.deliver("opened")
    await here.ready()
    await asyncio.sleep(30)
    await here.deliver("synchronize", B)
    await here.crash(B)
    await asyncio.sleep(60)
    assert here.deployed == [(A, "success"), (B, "failure")]


@virtual_time
async def test_when_the_pull_request_is_closed_the_forge_forgets_the_environment(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await lived(here)
        await here.deliver("closed")
        await asyncio.sleep(30)
        assert here.deployed == [(A, "inactive"), (B, "inactive")]
        assert here.forge.environments_ == {HERE: set()}
        assert here.said[-1] == "removed"
        assert "Everything that belonged to it is gone." in here.comment
        before = here.writes
        await asyncio.sleep(5000)
        assert here.writes == before


@virtual_time
async def test_when_the_pull_request_goes_on_without_an_environment_the_comment_says_why(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told(why="the label was taken off"):
        await lived(here)
        await here.here.store.delete(here.here.pr_ref())
        await asyncio.sleep(30)
        assert "goes on without it: `the label was taken off`" in here.comment


@virtual_time
async def test_a_pull_request_that_was_told_nothing_costs_nothing_when_it_is_closed(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await here.deliver("opened")
        await asyncio.sleep(5)
        await here.deliver("closed")
        await asyncio.sleep(100)
        assert not here.forge.requests


@virtual_time
async def test_an_environment_that_may_not_be_removed_keeps_nothing_else_from_being_cleared(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await lived(here)
        here.forge.fail("remove_environment", ForgeForbidden("no"))
        await here.deliver("closed")
        await asyncio.sleep(1000)
        assert here.deployed == [(A, "inactive"), (B, "inactive")]
        assert here.said[-1] == "removed"
        assert here.forge.requests["remove_environment"] == 1


@virtual_time
async def test_closing_is_completed_when_the_forge_listens_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await lived(here)
        here.forge.fail("*", ForgeThrottled("slow down", retry_after=100), times=2)
        await here.deliver("closed")
        await asyncio.sleep(90)
        assert here.said[-1] == "failed"
        await asyncio.sleep(200)
        assert here.said[-1] == "removed"
        assert here.forge.environments_ == {HERE: set()}


@virtual_time
async def test_a_review_app_that_goes_with_its_pull_requests_takes_them_off_the_forge(tmp_path: Path) -> None:
    async with desk(tmp_path) as here, here.told():
        await lived(here)
        await here.here.store.delete(Ref(REVIEW_APP, NAMESPACE, "shop"))
        await asyncio.sleep(60)
        assert not await here.here.prs()
        assert here.forge.environments_ == {HERE: set()}


@virtual_time
async def test_a_pull_request_that_is_reopened_uses_its_comment_again_and_a_deployment_of_its_own(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as here, here.told():
        await lived(here)
        await here.deliver("closed", B)
        await asyncio.sleep(30)
        await here.deliver("reopened", B)
        await here.ready(B)
        await asyncio.sleep(30)
        assert here.said[-2:] == ["removed", "ready"]
        assert here.deployed == [(A, "inactive"), (B, "inactive"), (B, "success")]
        assert here.forge.environments_ == {HERE: {ENVIRONMENT}}


# What is left behind


@virtual_time
async def test_what_was_left_behind_while_nobody_looked_is_cleared(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        async with here.told():
            await lived(here)
        await here.deliver("closed")
        async with here.told() as reports:
            await asyncio.sleep(100)
            assert here.forge.environments_ == {HERE: {ENVIRONMENT}}
            assert await reports.clear_left_behind(REPOSITORY + "/") == 1
            await asyncio.sleep(30)
            assert here.forge.environments_ == {HERE: set()}
            assert here.deployed == [(A, "inactive"), (B, "inactive")]
            assert here.said[-1] == "removed"
            assert await reports.clear_left_behind(REPOSITORY) == 0


@virtual_time
async def test_what_is_not_ours_or_still_lives_is_not_touched(tmp_path: Path) -> None:
    others = {
        "production",
        "shop-pr7",
        "other/shop-pr7",
        f"{NAMESPACE}/shop-pr0",
        f"{NAMESPACE}/shop-pr7x",
        f"{NAMESPACE}/shop-prod",
        f"{NAMESPACE}/docs-pr7",
        f"x/{NAMESPACE}/shop-pr7",
    }
    async with desk(tmp_path) as here, here.told() as reports:
        await lived(here)
        here.forge.environments_[HERE] |= others
        here.forge.deployments_[99] = Deployed(HERE, "production", A, VirtualClock().now(), "")
        before = here.writes
        assert await reports.clear_left_behind(REPOSITORY) == 0
        await asyncio.sleep(100)
        assert here.forge.environments_ == {HERE: others | {ENVIRONMENT}}
        assert here.writes == before


@virtual_time
async def test_one_who_does_not_lead_clears_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        async with here.told():
            await lived(here)
        await here.deliver("closed")
        async with here.told(leads=False) as reports:
            assert await reports.clear_left_behind(REPOSITORY) == 0
            await asyncio.sleep(100)
        assert here.forge.environments_ == {HERE: {ENVIRONMENT}}


def test_the_forge_of_the_tests_is_a_forge() -> None:
    forge: Forge = FakeForge()
    assert forge.has_credentials(REPOSITORY)

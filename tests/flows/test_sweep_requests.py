"""What sweeping costs, what else the forge is asked for by the way, and what is said of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tests.flows.forge import FakeForge
from tests.flows.patrol import FORK, HERE, HOOK, LABELED_ONLY, OFF, ON, SHOP, app, patrol
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    A,
    B,
    VirtualClock,
)
from tests.virtual import virtual_time

from greenroom.flows.report import Reports
from greenroom.flows.sweep import CLEAR_SECONDS, REDELIVER_SECONDS, SWEEP_SECONDS
from greenroom.model.errors import (
    ForgeForbidden,
    ForgeNotFound,
    ForgeThrottled,
    ForgeUnavailable,
)
from greenroom.model.manifest import condition_of
from greenroom.model.pull import APPROVED, Mark

# What it costs


@virtual_time
async def test_when_there_is_no_news_a_sweep_writes_nothing_and_costs_one_request(tmp_path: Path) -> None:
    async with patrol(tmp_path, app(), app("zoo", drafts=False)) as there:
        await there.told()
        await there.told(traits=OFF, number=8)
        there.happens(number=9)
        await there.passes()
        before = there.forge.requests.copy()
        assert await there.here.writes(lambda: there.passes(10 * SWEEP_SECONDS)) == 0
        assert there.forge.requests - before == {"open_pulls": 10}


@virtual_time
async def test_the_sweep_after_webhooks_writes_nothing(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.passes(5)
        await there.told(traits=OFF)
        await there.told(traits=ON, action="labeled")
        await there.told(B, ON, action="synchronize")
        await there.told(traits=OFF, number=8)
        assert await there.here.writes(there.passes) == 0


@virtual_time
async def test_which_paths_a_refused_pull_request_changes_is_asked_once(tmp_path: Path) -> None:
    async with patrol(tmp_path, app(paths={"any": ["web/**"]})) as there:
        there.forge.paths[HERE, 7] = frozenset({"docs/index.md"})
        await there.told()
        await there.passes()
        assert await there.refusal() == "Paths"
        assert await there.here.writes(lambda: there.passes(5 * SWEEP_SECONDS)) == 0
        assert there.forge.requests["changed_paths"] == 1


@virtual_time
async def test_a_forge_that_says_when_to_come_again_is_left_alone_until_then(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        there.forge.fail("open_pulls", ForgeThrottled("enough", retry_after=2000), times=2)
        await there.passes(1900)
        asked = there.forge.requests["open_pulls"]
        there.happens()
        await there.passes(4000)
        assert (asked, await there.here.prs()) == (1, {"shop-pr7": A})


@virtual_time
async def test_a_forge_that_keeps_failing_is_asked_ever_more_seldom_and_soon_once_it_works(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        there.forge.fail("open_pulls", ForgeForbidden("no"))
        await there.passes(3600)
        assert there.forge.requests["open_pulls"] <= 10
        there.forge.mend()
        there.happens()
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": A}
        asked = there.forge.requests["open_pulls"]
        there.forge.fail("open_pulls", ForgeUnavailable("down"), times=1)
        while there.forge.requests["open_pulls"] == asked:
            await there.passes(1)
        there.happens(number=8)
        await there.passes(70)
        assert set(await there.here.prs()) == {"shop-pr7", "shop-pr8"}


@virtual_time
async def test_without_credentials_nothing_is_asked(tmp_path: Path) -> None:
    forge = FakeForge()
    forge.repositories = set()
    async with patrol(tmp_path, forge=forge, webhook=HOOK) as there:
        await there.told()
        await there.passes(3 * SWEEP_SECONDS)
        assert (forge.requests.total(), await there.reachable()) == (0, {})
        assert await there.here.prs() == {"shop-pr7": A}


# What else is asked of the forge


@virtual_time
async def test_failed_deliveries_are_asked_for_every_hour_at_most(tmp_path: Path) -> None:
    async with patrol(tmp_path, webhook=HOOK) as there:
        there.forge.undelivered[HERE] = 3
        await there.passes(REDELIVER_SECONDS - 60)
        assert there.forge.requests["redeliver"] == 1
        await there.passes(4 * REDELIVER_SECONDS)
        assert there.forge.requests["redeliver"] in (4, 5)
        assert there.forge.undelivered == {}


@virtual_time
async def test_failed_deliveries_are_not_asked_for_without_the_webhooks_address(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.passes(4 * REDELIVER_SECONDS)
        assert "redeliver" not in there.forge.requests


@virtual_time
async def test_a_forge_that_shows_no_webhooks_is_compared_with_and_cleared_all_the_same(tmp_path: Path) -> None:
    cleared: list[str] = []

    async def clear(repository: str) -> None:
        cleared.append(repository)

    async with patrol(tmp_path, webhook=HOOK, clear=clear) as there:
        there.forge.fail("redeliver", ForgeForbidden("no administrator"))
        there.happens()
        await there.passes(REDELIVER_SECONDS - 60)
        assert (await there.here.prs(), cleared) == ({"shop-pr7": A}, [REPOSITORY])
        assert (await there.reachable())["status"] == "True"
        assert there.forge.requests == {"open_pulls": 6, "redeliver": 1}
        await there.passes(2 * CLEAR_SECONDS)
        assert len(cleared) == 3


# What is said of it


@virtual_time
async def test_the_review_app_says_whether_the_forge_answers_and_what_to_do(tmp_path: Path) -> None:
    async with patrol(tmp_path, LABELED_ONLY, app("zoo")) as there:
        await there.passes(5)
        for name in ("shop", "zoo"):
            condition = await there.reachable(name)
            assert (condition["status"], condition["reason"]) == ("True", "Listed")
        there.forge.fail("open_pulls", ForgeForbidden("GitHub answered 403"))
        await there.passes()
        condition = await there.reachable()
        assert (condition["status"], condition["reason"]) == ("False", "Forbidden")
        assert "GitHub answered 403; see that the credentials are right" in condition["message"]
        assert condition["lastTransitionTime"] > "2026-01-31T12:05"
        assert await there.here.writes(lambda: there.passes(5 * SWEEP_SECONDS)) == 0
        there.forge.mend()
        there.forge.fail("open_pulls", ForgeNotFound("GitHub answered 404"), times=1)
        await there.passes(SWEEP_SECONDS - 60)
        assert "spec.githubRepository" in (await there.reachable())["message"]
        await there.passes()
        assert (await there.reachable())["status"] == "True"


@virtual_time
async def test_a_sweep_forgets_no_other_condition_of_the_review_app(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.passes(5)
        other = {"type": "Other", "status": "True", "reason": "Theirs", "message": "", "lastTransitionTime": "x"}
        mine = await there.reachable()
        await there.here.report(SHOP, {"conditions": [other, dict(mine)]})
        there.forge.fail("open_pulls", ForgeUnavailable("down"))
        await there.passes()
        assert (await there.reachable())["status"] == "False"
        app = await there.here.store.get(SHOP)
        assert condition_of(app, "Other") == other


@virtual_time
async def test_an_approval_that_webhooks_told_of_is_not_asked_for(tmp_path: Path) -> None:
    async with patrol(tmp_path, app(forks="approved")) as there:
        await there.told(traits=FORK)
        there.forge.writers[HERE] = {"bob"}
        review = there.happens(traits=FORK, action="reviewed")
        await there.here.intake.handle(replace(review, approval=Mark(review.at, APPROVED, A, "bob")))
        assert await there.here.prs() == {"shop-pr7": A}
        asked = there.forge.requests["approved_commits"]
        await there.passes(3 * SWEEP_SECONDS)
        assert there.forge.requests["approved_commits"] == asked


@virtual_time
async def test_what_environments_left_on_the_forge_is_cleared_by_the_sweep(tmp_path: Path) -> None:
    reports: list[Reports] = []

    async def clear(repository: str) -> None:
        await reports[0].clear_left_behind(repository)

    async with patrol(tmp_path, clear=clear) as there:
        reports.append(Reports(there.here.store, there.here.informers, there.forge, None, VirtualClock()))
        there.forge.environments_[HERE] = {f"{NAMESPACE}/shop-pr7", "production"}
        telling = asyncio.create_task(reports[0].run())
        await there.passes()
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        assert there.forge.environments_[HERE] == {"production"}

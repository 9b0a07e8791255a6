"""What is repaired, and what is left alone, when webhooks are lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.flows.forge import FakeForge
from tests.flows.patrol import ELSEWHERE, FORK, HERE, LABELED_ONLY, OFF, ON, SHOP, Patrol, app, patrol
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    START,
    A,
    B,
    config_map,
    review_app,
)
from tests.virtual import run, virtual_time

from greenroom.flows.sweep import SWEEP_SECONDS
from greenroom.local.storage.store import Store
from greenroom.model.errors import (
    ForgeError,
    ForgeForbidden,
    ForgeNotFound,
    ForgeUnavailable,
    Unavailable,
)
from greenroom.model.manifest import REVIEW_APP, Manifest, Ref, name_of, text
from greenroom.model.pull import Action, PullEvent, PullRequest

# What was lost


@virtual_time
async def test_what_no_webhook_told_of_is_there_within_one_interval(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        there.happens()
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": A}
        there.happens(B, action="synchronize")
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": B}
        there.happens(B, OFF, action="unlabeled")
        await there.passes()
        assert (await there.here.prs(), await there.refusal()) == ({}, "Labels")
        there.happens(B, ON, action="labeled")
        await there.passes()
        assert (await there.here.prs(), await there.refusal()) == ({"shop-pr7": B}, "")
        there.happens(B, is_open=False, action="closed")
        await there.passes()
        assert await there.here.prs() == {}


@virtual_time
async def test_what_was_open_before_greenroom_was_started_is_there_at_once(tmp_path: Path) -> None:
    forge = FakeForge()
    pull = PullRequest(REPOSITORY, 7, A, open=True, traits=ON)
    forge.pulls[HERE, 7] = PullEvent(Action.SEEN, pull, START)
    async with patrol(tmp_path, forge=forge) as there:
        await there.passes(5)
        assert await there.here.prs() == {"shop-pr7": A}


@virtual_time
async def test_a_lost_close_of_one_that_was_refused_is_remembered_so_that_an_old_delivery_brings_nothing(
    tmp_path: Path,
) -> None:
    async with patrol(tmp_path) as there:
        await there.told(traits=OFF)
        late = there.happens(traits=ON, action="labeled")
        there.happens(is_open=False, action="closed")
        await there.passes()
        assert await there.refusal() == ""
        assert text(await there.here.store.get(SHOP), "status", "closed", "7")
        there.forge.fail("pull", ForgeUnavailable("down"))
        await there.here.intake.handle(late)
        assert await there.here.prs() == {}


@virtual_time
async def test_a_review_that_no_webhook_told_of_approves_its_commit_and_no_other(tmp_path: Path) -> None:
    async with patrol(tmp_path, app(forks="approved")) as there:
        await there.told(traits=FORK)
        await there.passes()
        assert await there.here.prs() == {}
        there.forge.approved[HERE, 7] = frozenset({A})
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": A}
        there.happens(B, FORK, action="synchronize")
        await there.passes(3 * SWEEP_SECONDS)
        assert await there.here.prs() == {}


@virtual_time
async def test_a_lost_review_counts_without_a_gate_and_not_where_forks_never_get_anything(tmp_path: Path) -> None:
    ungated = review_app(config_map("free{{PR_NUMBER}}"), name="free")
    async with patrol(tmp_path, ungated, app(forks="never")) as there:
        await there.told(traits=FORK)
        there.forge.approved[HERE, 7] = frozenset({A})
        await there.passes()
        assert await there.here.prs() == {"free-pr7": A}


@virtual_time
async def test_an_older_review_does_not_bring_back_what_somebody_withdrew(tmp_path: Path) -> None:
    async with patrol(tmp_path, app(forks="approved", approvalLabel="safe")) as there:
        there.forge.approved[HERE, 7] = frozenset({A})
        there.forge.writers[HERE] = {"bob"}
        await there.told(traits=FORK)
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": A}
        withdrawn = replace(there.happens(traits=FORK, action="unlabeled"), label="safe", sender="bob")
        await there.here.intake.handle(withdrawn)
        there.happens(traits=FORK, action="edited")
        await there.passes(3 * SWEEP_SECONDS)
        assert await there.here.prs() == {}
        there.forge.approved[HERE, 7] = frozenset({B})
        there.happens(B, FORK, action="synchronize")
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": B}


# What tells nothing


@pytest.mark.parametrize("error", [ForgeUnavailable("the listing was cut"), ForgeForbidden("no"), ForgeNotFound("no")])
def test_a_listing_that_failed_takes_nothing_away(tmp_path: Path, error: ForgeError) -> None:
    async def play() -> None:
        async with patrol(tmp_path) as there:
            await there.told()
            there.forge.fail("open_pulls", error)
            await there.passes(5 * SWEEP_SECONDS)
            assert await there.here.prs() == {"shop-pr7": A}

    run(play())


@virtual_time
async def test_one_that_is_in_no_listing_but_open_stays_and_is_followed(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.told()
        there.forge.hidden.add((HERE, 7))
        there.happens(B, action="synchronize")
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": B}
        there.forge.hidden.clear()
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": B}


@virtual_time
async def test_one_that_is_not_found_any_more_stays(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.told()
        await there.told(number=8)
        there.forge.pulls.clear()
        there.happens(number=9)
        await there.passes()
        assert set(await there.here.prs()) == {"shop-pr7", "shop-pr8", "shop-pr9"}


@virtual_time
async def test_one_whose_own_answer_fails_stays_until_that_says_that_it_is_closed(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.told()
        there.happens(is_open=False, action="closed")
        there.forge.fail("pull", ForgeUnavailable("down"))
        await there.passes(2 * SWEEP_SECONDS)
        assert await there.here.prs() == {"shop-pr7": A}
        there.forge.mend()
        await there.passes()
        assert await there.here.prs() == {}


# More than one


class Failing(Store):
    """A store that fails for the PR object of one pull request."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if name_of(manifest) == "shop-pr1":
            raise Unavailable("it is still being deleted")
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_a_pull_request_that_cannot_be_written_keeps_no_other_from_being_repaired(tmp_path: Path) -> None:
    async with patrol(tmp_path, opened=Failing.open) as there:
        for number in (1, 2):
            there.happens(number=number)
        await there.told(number=3)
        there.happens(number=3, is_open=False, action="closed")
        await there.passes(3600)
        assert await there.here.prs() == {"shop-pr2": A}
        assert there.forge.requests["open_pulls"] <= 12


@virtual_time
async def test_every_review_app_of_the_repository_gets_what_its_own_gate_admits(tmp_path: Path) -> None:
    async with patrol(tmp_path, LABELED_ONLY, app("zoo", drafts=False)) as there:
        there.happens(traits=OFF)
        there.happens(B, traits=replace(ON, is_draft=True), number=8)
        await there.passes()
        assert await there.here.prs() == {"zoo-pr7": A, "shop-pr8": B}
        there.happens(traits=OFF, is_open=False)
        there.happens(B, is_open=False, number=8)
        await there.passes()
        assert await there.here.prs() == {}


@virtual_time
async def test_a_review_app_that_is_made_later_is_swept_at_once_and_a_deleted_one_no_more(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.passes(5)
        zoo = app("zoo")
        zoo["spec"]["githubRepository"] = there.address = ELSEWHERE
        there.happens()
        await there.here.apply(zoo)
        await there.passes(5)
        assert await there.here.prs() == {"zoo-pr7": A}
        for name in ("zoo", "shop"):
            await there.here.store.delete(Ref(REVIEW_APP, NAMESPACE, name))
        asked = there.forge.requests.total()
        await there.passes(5 * SWEEP_SECONDS)
        assert (there.forge.requests.total(), await there.here.prs()) == (asked, {})


# A repository that moves


def move(there: Patrol) -> None:
    there.forge.moved[HERE] = there.address = ELSEWHERE
    for (_, number), event in list(there.forge.pulls.items()):
        pull = replace(event.pull, repository=ELSEWHERE)
        there.forge.pulls[ELSEWHERE, number] = replace(event, pull=pull)


@virtual_time
async def test_a_renamed_repository_is_followed_and_its_webhooks_find_the_review_app(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.told()
        move(there)
        there.happens(B, action="synchronize")
        await there.passes()
        assert await there.here.prs() == {"shop-pr7": B}
        await there.told(B, is_open=False, action="closed")
        assert await there.here.prs() == {}
        assert await there.here.writes(lambda: there.passes(3 * SWEEP_SECONDS)) == 0


@virtual_time
async def test_a_close_in_a_renamed_repository_with_nothing_open_is_found(tmp_path: Path) -> None:
    async with patrol(tmp_path) as there:
        await there.told()
        move(there)
        there.happens(is_open=False, action="closed")
        await there.passes()
        assert await there.here.prs() == {}

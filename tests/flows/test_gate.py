"""What a gate does to the environments of a cluster."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flows.forge import FakeForge
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    START,
    A,
    B,
    World,
    config_map,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import run, virtual_time

from greenroom.core.gate import DESTROY, PREVIEW, canonical
from greenroom.flows.gatekeeper import Gatekeeper
from greenroom.flows.intake import Result
from greenroom.model.manifest import REVIEW_APP, Ref, text
from greenroom.model.pull import APPROVED, Action, Mark, Move, PullEvent, PullRequest, Traits

SHOP = Ref(REVIEW_APP, NAMESPACE, "shop")
ON, OFF = Traits("A title", "feature", "main", "alice", "MEMBER", labels=frozenset({"pr-env"})), Traits("A title")


def gated(**gate: Any) -> dict[str, Any]:
    app = review_app(config_map())
    app["spec"]["gate"] = gate
    return app


LABELED_ONLY = gated(labels={"any": ["pr-env"]})


def told(
    action: str, traits: Traits, *, second: int = 0, head: str = A, label: str = "", number: int = 7, **more: Any
) -> PullEvent:
    pull = PullRequest(REPOSITORY, number, head, open=action != "closed", traits=traits)
    return PullEvent(Action(action), pull, START + timedelta(seconds=second), label=label, **more)


def labeled(second: int = 1, **more: Any) -> PullEvent:
    return told("labeled", ON, second=second, label="pr-env", **more)


def unlabeled(second: int = 2, **more: Any) -> PullEvent:
    return told("unlabeled", OFF, second=second, label="pr-env", **more)


async def result(here: World, event: PullEvent) -> Result:
    (outcome,) = await here.intake.handle(event)
    return outcome.result


async def refusal(here: World, number: int = 7) -> str:
    """The reason that is remembered, or ``""``."""
    return text(await here.store.get(SHOP), "status", "refused", str(number), "reason")


@virtual_time
async def test_the_label_put_on_brings_the_environment_and_taken_off_takes_it_away(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY, running=True) as here:
        assert await result(here, told("opened", OFF)) is Result.REFUSED
        assert (await here.prs(), await refusal(here)) == ({}, "Labels")
        assert await result(here, labeled()) is Result.CREATED
        await settled()
        assert (await here.prs(), await refusal(here)) == ({"shop-pr7": A}, "")
        assert (await here.condition("Admitted"))["reason"] == "Labeled"
        assert await result(here, unlabeled()) is Result.DELETED
        await settled()
        assert (await here.prs(), await refusal(here)) == ({}, "Labels")
        assert await here.objects("ConfigMap") == {}


@virtual_time
async def test_of_two_deliveries_the_later_one_counts_whichever_comes_first(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        await result(here, unlabeled())
        assert await result(here, labeled()) is Result.REFUSED
        assert await here.prs() == {}


@virtual_time
async def test_a_pull_request_opened_with_its_label_has_it_whichever_delivery_of_the_second_comes_first(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        await result(here, labeled(second=0))
        await result(here, told("opened", OFF))
        assert await here.prs() == {"shop-pr7": A}


@virtual_time
async def test_a_push_to_a_pull_request_that_is_refused_is_remembered_for_when_it_is_not(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        await result(here, told("opened", OFF))
        await result(here, told("synchronize", OFF, head=B, second=5, before=A))
        await result(here, labeled(second=3))
        assert await here.prs() == {}
        await result(here, labeled(second=6, head=B))
        assert await here.prs() == {"shop-pr7": B}


@virtual_time
async def test_what_is_refused_again_is_written_once_and_told_in_one_event(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        assert await here.writes(lambda: here.intake.handle(told("opened", OFF))) == 2
        [event] = (await here.objects("Event")).values()
        assert event["involvedObject"]["kind"] == "ReviewApp"
        assert event["message"] == "pull request 7 gets no environment (Labels): it needs the label pr-env"
        assert await here.writes(lambda: here.intake.handle(told("opened", OFF))) == 0


@virtual_time
async def test_an_edited_gate_is_asked_again_of_those_with_an_environment_and_those_without(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY, running=True) as here:
        task = asyncio.create_task(Gatekeeper(here.intake, here.informers).run())
        try:
            await result(here, told("opened", ON, number=1))
            await result(here, told("opened", OFF, number=2))
            await settled()
            assert set(await here.prs()) == {"shop-pr1"}
            await here.apply(gated(labels={"none": ["pr-env"]}))
            await settled()
            assert set(await here.prs()) == {"shop-pr2"}
            await here.apply(gated(drafts=False))
            await settled()
            assert set(await here.prs()) == {"shop-pr1", "shop-pr2"}
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@virtual_time
async def test_a_gate_that_is_wrong_takes_nothing_away_and_brings_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY, running=True) as here:
        await result(here, told("opened", ON))
        await here.apply(gated(labels={"some": ["pr-env"]}))
        await settled()
        await result(here, told("opened", ON, number=8))
        assert await result(here, told("synchronize", OFF, head=B, second=5, before=A)) is Result.UPDATED
        assert await here.prs() == {"shop-pr7": B}
        assert await refusal(here, 8) == "Unknown"
        await result(here, told("closed", OFF, second=9))
        assert await here.prs() == {}


@virtual_time
async def test_who_dies_between_remembering_a_refusal_and_deleting_has_decided(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY, running=True) as here:
        await result(here, told("opened", ON))
        await settled()
        pr = await here.pr()
        known = pr["metadata"]["annotations"]["greenroom.dev/observed"]
        later = known.replace("12:00:00Z opened", "12:00:09Z unlabeled").replace('["pr-env"]', "[]")
        assert later != known
        record = {"reason": "Labels", "message": "", "observed": later}
        await here.store.patch_status(SHOP, {"refused": {"7": record}})
        await asyncio.sleep(10)
        assert await here.prs() == {}


@virtual_time
async def test_a_fork_gets_nothing_until_its_commit_is_approved_and_loses_it_with_the_next(tmp_path: Path) -> None:
    fork = replace(ON, is_fork=True, association="NONE", author="mallory")
    gate = gated(forks="approved", approvalLabel="safe-to-preview")
    async with world(tmp_path, gate) as here:
        assert await result(here, told("opened", fork)) is Result.REFUSED
        assert await refusal(here) == "Fork"
        assert await result(here, told("labeled", fork, second=1, label="Safe-To-Preview")) is Result.CREATED
        push = told("synchronize", fork, head=B, second=2, before=A)
        assert await result(here, push) is Result.DELETED
        approval = Mark(START + timedelta(seconds=3), APPROVED, B, "bob")
        assert await result(here, told("reviewed", fork, head=B, second=3, approval=approval)) is Result.CREATED


@virtual_time
async def test_an_environment_asked_for_in_a_comment_comes_and_one_that_is_destroyed_stays_away(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:

        async def wish(what: str, second: int) -> None:
            await here.intake.wish(REPOSITORY, 7, Mark(START + timedelta(seconds=second), what, A, "bob"))

        await result(here, told("opened", OFF))
        await wish(PREVIEW, 5)
        assert set(await here.prs()) == {"shop-pr7"}
        await wish(DESTROY, 6)
        assert (await here.prs(), await refusal(here)) == ({}, "Destroyed")
        await result(here, told("synchronize", OFF, head=B, second=7, before=A))
        assert await here.prs() == {}
        await result(here, labeled(second=8, head=B))
        assert await here.prs() == {"shop-pr7": B}
        await result(here, unlabeled(second=9, head=B))
        assert await here.prs() == {}


@virtual_time
async def test_what_people_wrote_by_hand_is_theirs_though_the_gate_refuses(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        await here.apply(pr_object())
        await result(here, told("opened", OFF))
        assert await here.prs() == {"shop-pr7": A}


@virtual_time
async def test_a_repository_that_moved_is_still_the_review_apps(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        await here.intake.move(Move(REPOSITORY, "https://github.com/Other/site"))
        event = labeled()
        moved = replace(event, pull=replace(event.pull, repository="https://github.com/other/site"))
        assert await result(here, moved) is Result.CREATED
        assert await here.intake.handle(labeled(second=9)) == ()


def _random_event(random: Random, second: int, number: int, head: str, before: str) -> PullEvent:
    labels = random.choice([ON, OFF])
    action = random.choice(["opened", "synchronize", "labeled", "unlabeled", "edited", "closed", "reopened"])
    if action == "labeled":
        labels = ON
    if action == "unlabeled":
        labels = OFF
    label = "pr-env" if action.endswith("labeled") else ""
    more = {"before": before} if action == "synchronize" else {}
    return told(action, labels, second=second, head=head, label=label, number=number, **more)


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_any_order_and_repetition_of_deliveries_ends_in_what_the_gate_says_of_the_last(random: Random) -> None:
    heads = [f"{index:040x}" for index in range(10)]
    events = [
        _random_event(random, second, number, heads[second], heads[max(0, second - 1)])
        for number in (1, 2)
        for second in range(8)
    ]
    shuffled = [*events, *random.choices(events, k=6)]
    random.shuffle(shuffled)

    async def play() -> None:
        with TemporaryDirectory() as folder:
            async with world(Path(folder), LABELED_ONLY) as here:
                for event in shuffled:
                    await here.intake.handle(event)
                prs = await here.prs()
                for number in (1, 2):
                    last = next(each for each in reversed(events) if each.pull.number == number)
                    wanted = last.pull.open and last.pull.traits == ON
                    assert prs.get(f"shop-pr{number}") == (last.pull.head if wanted else None)

    run(play())


FORK = replace(ON, is_fork=True, association="NONE", author="mallory")
APPROVING = {"forks": "approved", "approvalLabel": "safe-to-preview"}


def approved(second: int, head: str = A) -> PullEvent:
    return told("labeled", FORK, second=second, head=head, label="safe-to-preview", sender="bob")


@virtual_time
async def test_while_the_gate_is_wrong_no_push_to_a_fork_is_run_and_none_after_it_is_put_right(tmp_path: Path) -> None:
    async with world(tmp_path, gated(**APPROVING), running=True) as here:
        await result(here, told("opened", FORK))
        await result(here, approved(1))
        await settled()
        await here.apply(gated(**APPROVING, expression="titel == ''"))
        await settled()
        push = told("synchronize", FORK, head=B, second=5, before=A)
        assert await result(here, push) is Result.UNCHANGED
        await settled()
        assert (await here.prs(), await refusal(here)) == ({"shop-pr7": A}, "Unknown")
        shown = [each["data"]["commit"] for each in (await here.objects("ConfigMap")).values()]
        assert shown == [A]
        task = asyncio.create_task(Gatekeeper(here.intake, here.informers).run())
        await here.apply(gated(**APPROVING))
        await asyncio.sleep(10)
        assert (await here.prs(), await here.objects("ConfigMap")) == ({}, {})
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@virtual_time
async def test_what_a_gate_that_was_edited_does_not_trust_is_not_even_begun(tmp_path: Path) -> None:
    async with world(tmp_path, gated(forks="always")) as here:
        assert await result(here, told("opened", FORK)) is Result.CREATED
        await here.apply(gated(forks="never"))
        await settled()
        await here.reconcile.reconcile(here.pr_ref())
        assert await here.objects("ConfigMap") == {}


@virtual_time
async def test_a_label_approves_no_commit_that_was_pushed_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, gated(**APPROVING)) as here:
        await result(here, told("opened", FORK))
        assert await result(here, approved(5, B)) is Result.REFUSED
        await result(here, told("unlabeled", FORK, second=8, head=B, label="safe-to-preview"))
        assert await result(here, approved(9, B)) is Result.CREATED


@virtual_time
async def test_a_review_that_is_dismissed_counts_no_more_whatever_its_author_may_do(tmp_path: Path) -> None:
    async with world(tmp_path, gated(**APPROVING)) as here:
        approval = Mark(START + timedelta(seconds=1), APPROVED, A, "bob")
        assert await result(here, told("reviewed", FORK, second=1, approval=approval)) is Result.CREATED
        dismissed = Mark(START + timedelta(seconds=9), "withdrawn", A, "bob")
        assert await result(here, told("reviewed", FORK, second=9, approval=dismissed)) is Result.DELETED


@virtual_time
async def test_paths_are_asked_for_again_when_the_pull_request_is_for_another_branch(tmp_path: Path) -> None:
    forge = FakeForge()
    here_ = canonical(REPOSITORY)
    async with world(tmp_path, gated(paths={"any": ["app/**"]}), forge=forge) as here:
        forge.paths[here_, 7] = frozenset({"docs/x.md"})
        first = told("opened", OFF)
        forge.pulls[here_, 7] = replace(first, action=Action.SEEN)
        assert await result(here, first) is Result.REFUSED
        forge.paths[here_, 7] = frozenset({"docs/x.md", "app/x.py"})
        edited = told("edited", replace(OFF, base="develop"), second=5)
        forge.pulls[here_, 7] = replace(edited, action=Action.SEEN)
        assert await result(here, edited) is Result.CREATED

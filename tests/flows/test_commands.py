"""What becomes of ``/preview`` in a comment, and how it is answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.flows.asked import Thread, telling, thread
from tests.flows.forge import FakeForge
from tests.flows.patrol import ELSEWHERE, FORK, HERE, LABELED_ONLY, OFF, app
from tests.flows.world import A, B, VirtualClock, deployment, review_app, settled, world
from tests.virtual import run, virtual_time

from greenroom.core.asking import WORDS
from greenroom.flows.commands import REFUSALS, REFUSALS_SECONDS, Commands
from greenroom.flows.intake import Intake, Result
from greenroom.model.errors import ForgeForbidden, ForgeUnavailable, Unavailable
from greenroom.model.manifest import get
from greenroom.runtime.informer import Informers

LOGGED = review_app(deployment())


# Who may ask


@pytest.mark.parametrize("word", [*WORDS, "nonsense"])
def test_who_may_not_push_is_refused_whatever_he_asks_for(tmp_path: Path, word: str) -> None:
    async def play() -> None:
        async with thread(tmp_path) as there:
            await there.told(traits=OFF)
            writes = await there.here.writes(lambda: there.comments(word, "3d", author="mallory"))
            assert (writes, there.reactions) == (0, ["-1"])
            assert (await there.here.prs(), there.forge.comments_) == ({}, {})

    run(play())


@virtual_time
async def test_strangers_who_ask_all_the_time_do_not_use_up_what_may_be_written(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told(traits=OFF)
        for _ in range(50):
            await there.comments(author="mallory")
        assert there.forge.writes.total() == REFUSALS
        await there.comments()
        assert await there.here.prs() == {"shop-pr7": A}
        await asyncio.sleep(REFUSALS_SECONDS)
        await there.comments(author="mallory")
        assert there.forge.writes["react"] == REFUSALS + 2


@pytest.mark.parametrize(("association", "wanted"), [("MEMBER", {"shop-pr7": A}), ("CONTRIBUTOR", {}), ("", {})])
def test_where_nobody_can_be_asked_what_github_calls_the_author_counts(
    tmp_path: Path, association: str, wanted: dict[str, str]
) -> None:
    async def play() -> None:
        forge = FakeForge()
        forge.repositories = set()
        async with thread(tmp_path, forge=forge) as there:
            await there.told(traits=OFF)
            await there.comments(association=association, author="mallory")
            assert (await there.here.prs(), forge.requests.total()) == (wanted, 0)

    run(play())


@virtual_time
async def test_while_it_is_not_known_who_may_push_the_comment_is_to_be_delivered_again(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told(traits=OFF)
        command = there.command()
        there.forge.fail("may_write", ForgeUnavailable("down"))
        with pytest.raises(Unavailable):
            await there.deliver(command)
        assert await there.here.prs() == {}
        there.forge.mend()
        await there.deliver(command)
        assert await there.here.prs() == {"shop-pr7": A}


@virtual_time
async def test_a_command_for_another_repository_is_nobodys(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        assert await there.comments(repository=ELSEWHERE) == []
        assert there.forge.requests.total() == 0


# The environment is asked for


@virtual_time
async def test_preview_brings_an_environment_without_its_label_and_is_answered_in_the_one_comment(
    tmp_path: Path,
) -> None:
    async with thread(tmp_path) as there, telling(there):
        await there.told(traits=OFF)
        assert await there.comments() == [Result.CREATED]
        assert (await there.here.prs(), there.reactions) == ({"shop-pr7": A}, ["+1"])
        await asyncio.sleep(100)
        assert "preview`, asked by `bob`" in there.answer
        await there.told(B, OFF, action="synchronize")
        await asyncio.sleep(100)
        assert await there.here.prs() == {"shop-pr7": B}
        assert "asked by" not in there.answer


@virtual_time
async def test_preview_of_a_pull_request_of_which_nothing_was_heard_asks_the_forge(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        there.happens(traits=OFF)
        assert await there.comments() == [Result.CREATED]
        assert await there.here.prs() == {"shop-pr7": A}


@virtual_time
async def test_preview_of_a_closed_pull_request_is_answered_with_why_there_is_nothing(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told(is_open=False, action="closed")
        await there.comments()
        assert (await there.here.prs(), there.reactions) == ({}, ["-1"])
        assert "pull request 7 is closed" in there.answer


@virtual_time
async def test_what_is_destroyed_stays_away_until_somebody_wants_it_again(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told()
        assert await there.comments("destroy") == [Result.DELETED]
        await there.told(B, action="synchronize")
        assert (await there.here.prs(), await there.refusal(), there.reactions) == ({}, "Destroyed", ["+1"])
        await there.comments()
        assert await there.here.prs() == {"shop-pr7": B}
        await there.comments("destroy")
        await there.here.intake.handle(replace(there.happens(B, OFF, action="unlabeled"), label="pr-env"))
        await there.here.intake.handle(replace(there.happens(B, action="labeled"), label="PR-Env"))
        assert await there.here.prs() == {"shop-pr7": B}


# Forks


@virtual_time
async def test_preview_brings_nothing_of_a_fork_where_forks_never_get_anything(tmp_path: Path) -> None:
    async with thread(tmp_path, app(forks="never")) as there:
        await there.told(traits=FORK)
        await there.comments()
        assert (await there.here.prs(), there.reactions) == ({}, ["-1"])
        assert "it comes from a fork" in there.answer


@virtual_time
async def test_preview_of_a_fork_approves_its_commit_and_not_the_next(tmp_path: Path) -> None:
    async with thread(tmp_path, app(forks="approved")) as there:
        await there.told(traits=FORK)
        await there.comments()
        assert await there.here.prs() == {"shop-pr7": A}
        await there.told(B, FORK, action="synchronize")
        assert await there.here.prs() == {}


@pytest.mark.parametrize("known", [True, False], ids=["known before", "never heard of"])
@pytest.mark.parametrize("told", ["push first", "comment first"])
@pytest.mark.parametrize("later", [0, 1], ids=["within the second", "a second later"])
@pytest.mark.parametrize("with_forge", [True, False], ids=["asked", "told only"])
def test_a_commit_pushed_right_after_the_comment_is_not_approved_by_it(
    tmp_path: Path, *, known: bool, told: str, later: int, with_forge: bool
) -> None:
    async def play() -> None:
        forge = FakeForge()
        forge.repositories = None if with_forge else set()
        async with thread(tmp_path, app(forks="approved"), forge=forge) as there:
            if known:
                await there.told(traits=FORK)
            command = there.command()
            there.second += later - 1
            push = replace(there.happens(B, FORK, action="synchronize"), before=A)
            if told == "push first":
                await there.here.intake.handle(push)
            for _ in range(2):
                await there.deliver(command)
                await there.here.intake.handle(push)
            assert B not in (await there.here.prs()).values()

    if known or told == "push first" or later:  # of one never heard of, a second says nothing: see core.standing
        run(play())


# What else can be asked


async def _pod_template(there: Thread) -> object:
    return get((await there.here.objects("Deployment", "apps/v1"))["pr7"], "spec", "template")


@virtual_time
async def test_redeploy_starts_the_pods_anew_and_once_however_often_and_late_it_is_delivered(tmp_path: Path) -> None:
    async with thread(tmp_path, LOGGED, running=True) as there:
        await there.told()
        await settled()
        before = await _pod_template(there)
        first = there.command("redeploy")
        await there.deliver(first)
        await settled()
        once = await _pod_template(there)
        assert once != before
        await there.deliver(first)
        await there.comments("redeploy")
        await settled()
        twice = await _pod_template(there)
        assert twice != once
        await there.deliver(first)
        await settled()
        assert await _pod_template(there) == twice


@virtual_time
async def test_extend_keeps_the_environment_and_an_older_wish_does_not_shorten_it(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told()
        first = there.command("extend", "1d")
        await there.deliver(first)
        assert await there.annotation("keep-until") == "2026-02-01T12:00:02Z"
        await there.comments("extend", "2 weeks")
        await there.comments("explain")
        await there.deliver(first)
        assert await there.annotation("keep-until") == "2026-02-14T12:00:03Z"
        await there.comments("extend", "36h")
        assert await there.annotation("keep-until") == "2026-02-02T00:00:05Z"
        await there.told(B, action="synchronize")
        assert await there.annotation("keep-until") == "2026-02-02T00:00:05Z"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("", "how long?"),
        ("soon", "is no time"),
        ("-3d", "is no time"),
        ("999d", "30 days at most"),
        ("1e9d", "no time"),
    ],
)
def test_a_time_that_is_none_is_answered_with_one_that_is(tmp_path: Path, argument: str, said: str) -> None:
    async def play() -> None:
        async with thread(tmp_path) as there, telling(there):
            await there.told()
            assert await there.comments("extend", argument) == [Result.REFUSED]
            await asyncio.sleep(100)
            assert (there.reactions, await there.annotation("keep-until")) == (["confused"], "")
            assert said in there.answer

    run(play())


@virtual_time
async def test_logs_are_shown_in_the_comment_without_secrets_and_replaced_by_the_next_answer(tmp_path: Path) -> None:
    async def logs(namespace: str, pod: str, container: str) -> list[str]:
        return ["listening on 80", "password=hunter2"]

    async with thread(tmp_path) as there, telling(there, logs=logs):
        await there.told()
        await there.comments("logs")
        await asyncio.sleep(100)
        assert "nothing was printed" in there.answer
        await there.comments("explain")
        await asyncio.sleep(100)
        assert "nothing was printed" not in there.answer
        assert "gets an environment (Labeled)" in there.answer


@virtual_time
async def test_explain_tells_without_an_environment_why_there_is_none_in_one_comment(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told(traits=OFF)
        for _ in range(2):
            await there.comments("explain")
        assert there.reactions == ["+1", "+1"]
        assert "gets no environment (Labels)" in there.answer
        await there.comments("redeploy")
        assert there.reactions[-1] == "-1"
        assert "preview redeploy`, asked by `bob`" in there.answer


@virtual_time
async def test_the_answer_without_an_environment_and_the_environments_own_are_one_comment(tmp_path: Path) -> None:
    async with thread(tmp_path) as there, telling(there):
        await there.told(traits=OFF)
        await there.comments("explain")
        await there.comments()
        await asyncio.sleep(100)
        assert "preview`, asked by `bob`" in there.answer
        await there.comments("destroy")
        await asyncio.sleep(100)
        assert "had it destroyed" in there.answer


@virtual_time
async def test_two_questions_at_once_without_an_environment_are_answered_in_one_comment(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told(traits=OFF)
        await asyncio.gather(*(there.comments(word) for word in ("explain", "logs", "explain")))
        assert "asked by" in there.answer


@pytest.mark.parametrize("with_environment", [True, False])
@pytest.mark.parametrize("word", ["nonsense", "`@everyone`", "<!-- greenroom: x -->", "[a](javascript:b)", "😀" * 255])
def test_what_is_not_known_is_answered_with_what_is(tmp_path: Path, word: str, *, with_environment: bool) -> None:
    async def play() -> None:
        async with thread(tmp_path) as there, telling(there):
            await there.told(traits=there_traits)
            await there.comments(word, "$(reboot) {{ x }} @everyone")
            await asyncio.sleep(100)
            assert there.reactions == ["confused"]
            assert "/preview extend 3d" in there.answer
            assert "@everyone" not in there.answer
            assert there.answer.count("<!-- greenroom: ") == 1
            assert "reboot" not in there.answer

    there_traits = replace(OFF, labels=frozenset({"pr-env"})) if with_environment else OFF
    run(play())


# Again, and in trouble


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("with_environment", [True, False])
def test_a_command_that_is_delivered_again_does_nothing_twice(
    tmp_path: Path, word: str, *, with_environment: bool
) -> None:
    async def play() -> None:
        async with thread(tmp_path) as there, telling(there):
            await there.told(traits=replace(OFF, labels=frozenset({"pr-env"})) if with_environment else OFF)
            await settled()
            command = there.command(word, "3d")
            await there.deliver(command)
            await asyncio.sleep(100)
            said = [list(each.history) for each in there.forge.comments_.values()]
            assert await there.here.writes(lambda: there.deliver(command)) == 0
            await asyncio.sleep(100)
            assert [each.history for each in there.forge.comments_.values()] == said
            assert len(set(there.reactions)) == 1

    run(play())


@virtual_time
async def test_an_older_question_that_comes_late_does_not_take_the_place_of_a_newer_one(tmp_path: Path) -> None:
    async with thread(tmp_path) as there:
        await there.told()
        late = there.command("logs")
        await there.comments("explain")
        asked = await there.annotation("asked")
        await there.deliver(late)
        assert await there.annotation("asked") == asked


@pytest.mark.parametrize("error", [ForgeUnavailable("down"), ForgeForbidden("no"), None], ids=["down", "no", "silent"])
def test_a_forge_that_takes_no_answer_keeps_nothing_from_being_done(tmp_path: Path, error: Exception | None) -> None:
    async def play() -> None:
        async with thread(tmp_path) as there:
            await there.told(traits=OFF)
            for name in ("react", "comment", "comments"):
                there.forge.fail(name, error)
            async with asyncio.timeout(9):
                await there.comments()
            assert await there.here.prs() == {"shop-pr7": A}
            for word in ("destroy", "explain"):
                async with asyncio.timeout(9):
                    await there.comments(word)
            assert await there.here.prs() == {}

    run(play())


@virtual_time
async def test_two_replicas_do_what_they_are_both_told_once(tmp_path: Path) -> None:
    async with thread(tmp_path, LABELED_ONLY, app("zoo")) as there:
        await there.told(traits=OFF)
        here = there.here
        intake = Intake(here.store, here.informers, VirtualClock(), forge=there.forge)
        other = Commands(here.store, here.informers, intake, there.forge)
        command = there.command()
        await asyncio.gather(here.commands.handle(command), other.handle(command))
        assert await here.prs() == {"shop-pr7": A, "zoo-pr7": A}
        command = there.command("destroy")
        await asyncio.gather(here.commands.handle(command), other.handle(command))
        assert await here.prs() == {}
        assert set(there.reactions) == {"+1"}


@virtual_time
async def test_a_command_before_anything_is_known_is_to_be_delivered_again(tmp_path: Path) -> None:
    async with world(tmp_path, LABELED_ONLY) as here:
        informers = Informers(here.store)
        forge = FakeForge()
        forge.writers[HERE] = {"bob"}
        commands = Commands(here.store, informers, Intake(here.store, informers, VirtualClock()), forge)
        with pytest.raises(Unavailable):
            await commands.handle(Thread(here, forge).command())

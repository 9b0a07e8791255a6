"""What is read from GitHub, and written to it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.github.client import TOKEN, client, refused
from tests.github.faults import answered, meanwhile, on_page
from tests.github.standin import StandIn
from tests.github.state import File, User

from greenroom.adapters.github_credentials import Token
from greenroom.model.errors import ForgeInvalid, ForgeNotFound, ForgeUnavailable
from greenroom.model.forge import DeploymentState, Reaction
from greenroom.model.pull import Action, Traits

US = User("greenroom-ci")
PULLS = "/repos/{owner}/{repo}/pulls"
DEPLOYMENTS = "/repos/{owner}/{repo}/deployments"


# Pull requests


async def test_a_pull_request_is_told_as_it_is_now() -> None:
    standin = StandIn(now=lambda: datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC))
    shop = standin.repository()
    pull = standin.open_pull(shop, title="Fix $(all)", branch="fix", base="next", labels=("a b", "preview"), draft=True)
    async with client(standin) as forge:
        event = await forge.pull(standin.address(shop), 1)
        assert event.pull.repository == standin.address(shop)
    assert (event.action, event.at, event.merged) == (Action.SEEN, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), False)
    assert (event.pull.number, event.pull.head, event.pull.open) == (1, pull.head, True)
    assert event.pull.traits == Traits(
        title="Fix $(all)",
        branch="fix",
        base="next",
        author="mona",
        association="CONTRIBUTOR",
        is_draft=True,
        labels=frozenset({"a b", "preview"}),
    )


async def test_pull_requests_of_bots_and_forks_are_told_as_such() -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.open_pull(shop, author="renovate[bot]", is_bot=True)
    standin.open_pull(shop, fork=standin.repository("stranger/shop"))
    gone = standin.open_pull(shop, fork=standin.repository("gone/shop"))
    gone.fork_is_gone = True
    async with client(standin) as forge:
        traits = [event.pull.traits or Traits() for event in await forge.open_pulls(standin.address(shop))]
        assert (await forge.pull(standin.address(shop), 3)).pull.traits == traits[2]
    assert [trait.is_bot for trait in traits] == [True, False, False]
    assert [trait.is_fork for trait in traits] == [False, True, True]


async def test_a_closed_pull_request_is_told_as_closed_or_merged() -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.close(standin.open_pull(shop))
    standin.close(standin.open_pull(shop), merged=True)
    async with client(standin) as forge:
        closed, merged = [await forge.pull(standin.address(shop), number) for number in (1, 2)]
        assert await forge.open_pulls(standin.address(shop)) == []
    assert (closed.pull.open, closed.merged, merged.pull.open, merged.merged) == (False, False, False, True)


async def test_a_pull_request_that_is_not_there_is_not_found() -> None:
    standin = StandIn()
    shop = standin.repository()
    async with client(standin) as forge:
        with refused(ForgeNotFound, "answered 404 Not Found"):
            await forge.pull(standin.address(shop), 7)


async def test_all_pages_of_open_pull_requests_are_told() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    pulls = [standin.open_pull(shop) for _ in range(250)]
    standin.close(pulls[7])
    async with client(standin) as forge:
        found = await forge.open_pulls(standin.address(shop))
    assert [event.pull.number for event in found] == [pull.number for pull in pulls if pull.is_open]


async def test_one_that_is_closed_while_pages_are_read_hides_no_other() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    pulls = [standin.open_pull(shop) for _ in range(150)]
    standin.fail(meanwhile(lambda: standin.close(pulls[0])), template=PULLS, when=on_page(2), times=1)
    async with client(standin) as forge:
        found = await forge.open_pulls(standin.address(shop))
    assert {event.pull.number for event in found} == set(range(2, 151))


async def test_one_that_is_on_two_pages_is_told_once() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    pulls = [standin.open_pull(shop) for _ in range(150)]
    standin.close(pulls[0])
    standin.fail(meanwhile(lambda: standin.reopen(pulls[0])), template=PULLS, when=on_page(2), times=1)
    async with client(standin) as forge:
        found = await forge.open_pulls(standin.address(shop))
    assert sorted(event.pull.number for event in found) == list(range(1, 151))


async def test_one_that_comes_and_goes_makes_no_other_come_twice() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    pulls = [standin.open_pull(shop) for _ in range(150)]
    standin.fail(meanwhile(lambda: standin.close(pulls[0])), template=PULLS, when=on_page(1))
    standin.fail(meanwhile(lambda: standin.reopen(pulls[0])), template=PULLS, when=on_page(2))
    async with client(standin) as forge:
        found = await forge.open_pulls(standin.address(shop))
    assert sorted(event.pull.number for event in found) == list(range(2, 151))


async def test_a_listing_that_never_comes_to_rest_is_no_listing() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    pulls = iter([standin.open_pull(shop) for _ in range(150)])
    standin.fail(meanwhile(lambda: standin.close(next(pulls))), template=PULLS, when=on_page(2))
    async with client(standin) as forge:
        with refused(ForgeUnavailable, "changes faster"):
            await forge.open_pulls(standin.address(shop))


async def test_paths_are_those_that_are_changed_and_those_moved_from() -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.open_pull(shop, files=(File("README.md"), File("src/b.py", former="src/a.py")))
    standin.open_pull(shop, files=tuple(File(f"{number}.txt") for number in range(120)))
    async with client(standin) as forge:
        assert await forge.changed_paths(standin.address(shop), 1) == {"README.md", "src/b.py", "src/a.py"}
        assert len(await forge.changed_paths(standin.address(shop), 2)) == 120


@pytest.mark.parametrize("count", [3000, 3001])
async def test_more_files_than_github_lists_are_refused(count: int) -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    standin.open_pull(shop, files=tuple(File(f"{number}.txt") for number in range(count)))
    async with client(standin) as forge:
        with refused(ForgeInvalid, "changes 300"):
            await forge.changed_paths(standin.address(shop), 1)


async def test_a_list_of_files_that_is_short_is_no_list() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop, files=(File("a"), File("b")))
    standin.fail(meanwhile(pull.files.pop), template=f"{PULLS}/{{pull_number}}/files")
    async with client(standin) as forge:
        with refused(ForgeUnavailable, "only 1 came"):
            await forge.changed_paths(standin.address(shop), 1)


# People


@pytest.mark.parametrize(
    ("role", "may"), [("admin", True), ("maintain", True), ("write", True), ("triage", False), ("read", False)]
)
async def test_who_may_push_may_write(role: str, may: bool) -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.allow(shop, "mona", role)
    async with client(standin) as forge:
        assert await forge.may_write(standin.address(shop), "Mona") is may


async def test_a_stranger_may_not_write() -> None:
    standin = StandIn()
    shop = standin.repository()
    async with client(standin) as forge:
        assert not await forge.may_write(standin.address(shop), "nobody")
        assert not await forge.may_write(standin.address(shop), "../../acme")
        with refused(ForgeInvalid):
            await forge.may_write(standin.address(shop), "..")


async def test_a_commit_is_approved_by_the_last_word_of_who_may_push() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    for login in ("ann", "ben", "cem", "dot"):
        standin.allow(shop, login, "write")
    standin.review(pull, "ann", commit="a" * 40)
    standin.review(pull, "ann", "COMMENTED", commit="b" * 40)  # takes nothing back
    standin.review(pull, "ben", commit="b" * 40)
    standin.review(pull, "BEN", "CHANGES_REQUESTED", commit="b" * 40)
    standin.review(pull, "cem", "DISMISSED", commit="c" * 40)
    standin.review(pull, "dot", commit="c" * 40)
    standin.review(pull, "dot", commit="d" * 40)
    standin.review(pull, "stranger", commit="e" * 40)
    standin.review(pull, "ann", commit="f" * 40).reviewer = None  # of a user who is gone
    async with client(standin) as forge:
        assert await forge.approved_commits(standin.address(shop), 1) == {"a" * 40, "d" * 40}


# Comments


async def test_only_our_own_comments_are_told_oldest_first() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    first = standin.comment(pull, US, "one")
    standin.comment(pull, User("mona"), "<!-- greenroom: not ours -->")
    second = standin.comment(pull, US, "two")
    pull.comments.reverse()
    async with client(standin) as forge:
        found = await forge.comments(standin.address(shop), 1)
        assert [(comment.id, comment.body) for comment in found] == [(first.id, "one"), (second.id, "two")]
        await forge.comments(standin.address(shop), 1)
    assert standin.calls["GET", "/user"] == 1


async def test_who_cannot_learn_its_name_knows_its_comments_by_their_mark() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    ours = standin.comment(pull, User("github-actions[bot]", is_bot=True), "<!-- greenroom:shop -->\nready")
    standin.comment(pull, User("mona"), "nice")
    async with client(standin, Token(standin.token(TOKEN, login=""))) as forge:
        assert [comment.id for comment in await forge.comments(standin.address(shop), 1)] == [ours.id]
        await forge.comments(standin.address(shop), 1)
    assert standin.calls["GET", "/user"] == 1


async def test_a_comment_is_written_edited_and_reacted_to() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    async with client(standin) as forge:
        comment = await forge.comment(standin.address(shop), 1, "starting ☕")
        await forge.edit_comment(standin.address(shop), comment, "ready")
        for _ in range(2):  # the second time it is there already
            await forge.react(standin.address(shop), comment, Reaction.DONE)
        assert [found.id for found in await forge.comments(standin.address(shop), 1)] == [comment]
    assert [(comment.author.login, comment.body) for comment in pull.comments] == [("greenroom-ci", "ready")]
    assert pull.comments[0].reactions == [("greenroom-ci", "+1")]


async def test_a_comment_that_was_deleted_is_not_found() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    async with client(standin) as forge:
        comment = await forge.comment(standin.address(shop), 1, "starting")
        standin.delete_comment(pull, comment)
        with refused(ForgeNotFound):
            await forge.edit_comment(standin.address(shop), comment, "ready")


async def test_what_github_does_not_take_is_told_in_its_words() -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.open_pull(shop)
    async with client(standin) as forge:
        with refused(ForgeInvalid, "422 Unprocessable Entity: Validation Failed; Body is wrong"):
            await forge.comment(standin.address(shop), 1, " ")


# Deployments


async def test_a_deployment_succeeds_and_makes_the_one_before_inactive() -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    async with client(standin) as forge:
        address = standin.address(shop)
        first = await forge.deploy(address, pull.head, "preview/pr1", "x" * 200)
        await forge.set_deployment(address, first, DeploymentState.SUCCESS, url="https://pr1.example.com")
        second = await forge.deploy(address, standin.push(pull), "preview/pr1", "")
        await forge.set_deployment(address, second, DeploymentState.SUCCESS, description="y" * 200)
        made = await forge.deployments(address, "preview/pr1")
        assert [each.id for each in made] == [second, first]
        assert made[0].commit == pull.head != made[1].commit
        assert await forge.deployments(address, "another") == []
    assert [made.state for made in shop.deployments] == ["inactive", "success"]
    assert shop.deployments[0].statuses[0]["environment_url"] == "https://pr1.example.com"


async def test_an_environment_is_removed_once_and_for_all() -> None:
    standin = StandIn()
    shop = standin.repository()
    shop.environments += ["production", "preview/pr1 ?#%2F"]
    async with client(standin) as forge:
        for _ in range(2):
            await forge.remove_environment(standin.address(shop), "preview/pr1 ?#%2F")
        assert await forge.environments(standin.address(shop)) == ["production"]
        with refused(ForgeInvalid):
            await forge.remove_environment(standin.address(shop), "..")


async def test_environments_of_all_pages_are_told() -> None:
    standin = StandIn()
    shop = standin.repository()
    shop.environments += [f"pr{number}" for number in range(230)]
    async with client(standin) as forge:
        assert await forge.environments(standin.address(shop)) == shop.environments


@pytest.mark.parametrize(
    ("status", "error"), [(202, ForgeInvalid), (409, ForgeUnavailable), (422, ForgeInvalid), (204, ForgeInvalid)]
)
async def test_a_deployment_that_is_not_begun_is_an_error(
    status: int, error: type[ForgeInvalid | ForgeUnavailable]
) -> None:
    standin = StandIn()
    shop = standin.repository()
    pull = standin.open_pull(shop)
    standin.fail(answered(status, {"message": "later"}), "POST", DEPLOYMENTS)
    async with client(standin) as forge:
        with refused(error):
            await forge.deploy(standin.address(shop), pull.head, "pr1", "")


async def test_a_deployment_of_what_is_not_there_is_invalid() -> None:
    standin = StandIn()
    shop = standin.repository()
    async with client(standin) as forge:
        with refused(ForgeInvalid, "No ref found"):
            await forge.deploy(standin.address(shop), "0" * 40, "pr1", "")
        with refused(ForgeNotFound):
            await forge.set_deployment(standin.address(shop), 5, DeploymentState.INACTIVE)

"""The local forge: real git, webhooks over HTTP, and nothing remembered that was not delivered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from greenroom.app.forge import LocalForge, Repository, Webhook
from greenroom.model.errors import GreenroomError, InvalidInput

SECRET = b"a secret"
URL = "https://github.com/acme/shop"


class Receiver:
    """Takes deliveries as Greenroom's webhook would, and answers ``statuses`` one by one, then ``status``."""

    def __init__(self) -> None:
        self.status = 200
        self.statuses: list[int] = []
        self.deliveries: list[tuple[dict[str, str], bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.deliveries.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else self.status, text="said so")

    def last(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.deliveries[-1][1])
        return content


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "shop"
    path.mkdir()
    repository = Repository(path)
    await repository.git("init", "--quiet", "--initial-branch=main")
    await repository.git("config", "user.name", "Test")
    await repository.git("config", "user.email", "test@example.com")
    (path / "app").write_text("blue")
    await repository.git("add", ".")
    await repository.git("commit", "--quiet", "--message=first")
    return repository


@asynccontextmanager
async def forge(repository: Repository, receiver: Receiver) -> AsyncIterator[LocalForge]:
    app = web.Application()
    app.router.add_post("/webhooks", receiver.take)
    async with TestServer(app) as server:
        webhook = Webhook(str(server.make_url("/webhooks")), SECRET)
        yield LocalForge(repository.path.parent / "pulls.json", repository, URL, webhook)


async def test_the_life_of_a_pull_request_is_told_with_signed_webhooks(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        opened = await local.open("main", "My change")
        await repository.commit("app", "blue", "red", branch="main")
        pushed = await local.push(1)
        closed = await local.close(1)
        reopened = await local.reopen(1)
    contents = [json.loads(body) for _, body in receiver.deliveries]
    assert [content["action"] for content in contents] == ["opened", "synchronize", "closed", "reopened"]
    assert [content["pull_request"]["state"] for content in contents] == ["open", "open", "closed", "open"]
    assert contents[1]["before"] == opened.head
    assert contents[1]["after"] == contents[1]["pull_request"]["head"]["sha"] == pushed.head
    assert contents[0]["repository"]["html_url"] == URL
    assert contents[0]["pull_request"]["title"] == "My change"
    times = [content["pull_request"]["updated_at"] for content in contents]
    assert times == sorted(set(times)), "each change is later than the one before, even within a second"
    assert closed.state == "closed"
    assert reopened.state == "open"
    for headers, body in receiver.deliveries:
        expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == expected
        assert headers["X-GitHub-Event"] == "pull_request"


async def test_what_was_not_delivered_did_not_happen(repository: Repository, receiver: Receiver) -> None:
    async with forge(repository, receiver) as local:
        receiver.status = 503
        with pytest.raises(GreenroomError, match="refused with 503: said so; nothing was changed"):
            await local.open("main")
        assert local.pulls() == []
        receiver.status = 200
        assert (await local.open("main")).number == 1


async def test_nobody_listening_is_said_with_a_cure(repository: Repository, tmp_path: Path) -> None:
    local = LocalForge(tmp_path / "pulls.json", repository, URL, Webhook("http://127.0.0.1:1/webhooks", SECRET))
    with pytest.raises(GreenroomError, match=r"does not answer.*greenroom up") as error:
        await local.open("main")
    assert SECRET.decode() not in str(error.value)


async def test_a_force_push_is_a_push(repository: Repository, receiver: Receiver) -> None:
    async with forge(repository, receiver) as local:
        await local.open("main")
        await repository.git("commit", "--quiet", "--amend", "--message=rewritten")
        head = await repository.head_of("main")
        assert (await local.push(1)).head == head


async def test_mistakes_are_answered_with_a_cure(repository: Repository, receiver: Receiver) -> None:
    async with forge(repository, receiver) as local:
        with pytest.raises(InvalidInput, match="no branch 'nope'"):
            await local.open("nope")
        with pytest.raises(InvalidInput, match="no branch '--help'"):
            await local.open("--help")
        with pytest.raises(InvalidInput, match="no pull request 9"):
            await local.push(9)
        await repository.git("branch", "topic")
        await local.open("topic")
        with pytest.raises(InvalidInput, match="is open for 'topic' already"):
            await local.open("topic")
        with pytest.raises(InvalidInput, match="still at"):
            await local.push(1)
        with pytest.raises(InvalidInput, match="is open"):
            await local.reopen(1)
        await repository.git("branch", "-D", "topic")
        with pytest.raises(InvalidInput, match="is gone; its environment keeps running"):
            await local.push(1)
        await local.close(1)
        with pytest.raises(InvalidInput, match="is closed"):
            await local.close(1)


async def test_labels_drafts_and_titles_are_told_as_github_tells_them(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        await local.open("main", labels=["pr-env", "size/L", "PR-ENV"], draft=True)
        await local.draft(1, is_draft=False)
        await local.draft(1, is_draft=True)
        await local.edit(1, "Another title")
        changed = await local.unlabel(1, "Pr-Env")
    contents = [json.loads(body) for _, body in receiver.deliveries]
    told = [(content["action"], content.get("label", {}).get("name")) for content in contents]
    assert told == [
        ("opened", None),
        ("labeled", "pr-env"),
        ("labeled", "size/L"),
        ("ready_for_review", None),
        ("converted_to_draft", None),
        ("edited", None),
        ("unlabeled", "pr-env"),
    ]
    on = [[label["name"] for label in content["pull_request"]["labels"]] for content in contents]
    assert on[:4] == [[], ["pr-env"], ["pr-env", "size/L"], ["pr-env", "size/L"]]
    assert on[-1] == ["size/L"]
    assert [content["pull_request"]["draft"] for content in contents] == [True, True, True, False, True, True, True]
    assert contents[5]["changes"] == {"title": {"from": "main"}}
    assert (changed.labels, changed.draft, changed.title) == (("size/L",), True, "Another title")


async def test_a_label_that_could_not_be_told_of_is_named_with_a_cure(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        receiver.statuses = [200, 503]
        with pytest.raises(GreenroomError, match=r"is open, without its label: .*pr label 1 'needs it'"):
            await local.open("main", labels=["needs it"])
        assert [pull.labels for pull in local.pulls()] == [()]


async def test_mistakes_with_labels_drafts_and_titles_are_answered_with_a_cure(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        for name in ("", " ", "x" * 51, "two\nlines"):
            with pytest.raises(InvalidInput, match="is no label"):
                await local.open("main", labels=[name])
        assert receiver.deliveries == [], "nothing is opened that was asked for wrongly"
        await local.open("main", labels=["pr-env"])
        with pytest.raises(InvalidInput, match="is on pull request 1 already"):
            await local.label(1, "PR-env")
        with pytest.raises(InvalidInput, match="is not on pull request 1"):
            await local.unlabel(1, "size/L")
        with pytest.raises(InvalidInput, match="is ready for review already"):
            await local.draft(1, is_draft=False)
        with pytest.raises(InvalidInput, match="that is the title"):
            await local.edit(1, "main")
        with pytest.raises(InvalidInput, match="the title is empty"):
            await local.edit(1, " ")
        await local.close(1)
        with pytest.raises(InvalidInput, match="is closed"):
            await local.draft(1, is_draft=True)


async def test_the_pull_requests_of_an_older_greenroom_are_still_known(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        opened = await local.open("main")
        file = repository.path.parent / "pulls.json"
        older = json.loads(file.read_text())
        for field in ("labels", "draft"):
            del older[0][field]
        file.write_text(json.dumps(older))
        assert local.pulls() == [opened]
        assert (await local.label(1, "pr-env")).labels == ("pr-env",)


async def test_commands_at_the_same_time_do_not_forget_each_other(repository: Repository, receiver: Receiver) -> None:
    branches = [f"topic-{number}" for number in range(5)]
    for branch in branches:
        await repository.git("branch", branch)
    async with forge(repository, receiver) as local:
        opened = await asyncio.gather(*(local.open(branch) for branch in branches))
        assert sorted(pull.number for pull in opened) == [1, 2, 3, 4, 5]
        await asyncio.gather(*(local.close(pull.number) for pull in opened))
        assert [pull.state for pull in local.pulls()] == ["closed"] * 5


async def test_a_bare_repository_is_a_repository_too(repository: Repository, tmp_path: Path) -> None:
    await repository.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    bare = await Repository.find(tmp_path / "bare.git")
    assert await bare.head_of("main") == await repository.head_of("main")


async def test_without_a_branch_checked_out_one_has_to_be_named(repository: Repository, tmp_path: Path) -> None:
    empty = Repository(tmp_path / "empty")
    await repository.git("init", "--quiet", "--initial-branch=trunk", str(empty.path))
    assert await empty.current_branch() == "trunk", "a repository without commits has a branch that is to be"
    with pytest.raises(InvalidInput, match="no branch 'trunk'"):
        await empty.head_of("trunk")
    await repository.git("checkout", "--quiet", "--detach")
    with pytest.raises(InvalidInput, match="has no branch checked out"):
        await repository.current_branch()


async def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not in a git repository"):
        await Repository.find(tmp_path)


async def test_a_file_of_pull_requests_that_cannot_be_read_is_not_overwritten(
    repository: Repository, receiver: Receiver
) -> None:
    async with forge(repository, receiver) as local:
        file = repository.path.parent / "pulls.json"
        file.write_text("[{")
        with pytest.raises(GreenroomError, match=r"pulls\.json cannot be read"):
            await local.open("main")
        assert file.read_text() == "[{"

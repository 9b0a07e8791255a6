"""The stand-in, compared with what GitHub published of its API."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from tests.data.github.trim import OPERATIONS
from tests.github.answers import HANDLERS
from tests.github.client import client, keys, refused
from tests.github.openapi import DATA, Match, published
from tests.github.standin import StandIn
from tests.github.state import File

from greenroom.adapters.github_credentials import App, Token
from greenroom.core.webhook import parse
from greenroom.model.errors import ForgeNotFound
from greenroom.model.forge import DeploymentState, Reaction
from greenroom.model.pull import PullEvent
from greenroom.ports import Forge

PULL = ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}")
COMMENT = ("POST", "/repos/{owner}/{repo}/issues/{issue_number}/comments")


async def everything(forge: Forge, repository: str, commit: str, webhook: str) -> None:
    """Each method of a Forge."""
    await forge.pull(repository, 1)
    await forge.open_pulls(repository)
    await forge.changed_paths(repository, 1)
    await forge.may_write(repository, "mona")
    await forge.approved_commits(repository, 1)
    comment = await forge.comment(repository, 1, "hello")
    await forge.comments(repository, 1)
    await forge.edit_comment(repository, comment, "hello again")
    await forge.react(repository, comment, Reaction.SEEN)
    deployment = await forge.deploy(repository, commit, "pr1", "")
    for state in DeploymentState:
        await forge.set_deployment(repository, deployment, state, url="https://pr1.example.com/", description="here")
    await forge.deployments(repository, "pr1")
    await forge.environments(repository)
    await forge.remove_environment(repository, "pr1")
    assert await forge.redeliver(repository, webhook, timedelta(days=1)) == 1


async def test_every_operation_that_is_used_is_described_and_every_description_used() -> None:
    """The stand-in itself fails this test for a request or an answer that is not as described."""
    used = set()
    for by_app in (False, True):
        standin = StandIn()
        shop = standin.repository()
        pull = standin.open_pull(shop, files=(File("a"), File("b", former="c")), labels=("preview",))
        standin.allow(shop, "mona", "admin")
        standin.review(pull, "mona")
        registered = standin.install_app(keys()[1], shop)
        hook = registered.hook if by_app else standin.hook(shop, "https://hooks.example.com/shop")
        standin.deliver(hook, 500)
        credentials = App(str(registered.id), keys()[0]) if by_app else Token(standin.token("ghp_x"))
        async with client(standin, credentials) as forge:
            await everything(forge, standin.address(shop), pull.head, hook.url)
        used |= set(standin.calls)
    assert used == published().operations == set(HANDLERS)


def test_the_description_is_what_the_script_makes() -> None:
    """As far as can be told without GitHub's whole description."""
    lines = {f"{method} {path}" for method, path in published().operations}
    assert lines == set(OPERATIONS.strip().splitlines())
    text = DATA.read_text(encoding="utf-8")
    assert json.loads(text)["info"]["license"] == "MIT"
    references = set(re.findall(r'"#/components/(\w+)/([\w-]+)"', text))
    components = json.loads(text)["components"]
    assert references == {(kind, name) for kind, named in components.items() for name in named}


def test_every_path_that_the_adapter_writes_is_in_its_modules_only() -> None:
    """``openapi.json`` would not know of a request that another module makes."""
    adapters = Path(__file__).parents[2] / "src" / "greenroom"
    asking = {path.name for path in adapters.rglob("*.py") if "api.github.com" in path.read_text(encoding="utf-8")}
    assert asking == {"github_address.py"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"title": None}, "None is not of type 'string'"),
        ({"number": "1"}, "is not of type 'integer'"),
        ({"updated_at": "yesterday"}, "is not a 'date-time'"),
        ({"html_url": "acme/shop"}, "is not a 'uri'"),
        ({"labels": [{"name": 5}]}, "is not of type"),
        ({"author_association": "FRIEND"}, "is not one of"),
        ({"titel": "misspelt"}, "Additional properties are not allowed"),
    ],
)
def test_an_answer_that_github_would_not_give_is_noticed(change: dict[str, object], wrong: str) -> None:
    good = published().fill("pull-request")
    assert published().wrong_answer(PULL, 200, good) == []
    assert wrong in "\n".join(published().wrong_answer(PULL, 200, {**good, **change}))


def test_an_answer_with_a_field_missing_is_noticed() -> None:
    good = published().fill("pull-request")
    for field in ("head", "updated_at", "merged"):
        assert published().wrong_answer(PULL, 200, {name: good[name] for name in good if name != field})
    assert published().wrong_answer(PULL, 201, good) == ["the status 201 is not described"]
    assert published().wrong_answer(PULL, 401, {"mesage": "no"})


@pytest.mark.parametrize(
    ("query", "body"),
    [({"page": "1"}, {"body": "x"}), ({}, None), ({}, {}), ({}, {"body": 5}), ({}, {"body": "x", "bdoy": "y"})],
)
def test_a_request_that_github_does_not_know_is_noticed(query: dict[str, str], body: object) -> None:
    match = Match(COMMENT, {"owner": "acme", "repo": "shop", "issue_number": "1"})
    assert published().wrong_request(match, {}, {"body": "x"}) == []
    assert published().wrong_request(match, query, body)


async def test_an_operation_that_is_not_described_fails_the_test() -> None:
    async def ask() -> None:
        async with client(StandIn()) as forge:
            with refused(ForgeNotFound):
                await forge._api.write("PUT", "/repos/acme/shop/pulls/1/merge", Token("ghp_x"))

    with pytest.raises(AssertionError, match="no such operation"):
        await ask()


def test_a_webhook_of_the_stand_in_is_one_that_we_understand() -> None:
    standin = StandIn()
    standin.site = "https://git.example.com"
    pull = standin.open_pull(standin.repository())
    before = pull.head
    standin.push(pull)
    body = json.dumps(standin.event(pull, "synchronize", before=before)).encode()
    event = parse({"X-GitHub-Event": "pull_request", "Content-Type": "application/json"}, body)
    assert isinstance(event, PullEvent)
    assert (event.pull.repository, event.pull.head, event.before) == (f"{standin.site}/acme/shop", pull.head, before)

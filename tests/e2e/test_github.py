"""A pull request on GitHub and its environment, on one machine: webhooks, the label, the comment, the deployment.

GitHub is the stand-in that is held to GitHub's published description (``tests.github``). All else is real.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.shop import Shop, eventually, settings_in, shop_in
from tests.github.client import TOKEN
from tests.github.people import LABEL, People
from tests.github.standin import StandIn
from tests.github.state import Pull, Repository

from greenroom.app import manifests
from greenroom.app.example_repository import make_example
from greenroom.app.forge import Webhook
from greenroom.app.forging import ForgeSettings
from greenroom.model.manifest import REVIEW_APP, Manifest, kind_of, table


@dataclass(frozen=True, slots=True)
class Site:
    """GitHub, and a shop that has its repository there."""

    people: People
    repository: Repository
    shop: Shop

    async def open(self, branch: str) -> Pull:
        return await self.people.open(branch, await self.shop.repository.head_of(branch))

    async def until_told(self, pull: Pull, *words: str) -> str:
        """Until there is one comment, with all of these words in it."""

        async def told() -> str:
            return self.people.answer(pull, *words)

        return await eventually(told, seconds=40)


@asynccontextmanager
async def site(folder: Path, **gate: Any) -> AsyncIterator[Site]:
    github = StandIn()
    repository = github.repository()
    github.allow(repository, "mona", "write")
    (folder / "token").write_text(github.token(TOKEN))
    async with github.served() as server:
        own = await make_example(folder / "shop")
        settings = replace(settings_in(folder, own), forge=ForgeSettings(token_file=folder / "token", server=server))
        found = [each.manifest for each in manifests.load([str(folder / "shop" / "reviewapp.yaml")])]
        address = github.address(repository)
        objects = [_at(each, address, gate) if kind_of(each) == REVIEW_APP else each for each in found]
        async with shop_in(folder, settings, objects=objects) as shop:
            webhook = Webhook(shop.machine.webhook_url, settings.state.webhook_secret())
            yield Site(People(github, repository, webhook.deliver), repository, shop)


def _at(app: Manifest, address: str, gate: Any) -> Manifest:
    return {**app, "spec": {**table(app, "spec"), "githubRepository": address, "gate": gate}}


async def test_the_label_brings_an_environment_that_the_pull_request_is_told_of(tmp_path: Path) -> None:
    async with site(tmp_path, labels={"any": [LABEL]}) as there:
        pull = await there.open("blue-title")
        assert there.shop.pr(1) == {}
        await there.people.label(pull)
        await there.shop.until_shown(1, pull.head)
        body = await there.until_told(pull, "ready", pull.head[:7])
        assert f"http://pr1.localhost:{there.shop.machine.gateway_port}" in body

        async def deployed() -> bool:
            return [each.state for each in there.repository.deployments] == ["success"]

        await eventually(deployed)
        first, commit = pull.head, await there.shop.change("blue-title", "The shop", "The new shop")
        await there.people.push(pull, commit)
        await there.shop.until_shown(1, commit)
        await there.until_told(pull, "ready", commit[:7])
        await there.people.unlabel(pull)
        await there.shop.until_status("pr1.localhost", 404)
        await there.until_told(pull, "removed", f"needs the label {LABEL}")

        async def cleared() -> bool:
            states = {each.state for each in there.repository.deployments}
            return states == {"inactive"} and not there.repository.environments

        await eventually(cleared)
        assert [each.commit for each in there.repository.deployments] == [first, commit]


async def test_whoever_may_push_gets_what_he_asks_for_in_a_comment_and_nobody_else(tmp_path: Path) -> None:
    async with site(tmp_path, labels={"any": [LABEL]}) as there:
        pull = await there.open("blue-title")
        assert await there.people.say(pull, "/preview", author="mallory") == ["-1"]
        assert (there.shop.pr(1), there.people.answers(pull)) == ({}, [])
        assert await there.people.say(pull, "/preview explain") == ["+1"]
        await there.until_told(pull, "none", f"it needs the label {LABEL}")
        assert await there.people.say(pull, "/preview") == ["+1"]
        await there.shop.until_shown(1, pull.head)
        await there.until_told(pull, "ready", pull.head[:7])
        await there.people.say(pull, "/preview logs")
        await there.until_told(pull, "/preview logs", "GET /")
        assert await there.people.say(pull, "/preview destroy") == ["+1"]
        await there.shop.until_status("pr1.localhost", 404)
        await there.until_told(pull, "removed", "mona had it destroyed")

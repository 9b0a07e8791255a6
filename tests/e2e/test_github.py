"""A pull request on GitHub and its environment, on one machine: webhooks, the label, the comment, the deployment.

GitHub is the stand-in that is held to GitHub's published description (``tests.github``). All else is real.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from tests.e2e.shop import Shop, eventually, settings_in, shop_in
from tests.github.client import TOKEN
from tests.github.standin import StandIn
from tests.github.state import Pull, Repository, User

from greenroom.app import manifests
from greenroom.app.example_repository import make_example
from greenroom.app.forge import Webhook
from greenroom.app.forging import ForgeSettings
from greenroom.model.manifest import REVIEW_APP, Manifest, kind_of, table

LABEL = "pr-env"


@dataclass(frozen=True, slots=True)
class Site:
    """GitHub, and a shop that has its repository there."""

    github: StandIn
    repository: Repository
    shop: Shop
    webhook: Webhook

    async def open(self, branch: str) -> Pull:
        pull = self.github.open_pull(self.repository, branch=branch)
        pull.head = await self.shop.repository.head_of(branch)
        await self.tell(pull, "opened")
        return pull

    async def push(self, pull: Pull, commit: str) -> None:
        before, _ = pull.head, self.github.push(pull)
        pull.head = commit
        await self.tell(pull, "synchronize", before=before, after=commit)

    async def label(self, pull: Pull) -> None:
        self.github.label(pull, LABEL)
        await self.tell(pull, "labeled", label={"name": LABEL})

    async def unlabel(self, pull: Pull) -> None:
        self.github.unlabel(pull, LABEL)
        await self.tell(pull, "unlabeled", label={"name": LABEL})

    async def say(self, pull: Pull, body: str, *, author: str = "mona") -> int:
        """A comment; answers its id."""
        comment = self.github.comment(pull, User(author), body)
        payload: Any = {
            "action": "created",
            "repository": {"html_url": self.github.address(self.repository)},
            "issue": {"number": pull.number, "pull_request": {}},
            "comment": {
                "id": comment.id,
                "created_at": self.github.time().strftime("%Y-%m-%dT%H:%M:%SZ"),
                "body": body,
                "user": {"login": author},
                "author_association": "NONE",
            },
        }
        await self.webhook.deliver("issue_comment", msgspec.json.encode(payload))
        return comment.id

    async def tell(self, pull: Pull, action: str, **fields: Any) -> None:
        content = self.github.event(pull, action, **fields)
        await self.webhook.deliver("pull_request", msgspec.json.encode(content))

    def answers(self, pull: Pull) -> list[str]:
        """The comments that Greenroom wrote."""
        return [each.body for each in pull.comments if each.author.login == "greenroom-ci"]

    async def until_told(self, pull: Pull, *words: str) -> str:
        """Until there is one comment, with all of these words in it."""

        async def told() -> str:
            written = self.answers(pull)
            assert len(written) <= 1
            return next((body for body in written if all(word in body for word in words)), "")

        return await eventually(told, seconds=40)

    def reactions(self, pull: Pull, comment: int) -> list[str]:
        found = next(each for each in pull.comments if each.id == comment)
        return [content for _, content in found.reactions]


@asynccontextmanager
async def site(folder: Path, **gate: Any) -> AsyncIterator[Site]:
    github = StandIn()
    repository = github.repository()
    github.allow(repository, "mona", "write")
    (folder / "token").write_text(github.token(TOKEN))
    async with github.served() as server:
        shop_folder = await make_example(folder / "shop")
        forge = ForgeSettings(token_file=folder / "token", server=server)
        settings = replace(settings_in(folder, shop_folder), forge=forge)
        found = [each.manifest for each in manifests.load([str(folder / "shop" / "reviewapp.yaml")])]
        objects = [
            _at(each, github.address(repository), gate) if kind_of(each) == REVIEW_APP else each for each in found
        ]
        async with shop_in(folder, settings, objects=objects) as shop:
            webhook = Webhook(shop.machine.webhook_url, settings.state.webhook_secret())
            yield Site(github, repository, shop, webhook)


def _at(app: Manifest, address: str, gate: Any) -> Manifest:
    return {**app, "spec": {**table(app, "spec"), "githubRepository": address, "gate": gate}}


async def test_the_label_brings_an_environment_that_the_pull_request_is_told_of(tmp_path: Path) -> None:
    async with site(tmp_path, labels={"any": [LABEL]}) as there:
        pull = await there.open("blue-title")
        assert there.shop.pr(1) == {}
        await there.label(pull)
        await there.shop.until_shown(1, pull.head)
        body = await there.until_told(pull, "ready", pull.head[:7])
        assert f"http://pr1.localhost:{there.shop.machine.gateway_port}" in body

        async def deployed() -> bool:
            return [each.state for each in there.repository.deployments] == ["success"]

        await eventually(deployed)
        first, commit = pull.head, await there.shop.change("blue-title", "The shop", "The new shop")
        await there.push(pull, commit)
        await there.shop.until_shown(1, commit)
        await there.until_told(pull, "ready", commit[:7])
        await there.unlabel(pull)
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
        ignored = await there.say(pull, "/preview", author="mallory")
        assert there.reactions(pull, ignored) == ["-1"]
        assert (there.shop.pr(1), there.answers(pull)) == ({}, [])
        explained = await there.say(pull, "/preview explain")
        assert there.reactions(pull, explained) == ["+1"]
        await there.until_told(pull, "none", f"it needs the label {LABEL}")
        wanted = await there.say(pull, "/preview")
        assert there.reactions(pull, wanted) == ["+1"]
        await there.shop.until_shown(1, pull.head)
        await there.until_told(pull, "ready", pull.head[:7])
        await there.say(pull, "/preview logs")
        await there.until_told(pull, "/preview logs", "GET /")
        destroyed = await there.say(pull, "/preview destroy")
        assert there.reactions(pull, destroyed) == ["+1"]
        await there.shop.until_status("pr1.localhost", 404)
        await there.until_told(pull, "removed", "mona had it destroyed")

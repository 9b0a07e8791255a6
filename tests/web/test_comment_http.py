"""A comment on a pull request as GitHub delivers it (its event ``issue_comment``), over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.flows.forge import FakeForge
from tests.flows.world import REPOSITORY, A, config_map, review_app
from tests.web.test_webhook_http import Site, delivery, site

from greenroom.model.errors import ForgeUnavailable

HERE = REPOSITORY.lower()
LINKS = "https://api.github.com/repos/Shop/web"


def user(login: str) -> dict[str, Any]:
    return {
        "login": login,
        "id": 21031067,
        "node_id": "MDQ6VXNlcjIxMDMxMDY3",
        "html_url": f"https://github.com/{login}",
        "type": "User",
        "site_admin": False,
    }


def comment(body: str | None, *, association: str = "OWNER", action: str = "created", pull: bool = True) -> bytes:
    """With what "Webhook events and payloads" shows, as far as it may be taken for something else."""
    content: dict[str, Any] = {
        "action": action,
        "issue": {
            "url": f"{LINKS}/issues/7",
            "html_url": f"{REPOSITORY}/pull/7",
            "id": 444500041,
            "number": 7,
            "title": "/preview destroy",
            "user": user("mallory"),
            "labels": [{"id": 1362934389, "name": "bug", "color": "d73a4a", "default": True, "description": None}],
            "state": "open",
            "locked": False,
            "comments": 1,
            "created_at": "2026-01-31T11:00:00Z",
            "updated_at": "2026-01-31T12:30:00Z",
            "closed_at": None,
            "author_association": "NONE",
            "body": "/preview destroy",
        },
        "comment": {
            "url": f"{LINKS}/issues/comments/492700400",
            "html_url": f"{REPOSITORY}/pull/7#issuecomment-492700400",
            "issue_url": f"{LINKS}/issues/7",
            "id": 492700400,
            "node_id": "MDEyOklzc3VlQ29tbWVudDQ5MjcwMDQwMA==",
            "user": user("bob"),
            "created_at": "2026-01-31T12:30:00Z",
            "updated_at": "2026-01-31T12:30:00Z",
            "author_association": association,
            "body": body,
            "performed_via_github_app": None,
        },
        "repository": {
            "id": 186853002,
            "name": "web",
            "full_name": "Shop/web",
            "private": False,
            "owner": user("Shop"),
            "html_url": REPOSITORY,
            "url": LINKS,
            "default_branch": "main",
        },
        "sender": user("bob"),
    }
    if pull:
        content["issue"]["pull_request"] = {"url": f"{LINKS}/pulls/7", "html_url": f"{REPOSITORY}/pull/7"}
    return json.dumps(content).encode()


async def post(there: Site, body: bytes) -> tuple[int, Any]:
    return await there.post(body, **{"X-GitHub-Event": "issue_comment"})


def gated() -> dict[str, Any]:
    app = review_app(config_map())
    app["spec"]["gate"] = {"labels": {"any": ["pr-env"]}}
    return app


@pytest.mark.parametrize("body", ["/preview", "\r\n  /preview  \r\n\r\nThank you!", "/preview\n/preview destroy"])
async def test_a_comment_brings_the_environment_and_one_more_takes_it_away(tmp_path: Path, body: str) -> None:
    async with site(tmp_path) as there:
        await there.here.apply(gated())
        await there.post(delivery())
        assert await there.here.prs() == {}
        status, answer = await post(there, comment(body))
        assert (status, answer) == (200, {"results": [{"reviewApp": "default/shop", "result": "created"}]})
        assert await there.here.prs() == {"shop-pr7": A}


@pytest.mark.parametrize(
    "ignored",
    [
        comment("/preview", pull=False),
        comment("/preview", action="edited"),
        comment("/preview", action="deleted"),
        comment("please /preview"),
        comment("/previews"),
        comment("> /preview"),
        comment("\n"),
        comment(None),
    ],
)
async def test_what_asks_for_nothing_does_nothing(tmp_path: Path, ignored: bytes) -> None:
    async with site(tmp_path) as there:
        await there.here.apply(gated())
        await there.post(delivery())
        status, answer = await post(there, ignored)
        assert (status, list(answer), await there.here.prs()) == (200, ["ignored"], {})


async def test_a_stranger_is_told_that_he_may_not(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.here.apply(gated())
        await there.post(delivery())
        status, answer = await post(there, comment("/preview", association="CONTRIBUTOR"))
        assert (status, answer["results"][0]["result"]) == (200, "refused")
        assert answer["results"][0]["message"] == f"bob may not push to {REPOSITORY}"
        assert await there.here.prs() == {}


async def test_a_comment_of_somebody_of_whom_nothing_is_known_now_is_to_be_delivered_again(tmp_path: Path) -> None:
    forge = FakeForge(latency=0)
    forge.writers[HERE] = {"bob"}
    forge.fail("may_write", ForgeUnavailable("down"))
    async with site(tmp_path, forge=forge) as there:
        await there.here.apply(gated())
        await there.post(delivery())
        status, answer = await post(there, comment("/preview"))
        assert (status, answer["error"]) == (503, "whether bob may push is not known now")
        forge.mend()
        assert (await post(there, comment("/preview")))[0] == 200
        assert await there.here.prs() == {"shop-pr7": A}
        assert [(id_, reaction.value) for id_, reaction in forge.reactions] == [(492700400, "+1")]

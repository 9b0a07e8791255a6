"""The webhook over HTTP: what the forge is answered, and what was done by then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from tests.flows.world import REPOSITORY, A, B, World, review_app, world

from greenroom.core.webhook import BODY_LIMIT, signature
from greenroom.local.forge import payload
from greenroom.local.storage.store import Store
from greenroom.model.errors import InvalidInput, Unavailable
from greenroom.model.manifest import Manifest
from greenroom.web.app import make_app

SECRET = b"a secret that is in no log"


def delivery(action: str = "opened", head: str = A, minute: int = 0, **fields: Any) -> bytes:
    state = "closed" if action == "closed" else "open"
    described = {"title": "t", "branch": "b", "before": B if action == "synchronize" else "", **fields}
    time = f"2026-01-31T12:{minute:02}:00Z"
    content = payload(action, html_url=REPOSITORY, number=7, head=head, state=state, updated_at=time, **described)
    return json.dumps(content).encode()


def headers(body: bytes, **changes: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": "pull_request",
        "X-GitHub-Delivery": "7c9a1a2e-1f0e-11f1-8b8f-0242ac120002",
        "X-Hub-Signature-256": signature(SECRET, body),
        **changes,
    }


class Site:
    """A webhook with the cluster behind it."""

    def __init__(self, here: World, client: TestClient[Any, Any]) -> None:
        self.here = here
        self.client = client

    async def post(self, body: bytes, **changes: str) -> tuple[int, Any]:
        async with self.client.post("/webhooks", data=body, headers=headers(body, **changes)) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def site(folder: Path, **options: Any) -> AsyncIterator[Site]:
    async with world(folder, review_app(), **options) as here:
        server = TestServer(make_app(here.intake, here.commands, here.builds, secrets=[SECRET]))
        async with TestClient(server) as client:
            yield Site(here, client)


async def test_a_delivery_is_answered_when_it_is_done(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        status, answer = await there.post(delivery())
        assert await there.here.prs() == {"shop-pr7": A}
        assert (status, answer) == (200, {"results": [{"reviewApp": "default/shop", "result": "created"}]})
        await there.post(delivery("closed", minute=1))
        assert await there.here.prs() == {}


async def test_a_late_delivery_is_answered_with_what_was_not_done(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.post(delivery("closed", minute=1))
        status, answer = await there.post(delivery("synchronize"))
        assert (status, answer["results"][0]["result"]) == (200, "unchanged")
        assert answer["results"][0]["message"] == "pull request 7 is closed"


@pytest.mark.parametrize(
    "change",
    [
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": signature(b"another", b"")},
        {"X-Hub-Signature-256": signature(SECRET, delivery())[:-2]},
        {"X-Hub-Signature-256": "sha1=0", "X-Hub-Signature": "sha1=0"},
    ],
    ids=["missing", "wrong", "truncated", "sha1"],
)
async def test_without_a_good_signature_nothing_is_done(tmp_path: Path, change: dict[str, str]) -> None:
    async with site(tmp_path) as there:
        status, answer = await there.post(delivery(), **change)
        assert status == 401
        assert "X-Hub-Signature-256" in answer["error"]
        assert await there.here.prs() == {}


@pytest.mark.parametrize("given", ["", "sha256=", f"sha256={'0' * 63}", f"sha256={'g' * 64}"])
async def test_what_cannot_be_signed_is_refused_before_its_body_comes(tmp_path: Path, given: str) -> None:
    async with site(tmp_path) as there, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", there.client.port)
        lines = ["POST /webhooks HTTP/1.1", "Host: x", f"Content-Length: {BODY_LIMIT}", f"X-Hub-Signature-256: {given}"]
        writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        assert b" 401 " in await reader.readline()
        writer.close()


async def test_a_malformed_delivery_is_told_the_field(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        status, answer = await there.post(delivery(head="{{PR_NUMBER}}"))
        assert (status, answer["path"]) == (400, "pull_request.head.sha")
        assert await there.here.prs() == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"X-GitHub-Event": "ping"}, "ping"),
        ({"X-GitHub-Event": "push"}, "pull_request"),
    ],
)
async def test_other_events_are_good_and_ignored(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    async with site(tmp_path) as there:
        status, answer = await there.post(b"{}", **change)
        assert status == 200
        assert reason in answer["ignored"]


async def test_a_repository_that_nobody_named_is_said_to_be_so(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        body = delivery().replace(REPOSITORY.encode(), b"https://github.com/someone/else")
        with capture_logs([merge_contextvars]) as logs:
            assert await there.post(body) == (200, {"ignored": "no ReviewApp is for https://github.com/someone/else"})
        (line,) = logs
        assert (line["log_level"], line["event"]) == ("info", "delivery wanted by no ReviewApp")
        assert line["repository"] == "https://github.com/someone/else"
        assert line["pull_request"] == "https://github.com/someone/else/pull/7"


class Down(Store):
    """A store that cannot be written to."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == "greenroom":
            raise Unavailable("the API server is down", retry_after=2.5)
        return await super().apply(manifest, manager=manager, force=force)


async def test_what_could_not_be_done_is_a_failed_delivery(tmp_path: Path) -> None:
    async with site(tmp_path, opened=Down.open) as there:
        body = delivery()
        async with there.client.post("/webhooks", data=body, headers=headers(body)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
            assert await answer.json() == {"error": "the API server is down"}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(tmp_path: Path, chunked: bool) -> None:
    body = b" " * (BODY_LIMIT + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**20):
            yield body[start : start + 2**20]

    async with site(tmp_path) as there:
        try:
            async with there.client.post(
                "/webhooks", data=chunks() if chunked else BytesIO(body), headers=headers(b"")
            ) as answer:
                assert answer.status == 413
        except aiohttp.ClientConnectionError:
            pass  # the server hung up while we were still sending
        assert await there.here.prs() == {}


@pytest.mark.parametrize("text", ["$(reboot)", "{{COMMIT_REF}}", "../../etc", "🌿" * 300, "\u202e\x1b[31m"])
async def test_hostile_titles_and_branches_reach_no_place_but_their_own(tmp_path: Path, text: str) -> None:
    async with site(tmp_path) as there:
        status, answer = await there.post(delivery(title=text, branch=text))
        assert (status, answer["results"][0]["result"]) == (200, "created")
        pr = await there.here.pr()
        told = pr["spec"].pop("pullRequest")
        assert (told["title"], told["branch"]) == (text[:256], text[:255])
        del pr["metadata"]["annotations"]["greenroom.dev/observed"]
        assert text not in json.dumps([pr, answer], ensure_ascii=False)


async def test_logs_name_the_delivery_and_hold_no_secret_and_nothing_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site(tmp_path) as there:
        await there.post(delivery(), **{"X-GitHub-Delivery": "abc-1 user=root"})
        await there.post(delivery(), **{"X-Hub-Signature-256": SECRET.decode()})
    logged = capsys.readouterr().out
    assert "abc-1userroot" in logged
    assert SECRET.decode() not in logged


async def test_health_and_readiness_are_told(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        for path in ("/", "/healthz", "/readyz"):
            async with there.client.get(path) as answer:
                assert answer.status == 200


async def test_many_deliveries_at_once_are_all_done(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        bodies = [delivery("synchronize", minute=minute, head=f"{minute:040x}") for minute in range(20)]
        answers = await asyncio.gather(*(there.post(body) for body in reversed(bodies)))
        assert {status for status, _ in answers} == {200}
        assert await there.here.prs() == {"shop-pr7": f"{19:040x}"}


@pytest.mark.parametrize("secrets", [[], [b""]])
async def test_it_does_not_start_without_a_secret(tmp_path: Path, secrets: list[bytes]) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(InvalidInput):
            make_app(here.intake, here.commands, here.builds, secrets=secrets)

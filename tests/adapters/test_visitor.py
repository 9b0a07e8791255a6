"""What a visitor of an environment tells: the commit in the answer, and nothing that an environment could make up."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from greenroom.adapters.certificates import X509Mint
from greenroom.adapters.visitor import HttpVisitor
from greenroom.model.errors import VisitFailed

COMMIT = "a" * 40


class Gateway:
    """Answers with the commit, and remembers for which host it was asked."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.hosts.append(request.host)
        if request.host.startswith("slow"):
            await asyncio.sleep(60)
        if request.host.startswith("moved"):
            raise web.HTTPFound("/elsewhere", headers={"X-Greenroom-Commit": COMMIT})
        if request.host.startswith("endless"):
            return await self._endless(request)
        named = {} if request.host.startswith("nameless") else {"X-Greenroom-Commit": COMMIT}
        return web.Response(headers=named, status=500 if request.host.startswith("broken") else 200)

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Greenroom-Commit": COMMIT})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)


@asynccontextmanager
async def gateway(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Gateway, int]]:
    made = Gateway()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield made, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_the_commit_that_the_address_answers_with_is_told() -> None:
    async with gateway() as (asked, port), HttpVisitor() as visitor:
        assert await visitor.commit_at(f"http://pr7.localhost:{port}") == COMMIT
        assert asked.hosts == [f"pr7.localhost:{port}"]


@pytest.mark.parametrize("host", ["moved", "broken", "endless"])
async def test_an_answer_of_any_kind_is_an_answer(host: str) -> None:
    async with gateway() as (asked, port), HttpVisitor() as visitor:
        assert await visitor.commit_at(f"http://{host}.localhost:{port}") == COMMIT
        assert len(asked.hosts) == 1


async def test_an_answer_without_a_commit_is_told_as_such() -> None:
    async with gateway() as (_, port), HttpVisitor() as visitor:
        assert await visitor.commit_at(f"http://nameless.localhost:{port}") == ""


async def test_a_gateway_is_asked_for_the_host_of_the_address() -> None:
    async with gateway() as (asked, port), HttpVisitor(via=f"localhost:{port}") as visitor:
        assert await visitor.commit_at("http://pr7.pr-env.example.com") == COMMIT
        assert asked.hosts == ["pr7.pr-env.example.com"]


async def test_certificates_are_verified_for_the_host_of_the_address(tmp_path: Path) -> None:
    mint = X509Mint()
    authority = mint.authority(datetime.now(UTC))
    pair = mint.issue(authority, ["pr7.pr-env.example.com"], datetime.now(UTC), server=True)
    (tmp_path / "tls").write_bytes(pair.key + pair.certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "tls")
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with gateway(server) as (_, port):
        async with HttpVisitor(via=f"127.0.0.1:{port}", tls=trusting) as visitor:
            assert await visitor.commit_at("https://pr7.pr-env.example.com") == COMMIT
            with pytest.raises(VisitFailed):
                await visitor.commit_at("https://pr8.pr-env.example.com")
        async with HttpVisitor(via=f"127.0.0.1:{port}") as visitor:
            with pytest.raises(VisitFailed, match="certificate"):
                await visitor.commit_at("https://pr7.pr-env.example.com")


async def test_whoever_does_not_answer_is_not_waited_for() -> None:
    async with gateway() as (_, port), HttpVisitor(timeout=0.1) as visitor:
        with pytest.raises(VisitFailed, match="does not answer"):
            await visitor.commit_at(f"http://slow.localhost:{port}")


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "nonsense", "http://[", "http://no-such-host.invalid", "http://a:99999"]
)
async def test_an_address_that_leads_nowhere_is_told_as_such(url: str) -> None:
    async with HttpVisitor() as visitor:
        with pytest.raises(VisitFailed):
            await visitor.commit_at(url)


async def test_a_closed_port_is_told_as_such() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with HttpVisitor() as visitor:
            with pytest.raises(VisitFailed):
                await visitor.commit_at(f"http://pr7.localhost:{free.getsockname()[1]}")

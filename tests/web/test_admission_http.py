"""The admission webhooks over TLS: every question is answered, whatever was asked, and certificates are followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web

from greenroom.adapters.certificates import X509Mint
from greenroom.core.admission import Answer, refused
from greenroom.core.certificates import Pair
from greenroom.model.manifest import Manifest
from greenroom.web import admission
from greenroom.web.admission import BODY_LIMIT, make_app
from greenroom.web.tls import ServerTls

MINT = X509Mint()
NOW = datetime.now(UTC)
AUTHORITY = MINT.authority(NOW)
Pods = Callable[[Manifest], Awaitable[Answer]]


def server_pair(authority: Pair = AUTHORITY) -> Pair:
    return MINT.issue(authority, ["localhost"], NOW, server=True)


async def agreeable(_: Manifest) -> Answer:
    return Answer()


class Site:
    def __init__(self, port: int, tls: ServerTls) -> None:
        self.port = port
        self.tls = tls

    async def post(self, path: str, *, trust: Pair = AUTHORITY, **content: Any) -> tuple[int, Any]:
        """The status and the response of the AdmissionReview, or the text of another answer."""
        context = ssl.create_default_context(cadata=trust.certificate.decode())
        url = f"https://localhost:{self.port}{path}"
        async with (
            ClientSession(connector=TCPConnector(ssl=context)) as session,
            session.post(url, **content) as answer,
        ):
            if answer.content_type != "application/json":
                return answer.status, await answer.text()
            return answer.status, (await answer.json())["response"]


@asynccontextmanager
async def site(pods: Pods = agreeable) -> AsyncIterator[Site]:
    tls = ServerTls()
    tls.show(server_pair())
    runner = web.AppRunner(make_app(pods), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
        yield Site(runner.addresses[0][1], tls)
    finally:
        await runner.cleanup()


def asked(manifest: Any) -> Any:
    return {"apiVersion": "admission.k8s.io/v1", "request": {"uid": "7", "object": manifest}}


def route(prefix: str) -> Any:
    reference = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    spec = {"httpRoute": {"match": {"prefix": prefix}, "action": {"target": reference}}}
    return {"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "GatewayRoute", "metadata": {"name": "r"}, "spec": spec}


async def test_a_wrong_object_is_refused_and_a_right_one_passes() -> None:
    async with site() as there:
        status, response = await there.post("/validate-appmesh", json=asked(route("no-slash")))
        assert (status, response["uid"], response["allowed"]) == (200, "7", False)
        assert response["status"]["message"].endswith("must start with /")
        status, response = await there.post("/validate-appmesh", json=asked(route("/")))
        assert (status, response) == (200, {"uid": "7", "allowed": True})


async def test_pods_are_asked_about_as_they_are() -> None:
    async def no(request: Manifest) -> Answer:
        return refused(str(request["object"]))

    async with site(no) as there:
        _, response = await there.post("/mutate-pods", json=asked("a pod"))
        assert (response["allowed"], response["status"]["message"]) == (False, "a pod")


async def test_a_question_that_cannot_be_decided_is_answered_yes() -> None:
    async def broken(_: Manifest) -> Answer:
        raise KeyError("a mistake of ours")

    async with site(broken) as there:
        status, response = await there.post("/mutate-pods", json=asked({}))
        assert (status, response["allowed"], len(response["warnings"])) == (200, True, 1)


async def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "SECONDS", 0.01)

    async def slow(_: Manifest) -> Answer:
        await asyncio.sleep(3600)
        return refused("too late")

    async with site(slow) as there:
        status, response = await there.post("/mutate-pods", json=asked({}))
        assert (status, response["allowed"], len(response["warnings"])) == (200, True, 1)


@pytest.mark.parametrize("path", ["/mutate-pods", "/validate-appmesh"])
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"request": 3}', b'{"request": {"uid": 3}}', b"[" * 100_000],
)
async def test_what_is_no_admission_review_is_the_askers_mistake(path: str, body: bytes) -> None:
    async with site() as there:
        status, text = await there.post(path, data=body)
        assert (status, "AdmissionReview" in text) == (400, True)


async def test_a_body_over_the_limit_is_not_read() -> None:
    async with site() as there:
        status, _ = await there.post("/mutate-pods", data=BytesIO(b" " * (BODY_LIMIT + 1)))
        assert status == 413


async def test_a_renewed_certificate_is_shown_to_the_next_who_comes() -> None:
    other = MINT.authority(NOW)
    async with site() as there:
        assert (await there.post("/mutate-pods", json=asked({})))[0] == 200
        there.tls.show(server_pair(other))
        assert (await there.post("/mutate-pods", trust=other, json=asked({})))[0] == 200

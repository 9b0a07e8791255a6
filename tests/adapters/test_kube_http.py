"""What happens to a request on the way: credentials that are refused, servers that are busy, proxies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from tests.adapters.standin import TOKEN, Answer, StandIn, reply, status

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential, StoredCredentials
from greenroom.adapters.kube_http import IN_FLIGHT, TRIES
from greenroom.flows.children import SHARE
from greenroom.model.errors import Forbidden, Throttled, Unavailable
from greenroom.model.manifest import CONFIG_MAP, Manifest, Ref

REF = Ref(CONFIG_MAP, "default", "one")
MANIFEST: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}

found = reply(200, '{"metadata":{"name":"one"}}', "application/json")
busy = reply(429, "slow down", "text/plain", {"Retry-After": "1"})


def in_turn(*answers: Answer) -> Answer:
    """These answers one after the other, the last for ever."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))

    async def answer(request: web.Request) -> web.StreamResponse:
        return await next(left)(request)

    return answer


def accepting(token: str) -> Answer:
    """A server for which only one token is good."""
    refused = status(401, "Unauthorized", "Unauthorized")

    async def answer(request: web.Request) -> web.StreamResponse:
        good = request.headers.get("Authorization") == f"Bearer {token}"
        return await (found if good else refused)(request)

    return answer


def test_the_objects_of_environments_leave_room_for_other_requests() -> None:
    assert 2 * SHARE < IN_FLIGHT


# Credentials


async def test_a_token_replaced_on_disk_is_used_after_a_401(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    server = StandIn(accepting("old"))
    async with server.cluster(credentials=StoredCredentials(token=path)) as cluster:
        await cluster.get(REF)
        server.answer = accepting("new")
        path.write_text("new")
        assert await cluster.apply(MANIFEST, manager="test") == {"metadata": {"name": "one"}}
    assert [await request.json() for request in server.requests[1:]] == [MANIFEST, MANIFEST]


async def test_a_401_is_answered_with_other_credentials_once(tmp_path: Path) -> None:
    class Fresh:
        """Another token each time, and none is good."""

        counted = itertools.count()

        async def current(self) -> Credential:
            return Credential("first")

        async def renewed(self, refused: Credential) -> Credential | None:
            return Credential(f"other-{next(self.counted)}")

    server = StandIn(accepting("good"))
    async with server.cluster(credentials=Fresh()) as cluster:
        with pytest.raises(Forbidden, match="Unauthorized"):
            await cluster.get(REF)
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer first", "Bearer other-0"]


async def test_a_token_that_stays_refused_is_shown_once() -> None:
    server = StandIn(accepting("good"))
    async with server.cluster() as cluster:
        with pytest.raises(Forbidden):
            await cluster.get(REF)
    assert len(server.requests) == 1


async def test_without_credentials_no_header_is_sent() -> None:
    server = StandIn(found)
    async with server.cluster(credentials=Credential()) as cluster:
        await cluster.get(REF)
    assert "Authorization" not in server.requests[0].headers
    assert "Impersonate-User" not in server.requests[0].headers


async def test_who_is_impersonated_is_told_the_server() -> None:
    server = StandIn(found)
    async with server.cluster(impersonate="system:serviceaccount:a:b") as cluster:
        await cluster.get(REF)
    assert server.requests[0].headers["Impersonate-User"] == "system:serviceaccount:a:b"


async def test_many_users_share_one_session_and_each_request_names_its_own() -> None:
    server = StandIn(found)
    async with server.cluster() as cluster:
        one, two = cluster.impersonating("one"), cluster.impersonating("two")
        for asking in (one, two, cluster, one):
            assert await asking.get(REF) == {"metadata": {"name": "one"}}
    assert [request.headers.get("Impersonate-User") for request in server.requests] == ["one", "two", None, "one"]
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    assert server.discoveries == 1


async def test_the_user_that_was_named_last_is_impersonated() -> None:
    server = StandIn(found)
    async with server.cluster(impersonate="outer") as cluster:
        await cluster.impersonating("inner").get(REF)
        await cluster.get(REF)
    assert [request.headers.getall("Impersonate-User") for request in server.requests] == [["inner"], ["outer"]]


async def test_a_user_without_a_name_is_not_taken_for_ourselves() -> None:
    async with StandIn(found).cluster() as cluster:
        with pytest.raises(ValueError, match="without a name"):
            cluster.impersonating("")


# Busy servers


@pytest.mark.parametrize(
    "refusal",
    [
        busy,
        reply(503, "shutting down", "text/plain", {"Retry-After": "1"}),
        status(500, "ServerTimeout", "try again", retryAfterSeconds=1),
    ],
)
async def test_a_server_that_is_busy_for_a_moment_is_asked_again(refusal: Answer) -> None:
    server = StandIn(in_turn(refusal, found))
    async with server.cluster() as cluster:
        assert await cluster.apply(MANIFEST, manager="test") == {"metadata": {"name": "one"}}
    assert [await request.json() for request in server.requests] == [MANIFEST, MANIFEST]


async def test_a_server_that_stays_busy_is_throttling() -> None:
    server = StandIn(busy)
    async with server.cluster() as cluster:
        with pytest.raises(Throttled) as caught:
            await cluster.get(REF)
    assert caught.value.retry_after == 1
    assert len(server.requests) == TRIES


async def test_a_watch_is_begun_again_when_the_server_was_busy() -> None:
    server = StandIn(in_turn(busy, reply(200, "", "application/json")))
    async with server.cluster() as cluster:
        assert [event async for event in cluster.watch(CONFIG_MAP, since="1")] == []
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_server_that_does_not_say_when_to_come_again_is_not_asked_again(code: int) -> None:
    server = StandIn(status(code, "X"))
    async with server.cluster() as cluster:
        with pytest.raises((Throttled, Unavailable)):
            await cluster.get(REF)
    assert len(server.requests) == 1


async def test_many_requests_are_under_way_at_once_but_not_any_number() -> None:
    arrived, release = 0, asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        if arrived == IN_FLIGHT:
            release.set()
        await release.wait()
        return await found(request)

    server = StandIn(answer)
    async with server.cluster() as cluster, asyncio.timeout(20):
        await cluster.resources()
        users = itertools.cycle((cluster, cluster.impersonating("somebody")))
        answers = asyncio.gather(*(next(users).get(REF) for _ in range(2 * IN_FLIGHT)))
        await release.wait()
        assert arrived == IN_FLIGHT
        assert len(await answers) == 2 * IN_FLIGHT


async def test_what_is_apart_waits_for_no_requests_that_hang() -> None:
    """A lease has to be renewed while an admission webhook holds up every write."""
    hung, full, release = 0, asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal hung
        if request.method == "GET":
            return await found(request)
        hung += 1
        if hung == IN_FLIGHT:
            full.set()
        await release.wait()
        return await found(request)

    async with StandIn(answer).cluster() as cluster, asyncio.timeout(20):
        await cluster.resources()
        apart = cluster.apart(1)
        writes = [asyncio.create_task(cluster.apply(MANIFEST, manager="test")) for _ in range(2 * IN_FLIGHT)]
        await full.wait()
        async with asyncio.timeout(1):
            await asyncio.gather(*(apart.get(REF) for _ in range(5)))
        release.set()
        await asyncio.gather(*writes)


async def test_watches_leave_room_for_requests() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return await found(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"BOOKMARK","object":{}}\n')
        await asyncio.Event().wait()
        return response

    async with StandIn(answer).cluster() as cluster, asyncio.timeout(20):
        watches = [cluster.watch(CONFIG_MAP, since="1") for _ in range(2 * IN_FLIGHT)]
        await asyncio.gather(*(anext(watch) for watch in watches))
        assert await cluster.get(REF) == {"metadata": {"name": "one"}}
        for watch in watches:
            await watch.aclose()


# Proxies


@asynccontextmanager
async def proxy(*, refusing: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy: its address, and the heads of the requests that came. It answers them itself, or with 407."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        code = b"407 Proxy Authentication Required" if refusing else b"200 OK"
        body = b'{"kind":"APIGroupDiscoveryList"}'
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (code, len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_a_proxy_is_used_and_given_its_password() -> None:
    async with proxy() as (address, heads):
        connection = Connection("http://kubernetes.invalid", proxy=f"http://me:hush@{address}")
        async with KubeCluster(connection) as cluster:
            assert await cluster.resources() == []
    assert heads[0].startswith(b"GET http://kubernetes.invalid/api HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6aHVzaA==\r\n" in heads[0]


async def test_a_proxy_that_refuses_is_told_without_its_password() -> None:
    async with proxy(refusing=True) as (address, heads):
        connection = Connection("https://kubernetes.invalid", proxy=f"http://me:hush@{address}")
        async with KubeCluster(connection) as cluster:
            with pytest.raises(Unavailable, match="the proxy answered 407") as caught:
                await cluster.resources()
    assert heads[0].startswith(b"CONNECT kubernetes.invalid:443 HTTP/1.1\r\n")
    assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_proxy_that_is_not_there_is_told_without_its_password(unused_tcp_port: int) -> None:
    connection = Connection("https://kubernetes.invalid", proxy=f"http://me:hush@127.0.0.1:{unused_tcp_port}")
    async with KubeCluster(connection) as cluster:
        with pytest.raises(Unavailable, match="no connection") as caught:
            await cluster.resources()
    assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r}"


# TLS


async def test_that_the_certificate_is_not_verified_is_logged() -> None:
    with structlog.testing.capture_logs() as logs:
        async with KubeCluster(Connection("https://kubernetes.invalid", verify=False)):
            pass
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "the API server's certificate is not verified")
    ]

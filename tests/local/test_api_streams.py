"""Watches and logs over HTTP: they begin, follow, and end when they must."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import pytest
from tests.local.shelf import TOKEN, Shelf, no_logs, served, session, status_of, talkative, until

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.local.api.server import make_app, running
from greenroom.model.errors import Expired
from greenroom.model.manifest import CONFIG_MAP, POD
from greenroom.model.watch import Change, WatchEvent

MAPS = "/api/v1/namespaces/default/configmaps"
WATCH = {"watch": "1", "resourceVersion": "1"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def client(shelf: Shelf) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(shelf) as client:
        yield client


async def test_bookmarks_come_only_to_those_who_know_them(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    one = shelf.put(CONFIG_MAP, "default", "one")
    for params in (WATCH, {**WATCH, "allowWatchBookmarks": "true"}):
        shelf.events.put_nowait(WatchEvent(Change.BOOKMARK, {}))
        shelf.events.put_nowait(WatchEvent(Change.DELETED, one))
        async with client.get(MAPS, params=params) as response:
            first = json.loads(await response.content.readline())
        assert first["type"] == ("BOOKMARK" if "allowWatchBookmarks" in params else "DELETED")
        await until(lambda: shelf.watchers == 0)


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_that_follows_no_list_is_refused(client: aiohttp.ClientSession, version: str) -> None:
    response = await client.get(MAPS, params={**WATCH, "resourceVersion": version})
    assert await status_of(response) == (422, "Invalid")


async def test_a_watch_with_a_senseless_time_is_refused(client: aiohttp.ClientSession) -> None:
    response = await client.get(MAPS, params={**WATCH, "timeoutSeconds": "soon"})
    assert await status_of(response) == (400, "BadRequest")


async def test_an_expired_watch_says_so_as_an_event(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    shelf.fails = Expired("too old")
    async with client.get(MAPS, params=WATCH) as response:
        (line,) = (await response.text()).splitlines()
    event = json.loads(line)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_ends_when_its_time_is_over(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    async with client.get(MAPS, params={**WATCH, "timeoutSeconds": "1"}) as response:
        assert await response.text() == ""
    assert shelf.watchers == 0


async def test_a_watch_whose_client_has_gone_is_forgotten(shelf: Shelf) -> None:
    async with running(make_app(shelf, token=TOKEN, logs=no_logs)) as url:
        async with session(url) as client, client.get(MAPS, params=WATCH):
            await until(lambda: shelf.watchers == 1)
        await until(lambda: shelf.watchers == 0)


async def test_stopping_the_server_ends_watches_and_followed_logs_in_order(shelf: Shelf) -> None:
    shelf.put(POD, "default", "web", spec={"containers": [{"name": "app"}]})
    serving = running(make_app(shelf, token=TOKEN, logs=talkative))
    url = await serving.__aenter__()
    async with KubeCluster(Connection(url, Credential(TOKEN))) as cluster:
        watch = asyncio.create_task(anext(aiter(cluster.watch(CONFIG_MAP, since="1")), "ended"))
        logs = cluster.logs("default", "web", "", follow=True, tail=None)
        assert await anext(logs) == b"default/web/app True None\n"
        await until(lambda: shelf.watchers == 1)
        await asyncio.wait_for(serving.__aexit__(None, None, None), timeout=10)
        assert await watch == "ended"
        assert await anext(logs, "ended") == "ended"


async def test_a_server_cut_off_in_the_middle_of_a_request_keeps_running(
    client: aiohttp.ClientSession, shelf: Shelf
) -> None:
    host, port = client._base_url.host, client._base_url.port  # type: ignore[union-attr]
    for sent in (b"", b"GET /api", b"PATCH /api HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf", b"\x00\xff\r\n\r\n"):
        with socket.create_connection((str(host), int(port or 0))) as raw:
            raw.sendall(sent)
    assert (await client.get("/api")).status == 200


async def test_logs_are_of_the_only_container_when_none_is_named(shelf: Shelf) -> None:
    shelf.put(POD, "default", "web", spec={"containers": [{"name": "app"}]})
    async with served(shelf, talkative) as client:
        response = await client.get("/api/v1/namespaces/default/pods/web/log", params={"tailLines": "3"})
        assert await response.text() == "default/web/app False 3\n"


async def test_followed_logs_arrive_while_the_container_runs(shelf: Shelf) -> None:
    async with served(shelf, talkative) as client:
        cluster = KubeCluster(Connection(str(client._base_url).rstrip("/"), Credential(TOKEN)))
        async with cluster, aclosing(cluster.logs("default", "web", "app", follow=True, tail=5)) as logs:
            assert await anext(logs) == b"default/web/app True 5\n"


@pytest.mark.parametrize(
    ("query", "code", "word"),
    [
        ("", 400, "choose one of: app, sidecar"),
        ("?container=app", 404, "no log"),
        ("?container=app&tailLines=x", 400, "tailLines"),
        ("?container=app&previous=true", 422, "previous"),
    ],
)
async def test_logs_that_cannot_be_shown_say_why(
    client: aiohttp.ClientSession, shelf: Shelf, query: str, code: int, word: str
) -> None:
    shelf.put(POD, "default", "web", spec={"containers": [{"name": "app"}, {"name": "sidecar"}]})
    response = await client.get(f"/api/v1/namespaces/default/pods/web/log{query}")
    assert (await status_of(response))[0] == code
    assert word in await response.text()

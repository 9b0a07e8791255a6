"""``KubeCluster`` against a server that answers what kube-apiserver documents, and what networks do to it.

The behaviour of a whole cluster behind it is the contract suite's (``tests/contract``).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from tests.adapters.standin import TOKEN, Answer, StandIn, reply, status, stream

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.model.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
    UnknownKind,
)
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, PR, Json, Kind, Manifest, Ref, name_of, owner_reference
from greenroom.model.permission import Permission
from greenroom.model.watch import Change

REF = Ref(CONFIG_MAP, "default", "one")
MANIFEST: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}


def event(change: str, **fields: Any) -> bytes:
    return json.dumps({"type": change, "object": fields}).encode() + b"\n"


async def watched(cluster: KubeCluster) -> list[tuple[Change, Any]]:
    return [(found.change, found.object) async for found in cluster.watch(CONFIG_MAP, since="1")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404, "NotFound", 'configmaps "one" not found', name="one", kind="configmaps"), NotFound),
        (status(404, "NotFound", 'namespaces "x" not found', name="x", kind="namespaces"), NotFound),
        (status(404, "NotFound", "the server could not find the requested resource"), UnknownKind),
        (reply(404, "404 page not found\n", "text/plain"), UnknownKind),
        (status(409, "AlreadyExists", name="one", kind="configmaps"), AlreadyExists),
        (status(409, "Conflict", name="one", kind="configmaps"), Conflict),
        (status(400, "BadRequest"), Invalid),
        (status(422, "Invalid"), Invalid),
        (status(413, "RequestEntityTooLarge"), Invalid),
        (status(415, "UnsupportedMediaType"), Invalid),
        (status(401, "Unauthorized"), Forbidden),
        (status(403, "Forbidden"), Forbidden),
        (status(410, "Expired"), Expired),
        (status(429, "TooManyRequests"), Throttled),
        (status(422, "Invalid", causes=[{"field": "metadata.uid"}]), Conflict),
        (status(500, "", "failed to create typed patch object (x; /v1, Kind=Y): .z: field not declared"), Invalid),
        (status(500, "InternalError"), Unavailable),
        (status(504, "Timeout"), Unavailable),
        (reply(500, "<html>Bad Gateway</html>", "text/html"), Unavailable),
        (reply(200, "<html>Log in to the Wi-Fi</html>", "text/html"), Unavailable),
        (reply(302, "", "text/plain", {"Location": "http://elsewhere.example"}), ClusterError),
    ],
)
async def test_every_refusal_becomes_the_error_that_says_what_to_do(
    answer: Answer, expected: type[ClusterError]
) -> None:
    async with StandIn(answer).cluster() as cluster:
        with pytest.raises(ClusterError) as caught:
            await cluster.apply(MANIFEST, manager="test")
    assert type(caught.value) is expected
    assert "<html>" not in str(caught.value)


async def test_an_error_says_what_the_server_said() -> None:
    async with StandIn(status(422, "Invalid", "spec.replicas: must be positive")).cluster() as cluster:
        with pytest.raises(Invalid, match=r"spec\.replicas: must be positive"):
            await cluster.get(REF)


@pytest.mark.parametrize(
    "answer",
    [
        reply(429, "slow down", "text/plain", {"Retry-After": "7"}),
        reply(503, "overloaded", "text/plain", {"Retry-After": "7"}),
        status(429, "TooManyRequests", retryAfterSeconds=7),
    ],
)
async def test_the_wait_that_the_server_asks_for_is_told(answer: Answer) -> None:
    async with StandIn(answer).cluster() as cluster:
        with pytest.raises((Throttled, Unavailable)) as caught:
            await cluster.get(REF)
    assert caught.value.retry_after == 7


async def test_the_token_is_in_no_text_even_when_the_server_repeats_it() -> None:
    async with StandIn(status(401, "Unauthorized", f"bad: {TOKEN}" + "x" * 5000)).cluster() as cluster:
        with pytest.raises(Forbidden) as caught:
            await cluster.get(REF)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(Connection("http://127.0.0.1", Credential(TOKEN)))
    assert len(str(caught.value)) <= 1024


async def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    async with KubeCluster(Connection(f"http://127.0.0.1:{unused_tcp_port}", Credential(TOKEN))) as cluster:
        with pytest.raises(Unavailable, match="no connection"):
            await cluster.get(REF)


async def test_a_server_that_never_answers_is_unavailable() -> None:
    async with StandIn(stream(hang=True)).cluster(timeout=0.2) as cluster:
        with pytest.raises(Unavailable, match="in time"):
            await cluster.get(REF)


async def test_a_long_list_is_read_page_by_page() -> None:
    pages = {
        None: {"metadata": {"resourceVersion": "9", "continue": "two"}, "items": [{"metadata": {"name": "a"}}]},
        "two": {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b", "managedFields": [{}]}}]},
    }

    async def answer(request: web.Request) -> web.Response:
        assert request.query["limit"] == "500"
        assert request.query["labelSelector"] == "app=x"
        return web.json_response(pages[request.query.get("continue")])

    async with StandIn(answer).cluster() as cluster:
        listing = await cluster.list(CONFIG_MAP, labels="app=x")
    assert listing.resource_version == "9"
    assert listing.items == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}},
    ]


async def test_a_list_whose_continuation_expired_is_expired() -> None:
    async with StandIn(status(410, "Expired")).cluster() as cluster:
        with pytest.raises(Expired):
            await cluster.list(CONFIG_MAP)


async def test_a_list_is_read_again_at_once_when_its_continuation_expired_on_the_way() -> None:
    expired = status(410, "Expired")
    first = {"metadata": {"resourceVersion": "1", "continue": "two"}, "items": [{"metadata": {"name": "old"}}]}
    whole = {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["labelSelector"] == "app=x"
        if "continue" in request.query:
            return await expired(request)
        return web.json_response(first if "limit" in request.query else whole)

    async with StandIn(answer).cluster() as cluster:
        listing = await cluster.list(CONFIG_MAP, labels="app=x")
    assert [name_of(item) for item in listing.items] == ["a", "b"]
    assert listing.resource_version == "9"


async def test_a_watch_tells_changes_and_bookmarks_in_order() -> None:
    answer = stream(event("ADDED", metadata={"name": "a"}) + b'{"type":"BOOK', b'MARK","object":{}}\n')
    async with StandIn(answer).cluster() as cluster:
        events = await watched(cluster)
    assert [change for change, _ in events] == [Change.ADDED, Change.BOOKMARK]
    assert events[0][1] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


async def test_a_watched_object_may_be_large() -> None:
    async with StandIn(stream(event("ADDED", data={"big": "x" * 700_000}))).cluster() as cluster:
        ((_, found),) = await watched(cluster)
    assert len(found["data"]["big"]) == 700_000


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(410, "Expired"), Expired),
        (stream(event("ERROR", kind="Status", code=410, reason="Expired", message="too old")), Expired),
        (stream(event("ERROR", kind="Status", code=500, reason="InternalError", message="etcd")), Unavailable),
        (stream(event("ERROR")), Unavailable),
        (stream(event("SURPRISE")), Unavailable),
        (stream(b"{not json}\n"), Unavailable),
        (stream(event("ADDED")[:10], cut=True), Unavailable),
        (stream(event("ADDED")[:10]), Unavailable),
    ],
)
async def test_a_watch_that_fails_says_how(answer: Answer, expected: type[ClusterError]) -> None:
    async with StandIn(answer).cluster() as cluster:
        with pytest.raises(ClusterError) as caught:
            await watched(cluster)
    assert type(caught.value) is expected


async def test_a_watch_that_fell_silent_beyond_its_end_is_unavailable() -> None:
    async with StandIn(stream(hang=True)).cluster(timeout=0.2, watch_seconds=0) as cluster:
        with pytest.raises(Unavailable):
            await watched(cluster)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x", "a%2fb"])
async def test_a_name_never_reaches_another_path(name: str) -> None:
    server = StandIn()
    async with server.cluster() as cluster:
        for ref in (Ref(CONFIG_MAP, "default", name), Ref(CONFIG_MAP, name, "one")):
            with pytest.raises(Invalid):
                await cluster.delete(ref)
    assert server.requests == []


async def test_an_apply_sends_what_it_was_given() -> None:
    server = StandIn(reply(200, json.dumps(MANIFEST), "application/json"))
    async with server.cluster() as cluster:
        assert await cluster.apply(MANIFEST, manager="greenroom") == MANIFEST
    (request,) = server.requests
    assert request.method == "PATCH"
    assert request.path_qs == "/api/v1/namespaces/default/configmaps/one?fieldManager=greenroom&force=true"
    assert request.content_type == "application/apply-patch+yaml"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert await request.json() == MANIFEST


async def test_a_delete_names_its_preconditions() -> None:
    server = StandIn(reply(200, "{}", "application/json"))
    async with server.cluster() as cluster:
        await cluster.delete(Ref(DEPLOYMENT, "a", "b"), uid="42", grace_seconds=0)
    (request,) = server.requests
    assert (request.method, request.path) == ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b")
    assert await request.json() == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "42"},
        "gracePeriodSeconds": 0,
    }


async def test_a_kind_that_came_later_is_found() -> None:
    server = StandIn(reply(200, "{}", "application/json"))
    async with server.cluster() as cluster:
        await cluster.resource(CONFIG_MAP)
        with pytest.raises(UnknownKind, match="serves no PR"):
            await cluster.resource(PR)
        server.groups.append((PR.group, PR.version, "PR", "prs"))
        async with asyncio.timeout(10):
            while not await _knows(cluster, PR):  # noqa: ASYNC110 - it does not look again at once
                await asyncio.sleep(0.05)
        assert (await cluster.resource(PR)).plural == "prs"


async def _knows(cluster: KubeCluster, kind: Kind) -> bool:
    try:
        await cluster.resource(kind)
    except UnknownKind:
        return False
    return True


async def test_asking_often_for_a_kind_that_nobody_serves_is_cheap() -> None:
    server = StandIn()
    async with server.cluster() as cluster:
        for _ in range(50):
            assert not await _knows(cluster, PR)
    assert server.discoveries < 10


async def test_a_kind_that_went_away_is_unknown() -> None:
    server = StandIn(reply(404, "404 page not found\n", "text/plain"))
    async with server.cluster() as cluster:
        await cluster.resource(DEPLOYMENT)
        server.groups.clear()
        async with asyncio.timeout(10):
            while await _knows(cluster, DEPLOYMENT):
                with pytest.raises(UnknownKind):
                    await cluster.get(Ref(DEPLOYMENT, "a", "b"))


async def test_a_server_without_aggregated_discovery_is_named_as_too_old() -> None:
    """It refuses to answer in a media type that it does not know, so it has to be offered one that it does."""
    server = StandIn()
    server.aggregated = False
    async with server.cluster() as cluster:
        with pytest.raises(ClusterError, match=r"Kubernetes 1\.30"):
            await cluster.resources()


async def test_logs_come_as_they_are_written() -> None:
    server = StandIn(stream(b"one\n", b"two\n", hang=True))
    async with server.cluster() as cluster:
        received = b""
        async for chunk in cluster.logs("default", "pod", "app", follow=True, tail=10):
            received += chunk
            if received == b"one\ntwo\n":
                break
    assert server.requests[0].path_qs == (
        "/api/v1/namespaces/default/pods/pod/log?follow=true&container=app&tailLines=10"
    )


# What is refused


def misspelled(*fields: str) -> Answer:
    """Refuses an object with one of these fields, as kube-apiserver does, one after the other."""

    async def answer(request: web.Request) -> web.StreamResponse:
        given = json.loads(await request.read())
        for field in fields:
            if field in given:
                shape = "failed to create typed patch object (default/one; /v1, Kind=ConfigMap)"
                return await status(500, "", f"{shape}: .{field}: field not declared in schema")(request)
        return web.json_response({**given, "metadata": {**given["metadata"], "uid": "1"}})

    return answer


async def test_fields_that_the_server_does_not_know_are_left_out() -> None:
    typos = [f"typo{number}" for number in range(5)]
    async with StandIn(misspelled(*typos)).cluster() as cluster:
        wanted = {**MANIFEST, "data": {"a": "b"}, **dict.fromkeys(typos, "x")}
        stored = await cluster.apply(wanted, manager="test")
        assert stored.keys() == {"apiVersion", "kind", "metadata", "data"}
        assert (await cluster.adopt(wanted, manager="test", former="manager"))["data"] == {"a": "b"}


async def test_a_server_that_never_has_enough_gets_no_answer_for_ever() -> None:
    typos = [f"typo{number}" for number in range(100)]
    server = StandIn(misspelled(*typos))
    async with server.cluster() as cluster:
        with pytest.raises(Invalid, match="field not declared in schema"):
            await cluster.apply({**MANIFEST, **dict.fromkeys(typos, "x")}, manager="test")
    assert len(server.requests) <= 30


async def test_what_a_webhook_repeats_of_a_secret_is_not_told() -> None:
    denial = 'admission webhook "a.example.com" denied the request: hunter2 is no password'
    async with StandIn(status(400, "BadRequest", denial)).cluster() as cluster:
        with pytest.raises(Invalid) as caught:
            await cluster.apply({**MANIFEST, "data": {"password": "aHVudGVyMg=="}}, manager="test")
    assert str(caught.value) == 'admission webhook "a.example.com" denied the request: [hidden] is no password'


@pytest.mark.parametrize("user", ["", "jane"])
async def test_who_may_not_block_the_deletion_of_an_owner_is_told_the_right_that_is_missing(user: str) -> None:
    """As the admission plugin OwnerReferencesPermissionEnforcement says it."""
    blocking = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
    refusal = f'configmaps "one" is forbidden: {blocking}: , <nil>'
    owner: Manifest = {"apiVersion": PR.api_version, "kind": PR.name, "metadata": {"name": "shop-pr7", "uid": "1"}}
    metadata: Json = {"name": "one", "namespace": "default", "ownerReferences": [owner_reference(owner)]}
    async with StandIn(status(403, "Forbidden", refusal)).cluster() as own:
        cluster = own.impersonating(user) if user else own
        for apply in (
            cluster.apply({**MANIFEST, "metadata": metadata}, manager="test"),
            cluster.adopt({**MANIFEST, "metadata": metadata}, manager="test", former="manager"),
        ):
            with pytest.raises(Forbidden) as caught:
                await apply
            missing = Permission(user, "update", PR.group, "prs/finalizers", "default", "shop-pr7")
            assert caught.value.permission == missing

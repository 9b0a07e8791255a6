"""The API server of the one-machine cluster, as any HTTP client sees it.

The cluster behind it is a few objects in memory; the real one, with ``adapters.kube`` in front, is tested by
``tests/contract/test_over_http.py``.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.local.shelf import TOKEN, Shelf, no_logs, served, session, status_of

from greenroom.adapters import kubeconfig
from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.local.api.server import BODY_LIMIT, make_app, running, write_kubeconfig
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
from greenroom.model.manifest import CONFIG_MAP, POD, Json, Ref

ONE = "/api/v1/namespaces/default/configmaps/one"
MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def client(shelf: Shelf) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(shelf) as client:
        yield client


# Who may come in


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\u00fc"])
async def test_who_does_not_know_the_token_sees_nothing(shelf: Shelf, token: str) -> None:
    async with running(make_app(shelf, token=TOKEN, logs=no_logs)) as url, session(url, token) as client:
        for path in ("/api", ONE, "/nowhere"):
            response = await client.get(path)
            assert await status_of(response) == (401, "Unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_no_token_at_all_is_refused(shelf: Shelf) -> None:
    async with running(make_app(shelf, token=TOKEN, logs=no_logs)) as url, aiohttp.ClientSession(url) as client:
        assert await status_of(await client.get("/api")) == (401, "Unauthorized")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[::1]"])
async def test_a_page_of_another_host_name_is_refused(client: aiohttp.ClientSession, host: str) -> None:
    assert await status_of(await client.get("/api", headers={"Host": host})) == (403, "Forbidden")


async def test_localhost_is_let_in(client: aiohttp.ClientSession) -> None:
    assert (await client.get("/api", headers={"Host": "localhost:80"})).status == 200


# Discovery


async def test_the_kinds_are_told_group_by_group(client: aiohttp.ClientSession) -> None:
    response = await client.get("/apis")
    assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
    (group,) = (await response.json())["items"]
    (version,) = group["versions"]
    assert (group["metadata"]["name"], version["version"]) == ("apps", "v1")
    assert [(one["resource"], one["scope"]) for one in version["resources"]] == [("deployments", "Namespaced")]
    (core,) = (await (await client.get("/api")).json())["items"]
    assert {one["resource"] for one in core["versions"][0]["resources"]} == {"configmaps", "namespaces", "pods"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nowhere",
        "/apis/apps/v9",
        "/apis/apps/v1/deploymnts",
        "/apis/apps/v9/deployments",
        "/api/v1/configmaps/one",
        "/api/v1/namespaces/default/namespaces",
    ],
)
async def test_a_path_that_is_not_served_is_an_unknown_kind(client: aiohttp.ClientSession, path: str) -> None:
    response = await client.get(path)
    assert await status_of(response) == (404, "NotFound")
    assert (await response.json())["details"] == {}


# Objects


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotFound("x"), 404, "NotFound"),
        (AlreadyExists("x"), 409, "AlreadyExists"),
        (Conflict("x"), 409, "Conflict"),
        (Invalid("x"), 422, "Invalid"),
        (Forbidden("x"), 403, "Forbidden"),
        (UnknownKind("x"), 404, "NotFound"),
        (Expired("x"), 410, "Expired"),
        (Throttled("x", retry_after=1.5), 429, "TooManyRequests"),
        (Unavailable("x", retry_after=1.5), 503, "ServiceUnavailable"),
        (ClusterError("x"), 500, "InternalError"),
        (RuntimeError("of the store"), 500, "InternalError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_errors_arrive_as_what_they_are(
    client: aiohttp.ClientSession, shelf: Shelf, error: Exception, code: int, reason: str
) -> None:
    shelf.fails = error
    response = await client.get(ONE)
    assert await status_of(response) == (code, reason)
    assert "of the store" not in await response.text()
    assert response.headers.get("Retry-After") == ("2" if getattr(error, "retry_after", 0) else None)
    async with KubeCluster(Connection(str(client._base_url).rstrip("/"), Credential(TOKEN))) as cluster:
        with pytest.raises(type(error) if isinstance(error, ClusterError) and code != 500 else Unavailable) as caught:
            await cluster.get(Ref(CONFIG_MAP, "default", "one"))
    assert not isinstance(error, ClusterError) or caught.value.retry_after >= error.retry_after


async def test_a_status_is_patched(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    shelf.put(POD, "default", "web")
    headers = {"Content-Type": "application/merge-patch+json"}
    path = "/api/v1/namespaces/default/pods/web/status"
    patched = await client.patch(path, data='{"status": {"phase": "Running"}}', headers=headers)
    assert (await patched.json())["status"] == {"phase": "Running"}
    for body in ("{}", '{"status": null}', "[]"):
        assert (await status_of(await client.patch(path, data=body, headers=headers)))[0] == 400


async def test_finalizers_are_patched_and_nothing_else(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    one = Ref(CONFIG_MAP, "default", "one")
    metadata: Json = {"name": "one", "namespace": "default", "finalizers": ["a", "b", "c"]}
    shelf.objects[one] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    headers = {"Content-Type": "application/merge-patch+json"}
    patched = await client.patch(ONE, data='{"metadata": {"finalizers": ["b"]}}', headers=headers)
    assert (patched.status, shelf.released) == (200, [(one, frozenset("ac"))])
    for body in ("{}", '{"metadata": {}}', '{"metadata": {"finalizers": [], "labels": {}}}'):
        assert (await status_of(await client.patch(ONE, data=body, headers=headers)))[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (f"{ONE}?fieldManager=me", "{", 400),
        (f"{ONE}?fieldManager=me", "[]", 400),
        (f"{ONE}?fieldManager=me", '"\xff"', 400),
        (f"{ONE}?fieldManager=me", "", 400),
        (f"{ONE}?fieldManager=me", '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"one"}}', 400),
        (f"{ONE}?fieldManager=me", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"two"}}', 400),
        (
            f"{ONE}?fieldManager=me",
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one","namespace":"other"}}',
            400,
        ),
        (ONE, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}', 400),
        (
            f"{ONE}?fieldManager=me&dryRun=All",
            '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}',
            422,
        ),
        (f"{ONE}?fieldManager=me", " " * (BODY_LIMIT + 1), 413),
    ],
)
async def test_a_wrong_apply_is_refused_and_changes_nothing(
    client: aiohttp.ClientSession, shelf: Shelf, path: str, body: str, code: int
) -> None:
    response = await client.patch(path, data=io.BytesIO(body.encode("latin-1")), headers=APPLY)
    assert (await status_of(response))[0] == code
    assert shelf.objects == {}


@pytest.mark.parametrize("path", [ONE, f"{ONE}/status"])
async def test_a_patch_of_another_type_is_refused_with_the_type_it_must_have(
    client: aiohttp.ClientSession, path: str
) -> None:
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    response = await client.patch(path, data="{}", headers=headers)
    assert await status_of(response) == (415, "UnsupportedMediaType")
    assert "must be of type application/" in (await response.json())["message"]


async def test_a_method_that_is_not_served_is_said(client: aiohttp.ClientSession) -> None:
    assert await status_of(await client.put(ONE, data="{}")) == (405, "MethodNotAllowed")
    assert await status_of(await client.post(MAPS, data="{}")) == (405, "MethodNotAllowed")
    assert await status_of(await client.delete(MAPS)) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", {}, ("", "", None)),
        ("", {"preconditions": {"uid": "u", "resourceVersion": "1"}, "gracePeriodSeconds": 0}, ("u", "1", 0)),
        ("?gracePeriodSeconds=5", {}, ("", "", 5)),
        ("?propagationPolicy=Orphan", {}, None),
        ("?dryRun=All", {}, None),
        ("", {"propagationPolicy": "Orphan"}, None),
        ("", {"gracePeriodSeconds": -1}, None),
    ],
)
async def test_a_delete_does_what_was_asked_or_nothing(
    client: aiohttp.ClientSession, shelf: Shelf, query: str, body: dict[str, Any], expected: Any
) -> None:
    response = await client.delete(f"{ONE}{query}", json=body)
    assert (response.status == 200) == (expected is not None)
    assert [rest for _, *rest in shelf.deleted] == ([] if expected is None else [list(expected)])


async def test_a_list_says_its_kind_and_version(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    shelf.put(CONFIG_MAP, "default", "one")
    shelf.put(CONFIG_MAP, "default", "two")
    found = await (await client.get("/api/v1/configmaps")).json()
    assert (found["kind"], found["metadata"]["resourceVersion"]) == ("ConfigMapList", "7")
    assert [item["metadata"]["name"] for item in found["items"]] == ["one", "two"]


async def test_a_selector_of_fields_is_refused_rather_than_ignored(client: aiohttp.ClientSession) -> None:
    for watch in ("false", "true"):
        response = await client.get(MAPS, params={"fieldSelector": "metadata.name=one", "watch": watch})
        assert await status_of(response) == (422, "Invalid")


# The kubeconfig


def test_the_kubeconfig_leads_to_the_server_and_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    for token in ("first", "second"):
        write_kubeconfig(path, server="http://127.0.0.1:8080", token=token, namespace="pr-env")
    assert kubeconfig.load(path) == Connection("http://127.0.0.1:8080", Credential("second"), namespace="pr-env")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["kubeconfig"]

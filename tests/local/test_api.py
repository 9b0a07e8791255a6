"""The API server of the one-machine cluster, as any HTTP client sees it.

The cluster behind it is a few objects in memory; the real one, with ``adapters.kube`` in front, is tested by
``tests/contract/test_over_http.py``.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.local.shelf import TOKEN, Shelf, no_logs, served, session, status_of

from greenroom.adapters import kubeconfig
from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kubeconfig import Connection
from greenroom.local.api import BODY_LIMIT, make_app, running, write_kubeconfig
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
from greenroom.model.manifest import CONFIG_MAP, NAMESPACE, POD, Ref

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
    assert (await client.get("/version", headers={"Host": "localhost:80"})).status == 200


# Discovery


async def test_clients_of_either_age_discover_the_kinds(client: aiohttp.ClientSession) -> None:
    assert (await (await client.get("/api")).json())["versions"] == ["v1"]
    (group,) = (await (await client.get("/apis")).json())["groups"]
    assert (group["name"], group["preferredVersion"]["groupVersion"]) == ("apps", "apps/v1")
    (deployments,) = (await (await client.get("/apis/apps/v1")).json())["resources"]
    assert (deployments["name"], deployments["namespaced"]) == ("deployments", True)
    core = (await (await client.get("/api/v1")).json())["resources"]
    assert {resource["name"] for resource in core} == {"configmaps", "namespaces", "pods"}
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}
    response = await client.get("/apis", headers=accept)
    assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
    assert (await response.json())["items"][0]["versions"][0]["resources"][0]["resource"] == "deployments"


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
    async with KubeCluster(Connection(str(client._base_url).rstrip("/"), TOKEN)) as cluster:
        with pytest.raises(type(error) if isinstance(error, ClusterError) and code != 500 else Unavailable) as caught:
            await cluster.get(Ref(CONFIG_MAP, "default", "one"))
    assert not isinstance(error, ClusterError) or caught.value.retry_after >= error.retry_after


async def test_an_object_is_created_once(client: aiohttp.ClientSession) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})
    answers = await asyncio.gather(*(client.post(MAPS, data=body) for _ in range(3)))
    assert sorted(response.status for response in answers) == [201, 409, 409]
    assert (await (await client.get(ONE)).json())["metadata"] == {"name": "one", "namespace": "default"}


async def test_the_status_of_a_namespace_is_no_collection_in_it(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    shelf.put(NAMESPACE, "", "default")
    found = await (await client.get("/api/v1/namespaces/default/status")).json()
    assert (found["kind"], found["metadata"]["name"]) == ("Namespace", "default")


async def test_a_status_is_patched(client: aiohttp.ClientSession, shelf: Shelf) -> None:
    shelf.put(POD, "default", "web")
    headers = {"Content-Type": "application/merge-patch+json"}
    path = "/api/v1/namespaces/default/pods/web/status"
    patched = await client.patch(path, data='{"status": {"phase": "Running"}}', headers=headers)
    assert (await patched.json())["status"] == {"phase": "Running"}
    for body in ("{}", '{"status": null}', "[]"):
        assert (await status_of(await client.patch(path, data=body, headers=headers)))[0] == 400


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
async def test_a_patch_of_another_type_is_refused_with_the_way_out(client: aiohttp.ClientSession, path: str) -> None:
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    response = await client.patch(path, data="{}", headers=headers)
    assert await status_of(response) == (415, "UnsupportedMediaType")
    assert "use `kubectl" in (await response.json())["message"]


async def test_a_method_that_is_not_served_is_said(client: aiohttp.ClientSession) -> None:
    assert await status_of(await client.put(ONE, data="{}")) == (405, "MethodNotAllowed")
    assert await status_of(await client.delete(MAPS)) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", {}, ("", None)),
        ("", {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 0}, ("u", 0)),
        ("?gracePeriodSeconds=5", {}, ("", 5)),
        ("?propagationPolicy=Orphan", {}, None),
        ("?dryRun=All", {}, None),
        ("", {"propagationPolicy": "Orphan"}, None),
        ("", {"preconditions": {"resourceVersion": "1"}}, None),
        ("", {"gracePeriodSeconds": -1}, None),
    ],
)
async def test_a_delete_does_what_was_asked_or_nothing(
    client: aiohttp.ClientSession, shelf: Shelf, query: str, body: dict[str, Any], expected: Any
) -> None:
    response = await client.delete(f"{ONE}{query}", json=body)
    assert (response.status == 200) == (expected is not None)
    assert [rest for _, *rest in shelf.deleted] == ([] if expected is None else [list(expected)])


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", ["one", "two"]),
        ("metadata.name=one", ["one"]),
        ("metadata.name==two", ["two"]),
        ("metadata.name=one,metadata.namespace=other", []),
    ],
)
async def test_a_list_can_be_of_one_name(
    client: aiohttp.ClientSession, shelf: Shelf, selector: str, names: list[str]
) -> None:
    shelf.put(CONFIG_MAP, "default", "one")
    shelf.put(CONFIG_MAP, "default", "two")
    found = await (await client.get("/api/v1/configmaps", params={"fieldSelector": selector})).json()
    assert (found["kind"], found["metadata"]["resourceVersion"]) == ("ConfigMapList", "7")
    assert [item["metadata"]["name"] for item in found["items"]] == names


@pytest.mark.parametrize("selector", ["status.phase=Running", "metadata.name!=one", "metadata.name"])
async def test_a_field_selector_that_is_not_understood_is_refused(client: aiohttp.ClientSession, selector: str) -> None:
    for watch in ("false", "true"):
        response = await client.get(MAPS, params={"fieldSelector": selector, "watch": watch})
        assert await status_of(response) == (400, "BadRequest")


# The kubeconfig


def test_the_kubeconfig_leads_to_the_server_and_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    for token in ("first", "second"):
        write_kubeconfig(path, server="http://127.0.0.1:8080", token=token, namespace="pr-env")
    assert kubeconfig.load(path) == Connection("http://127.0.0.1:8080", "second", "", "pr-env")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["kubeconfig"]

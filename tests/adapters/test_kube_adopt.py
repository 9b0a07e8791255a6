"""Adopting over HTTP. What is taken over, and what then becomes of it, ``tests/cluster/test_migration.py`` shows."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from tests.adapters.standin import Answer, StandIn, reply, status

from greenroom.adapters.kube_apply import MERGE_PATCH
from greenroom.model.errors import Invalid
from greenroom.model.manifest import Manifest

HELD: Manifest = {
    "manager": "manager",
    "operation": "Update",
    "apiVersion": "v1",
    "fieldsV1": {"f:metadata": {"f:labels": {"f:old": {}}}},
}
JSON = "application/json"
SETTINGS: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "a"}}


async def adopted(server: StandIn) -> Manifest:
    async with server.cluster() as cluster:
        return await cluster.adopt(SETTINGS, manager="greenroom", former="manager")


async def test_a_new_object_costs_one_request() -> None:
    server = StandIn(reply(201, json.dumps(SETTINGS), JSON))
    assert await adopted(server) == SETTINGS
    assert [request.method for request in server.requests] == ["PATCH"]


@pytest.mark.parametrize(
    "present",
    [status(404, "NotFound", kind="configmaps"), reply(200, json.dumps(SETTINGS), JSON)],
    ids=["absent", "somebody else's"],
)
async def test_a_refusal_that_has_nothing_to_do_with_it_stands(
    present: Answer,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        refusal = status(422, "Invalid", "data: wrong")
        return await (present if request.method == "GET" else refusal)(request)

    with pytest.raises(Invalid, match="data: wrong"):
        await adopted(StandIn(answer))


async def test_an_object_that_somebody_else_controls_is_not_written() -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "Shop", "name": "theirs", "uid": "x", "controller": True}
    metadata = {"name": "settings", "namespace": "a", "ownerReferences": [owner], "managedFields": [HELD]}
    present = reply(200, json.dumps({**SETTINGS, "metadata": metadata}), JSON)
    refusal = status(422, "Invalid", "Only one reference can have Controller set to true")

    async def answer(request: web.Request) -> web.StreamResponse:
        is_apply = request.method == "PATCH" and request.headers["Content-Type"] != MERGE_PATCH
        return await (refusal if is_apply else present)(request)

    server = StandIn(answer)
    with pytest.raises(Invalid, match="Only one reference"):
        await adopted(server)
    assert [request.method for request in server.requests] == ["PATCH", "GET"]


async def test_a_controller_that_writes_in_between_is_given_way_to() -> None:
    held = reply(200, json.dumps({**SETTINGS, "metadata": {"name": "settings", "managedFields": [HELD]}}), JSON)
    conflicts = iter([status(409, "Conflict")] * 2)

    async def answer(request: web.Request) -> web.StreamResponse:
        hands_over = request.headers["Content-Type"] == MERGE_PATCH
        return await (next(conflicts, held) if hands_over else held)(request)

    assert (await adopted(StandIn(answer)))["metadata"] == {"name": "settings"}
    assert next(conflicts, None) is None

"""Whose fields are whose, once another program's environment is taken over."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.core.takeover import handed_over
from greenroom.model.manifest import Json, Manifest

GIVEN: Manifest = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "pr7", "labels": {"app": "pr7"}},
    "spec": {"ports": [{"port": 8080}]},
}
PORT: dict[str, Json] = {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
OTHER_PORT: dict[str, Json] = {'k:{"port":8080,"protocol":"TCP"}': {".": {}, "f:port": {}}}


def entry(manager: str, operation: str, fields: Json, **more: Json) -> dict[str, Json]:
    whole = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", **more}
    return {**whole, "fieldsV1": fields}


def after(*entries: Json) -> list[Any] | None:
    stored: Manifest = {**GIVEN, "metadata": {"managedFields": entries}}
    return handed_over(stored, GIVEN, former="manager", manager="greenroom")


def test_what_the_other_wrote_counts_as_applied() -> None:
    labels: Json = {"f:labels": {".": {}, "f:app": {}, "f:old": {}}}
    written = entry("manager", "Update", {"f:metadata": labels, "f:spec": {"f:ports": PORT}})
    assert after(written) == [entry("greenroom", "Apply", {"f:metadata": labels, "f:spec": {"f:ports": PORT}})]


def test_it_is_added_to_what_we_applied_before() -> None:
    written = entry("manager", "Update", {"f:spec": {"f:ports": PORT}})
    applied = entry(
        "greenroom", "Apply", {"f:spec": {"f:ports": OTHER_PORT, "f:type": {}}}, time="2026-01-31T12:00:00Z"
    )
    both: Json = {**OTHER_PORT, **PORT}
    assert after(written, applied) == [entry("greenroom", "Apply", {"f:spec": {"f:ports": both, "f:type": {}}})]


def test_a_field_that_the_template_does_not_have_stays_whose_it_is() -> None:
    finalizers: Json = {"f:finalizers": {}}
    mesh: dict[str, Json] = {"f:meshRef": {"f:name": {}}}
    written = entry("manager", "Update", {"f:metadata": finalizers, "f:spec": {**mesh, "f:ports": PORT}})
    assert after(written) == [
        entry("manager", "Update", {"f:metadata": finalizers, "f:spec": mesh}),
        entry("greenroom", "Apply", {"f:spec": {"f:ports": PORT}}),
    ]


@pytest.mark.parametrize(
    "other",
    [
        entry("kubectl-edit", "Update", {"f:spec": {"f:ports": PORT}}),
        entry("manager", "Apply", {"f:spec": {"f:ports": PORT}}),
        entry("manager", "Update", {"f:spec": {"f:ports": PORT}}, subresource="status"),
        entry("manager", "Update", {"f:spec": {"f:ports": PORT}}, apiVersion="v1beta1"),
        entry("manager", "Update", {"f:status": {"f:loadBalancer": {}}}),
    ],
)
def test_nothing_else_is_anybody_elses_business(other: Json) -> None:
    written = entry("manager", "Update", {"f:spec": {"f:ports": PORT}})
    assert after(other) is None
    assert after(other, written) == [other, entry("greenroom", "Apply", {"f:spec": {"f:ports": PORT}})]


def test_an_object_that_tells_nothing_of_its_managers_stays_as_it_is() -> None:
    assert handed_over({}, GIVEN, former="manager", manager="greenroom") is None

"""Objects of App Mesh's kinds at the door: what is refused, with which words, and what may pass all the same."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenroom.core.admission import WARNING_LIMIT, Answer, judge, refused, review, warned
from greenroom.core.finalizers import left_over
from greenroom.model.manifest import Manifest, table

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
GROUP = "appmesh.k8s.aws/v1beta2"
GOOD = {"match": {"prefix": "/"}, "action": {"target": {"virtualService": {"virtualServiceRef": {"name": "web"}}}}}
BAD = {**GOOD, "match": {"prefix": "no-slash"}}


def route(http: Any = GOOD, *, spec: Any = None, **metadata: Any) -> Any:
    named = {"name": "web", "namespace": "pr-env", **metadata}
    return {
        "apiVersion": GROUP,
        "kind": "GatewayRoute",
        "metadata": named,
        "spec": {"httpRoute": http, **(spec or {})},
    }


def asked(manifest: Any, before: Any = None) -> Any:
    return {"uid": "1", "operation": "UPDATE" if before else "CREATE", "object": manifest, "oldObject": before}


@pytest.mark.parametrize("file", ["gateway.yaml", "mesh.yaml"])
def test_what_is_published_passes_without_a_word(file: str) -> None:
    for manifest in yaml.safe_load_all((PUBLISHED / file).read_text()):
        assert judge(asked(manifest)) == Answer()


def test_a_route_that_could_never_work_is_refused_with_the_field_and_the_cure() -> None:
    answer = judge(asked(route(BAD)))
    assert answer == refused("GatewayRoute web: spec.httpRoute.match.prefix: must start with /")


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("Mesh", {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "namespaceSelector"),
        ("VirtualGateway", {"listeners": [{"portMapping": {"port": 0, "protocol": "http"}}]}, "listeners"),
        ("VirtualService", {"awsName": "a\nb", "provider": {}}, "spec"),
        ("VirtualNode", {"listeners": [{"portMapping": {"port": 80, "protocol": "smtp"}}]}, "protocol"),
        ("VirtualRouter", {"routes": [{"name": "a"}, {"name": "a"}]}, "spec"),
    ],
)
def test_every_kind_is_judged(kind: str, spec: Any, field: str) -> None:
    manifest = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec}
    answer = judge(asked(manifest))
    assert not answer.allowed
    assert answer.message.startswith(f"{kind} a: ")
    assert field in answer.message


def test_what_is_not_served_yet_is_let_through_with_a_warning() -> None:
    answer = judge(asked(route(spec={"mirrorPolicy": {"percent": 3}})))
    assert answer.allowed
    assert "spec.mirrorPolicy" in answer.warnings[0]


def test_what_app_mesh_took_and_this_gateway_does_not_is_let_through_with_a_warning() -> None:
    cloud_map = {"awsCloudMap": {"namespaceName": "a", "serviceName": "b"}}
    listeners = [{"portMapping": {"port": 80, "protocol": "http"}}]
    spec = {"listeners": listeners, "serviceDiscovery": cloud_map}
    node = {"apiVersion": GROUP, "kind": "VirtualNode", "metadata": {"name": "a", "namespace": "b"}, "spec": spec}
    for manifest in (node, {**node, "kind": "VirtualService", "spec": {}}):
        answer = judge(asked(manifest))
        assert answer.allowed
        assert answer.warnings


def test_a_regular_expression_that_envoy_would_refuse_is_refused_here() -> None:
    answer = judge(asked(route({**GOOD, "match": {"path": {"regex": "("}}})))
    assert not answer.allowed
    assert "spec.httpRoute.match.path.regex" in answer.message


def test_names_and_references_may_change_for_nothing_depends_on_them_any_more() -> None:
    before = route(spec={"awsName": "a", "meshRef": {"name": "m", "uid": "1"}, "virtualGatewayRef": {"name": "g"}})
    after = route(spec={"awsName": "b", "meshRef": {"name": "m", "uid": "2"}})
    assert judge(asked(after, before)) == Answer()
    assert judge(asked(before)) == Answer()  # an export from another cluster


def test_an_object_that_was_wrong_already_can_be_labelled_and_let_go() -> None:
    wrong = route(BAD)
    assert judge(asked(route(BAD, labels={"a": "b"}), wrong)) == Answer()
    assert judge(asked(route({}, deletionTimestamp="2026-01-31T12:00:00Z"), wrong)) == Answer()
    assert not judge(asked(route({}), wrong)).allowed


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"object": None, "operation": "DELETE", "oldObject": {"kind": "GatewayRoute"}},
        {"object": "text"},
        asked({"apiVersion": "v1", "kind": "ConfigMap"}),
        asked({"apiVersion": "appmesh.k8s.aws/v1", "kind": "Backend"}),
    ],
)
def test_what_it_does_not_know_passes(request_: Any) -> None:
    assert judge(request_).allowed


@pytest.mark.parametrize(
    "spec", [None, "text", [], {"httpRoute": []}, {"httpRoute": {"match": {"headers": [1, None]}}}]
)
def test_any_shape_is_answered(spec: Any) -> None:
    manifest = {"apiVersion": GROUP, "kind": "GatewayRoute", "metadata": {"name": "web"}, "spec": spec}
    answer = judge(asked(manifest))
    assert answer.allowed or answer.message


# The envelope


def test_a_refusal_tells_the_api_server_that_trying_again_does_not_help() -> None:
    response = table(review("7", refused("why")), "response")
    assert response == {
        "uid": "7",
        "allowed": False,
        "status": {"code": 422, "reason": "Invalid", "message": "why"},
    }


def test_a_patch_is_a_json_patch_and_a_warning_is_short() -> None:
    change: Manifest = {"op": "replace", "path": "/spec/a", "value": 1}
    response: Any = table(review("7", Answer(warnings=("w" * 999,), patch=[change])), "response")
    assert response["allowed"] is True
    assert (response["patchType"], json.loads(base64.b64decode(response["patch"]))) == ("JSONPatch", [change])
    assert len(response["warnings"][0]) == WARNING_LIMIT
    assert "patch" not in table(review("7", warned("w")), "response")


# Finalizers


def test_only_the_dead_controllers_finalizers_go_and_only_when_the_object_goes() -> None:
    dead, members = "finalizers.appmesh.k8s.aws/aws-appmesh-resources", "finalizers.appmesh.k8s.aws/mesh-members"
    held = {"finalizers": [dead, "example.com/backup", members]}
    assert left_over(route(**held)) == frozenset()
    assert left_over(route(**held, deletionTimestamp="2026-01-31T12:00:00Z")) == {dead, members}

"""What the API server's refusals mean. The messages are kube-apiserver's own, of 1.34."""

from __future__ import annotations

import pytest

from greenroom.adapters.kube_secrecy import values_of
from greenroom.adapters.kube_status import error_of
from greenroom.model.errors import Conflict, Forbidden, Immutable, Invalid, NotFound, Unavailable
from greenroom.model.manifest import Json
from greenroom.model.permission import Permission


def refusal(message: str, *causes: Json) -> Json:
    return {"kind": "Status", "message": message, "reason": "Invalid", "details": {"causes": causes}}


@pytest.mark.parametrize(
    "message",
    [
        'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{}}: field is immutable',
        'Job.batch "migrate" is invalid: spec.template: Invalid value: {"metadata":{}}: field is immutable',
        'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.9"]: may not change once set',
        'PersistentVolumeClaim "data" is invalid: spec: Forbidden: spec is immutable after creation except resources',
        'StatefulSet.apps "db" is invalid: spec: Forbidden: updates to statefulset spec for fields other than …',
        'ConfigMap "one" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        'RoleBinding.rbac.authorization.k8s.io "one" is invalid: roleRef: Invalid value: {}: cannot change roleRef',
    ],
)
def test_a_field_that_cannot_be_changed_is_told_from_one_that_is_wrong(message: str) -> None:
    assert type(error_of(422, refusal(message))) is Immutable


def test_a_wrong_value_is_only_wrong() -> None:
    message = 'Service "web" is invalid: spec.ports: Required value'
    assert type(error_of(422, refusal(message))) is Invalid


def test_another_object_of_the_name_is_a_conflict_and_nothing_immutable() -> None:
    message = 'ConfigMap "one" is invalid: metadata.uid: Invalid value: "1": field is immutable'
    assert type(error_of(422, refusal(message, {"field": "metadata.uid"}))) is Conflict


AT_CLUSTER = "at the cluster scope"
IN_NAMESPACE = 'in the namespace "pr-env"'
OPERATOR = "system:serviceaccount:greenroom:greenroom"
RBAC_REASON = ': RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
QUOTED = r"ACME\\jane \"j\""  # as Go writes ACME\jane "j"


def denied(user: str, verb: str, resource: str, group: str, where: str) -> str:
    return f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}'


@pytest.mark.parametrize(
    ("subject", "because", "missing"),
    [
        (
            'deployments.apps "web"',
            denied("jane", "patch", "deployments", "apps", IN_NAMESPACE),
            Permission("jane", "patch", "apps", "deployments", "pr-env", "web"),
        ),
        (
            'prs.kubetempura.mercari.com "web"',
            denied("jane", "patch", "prs/status", "kubetempura.mercari.com", IN_NAMESPACE),
            Permission("jane", "patch", "kubetempura.mercari.com", "prs/status", "pr-env", "web"),
        ),
        (
            'serviceaccounts "web"',
            denied("jane", "impersonate", "serviceaccounts", "", IN_NAMESPACE),
            Permission("jane", "impersonate", "", "serviceaccounts", "pr-env", "web"),
        ),
        ("secrets", denied(OPERATOR, "list", "secrets", "", AT_CLUSTER), Permission(OPERATOR, "list", "", "secrets")),
        (
            "secrets",
            denied("jane", "watch", "secrets", "", AT_CLUSTER) + RBAC_REASON,
            Permission("jane", "watch", "", "secrets"),
        ),
        (
            "secrets",
            denied("jane", "watch", "secrets", "", IN_NAMESPACE) + RBAC_REASON,
            Permission("jane", "watch", "", "secrets", "pr-env"),
        ),
        ("pods", denied(QUOTED, "list", "pods", "", AT_CLUSTER), Permission(QUOTED, "list", "", "pods")),
        ("pods", denied("u" * 2000, "list", "pods", "", AT_CLUSTER), Permission("u" * 2000, "list", "", "pods")),
    ],
)
def test_a_missing_permission_is_known(subject: str, because: str, missing: Permission) -> None:
    details: Json = {"name": missing.name} if missing.name else {}
    error = error_of(403, {"kind": "Status", "message": f"{subject} is forbidden: {because}", "details": details})
    assert isinstance(error, Forbidden)
    assert error.permission == missing
    assert str(error).startswith(f"{subject} is forbidden: User ")


LISTING_PODS = denied("jane", "list", "pods", "", AT_CLUSTER)


@pytest.mark.parametrize(
    "message",
    [
        'forbidden: User "jane" cannot get path "/metrics"',
        'pods "web" is forbidden: exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=4',
        'pods "web" is forbidden: unable to create new content in namespace pr-env because it is being terminated',
        'pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        'pods "web" is forbidden: error looking up service account pr-env/web: serviceaccount "web" not found',
        f"pods \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {LISTING_PODS}",
        f'admission webhook "a.example.com" denied the request: pods is forbidden: {LISTING_PODS}',
        'roles.rbac.authorization.k8s.io "one" is forbidden: user "jane" is attempting to grant RBAC permissions …',
        'deployments.apps "web" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a …',
        "",
    ],
)
def test_what_no_rule_can_cure_is_forbidden_and_no_missing_permission(message: str) -> None:
    error = error_of(403, {"kind": "Status", "message": message, "reason": "Forbidden"})
    assert isinstance(error, Forbidden)
    assert error.permission is None


def test_credentials_that_are_refused_are_no_missing_permission() -> None:
    error = error_of(401, {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized"})
    assert isinstance(error, Forbidden)
    assert error.permission is None


@pytest.mark.parametrize(
    "message",
    [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2502837 vs. 2097152)",
    ],
)
def test_an_object_that_etcd_has_no_room_for_is_wrong_and_not_tried_again(message: str) -> None:
    assert isinstance(error_of(500, {"kind": "Status", "message": message}), Invalid)
    assert isinstance(error_of(500, {"kind": "Status", "message": "etcdserver: request timed out"}), Unavailable)


def test_what_a_policy_denies_is_forbidden_for_the_policy_may_change() -> None:
    message = "ValidatingAdmissionPolicy 'names' with binding 'names' denied request: this name is unlucky"
    denial = error_of(
        422, {"kind": "Status", "reason": "Invalid", "message": f'configmaps "pr1" is forbidden: {message}'}
    )
    assert isinstance(denial, Forbidden)
    assert denial.permission is None


def test_a_namespace_that_is_being_deleted_is_as_good_as_gone() -> None:
    message = 'prs "pr1" is forbidden: unable to create new content in namespace a because it is being terminated'
    cause: Json = {"reason": "NamespaceTerminating", "message": "namespace a is being terminated"}
    assert isinstance(error_of(403, refusal(message, cause)), NotFound)


def test_a_value_that_is_no_base64_is_wrong_and_not_tried_again() -> None:
    message = (
        "failed to convert new object (pr-env/one; /v1, Kind=Secret) to proper version: unable to convert unstructured "
        "object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte 7"
    )
    assert isinstance(error_of(500, {"kind": "Status", "message": message}), Invalid)
    unanswered = (
        "failed to convert new object (a/b; c/v1, Kind=D) to proper version: conversion webhook for c/v1 failed"
    )
    assert isinstance(error_of(500, {"kind": "Status", "message": unanswered}), Unavailable)


def test_who_may_not_grant_what_it_does_not_hold_is_told_what_to_do() -> None:
    message = (
        'roles.rbac.authorization.k8s.io "one" is forbidden: user "jane" (groups=["system:authenticated"]) is '
        'attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'
    )
    told = str(error_of(403, {"kind": "Status", "message": message}))
    assert told.startswith("nobody can grant rights that it does not hold itself")
    assert told.endswith(message)


# What must not be told

SPEC = r'{"Env":[{"Name":"PASSWORD","Value":"hunter2 }]: \"Invalid value: x\""}],"Args":["hunter2, "]}'
DIFFERENCE = '\n@@ -1,1 +1,1 @@\n-     "Value": "hunter2",\n+     "Value": "hunter2",\n'
GO = r'core.PodSpec{Env:[]core.EnvVar{core.EnvVar{Name:"P", Value:"hunter2"}}, A:map[string]string{"a: b":"hunter2"}}'


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (f'Job.batch "m" is invalid: spec.template: Invalid value: {SPEC}: field is immutable', "field is immutable"),
        (f'Job.batch "m" is invalid: spec.template: Invalid value: {GO}: field is immutable', "field is immutable"),
        (
            f'Job "m" is invalid: [spec.a: Invalid value: {SPEC}: is wrong, spec.b: Invalid value: 8675309: so is it]',
            "[spec.a: Invalid value: [hidden]: is wrong, spec.b: Invalid value: [hidden]: so is it]",
        ),
        (
            'Pod "p" is invalid: spec.restartPolicy: Unsupported value: "hunter2": supported values: "Always", "Never"',
            'spec.restartPolicy: Unsupported value: [hidden]: supported values: "Always", "Never"',
        ),
        ('Pod "p" is invalid: spec.a: Invalid value: "hunter2: hunter2', "spec.a: Invalid value: [hidden]"),
        ('Pod "p" is invalid: [a: Required value, b: Duplicate value: "hunter2"]', "b: Duplicate value: [hidden]]"),
        ('Service "s" is invalid: spec.a[1]: Duplicate value: "hunter2"', "spec.a[1]: Duplicate value: [hidden]"),
        (
            f'Pod "p" is invalid: spec: Forbidden: pod updates may not change fields other than `image`{DIFFERENCE}',
            "spec: Forbidden: pod updates may not change fields other than `image`",
        ),
    ],
)
def test_the_field_and_the_cause_are_told_and_not_the_value(message: str, told: str) -> None:
    for long in ("", "x" * 5000):
        error = str(error_of(422, refusal(message.replace("hunter2", f"hunter2{long}"))))
        assert told in error
        assert not any(value in error for value in ("hunter2", "8675309"))


@pytest.mark.parametrize(
    "value",
    [
        "&value.valueUnstructured{Value:8675309}",
        '&value.valueUnstructured{Value:map[string]interface {}{"a":"8675309"}}',
        "&{[8675309 a}\n  .b: c]}",
    ],
)
def test_a_value_of_the_wrong_type_is_not_told(value: str) -> None:
    begin = "failed to create typed patch object (a/b; /v1, Kind=Secret): .stringData.password: expected string, got"
    told = str(error_of(500, {"kind": "Status", "message": f"{begin} {value}"}))
    assert told.endswith(".stringData.password: expected string, got [hidden]")


@pytest.mark.parametrize("code", [403, 422, 400, 500])
def test_what_a_webhook_says_is_told_without_the_values_of_the_object(code: int) -> None:
    message = 'admission webhook "a.example.com" denied the request: hunter2 and hunter2hunter2 are no good, true'
    told = str(error_of(code, {"kind": "Status", "message": message}, values=["hunter2", "hunter2hunter2", "true"]))
    assert told == 'admission webhook "a.example.com" denied the request: [hidden] and [hidden] are no good, true'


def test_the_path_of_a_field_is_told_as_it_is() -> None:
    message = "failed to create typed patch object (a/b; /v1, Kind=Pod): .spec.containers: expected list, got map"
    assert str(error_of(500, {"kind": "Status", "message": message}, values=["containers"])) == message


def test_the_values_of_an_object_are_its_data_and_its_variables() -> None:
    container: Json = {"name": "app", "env": [{"name": "A", "value": "variable"}, {"name": "B", "valueFrom": {}}]}
    pod_spec: Json = {"template": {"spec": {"initContainers": [container], "containers": [{"name": "plain"}]}}}
    secret: Json = {"data": {"a": "ZW5jb2RlZA=="}, "stringData": {"b": "plain text", "c": 7}, "spec": pod_spec}
    expected = {"variable", "ZW5jb2RlZA==", "encoded", "plain text", "cGxhaW4gdGV4dA=="}
    assert expected <= set(values_of(secret))
    assert not {"app", "A", "plain"} & set(values_of(secret))

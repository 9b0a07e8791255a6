"""What the API server's refusals mean. The messages are kube-apiserver's own, of 1.34."""

from __future__ import annotations

import pytest

from greenroom.adapters.kube_status import error_of
from greenroom.model.errors import Conflict, Immutable, Invalid
from greenroom.model.manifest import Json


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

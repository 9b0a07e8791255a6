"""What a ReviewApp makes of a pull request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.autoscaling import left_to_autoscalers, to_keep
from greenroom.core.template import Rendered, render
from greenroom.model.environment import Environment
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import PR, Ref
from greenroom.model.reviewapp import ReviewApp

COMMIT = "1234567890abcdef1234567890abcdef12345678"
OWNER = {"kind": "PR", "name": "shop-pr7", "uid": "u"}
ENVIRONMENT = Environment(Ref(PR, "pr-env", "shop-pr7"), "u", 1, "shop", "7", COMMIT, ())


def rendered(*resources: Any, environment: Environment = ENVIRONMENT) -> Rendered:
    app = ReviewApp("pr-env", "shop", "https://github.com/Shop/web", resources)
    return render(environment, app, OWNER, lambda kind: kind.name != "ClusterRole")


def one(resource: Any, environment: Environment = ENVIRONMENT) -> Any:
    (manifest,) = rendered(resource, environment=environment).manifests
    return manifest


def config_map(**data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def filled(value: Any, environment: Environment = ENVIRONMENT) -> Any:
    return one(config_map(value=value), environment)["data"]["value"]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("{{PR_NUMBER}}", "7"),
        ("{{ COMMIT_REF }}", COMMIT),
        ("{{\tCOMMIT_REF_SHORT\n}}", "1234567"),
        ("pr{{PR_NUMBER}}-{{COMMIT_REF_SHORT}}{{PR_NUMBER}}", "pr7-12345677"),
        ("no braces", "no braces"),
        ('{"pr":{"number":{{PR_NUMBER}}}}', '{"pr":{"number":7}}'),
        ("{PR_NUMBER}", "{PR_NUMBER}"),
        (["{{PR_NUMBER}}", {"deep": ["{{PR_NUMBER}}"]}], ["7", {"deep": ["7"]}]),
        ({"{{PR_NUMBER}}": "{{PR_NUMBER}}"}, {"{{PR_NUMBER}}": "7"}),
        (7, 7),
        (True, True),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_variables_are_filled_into_values_and_nothing_else(value: Any, result: Any) -> None:
    assert filled(value) == result


@pytest.mark.parametrize(("commit", "short"), [("abc", "abc"), ("1234567", "1234567"), ("12345678", "1234567")])
def test_a_short_commit_is_short(commit: str, short: str) -> None:
    assert filled("{{COMMIT_REF_SHORT}}", replace(ENVIRONMENT, commit=commit)) == short


@pytest.mark.parametrize("name", ["COMMIT_REF", "COMMIT_REF_SHORT"])
def test_without_a_commit_a_template_that_needs_one_says_so(name: str) -> None:
    nameless = replace(ENVIRONMENT, commit="")
    assert filled("{{PR_NUMBER}}", nameless) == "7"
    with pytest.raises(InvalidInput) as caught:
        filled([f"{{{{{name}}}}}"], nameless)
    assert caught.value.path == "spec.resources[0].data.value[0]"
    assert "names no commit" in str(caught.value)


@pytest.mark.parametrize(
    "braces", ["{{ .Values.image }}", "{{PR_NUMBERS}}", "{{}}", "{{ pr_number }}", "${{ github.sha }}"]
)
def test_braces_of_other_tools_stay_and_are_reported(braces: str) -> None:
    found = rendered(config_map(value=f"a{braces}b{{{{PR_NUMBER}}}}"))
    assert found.manifests[0]["data"] == {"value": f"a{braces}b7"}
    assert found.left == (f"spec.resources[0].data.value: {braces.removeprefix('$')}",)


@given(st.text(), st.text(alphabet="{} PR_NUMBER7", max_size=30))
def test_what_comes_from_the_pull_request_is_never_expanded(text: str, around: str) -> None:
    hostile = replace(ENVIRONMENT, commit=f"{{{{PR_NUMBER}}}}{text}")
    assert filled("<{{COMMIT_REF}}>", hostile) == f"<{hostile.commit}>"
    by_hand = replace(ENVIRONMENT, number="{{COMMIT_REF}}", variables=(("A", "{{PR_NUMBER}}"), ("B", around)))
    env = one(DEPLOYMENT, by_hand)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "A", "value": "{{COMMIT_REF}}"} in env


@given(st.text())
def test_a_value_cannot_leave_its_place(text: str) -> None:
    found = one(config_map(value="{{COMMIT_REF}}", other="same"), replace(ENVIRONMENT, commit=text or "x"))
    assert found["data"] == {"value": text or "x", "other": "same"}


@pytest.mark.parametrize(
    "resource",
    [
        {**config_map(), "kind": "Secret", "stringData": {"a": "{{PR_NUMBER}}"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a:B"}, "rules": []},
    ],
)
def test_objects_without_a_spec_are_objects_like_others(resource: dict[str, Any]) -> None:
    assert one(resource)["metadata"]["namespace"] == "pr-env"


def test_an_object_is_marked_as_a_part_of_its_environment() -> None:
    metadata = {"name": "a", "namespace": "kube-system", "labels": {"app": "{{PR_NUMBER}}"}, "annotations": {"x": "y"}}
    assert one({**config_map(), "metadata": metadata})["metadata"] == {
        "name": "a",
        "namespace": "pr-env",
        "labels": {"app": "7", "greenroom.dev/environment": "shop-pr7"},
        "annotations": {"x": "y"},
        "ownerReferences": [OWNER],
    }


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("batch/v1", "CronJob"), ("v1", "Pod")],
)
def test_what_runs_a_commit_is_marked_with_it(api_version: str, kind: str) -> None:
    found = one({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "annotations": {"x": "y"}}})
    assert found["metadata"]["annotations"] == {"x": "y", "greenroom.dev/commit": COMMIT}


def test_a_push_changes_only_what_runs_or_names_the_commit_and_no_job_that_does_not() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": {}}}}
    resources = (service, job, config_map(commit="{{COMMIT_REF}}"), DEPLOYMENT)
    before, after = (
        rendered(*resources, environment=replace(ENVIRONMENT, commit=commit)).manifests
        for commit in ("a" * 40, "b" * 40)
    )
    assert [new["kind"] for old, new in zip(before, after, strict=True) if old != new] == ["ConfigMap", "Deployment"]


def test_a_job_that_names_the_commit_is_marked_with_it() -> None:
    env = [{"name": "COMMIT", "value": "{{ COMMIT_REF_SHORT }}"}]
    spec = {"template": {"spec": {"containers": [{"name": "web", "env": env}]}}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec}
    assert one(job)["metadata"]["annotations"] == {"greenroom.dev/commit": COMMIT}


def test_what_a_server_wrote_into_an_exported_template_is_left_out() -> None:
    metadata: dict[str, Any] = {
        "name": "a",
        "uid": "1",
        "resourceVersion": "2",
        "creationTimestamp": None,
        "managedFields": [],
    }
    found = one({**config_map(), "metadata": metadata, "status": {"phase": "Bound"}})
    assert "status" not in found
    assert set(found["metadata"]) == {"name", "namespace", "labels", "annotations", "ownerReferences"}


def pod_template(**extra: Any) -> dict[str, Any]:
    own = [{"name": "A", "value": "own"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    containers = [{"name": "app", "image": "shop", "env": own}, {"name": "bare", "image": "shop"}]
    return {"spec": {"containers": containers, "initContainers": [{"name": "init", "image": "shop"}], **extra}}


DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {"template": pod_template()},
}


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ],
)
def test_variables_of_the_pr_object_reach_every_container(api_version: str, kind: str) -> None:
    spec: dict[str, Any] = {"template": pod_template()}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    workload = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    found = one(workload, replace(ENVIRONMENT, variables=(("B", "pr{{PR_NUMBER}}"), ("C", "new"))))
    template = found["spec"]["jobTemplate"]["spec"]["template"] if kind == "CronJob" else found["spec"]["template"]
    added = [{"name": "B", "value": "pr7"}, {"name": "C", "value": "new"}]
    app, bare = template["spec"]["containers"]
    assert app["env"] == [{"name": "A", "value": "own"}, *added]
    assert bare["env"] == added
    assert template["spec"]["initContainers"][0]["env"] == added


@pytest.mark.parametrize("spec", [{}, {"template": None}, {"template": {"spec": {"containers": ["?"]}}}])
def test_a_half_written_workload_is_left_for_the_cluster_to_judge(spec: Any) -> None:
    variables = replace(ENVIRONMENT, variables=(("A", "1"),))
    assert one({**DEPLOYMENT, "spec": spec}, variables)["spec"] == spec


@pytest.mark.parametrize("number", ["../../etc", "$(reboot)", "A", "🌿", "x" * 300, "7\n"])
def test_a_name_that_the_number_spoils_is_refused(number: str) -> None:
    resource = {**config_map(), "metadata": {"name": "a{{PR_NUMBER}}"}}
    with pytest.raises(InvalidInput) as caught:
        rendered(resource, environment=replace(ENVIRONMENT, number=number))
    assert caught.value.path == "spec.resources[0].metadata.name"


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "{{COMMIT_REF}}"), ("apiVersion", "x{{ PR_NUMBER }}.example.com/v1")]
)
def test_a_pull_request_has_no_say_in_what_kinds_are_made(field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered({**config_map(), field: value})
    assert str(caught.value) == f"spec.resources[0].{field}: holds a variable (write it out)"


def test_resources_that_become_the_same_are_refused() -> None:
    twice = [{**config_map(), "metadata": {"name": name}} for name in ("pr{{PR_NUMBER}}", "pr7")]
    with pytest.raises(InvalidInput) as caught:
        rendered(*twice)
    assert caught.value.path == "spec.resources[1].metadata.name"


def test_an_object_that_all_environments_would_share_is_refused() -> None:
    shared = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}}
    with pytest.raises(InvalidInput, match="belongs to no namespace"):
        rendered(shared)


def test_the_template_itself_stays_as_it_was() -> None:
    resource = {**DEPLOYMENT, "metadata": {"name": "pr{{PR_NUMBER}}"}}
    first = one(resource, replace(ENVIRONMENT, variables=(("A", "1"),)))
    assert first == one(resource, replace(ENVIRONMENT, variables=(("A", "1"),)))
    assert resource["metadata"] == {"name": "pr{{PR_NUMBER}}"}


# Autoscalers


def autoscaler(kind: str, name: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec}


def test_an_autoscaler_of_the_template_decides_how_many_replicas_there_are() -> None:
    workloads = [
        {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {"replicas": 2, "paused": False}}
        for kind, name in (("Deployment", "pr{{PR_NUMBER}}"), ("Deployment", "other"), ("StatefulSet", "pr7"))
    ]
    manifests: Any = rendered(*workloads, autoscaler("Deployment", "pr{{PR_NUMBER}}")).manifests
    assert [each["spec"] for each in manifests[:3]] == [
        {"paused": False},
        {"replicas": 2, "paused": False},
        {"replicas": 2, "paused": False},
    ]


def test_a_workload_keeps_its_replicas_until_the_autoscaler_that_is_new_decides() -> None:
    workload: Any = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "pr7", "namespace": "shop"},
        "spec": {"replicas": 3},
    }
    live = {**workload, "metadata": {**workload["metadata"], "uid": "u"}}
    assert to_keep(workload, live) is None
    (left, _) = left_to_autoscalers([workload, autoscaler("Deployment", "pr7")])
    assert to_keep(left, None) is None
    assert to_keep(left, live) == live
    assert to_keep(left, {**live, "metadata": left["metadata"]}) is None  # done before: it is the autoscaler's now

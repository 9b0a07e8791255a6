"""What the PR object says of its environment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenroom.core.health import Health
from greenroom.core.plan import Record, digest
from greenroom.core.status import (
    MISSING_PERMISSION,
    Findings,
    Problem,
    address_of,
    is_edit,
    patch,
    problem_of,
    status_of,
)
from greenroom.model.errors import ClusterError, Conflict, Forbidden
from greenroom.model.gateway import HTTP_ROUTE
from greenroom.model.manifest import DEPLOYMENT, PR, Json, Kind, Ref, condition_of, ref_of
from greenroom.model.permission import Permission

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
OLD, NEW = "a" * 40, "b" * 40
CHILD = Ref(DEPLOYMENT, "pr-env", "pr7")
ROUTE = Ref(Kind("appmesh.k8s.aws", "v1beta2", "GatewayRoute"), "pr-env", "pr7")

UP = Findings(
    generation=3,
    commit=NEW,
    shown_commit=NEW,
    url="http://pr7.localhost:8080",
    healths=(Health(CHILD, True),),
    records=(Record(CHILD, "1", "2"),),
)
PR_OBJECT: dict[str, Any] = {
    "apiVersion": PR.api_version,
    "kind": "PR",
    "metadata": {"name": "shop-pr7", "namespace": "pr-env", "uid": "0123456789"},
}


def status(findings: Findings, previous: Any = None, now: datetime = NOW) -> dict[str, Json]:
    return status_of(findings, {**PR_OBJECT, "status": previous or {}}, now)


def ready(findings: Findings) -> Any:
    return condition_of({"status": status(findings)}, "Ready")


def waiting(reason: str, message: str = "something", ref: Ref = CHILD) -> Health:
    return Health(ref, False, reason, f"pr7: {message}")


def test_an_environment_that_is_up_says_where_and_what() -> None:
    found = status(UP)
    assert found == {
        "observedGeneration": 3,
        "commit": NEW,
        "shownCommit": NEW,
        "url": "http://pr7.localhost:8080",
        "inventory": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "pr7", "hash": "1", "live": "2"}],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "http://pr7.localhost:8080 shows commit bbbbbbb",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
                "observedGeneration": 3,
            },
            {
                "type": "Applied",
                "status": "True",
                "reason": "Applied",
                "message": "1 object",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
                "observedGeneration": 3,
            },
        ],
    }


def test_while_a_new_commit_is_not_ready_the_status_says_what_is_shown_and_why() -> None:
    findings = replace(UP, shown_commit=OLD, healths=(waiting("WaitingForImage", "waiting for image shop:pr7-b"),))
    assert ready(findings)["reason"] == "WaitingForImage"
    assert ready(findings)["message"] == "pr7: waiting for image shop:pr7-b; commit aaaaaaa keeps serving"


def test_it_is_not_ready_while_the_wrong_commit_is_shown() -> None:
    found = ready(replace(UP, shown_commit=OLD))
    assert (found["status"], found["reason"]) == ("False", "RollingOut")


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["RollingOut", "WaitingForRoute"], "RollingOut"),
        (["WaitingForRoute", "WaitingForImage"], "WaitingForImage"),
        (["RollingOut", "CrashLoopBackOff", "WaitingForImage"], "CrashLoopBackOff"),
        (["WaitingForRoute"], "WaitingForRoute"),
    ],
)
def test_of_many_troubles_the_one_to_do_something_about_is_told(reasons: list[str], told: str) -> None:
    workload = Ref(Kind.of("apps/v1", "StatefulSet"), "pr-env", "pr7")
    healths = tuple(waiting(reason, ref=ROUTE if reason == "WaitingForRoute" else workload) for reason in reasons)
    assert ready(replace(UP, healths=healths))["reason"] == told


def test_what_could_not_be_applied_is_named_with_its_cause() -> None:
    problems = tuple(Problem("ApplyFailed", f"Service/s{n}: no") for n in range(5))
    found = status(replace(UP, problems=problems, healths=(waiting("WaitingForRoute"),)))
    applied = condition_of({"status": found}, "Applied")
    assert (applied["status"], applied["reason"]) == ("False", "ApplyFailed")
    assert applied["message"] == "Service/s0: no; Service/s1: no; Service/s2: no; and 2 more"
    assert condition_of({"status": found}, "Ready")["reason"] == "ApplyFailed"


def lacking(user: str, resource: str, namespace: str = "pr-env", name: str = "", verb: str = "patch") -> Problem:
    missing = Permission(user, verb, "apps", resource, namespace, name)
    return problem_of(CHILD, Forbidden("no", permission=missing))


def test_missing_permissions_of_one_account_are_told_together_with_the_rule_to_add() -> None:
    problems = [lacking("jane", "deployments", name=name) for name in ("pr7", "pr7-db")]
    found = ready(replace(UP, problems=(*problems, lacking("jane", "statefulsets"))))
    assert (found["status"], found["reason"]) == ("False", MISSING_PERMISSION)
    assert found["message"] == (
        "jane may not patch deployments.apps, patch statefulsets.apps in namespace pr-env"
        " (is it in the chart's environments.namespaces?); add to a Role bound to it there:"
        " {apiGroups: [apps], resources: [deployments, statefulsets],"
        " verbs: [create, delete, get, list, patch, watch]}"
    )


def test_each_account_and_place_that_lacks_a_permission_is_told_of() -> None:
    lacks = (lacking("jane", "deployments"), lacking("joe", "deployments"), lacking("joe", "deployments", "other"))
    message = ready(replace(UP, problems=(*lacks, Problem("ApplyFailed", "Service/b: no"))))["message"]
    assert [part.partition(" may not")[0] for part in message.split("; ")[::2]] == ["jane", "joe", "joe", "and 1 more"]


def test_who_only_looks_and_who_writes_are_told_of_different_rules() -> None:
    lacks = (lacking("operator", "deployments", verb="list"), lacking("previews", "statefulsets"))
    message = ready(replace(UP, problems=lacks, writer="previews"))["message"]
    operator, previews = (part.rpartition("verbs: ")[2] for part in message.split("; ")[1::2])
    assert (operator, previews) == ("[get, list, watch]}", "[create, delete, get, list, patch, watch]}")


def test_what_cannot_be_seen_is_told_with_what_could_not_be_applied() -> None:
    pods = lacking("jane", "pods", verb="list")
    found = status(replace(UP, problems=(lacking("jane", "deployments"),), unseen=(pods,)))
    assert "patch deployments.apps, list pods.apps in" in str(condition_of({"status": found}, "Ready")["message"])
    assert "pods" not in str(condition_of({"status": found}, "Applied")["message"])
    found = status(replace(UP, unseen=(pods,)))
    assert condition_of({"status": found}, "Ready")["reason"] == MISSING_PERMISSION
    assert condition_of({"status": found}, "Applied")["status"] == "True"


@pytest.mark.parametrize("error", [Forbidden("exceeded quota"), Conflict("changed meanwhile")])
def test_what_no_rule_can_cure_names_the_object_and_the_cause(error: ClusterError) -> None:
    assert problem_of(CHILD, error) == Problem("ApplyFailed", f"Deployment.apps/pr7: {error}")


def test_a_failure_is_told_before_what_passes_by_itself() -> None:
    problems = (Problem("Replacing", "ConfigMap/a is being deleted"), Problem("ApplyFailed", "Service/b: no"))
    found = ready(replace(UP, problems=problems))
    assert (found["reason"], found["message"]) == ("ApplyFailed", "Service/b: no; ConfigMap/a is being deleted")


def test_braces_that_were_left_are_a_warning_and_no_failure() -> None:
    found = {"status": status(replace(UP, left=("spec.resources[0].data.a: {{ .Values.a }}",)))}
    assert condition_of(found, "TemplateWarning")["status"] == "True"
    assert "{{ .Values.a }}" in str(condition_of(found, "TemplateWarning")["message"])
    assert condition_of(found, "Ready")["status"] == "True"
    assert not condition_of({"status": status(UP)}, "TemplateWarning")


def test_a_field_that_the_cluster_did_not_keep_is_a_warning_and_no_trouble() -> None:
    path = 'Deployment.apps/pr7 .spec.template.spec.containers[name="app"].imagePullPolcy'
    found: Any = {"status": status(replace(UP, unkept=(path,)))}
    warning = condition_of(found, "TemplateWarning")
    assert (warning["status"], warning["reason"]) == ("True", "UnknownField")
    assert path in str(warning["message"])
    assert condition_of(found, "Ready")["status"] == "True"
    both = condition_of({"status": status(replace(UP, left=("{{ .A }}",), unkept=(path,)))}, "TemplateWarning")
    assert all(part in str(both["message"]) for part in ("{{ .A }}", path))


def test_what_somebody_changes_again_and_again_is_a_warning_and_no_failure() -> None:
    found = {"status": status(replace(UP, contested=(CHILD,)))}
    warning = condition_of(found, "DriftWarning")
    assert (warning["status"], warning["reason"]) == ("True", "Contested")
    assert "Deployment.apps/pr7" in str(warning["message"])
    assert condition_of(found, "Ready")["status"] == "True"
    assert not condition_of({"status": status(UP)}, "DriftWarning")


def test_messages_are_bounded() -> None:
    assert len(ready(replace(UP, healths=(waiting("RollingOut", "x" * 10_000),)))["message"]) == 1024


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status(replace(UP, healths=(waiting("WaitingForImage"),)))
    second = status(replace(UP, healths=(waiting("CrashLoopBackOff"),)), first, LATER)
    third = status(UP, second, LATER)
    times = [condition_of({"status": each}, "Ready")["lastTransitionTime"] for each in (first, second, third)]
    assert times == ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "2026-01-31T12:05:00Z"]


def test_nothing_new_is_nothing_to_write() -> None:
    first = status(UP)
    assert patch(first, status(UP, first, LATER)) == {}


def test_fields_of_others_stay_and_ours_go_when_they_are_empty() -> None:
    before: dict[str, Json] = {**status(UP), "sleeping": True}
    change = patch(before, status(replace(UP, url="", shown_commit=""), before, LATER))
    assert (change["url"], change["shownCommit"]) == (None, None)
    assert "sleeping" not in change
    assert "inventory" not in change


@pytest.mark.parametrize("protocol", ["httpRoute", "http2Route", "grpcRoute"])
def test_the_address_is_the_host_of_the_route(protocol: str) -> None:
    kind = {"apiVersion": ROUTE.kind.api_version, "kind": "GatewayRoute"}
    route: Any = {**kind, "spec": {protocol: {"match": {"hostname": {"exact": "pr7.localhost"}}}}}
    suffix: Any = {**kind, "spec": {"httpRoute": {"match": {"hostname": {"suffix": ".localhost"}}}}}
    assert (
        address_of([{"kind": "Service"}, suffix, route], lambda host: f"http://{host}:80") == "http://pr7.localhost:80"
    )
    assert address_of([suffix], lambda host: host) == ""


def config_map(name: str, word: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"word": word}}


def known(*manifests: dict[str, Any]) -> dict[Ref, Record]:
    return {ref_of(each): Record(ref_of(each), digest(each), "") for each in manifests}


OLD_A, NEW_A, OLD_B = config_map("a", "old"), config_map("a", "new"), config_map("b", "old")


@pytest.mark.parametrize(
    ("applied", "before", "after", "edited"),
    [
        ("Applied", [OLD_A], [OLD_A], False),
        ("Applied", [OLD_A], [NEW_A], True),
        ("Applied", [OLD_A], [OLD_A, OLD_B], True),
        ("Applied", [OLD_A, OLD_B], [OLD_A], True),
        ("Applied", [], [OLD_A], True),
        ("ApplyFailed", [OLD_A], [NEW_A], True),
        ("ApplyFailed", [OLD_A, OLD_B], [NEW_A, OLD_B], True),
        ("ApplyFailed", [OLD_A], [OLD_A, OLD_B], False),
        ("ApplyFailed", [OLD_A, OLD_B], [OLD_A], False),
        ("InvalidTemplate", [OLD_A], [OLD_A], False),
        ("InvalidTemplate", [OLD_A], [NEW_A], True),
        ("ReviewAppNotFound", [OLD_A], [OLD_A, OLD_B], True),
        ("InvalidTemplate", [], [OLD_A], False),
        ("", [], [OLD_A], False),
    ],
)
def test_an_edit_is_what_changes_objects_that_were_applied_or_which_there_are_where_nothing_failed(
    applied: str, before: list[dict[str, Any]], after: list[dict[str, Any]], edited: bool
) -> None:
    condition = {"type": "Applied", "status": str(applied == "Applied"), "reason": applied}
    pr: dict[str, Any] = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": [condition]}}
    assert is_edit(pr, after, known(*before)) == edited
    assert not is_edit({**pr, "metadata": {"generation": 3}}, after, known(*before))


def test_the_address_is_the_first_host_of_an_http_route() -> None:
    kind = {"apiVersion": HTTP_ROUTE.api_version, "kind": HTTP_ROUTE.name}
    wide: Any = {**kind, "spec": {"hostnames": ["*.localhost"]}}
    route: Any = {**kind, "spec": {"hostnames": ["*.localhost", "pr7.localhost", "shop.localhost"]}}
    assert address_of([wide, route], lambda host: f"http://{host}:80") == "http://pr7.localhost:80"
    assert address_of([wide, {**kind, "spec": {}}], lambda host: host) == ""

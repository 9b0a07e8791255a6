"""What an environment waits for, in words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from greenroom.core.health import Health, absent, assess, shown_commit
from greenroom.model.gateway import CONTROLLER, GATEWAY, HTTP_ROUTE
from greenroom.model.manifest import DEPLOYMENT, Kind, Manifest, Ref

OLD, NEW = "a" * 40, "b" * 40


class Objects:
    """Objects by the UID of their owner."""

    def __init__(self) -> None:
        self.by_owner: dict[str, list[Manifest]] = defaultdict(list)

    def owned(self, uid: str) -> Iterable[Manifest]:
        return self.by_owner[uid]

    def add(self, owner: Any, kind: str, name: str, **content: Any) -> Any:
        created = made(kind, name, **content)
        self.by_owner[owner["metadata"]["uid"]].append(created)
        return created


API_VERSIONS = {"Pod": "v1", "Service": "v1", "Job": "batch/v1", "GatewayRoute": "appmesh.k8s.aws/v1beta2"}


def made(kind: str, name: str = "pr7", commit: str = "", annotations: Any = None, **content: Any) -> dict[str, Any]:
    notes = {**({"greenroom.dev/commit": commit} if commit else {}), **(annotations or {})}
    metadata = {"name": name, "namespace": "pr-env", "uid": f"uid-{kind}-{name}", "generation": 2, "annotations": notes}
    return {"apiVersion": API_VERSIONS.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, **content}


def deployment(updated: int, available: int, total: int, *, observed: int = 2, **status: Any) -> dict[str, Any]:
    numbers = {"updatedReplicas": updated, "availableReplicas": available, "replicas": total}
    return made(
        "Deployment", commit=NEW, spec={"replicas": 2}, status={"observedGeneration": observed, **numbers, **status}
    )


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    container = {"name": "app", "image": "shop:pr7-abc", "state": {"waiting": {"reason": reason, "message": message}}}
    return {"phase": "Pending", "containerStatuses": [container]}


def unready(reason: str, message: str) -> dict[str, Any]:
    return {"type": "Ready", "status": "False", "reason": reason, "message": message}


def health(child: Any, objects: Objects | None = None) -> Health:
    return assess(child, (objects or Objects()).owned, look=lambda _: None)


def test_a_deployment_is_ready_when_all_its_replicas_are_new_and_available() -> None:
    assert health(deployment(2, 2, 2)).ready


@pytest.mark.parametrize(
    "child",
    [deployment(1, 2, 2), deployment(2, 2, 3), deployment(2, 1, 2)],
    ids=["not updated", "old ones left", "not available"],
)
def test_a_deployment_on_its_way_counts_its_new_replicas(child: Any) -> None:
    found = health(child)
    assert (found.ready, found.reason) == (False, "RollingOut")
    assert "new replicas are ready" in found.message


@pytest.mark.parametrize(
    "child", [deployment(2, 2, 2, observed=1), made("Deployment", spec={})], ids=["not seen yet", "no status"]
)
def test_a_deployment_whose_change_was_not_seen_yet_is_not_judged_by_its_old_pods(child: Any) -> None:
    found = health(child)
    assert (found.ready, found.reason) == (False, "RollingOut")
    assert re.fullmatch(r"pr7: 0 of [12] new replicas are ready", found.message)


def test_a_deployment_that_wants_no_pods_is_ready() -> None:
    child = {**deployment(0, 0, 0), "spec": {"replicas": 0}}
    assert health(child).ready


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}, "ProgressDeadlineExceeded"),
        ({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}, "ReplicaFailure"),
    ],
)
def test_a_deployment_that_gave_up_says_so(condition: dict[str, str], reason: str) -> None:
    found = health(deployment(0, 0, 0, conditions=[condition]))
    assert found.reason == reason
    assert condition["reason"] in found.message


@pytest.mark.parametrize(
    ("status", "reason", "part"),
    [
        (waiting("ImagePullBackOff", "is being built"), "WaitingForImage", "image shop:pr7-abc: is being built"),
        (waiting("ErrImagePull"), "WaitingForImage", "image shop:pr7-abc"),
        (waiting("CrashLoopBackOff", "exit code 1"), "CrashLoopBackOff", "container app: exit code 1"),
        (
            {"phase": "Running", "conditions": [unready("NotListening", "app has not opened port 20001")]},
            "NotListening",
            "pr7: app has not opened port 20001",
        ),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), "CreateContainerConfigError", "not found"),
        ({"initContainerStatuses": waiting("ErrImagePull")["containerStatuses"]}, "WaitingForImage", "shop:pr7-abc"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]},
            "Unschedulable",
            "0/3 nodes",
        ),
        (waiting("ContainerCreating"), "RollingOut", "replicas"),
    ],
)
def test_the_trouble_of_a_pod_is_told(status: Any, reason: str, part: str) -> None:
    objects, child = Objects(), deployment(1, 0, 1)
    replica_set = objects.add(child, "ReplicaSet", "pr7-new", commit=NEW)
    objects.add(replica_set, "Pod", "pr7-new-x", status=status)
    found = health(child, objects)
    assert (found.reason, found.message.startswith("pr7: ")) == (reason, True)
    assert part in found.message


def test_the_trouble_of_an_old_pod_or_of_one_that_goes_is_not_told() -> None:
    objects, child = Objects(), deployment(1, 0, 1)
    old = objects.add(child, "ReplicaSet", "pr7-old", commit=OLD)
    new = objects.add(child, "ReplicaSet", "pr7-new", commit=NEW)
    objects.add(old, "Pod", "x", status=waiting("CrashLoopBackOff"))
    going = objects.add(new, "Pod", "y", status=waiting("CrashLoopBackOff"))
    going["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert health(child, objects).reason == "RollingOut"


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1}, True),
        ({"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 0}, False),
        ({"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1}, False),
        ({}, False),
    ],
)
def test_a_stateful_set_is_ready_when_its_pods_are(status: Any, ready: bool) -> None:
    assert health(made("StatefulSet", spec={"replicas": 1}, status=status)).ready is ready


def test_a_daemon_set_is_ready_where_it_is_wanted() -> None:
    wanted = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}
    assert health(made("DaemonSet", status=wanted)).message == "pr7: 2 of 3 replicas are ready"
    assert health(made("DaemonSet", status={**wanted, "numberAvailable": 3})).ready


def test_a_job_holds_up_the_environment_only_when_it_cannot_run() -> None:
    assert health(made("Job", status={"active": 1})).ready
    assert health(made("Job", status={"conditions": [{"type": "Complete", "status": "True"}]})).ready
    failed = made("Job", status={"conditions": [{"type": "Failed", "status": "True", "message": "deadline"}]})
    assert health(failed).reason == "JobFailed"
    objects, stuck = Objects(), made("Job", status={})
    objects.add(stuck, "Pod", "x", status=waiting("ErrImagePull"))
    assert health(stuck, objects).reason == "WaitingForImage"


def test_a_pod_is_ready_when_it_says_so_or_is_done() -> None:
    assert health(made("Pod", status={"conditions": [{"type": "Ready", "status": "True"}]})).ready
    assert health(made("Pod", status={"phase": "Succeeded"})).ready
    assert health(made("Pod", status={"phase": "Pending"})).reason == "RollingOut"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({}, "pr7: no gateway has taken the route yet"),
        ({"status": "False", "reason": "NoGateway", "message": "none matches"}, "pr7: NoGateway: none matches"),
        ({"status": "Unknown"}, "pr7: no gateway has taken the route yet"),
    ],
)
def test_a_route_waits_for_its_gateway(condition: dict[str, str], message: str) -> None:
    child = made("GatewayRoute", status={"conditions": [{"type": "GatewayRouteActive", **condition}]})
    assert (health(child).reason, health(child).message) == ("WaitingForRoute", message)
    child["status"]["conditions"][0]["status"] = "True"
    assert health(child).ready


def test_objects_of_other_kinds_are_ready_unless_they_deny_it() -> None:
    assert health(made("Service")).ready
    denied = made("Certificate", status={"conditions": [{"type": "Ready", "status": "False", "message": "pending"}]})
    assert (health(denied).reason, health(denied).message) == ("NotReady", "pr7: pending")


def shown(*replica_sets: tuple[str, str, int]) -> str:
    objects, child = Objects(), deployment(0, 0, 0)
    for name, commit, ready in replica_sets:
        objects.add(child, "ReplicaSet", name, commit=commit, status={"readyReplicas": ready})
    return shown_commit([made("Service"), child], objects.owned)


@pytest.mark.parametrize(
    ("replica_sets", "commit"),
    [
        ([], ""),
        ([("new", NEW, 0)], ""),
        ([("new", NEW, 2)], NEW),
        ([("new", NEW, 2), ("old", OLD, 1)], NEW),
        ([("new", NEW, 1), ("old", OLD, 1)], OLD),
        ([("new", NEW, 0), ("old", OLD, 1)], OLD),
        ([("new", NEW, 1), ("old", OLD, 0)], NEW),
        ([("old", OLD, 2)], OLD),
    ],
    ids=["nothing", "starting", "up", "done", "half way", "failing", "first, half", "not begun"],
)
def test_the_old_commit_is_shown_until_the_new_one_is_complete(replica_sets: Any, commit: str) -> None:
    assert shown(*replica_sets) == commit


def test_without_commits_the_highest_revision_is_the_newest() -> None:
    objects, child = Objects(), deployment(1, 0, 1)
    for name, revision, status in (("a", "10", waiting("ErrImagePull")), ("b", "9", {})):
        annotations = {"deployment.kubernetes.io/revision": revision}
        replica_set = objects.add(child, "ReplicaSet", name, annotations=annotations)
        objects.add(replica_set, "Pod", f"{name}-x", status=status)
    assert health(child, objects).reason == "WaitingForImage"


def test_of_several_deployments_the_one_that_lags_behind_counts() -> None:
    objects = Objects()
    children = [made("Deployment", name, commit=NEW, spec={"replicas": 1}) for name in ("web", "worker")]
    objects.add(children[0], "ReplicaSet", "web-new", commit=NEW, status={"readyReplicas": 1})
    objects.add(children[1], "ReplicaSet", "worker-old", commit=OLD, status={"readyReplicas": 1})
    silent = made("Deployment", "silent", commit=NEW, spec={"replicas": 1})
    assert shown_commit([silent, *children], objects.owned) == OLD
    assert shown_commit([silent, children[0]], objects.owned) == NEW


def test_what_should_be_there_and_is_not_is_waited_for_and_a_job_that_was_cleaned_away_is_not() -> None:
    found = absent(Ref(DEPLOYMENT, "pr-env", "pr7"))
    assert (found.ready, found.reason, found.message) == (False, "NotReady", "pr7: Deployment.apps/pr7 is not there")
    assert absent(Ref(Kind.of("batch/v1", "Job"), "pr-env", "pr7")).ready


def http_route(*parents: Any, generation: int = 2) -> Any:
    metadata = {"name": "pr7", "namespace": "pr-env", "generation": generation}
    api = {"apiVersion": HTTP_ROUTE.api_version, "kind": HTTP_ROUTE.name}
    return {**api, "metadata": metadata, "status": {"parents": list(parents)}}


def parent(
    accepted: str = "True", resolved: str = "True", *, controller: str = CONTROLLER, generation: int = 2
) -> dict[str, Any]:
    said = {"Accepted": accepted, "ResolvedRefs": resolved}
    conditions = [
        {"type": kind, "status": status, "observedGeneration": generation, "reason": f"Why{kind}", "message": "so"}
        for kind, status in said.items()
    ]
    return {"controllerName": controller, "parentRef": {"name": "web"}, "conditions": conditions}


def of_route(*parents: Any, programmed: str = "True", routed: bool = True, generation: int = 2) -> Health:
    condition = {"type": "Programmed", "status": programmed, "reason": "Pending", "message": "no Envoy is connected"}
    gateways: dict[Ref, Any] = {Ref(GATEWAY, "pr-env", "web"): {"status": {"conditions": [condition]}}}
    route = http_route(*parents, generation=generation)
    return assess(route, Objects().owned, look=gateways.get, routed=routed)


def test_an_http_route_is_served_when_its_gateway_serves_it() -> None:
    assert of_route(parent()).ready


@pytest.mark.parametrize(
    ("parents", "programmed", "message"),
    [
        ([], "True", "pr7: no gateway has taken the route yet"),
        ([parent(accepted="False")], "True", "pr7: WhyAccepted: so"),
        ([parent(resolved="False")], "True", "pr7: WhyResolvedRefs: so"),
        ([parent(generation=1)], "True", "pr7: its gateway has not looked at the present version yet"),
        ([parent()], "False", "pr7: Gateway web: Pending: no Envoy is connected"),
        ([parent(controller="example.com/other"), parent("False")], "True", "pr7: WhyAccepted: so"),
    ],
)
def test_an_http_route_that_nobody_serves_tells_why(parents: Any, programmed: str, message: str) -> None:
    found = of_route(*parents, programmed=programmed)
    assert (found.ready, found.reason, found.message) == (False, "WaitingForRoute", message)


def test_an_http_route_of_another_controller_is_as_that_one_says() -> None:
    other = "example.com/other"
    assert of_route(parent(controller=other), programmed="False").ready
    assert not of_route(parent(accepted="False", controller=other)).ready
    assert of_route(parent(), parent(accepted="False", controller=other)).ready
    assert of_route(routed=False).ready

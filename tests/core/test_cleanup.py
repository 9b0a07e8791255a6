"""Which pods wait in vain, and to which environment they lead: nothing is deleted on a guess that could be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.cleanup import (
    HASH_LABEL,
    NO_IMAGE,
    Owner,
    Result,
    Stays,
    Tally,
    likely_deployment,
    owner_of,
    pr_of,
    require_same,
    summary,
    waits_in_vain,
)
from greenroom.model.manifest import PR, REPLICA_SET, Ref, name_of, timestamp

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
AGE = timedelta(minutes=100)
SPACE = "pr-env"


def minutes_ago(minutes: float) -> str:
    return timestamp(NOW - timedelta(minutes=minutes))


def reference(api_version: str, kind: str, name: str, *, controller: bool = True) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": f"uid-{name}", "controller": controller}


def pod(reason: str = "ImagePullBackOff", *, age: float = 100, init: bool = False, **metadata: Any) -> Any:
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    field = "initContainerStatuses" if init else "containerStatuses"
    statuses = [{"name": "sidecar", "state": {"running": {}}}, {"name": "app", "state": state}]
    common = {"name": "web-1-x", "namespace": SPACE, "uid": "uid-pod", "creationTimestamp": minutes_ago(age)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**common, **metadata}, "status": {field: statuses}}


def owned_pod(name: str = "web", hash_: str = "5f7d", *, age: float = 100, labels: Any = None) -> Any:
    """Of a ReplicaSet as a Deployment makes it."""
    owners = [reference("apps/v1", "ReplicaSet", f"{name}-{hash_}")]
    return pod(age=age, ownerReferences=owners, labels={"app": name, HASH_LABEL: hash_, **(labels or {})})


def deployment(name: str = "web", *owners: Any, age: float = 100, selector: Any = None) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": SPACE,
            "uid": f"uid-{name}",
            "creationTimestamp": minutes_ago(age),
            "ownerReferences": [*owners],
        },
        "spec": {"selector": selector or {"matchLabels": {"app": name}}},
    }


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("reason", sorted(NO_IMAGE))
def test_any_container_that_gets_no_image_counts(reason: str, init: bool) -> None:
    assert waits_in_vain(pod(reason, init=init), NOW, AGE)


@pytest.mark.parametrize("reason", ["", "ContainerCreating", "CrashLoopBackOff", "PodInitializing", "imagepullbackoff"])
def test_a_container_that_runs_or_waits_for_something_else_does_not(reason: str) -> None:
    assert not waits_in_vain(pod(reason), NOW, AGE)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_pod_counts_from_the_very_second_on(age: int, minimum: int) -> None:
    assert waits_in_vain(pod(age=age / 60), NOW, timedelta(seconds=minimum)) is (age >= minimum)


@pytest.mark.parametrize("created", ["", "yesterday", "2026-01-31T01:00:00", None, 7])
def test_a_pod_of_unknown_age_does_not(created: object) -> None:
    assert not waits_in_vain(pod(creationTimestamp=created), NOW, timedelta())


def test_a_pod_that_is_being_deleted_does_not() -> None:
    assert not waits_in_vain(pod(deletionTimestamp=minutes_ago(1)), NOW, AGE)


@pytest.mark.parametrize("status", [None, {}, {"containerStatuses": None}, {"containerStatuses": ["x", {"state": 1}]}])
def test_a_pod_that_says_nothing_does_not(status: Any) -> None:
    assert not waits_in_vain({**pod(), "status": status}, NOW, AGE)


def test_the_owner_is_the_controller_in_whatever_version() -> None:
    owners = [reference("v1", "ConfigMap", "a", controller=False), reference("apps/v2", "ReplicaSet", "b")]
    assert owner_of(pod(ownerReferences=owners), REPLICA_SET) == Owner(Ref(REPLICA_SET, SPACE, "b"), "uid-b")


@pytest.mark.parametrize(
    "owners",
    [
        [],
        [reference("batch/v1", "Job", "a")],
        [reference("extensions/v1", "ReplicaSet", "a")],
        [reference("apps/v1", "ReplicaSet", "a", controller=False)],
    ],
)
def test_without_a_replica_set_a_pod_leads_nowhere(owners: Any) -> None:
    with pytest.raises(Stays, match="no ReplicaSet owns Pod/web-1-x"):
        owner_of(pod(ownerReferences=owners), REPLICA_SET)


def test_the_pr_is_the_one_that_owns_the_deployment() -> None:
    mine = reference(PR.api_version, "PR", "shop-pr7", controller=False)
    other = reference("tekton.dev/v1", "PR", "other")
    assert pr_of(deployment("web", other, mine)) == Owner(Ref(PR, SPACE, "shop-pr7"), "uid-shop-pr7")


@pytest.mark.parametrize(("count", "told"), [(0, "no PR owns"), (2, "several PRs own")])
def test_of_no_pr_or_several_none_is_taken(count: int, told: str) -> None:
    owners = [reference(PR.api_version, "PR", f"shop-pr{number}") for number in range(count)]
    with pytest.raises(Stays, match=told):
        pr_of(deployment("web", *owners))


def test_an_object_is_the_same_by_its_uid_only_and_while_it_stays() -> None:
    found = deployment()
    require_same(found, "uid-web")
    for uid in ("", "uid-other"):
        with pytest.raises(Stays, match="another object by now"):
            require_same(found, uid)
    found["metadata"]["deletionTimestamp"] = minutes_ago(1)
    with pytest.raises(Stays, match="being deleted already"):
        require_same(found, "uid-web")


def test_labels_and_the_replica_sets_name_lead_to_the_deployment() -> None:
    others = [deployment("web2"), deployment("we")]
    assert name_of(likely_deployment(owned_pod(), [*others, deployment()])) == "web"


UNSURE: dict[str, tuple[Any, Sequence[Any]]] = {
    "there is none": (owned_pod(), []),
    "it has another name": (owned_pod(), [deployment("other", selector={"matchLabels": {"app": "web"}})]),
    "its name only begins so": (owned_pod(hash_="x-5f7d"), [deployment("web-x", selector={"matchLabels": {}})]),
    "it does not select the pod": (owned_pod(), [deployment(selector={"matchLabels": {"app": "api"}})]),
    "it is younger than the pod": (owned_pod(age=100), [deployment(age=99)]),
    "its age is not known": (owned_pod(), [{**deployment(), "metadata": {"name": "web"}}]),
    "the pod has no hash": (owned_pod(hash_=""), [deployment()]),
}


@pytest.mark.parametrize(("waiting", "deployments"), UNSURE.values(), ids=UNSURE)
def test_without_a_sure_owner_none_is_taken(waiting: Any, deployments: Sequence[Any]) -> None:
    with pytest.raises(Stays, match="may not be read, and no Deployment is surely its owner"):
        likely_deployment(waiting, deployments)


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"app": "web"}},
        {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]},
        {"matchExpressions": [{"key": "app", "operator": "Resembles", "values": ["web"]}]},
    ],
)
def test_of_several_that_may_select_the_pod_none_is_taken(selector: Any) -> None:
    with pytest.raises(Stays, match="several Deployments select the pod: other, web"):
        likely_deployment(owned_pod(), [deployment(), deployment("other", selector=selector)])


NAMES = st.sampled_from(["web", "web-5f7d", "web-5f7d-5f7d", "api", "5f7d"])
SELECTORS = st.sampled_from([{}, {"app": "web"}, {"app": "api"}, {"tier": "front"}, {"app": "web", "tier": "front"}])


@given(
    true=NAMES,
    hash_=st.sampled_from(["5f7d", "5f7d-5f7d", "9c"]),
    labels=st.fixed_dictionaries({"app": st.sampled_from(["web", "api"])}, optional={"tier": st.just("front")}),
    others=st.dictionaries(NAMES, st.tuples(SELECTORS, st.integers(0, 200))),
    exists=st.booleans(),
)
def test_whatever_else_there_is_never_a_wrong_one(
    true: str, hash_: str, labels: dict[str, str], others: dict[str, tuple[dict[str, str], int]], exists: bool
) -> None:
    """Where the Deployment that made the pod is there, it is found or nothing is; and it is found when it is alone.

    Where it is gone, one of its name that came later is not taken for it."""
    waiting = owned_pod(true, hash_, labels=labels)
    deployments = [
        deployment(name, selector={"matchLabels": selector}, age=age)
        for name, (selector, age) in others.items()
        if name != true
    ]
    if exists:
        deployments.append(deployment(true, selector={"matchLabels": dict(labels)}, age=150))
    elif true in others:
        deployments.append(deployment(true, age=50))
    try:
        found = name_of(likely_deployment(waiting, deployments))
    except Stays:
        assert not exists or len(deployments) > 1
    else:
        assert exists
        assert found == true


def test_the_summary_is_a_sentence_of_counts() -> None:
    one = Tally(1, 1, {Result.DELETED: 1, Result.FAILED: 1})
    assert summary(one, SPACE, timedelta(minutes=1)) == (
        "1 pod in pr-env, 1 of them without an image and at least 1 minute old: 1 PR deleted, 0 left alone, 1 error"
    )
    more = Tally(12, 3, {Result.WOULD_DELETE: 2, Result.LEFT: 1})
    assert summary(more, SPACE, AGE) == (
        "12 pods in pr-env, 3 of them without an image and at least 100 minutes old: "
        "2 PRs would be deleted, 1 left alone, 0 errors"
    )
    assert summary(Tally(0, 0, {}), SPACE, AGE).endswith(": 0 PRs deleted, 0 left alone, 0 errors")

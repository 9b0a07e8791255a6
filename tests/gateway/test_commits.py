"""Which commit the pods of other workloads than Deployments show, and that an address shows one of them at a time."""

from __future__ import annotations

import asyncio
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.flows.watched import Watched, missing
from tests.gateway.test_endpoints import serving
from tests.gateway.test_gateways import Clock as WallClock
from tests.gateway.world import World, endpoint_slice, environment, stage, stored

from greenroom.core.commits import Origin, origin_of
from greenroom.flows.backends import Backends
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    Kind,
    Manifest,
    Ref,
)
from greenroom.runtime.informer import Informers

A, B = "a" * 40, "b" * 40
KINDS = [STATEFUL_SET, DAEMON_SET]


def workload(kind: Kind, commit: str, image: str = "", *, replicas: int = 2) -> dict[str, Any]:
    template = {"metadata": {"creationTimestamp": None}, "spec": {"containers": [{"image": image or commit}]}}
    spec: dict[str, Any] = {"template": template}
    status: dict[str, Any] = {"desiredNumberScheduled": replicas}
    if kind == STATEFUL_SET:
        spec, status = spec | {"replicas": replicas}, {}
    return _made(kind, "pr1", commit) | {"spec": spec, "status": status}


def revision(kind: Kind, number: int, commit: str, image: str = "") -> dict[str, Any]:
    """As the controller makes it: with the workload's annotations, and a patch as data."""
    template = {"metadata": {}, **workload(kind, commit, image)["spec"]["template"], "$patch": "replace"}
    del template["metadata"]["creationTimestamp"]
    made = _made(Kind("apps", "v1", "ControllerRevision"), f"pr1-{number}", commit)
    return made | {"data": {"spec": {"template": template}}, "revision": number}


def pods(kind: Kind, revision: int, *ports: int) -> list[Manifest]:
    label = f"pr1-{revision}" if kind == STATEFUL_SET else f"{revision}"
    made: list[Manifest] = []
    for port in ports:
        pod = _made(POD, f"pr1-{revision}-{port}", "")
        owner = {"apiVersion": "apps/v1", "kind": kind.name, "name": "pr1", "uid": "1", "controller": True}
        pod["metadata"] |= {"labels": {"controller-revision-hash": label}, "ownerReferences": [owner]}
        made += [pod, endpoint_slice("pr1", f"pr1-{revision}-{port}", port)]
    return made


def _made(kind: Kind, name: str, commit: str) -> dict[str, Any]:
    metadata = {"name": name, "annotations": {COMMIT_ANNOTATION: commit} if commit else {}}
    return stored({"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata})


def shown(*manifests: Manifest) -> dict[int, str]:
    """Port -> commit of what the address of ``pr1`` leads to, which has no Deployment."""
    rest = [each for each in environment(1, A) if each["kind"] not in {DEPLOYMENT.name, "ReplicaSet"}]
    return serving(World(*stage(), *rest, *manifests))


@pytest.mark.parametrize("kind", KINDS)
def test_pods_tell_the_commit_of_their_workload(kind: Kind) -> None:
    assert shown(workload(kind, A), revision(kind, 1, A), *pods(kind, 1, 1, 2)) == {1: A, 2: A}


@pytest.mark.parametrize("kind", KINDS)
def test_pods_that_a_push_leaves_alone_tell_the_new_commit(kind: Kind) -> None:
    """A database has the same template for every commit."""
    assert shown(workload(kind, B, "db"), revision(kind, 1, A, "db"), *pods(kind, 1, 1, 2)) == {1: B, 2: B}


@pytest.mark.parametrize("kind", KINDS)
def test_pods_are_not_taken_for_the_new_commit_before_they_are_replaced(kind: Kind) -> None:
    assert shown(workload(kind, B), revision(kind, 1, A), *pods(kind, 1, 1, 2)) == {1: A, 2: A}


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_shows_one_commit_during_a_rolling_update(kind: Kind) -> None:
    made = [workload(kind, B, replicas=3), revision(kind, 1, A), revision(kind, 2, B)]
    assert shown(*made, *pods(kind, 1, 1, 2), *pods(kind, 2, 3)) == {1: A, 2: A}
    assert shown(*made, *pods(kind, 1, 1), *pods(kind, 2, 2, 3)) == {1: A}
    assert shown(*made, *pods(kind, 2, 2, 3)) == {2: B, 3: B}
    assert shown(*made, *pods(kind, 1, 9), *pods(kind, 2, 1, 2, 3)) == {1: B, 2: B, 3: B}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_whose_revision_is_not_known_yet_waits_for_it(kind: Kind) -> None:
    made = [workload(kind, B), revision(kind, 1, A), *pods(kind, 1, 1)]
    assert shown(*made, *pods(kind, 2, 2)) == {1: A}


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_right_to_look_at_revisions_pods_serve_and_tell_no_commit(kind: Kind) -> None:
    assert shown(workload(kind, A), *pods(kind, 1, 1, 2)) == {1: "", 2: ""}


@pytest.mark.parametrize("kind", KINDS)
def test_a_revision_from_before_greenroom_tells_no_commit_once_it_is_the_old_one(kind: Kind) -> None:
    made = [workload(kind, B), revision(kind, 1, "", "old"), revision(kind, 2, B)]
    assert shown(*made, *pods(kind, 1, 1)) == {1: ""}
    assert shown(*made, *pods(kind, 1, 1), *pods(kind, 2, 2)) == {1: ""}
    assert shown(*made, *pods(kind, 1, 1), *pods(kind, 2, 2, 3)) == {2: B, 3: B}


def test_the_pod_of_a_job_tells_the_commit_of_the_job() -> None:
    pod = _made(POD, "pr1-x", "")
    pod["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "pr1", "uid": "1", "controller": True}]
    assert shown(_made(JOB, "pr1", B), pod, endpoint_slice("pr1", "pr1-x", 1)) == {1: B}


def test_whose_pod_it_is_is_told_by_its_namespace_too() -> None:
    """A workload of the same name elsewhere is another."""
    made = [deepcopy(each) for each in (workload(STATEFUL_SET, A), revision(STATEFUL_SET, 1, A))]
    for each in made:
        each["metadata"]["namespace"] = "elsewhere"
    (pod, _) = pods(STATEFUL_SET, 1, 1)
    assert origin_of(pod, World(*made)) == Origin("", is_known=False)
    assert World(*made).get(Ref(STATEFUL_SET, "elsewhere", "pr1")) is not None


@pytest.mark.parametrize(("kind", "is_blind"), [(STATEFUL_SET, False), (DAEMON_SET, False), (REPLICA_SET, True)])
async def test_what_only_tells_of_commits_blinds_nobody_by_being_forbidden(
    tmp_path: Path, kind: Kind, is_blind: bool
) -> None:
    with closing(Watched.open(tmp_path / "cluster.db", clock=WallClock())) as store:
        assert isinstance(store, Watched)
        store.refused[kind] = missing("list", f"{kind.name.lower()}s", "apps")
        informers = Informers(store)
        backends = Backends(informers, changed=lambda *_: None, turned=lambda: None)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informers.run())
            assert bool(await backends.follow(["pr-env"])) is is_blind
            running.cancel()

"""The life of a pull request's environment on a real Kubernetes, whose own controllers roll out its Deployment.

There is no node, so the tests say of pods what a kubelet would: that they run and are ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.contract.suite import MANAGER, eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    PR,
    REPLICA_SET,
    REVIEW_APP,
    SERVICE,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    get,
    is_deleting,
    items,
    owner_reference,
    ref_of,
    text,
    version_of,
)
from greenroom.model.pull import Action, PullEvent, PullRequest
from greenroom.runtime.informer import Informers

REPOSITORY = "https://github.com/acme/shop"
A, B = "a" * 40, "b" * 40
NAME = "pr{{PR_NUMBER}}"


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def resources() -> list[Json]:
    labels: Manifest = {"app": NAME}
    container: Manifest = {"name": "app", "image": "registry.invalid/shop:{{COMMIT_REF}}"}
    template: Manifest = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    rollout: Manifest = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    ports: Manifest = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"commit": "{{COMMIT_REF}}"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": ports},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": rollout},
    ]


def review_app(namespace: str, *wanted: Json) -> Manifest:
    return {
        "apiVersion": REVIEW_APP.api_version,
        "kind": REVIEW_APP.name,
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"githubRepository": REPOSITORY, "resources": wanted or resources()},
    }


def event(action: str, head: str, minute: int) -> PullEvent:
    pull = PullRequest(REPOSITORY, 7, head, open=action != "closed")
    return PullEvent(Action(action), pull, datetime(2026, 1, 31, 12, minute, tzinfo=UTC), "")


@asynccontextmanager
async def operator(cluster: KubeCluster) -> AsyncIterator[Intake]:
    informers = Informers(cluster)
    reconcile = Reconcile(cluster, informers, WallClock(), url_of=lambda host: f"http://{host}")
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(reconcile.run())]
    try:
        yield Intake(cluster, informers, WallClock())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Watched:
    """A namespace with the environment of pull request 7, whose pods all run as soon as they are there."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.pr = Ref(PR, namespace, "shop-pr7")
        self.children = [Ref(kind, namespace, "pr7") for kind in (CONFIG_MAP, SERVICE, DEPLOYMENT)]

    async def waits(self) -> bool:
        return text(await self._ready(), "status") == "False"

    async def says(self, reason: str, message: str) -> bool:
        ready = await self._ready()
        return text(ready, "reason") == reason and message in text(ready, "message")

    async def shows(self, commit: str) -> bool:
        await self._run_pods()
        shown = text(await self._cluster.get(self.pr), "status", "shownCommit")
        return (shown, text(await self._ready(), "status")) == (commit, "True")

    async def is_gone(self) -> bool:
        left = [ref for ref in (self.pr, *self.children) if await exists(self._cluster, ref)]
        for kind in (REPLICA_SET, POD):
            left += map(ref_of, (await self._cluster.list(kind, namespace=self._namespace)).items)
        return not left

    async def versions(self) -> dict[Ref, str]:
        return {ref: version_of(await self._cluster.get(ref)) for ref in self.children}

    async def _ready(self) -> Mapping[str, Json]:
        return condition_of(await self._cluster.get(self.pr), "Ready")

    async def _run_pods(self) -> None:
        for pod in (await self._cluster.list(POD, namespace=self._namespace)).items:
            if not condition_of(pod, "Ready") and not is_deleting(pod):
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z"}
                await self._cluster.patch_status(ref_of(pod), {"phase": "Running", "conditions": [ready]})


@pytest.fixture
async def watched(cluster: KubeCluster, namespace: str) -> Watched:
    await cluster.apply(review_app(namespace), manager=MANAGER)
    return Watched(cluster, namespace)


async def test_an_environment_follows_its_pull_request_to_the_end(cluster: KubeCluster, watched: Watched) -> None:
    async with operator(cluster) as intake:
        await intake.handle(event("opened", A, 0))
        await eventually("the environment waits for its pods", watched.waits)
        await eventually("it shows the commit", lambda: watched.shows(A))
        await intake.handle(event("synchronize", B, 1))
        await eventually("it shows the next commit", lambda: watched.shows(B))
        assert get(await cluster.get(watched.children[0]), "data", "commit") == B
        await intake.handle(event("closed", B, 2))
        await eventually("everything is gone", watched.is_gone)
        await intake.handle(event("synchronize", B, 1))
        assert not await exists(cluster, watched.pr)


async def test_an_operator_that_starts_again_writes_only_what_is_missing(
    cluster: KubeCluster, watched: Watched
) -> None:
    async with operator(cluster) as intake:
        await intake.handle(event("opened", A, 0))
        await eventually("it shows the commit", lambda: watched.shows(A))
    before = await watched.versions()
    lost, *kept = watched.children
    await cluster.delete(lost)
    async with operator(cluster):
        await eventually("what was lost is back", lambda: exists(cluster, lost))
        after = await watched.versions()
    assert {ref: after[ref] for ref in kept} == {ref: before[ref] for ref in kept}


async def test_an_object_that_another_controls_is_left_to_it_and_named(
    cluster: KubeCluster, watched: Watched, namespace: str
) -> None:
    kind: Manifest = {"apiVersion": "v1", "kind": "ConfigMap"}
    owner = await cluster.apply({**kind, "metadata": {"name": "owner", "namespace": namespace}}, manager=MANAGER)
    theirs: Json = {"name": "pr7", "namespace": namespace, "ownerReferences": [owner_reference(owner)]}
    before = await cluster.apply({**kind, "metadata": theirs, "data": {"commit": "theirs"}}, manager=MANAGER)
    async with operator(cluster) as intake:
        await intake.handle(event("opened", A, 0))
        await eventually("it is named", lambda: watched.says("NameTaken", "ConfigMap/pr7 belongs to ConfigMap/owner"))
        await eventually("the others are made", lambda: exists(cluster, watched.children[-1]))
    assert await cluster.get(ref_of(before)) == before


async def test_a_job_that_is_cleaned_away_when_it_has_finished_runs_once(cluster: KubeCluster, namespace: str) -> None:
    pods: Manifest = {"restartPolicy": "Never", "containers": [{"name": "seed", "image": "registry.invalid/shop:1"}]}
    ends: Manifest = {"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0, "backoffLimit": 0}
    job: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME},
        "spec": {**ends, "template": {"spec": pods}},
    }
    await cluster.apply(review_app(namespace, resources()[0], job), manager=MANAGER)
    pr, made, other = (
        Ref(kind, namespace, name)
        for kind, name in ((PR, "shop-pr7"), (Kind.of("batch/v1", "Job"), "pr7"), (CONFIG_MAP, "pr7"))
    )

    async def told() -> bool:
        return len(items(await cluster.get(pr), "status", "inventory")) == 2

    async def cleaned() -> bool:
        return not await exists(cluster, made)

    async def ready() -> bool:
        return text(condition_of(await cluster.get(pr), "Ready"), "status") == "True"

    async with operator(cluster) as intake:
        await intake.handle(event("opened", A, 0))
        await eventually("the Job is recorded", told)
        await eventually("the Job has been cleaned away", cleaned)
        await cluster.delete(other)  # another reason to look
        await eventually("what was deleted is there again", lambda: exists(cluster, other))
        assert await cleaned()
        await eventually("the environment is ready", ready)

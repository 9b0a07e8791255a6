"""``greenroom serve`` as its users run it: several processes, killed and cut off, against a real API server."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.cluster.failing import LOOKED, NAME, config_map, gateway_route, shown
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import SECRET, A, B, Installation, Replica
from tests.contract.suite import eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.core.autoscaling import AUTOSCALED
from greenroom.model.errors import GreenroomError, NotFound
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    EVENT,
    Json,
    Manifest,
    Ref,
    annotations_of,
    get,
    number,
    table,
    text,
    uid_of,
)


def deployment(**labels: str) -> Manifest:
    """Of no replicas: without a node, it is ready only so."""
    selected: Manifest = {"app": NAME, **labels}
    container: Manifest = {"name": "app", "image": "registry.invalid/shop:{{COMMIT_REF}}"}
    template: Manifest = {"metadata": {"labels": selected}, "spec": {"containers": [container]}}
    spec: Manifest = {"replicas": 0, "selector": {"matchLabels": selected}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(cluster, namespace, tmp_path, kubernetes)


async def test_either_replica_takes_webhooks_and_one_writes_until_it_is_killed(installed: Installation) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.pair() as (leader, other):
        await other.deliver(installed.repository, "opened", 1, A, 0)
        await leader.deliver(installed.repository, "opened", 2, A, 0)
        await eventually("both are shown", lambda: shown(installed, A, 1, 2))
        assert not await other.leads()
        assert await leader.environment_writes() >= 2
        assert await other.environment_writes() == 0
        assert await leader.metric('greenroom_environments{ready="True",reason="Ready"}') == 2
        assert await leader.metric("greenroom_webhook_to_ready_seconds_count") == 2

        await leader.end(signal.SIGKILL)
        await other.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the other carries on", lambda: installed.shows(1, B))
        assert await other.leads()


async def test_a_redelivery_and_a_restart_write_nothing(installed: Installation) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.replica() as first:
        await first.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        before = await installed.versions()
        await first.deliver(installed.repository, "opened", 1, A, 0)
        assert await first.end(signal.SIGTERM) == 143
    assert await installed.holder() == ""
    async with installed.replica() as second:
        await eventually("the next one leads", second.leads)
        await eventually("it looked at the environment", lambda: at_least(second, LOOKED, 1))
    assert await installed.versions() == before


async def test_the_api_server_goes_away_and_comes_back(installed: Installation, kubernetes: Kubernetes) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.pair() as (leader, other):
        await leader.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        async with kubernetes.without_api_server():
            with pytest.raises(GreenroomError, match="503"):
                await other.deliver(installed.repository, "synchronize", 1, B, 1)
            assert [await each.probe("/healthz") for each in (leader, other)] == [200, 200]
        await other.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("what came afterwards is shown", lambda: installed.shows(1, B))
        assert (await leader.leads(), await other.leads()) in ((True, False), (False, True))


async def test_a_replica_started_without_an_api_server_is_not_ready_until_it_is_there(
    installed: Installation, kubernetes: Kubernetes
) -> None:
    await installed.template(config_map())
    async with AsyncExitStack() as stack:
        async with kubernetes.without_api_server():
            replica = await stack.enter_async_context(installed.replica(ready=False))
            await eventually("it answers", lambda: answers(replica, "/readyz", 503))
            assert await replica.probe("/healthz") == 200
        await eventually("it is ready", replica.is_ready)
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))


async def test_a_field_that_cannot_be_changed_is_changed_by_making_the_object_anew(
    installed: Installation, cluster: KubeCluster
) -> None:
    await installed.template(deployment())
    ref = Ref(DEPLOYMENT, installed.namespace, "pr1")
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        before = uid_of(await cluster.get(ref))
        await installed.template(deployment(tier="web"))

        async def made_anew() -> bool:
            try:
                return uid_of(await cluster.get(ref)) != before
            except NotFound:
                return False

        await eventually("the Deployment is another one", made_anew)
        await eventually("it is shown again", lambda: installed.shows(1))
        selector = get(await cluster.get(ref), "spec", "selector", "matchLabels")
        assert selector == {"app": "pr1", "tier": "web"}
        events = (await cluster.list(EVENT, namespace=installed.namespace)).items
        told = [text(event, "message") for event in events if text(event, "reason") == "Replacing"]
        assert len(told) == 1
        assert "Deployment.apps/pr1" in told[0]
        assert "field is immutable" in told[0]


async def test_an_autoscaler_that_is_new_in_the_template_finds_as_many_replicas_as_there_were(
    installed: Installation,
) -> None:
    workload: Manifest = {**deployment(), "spec": {**table(deployment(), "spec"), "replicas": 3}}
    target: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    scaling: Json = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9}
    autoscaler: Manifest = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME},
        "spec": scaling,
    }
    ref, counts = Ref(DEPLOYMENT, installed.namespace, "pr1"), set[int]()

    async def is_(commit: str, *, autoscaled: bool) -> bool:
        if not await exists(installed.cluster, ref):
            return False
        found = await installed.cluster.get(ref)
        counts.add(number(found, "spec", "replicas"))
        annotations = annotations_of(found)
        return annotations[COMMIT_ANNOTATION] == commit and (AUTOSCALED in annotations) == autoscaled

    await installed.template(workload)
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is made", lambda: is_(A, autoscaled=False))
        await installed.template(workload, autoscaler)
        await eventually("it is the autoscaler's", lambda: is_(A, autoscaled=True))
        await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("a push changes it", lambda: is_(B, autoscaled=True))
        assert counts == {3}
        metadata: Manifest = {"name": "pr1", "namespace": installed.namespace}
        scaled: Manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 5},
        }
        await installed.cluster.apply(scaled, manager="scaler")
        await replica.deliver(installed.repository, "synchronize", 1, A, 2)
        await eventually("another push changes it", lambda: is_(A, autoscaled=True))
        assert number(await installed.cluster.get(ref), "spec", "replicas") == 5


async def test_every_log_line_about_an_environment_names_its_pull_request_and_none_has_the_secret(
    installed: Installation,
) -> None:
    await installed.template(
        {"apiVersion": "example.com/v1", "kind": "Missing", "metadata": {"name": NAME}}, config_map()
    )
    async with installed.replica() as replica:

        async def tells() -> bool:
            return any(line["event"] == "readiness changed" for line in replica.said())

        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it says what is missing", tells)
        await replica.end(signal.SIGTERM)
    lines = replica.said()
    pull = f"{installed.repository}/pull/1"
    assert [line["pull_request"] for line in lines if line["event"] == "delivery handled"] == [pull]
    reconciled = [line for line in lines if line.get("controller") == "environments"]
    assert {(line["environment"], line["pull_request"]) for line in reconciled} == {
        (f"{installed.namespace}/shop-pr1", pull)
    }
    assert SECRET not in str(lines)


async def at_least(replica: Replica, series: str, value: float) -> bool:
    return await replica.metric(series) >= value


async def answers(replica: Replica, path: str, status: int) -> bool:
    return await replica.probe(path) == status

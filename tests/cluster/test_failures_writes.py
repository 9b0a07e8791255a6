"""Writes that the API server refuses, and objects that go while they are written. ``greenroom serve``, as it is run.

Conflicts (409) of two replicas, and a server that fails (5xx), are in ``test_failures_queue``, 429 is in
``test_failures_busy``; that a second run writes nothing is in ``test_serve``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cluster.admission import holding
from tests.cluster.failing import applied, config_map, installation, made, ready, shown
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, B, Installation, Replica
from tests.cluster.proxy import Proxy
from tests.contract.suite import MANAGER, eventually, exists, gone, with_metadata

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.writes import Counted
from greenroom.app.lifecycle import SystemClock
from greenroom.flows.reconcile import Reconcile
from greenroom.model.errors import ClusterError, Forbidden
from greenroom.model.manifest import (
    CONFIG_MAP,
    NAMESPACE,
    PR,
    REVIEW_APP,
    Json,
    Kind,
    Manifest,
    Ref,
    is_deleting,
    ref_of,
    table,
    text,
)
from greenroom.model.mesh import VIRTUAL_NODE
from greenroom.runtime.informer import Informers

POLICY = Kind("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy")
POLICY_BINDING = Kind("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding")
QUOTA = Kind("", "v1", "ResourceQuota")
ALSO = "also-pr{{PR_NUMBER}}"


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return installation(cluster, namespace, tmp_path, kubernetes)


@pytest.fixture
async def elsewhere(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    """One whose environments are in a namespace of their own, without the lease."""
    name = f"{namespace}-previews"
    await cluster.apply(made(NAMESPACE, name), manager=MANAGER)
    return installation(cluster, name, tmp_path, kubernetes, lease_namespace=namespace)


async def is_told(installed: Installation, number: int) -> bool:
    return text(await ready(installed, number), "reason") == "ApplyFailed"


async def test_a_pr_object_deleted_while_its_objects_are_written_leaves_nothing_behind(
    installed: Installation, tmp_path: Path
) -> None:
    """There is no finalizer to keep it: the write is given up, and what is there all the same is found and deleted."""
    await installed.template(config_map(), config_map(ALSO))
    late, early = (Ref(CONFIG_MAP, installed.namespace, name) for name in ("pr1", "also-pr1"))
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        async with holding(installed.cluster, installed.namespace, tmp_path, late.name) as held:
            await replica.deliver(installed.repository, "opened", 1, A, 0)
            await eventually("a write is under way", held.waits)
            await eventually("another is done", lambda: exists(installed.cluster, early))
            await installed.cluster.delete(Ref(PR, installed.namespace, "shop-pr1"))
            await gone(installed.cluster, early)
            held.let_go()
            await replica.deliver(installed.repository, "opened", 2, A, 0)
            await eventually("the next one is shown", lambda: installed.shows(2))
            await gone(installed.cluster, late)


async def test_what_was_written_is_known_before_the_watch_brings_it(
    kubernetes: Kubernetes, installed: Installation, namespace: str
) -> None:
    await installed.template(config_map())
    prs = [Ref(PR, namespace, f"shop-pr{number}") for number in (1, 2)]
    for number, pr in enumerate(prs, 1):
        spec: Manifest = {"parentReviewApp": "shop", "prNumber": str(number), "headCommitRef": A}
        await installed.cluster.apply(made(PR, pr.name, namespace, spec=spec), manager=MANAGER)
    writes: list[tuple[str, Kind, str]] = []
    counted = Counted(installed.cluster, lambda *write: writes.append(write))
    async with Proxy(kubernetes.admin) as proxy, KubeCluster(proxy.connection) as far:
        informers = Informers(far)
        reconcile = Reconcile(counted, informers, SystemClock(), url_of=str, namespace=namespace)
        following = asyncio.create_task(informers.run())
        try:
            await reconcile.reconcile(prs[0])
            proxy.abandon()  # every watch that there is by now
            await reconcile.reconcile(prs[1])
            assert ("apply", CONFIG_MAP, "ok") in writes
            writes.clear()
            await reconcile.reconcile(prs[1])
            assert writes == []
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_what_a_policy_forbids_is_told_while_everything_else_is_done(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    async def is_allowed() -> bool:
        try:
            await cluster.apply(made(CONFIG_MAP, "unlucky", namespace), manager=MANAGER)
        except Forbidden:
            return False
        await cluster.delete(Ref(CONFIG_MAP, namespace, "unlucky"))
        return True

    async def is_forbidden() -> bool:
        return not await is_allowed()

    await installed.template(config_map(), config_map(ALSO))
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        async with applied(cluster, *denying(namespace, "pr1", "unlucky")):
            await eventually("the policy is known", is_forbidden)
            for number in (1, 2):
                await replica.deliver(installed.repository, "opened", number, A, 0)
            await eventually("it is told", lambda: is_told(installed, 1))
            assert "ConfigMap/pr1: " in text(await ready(installed, 1), "message")
            assert "this name is unlucky" in text(await ready(installed, 1), "message")
            assert await exists(cluster, Ref(CONFIG_MAP, namespace, "also-pr1"))
            await eventually("the other environment is shown", lambda: installed.shows(2))
        await eventually("the policy is forgotten", is_allowed)
        await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("without the policy it is shown", lambda: installed.shows(1, B))


async def test_what_is_over_a_quota_is_told_and_done_when_there_is_room(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    await installed.template(config_map())

    async def is_counted() -> bool:
        return bool(table(await cluster.get(Ref(QUOTA, namespace, "few")), "status", "used"))

    await cluster.apply(quota(namespace, 2), manager=MANAGER)  # Kubernetes puts one into each namespace
    await eventually("the quota is known", is_counted)
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("the first is shown", lambda: installed.shows(1))
        await replica.deliver(installed.repository, "opened", 2, A, 0)
        await eventually("it is told", lambda: is_told(installed, 2))
        assert "exceeded quota: few" in text(await ready(installed, 2), "message")
        await cluster.apply(quota(namespace, 3), manager=MANAGER)
        await replica.deliver(installed.repository, "synchronize", 2, B, 1)
        await eventually("with more room it is shown", lambda: installed.shows(2, B))
        assert await installed.shows(1)


async def test_an_object_that_etcd_has_no_room_for_is_told_while_the_others_are_done(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    """The template fits, and grows beyond 1.5 MB when it is filled in."""
    await installed.template(
        made(VIRTUAL_NODE, "pr{{PR_NUMBER}}", spec={"note": "{{COMMIT_REF}}" * 50_000}), config_map()
    )
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is told", lambda: is_told(installed, 1))
        told = text(await ready(installed, 1), "message")
        assert told.startswith("VirtualNode.appmesh.k8s.aws/pr1: ")
        assert "large" in told
        assert await exists(cluster, Ref(CONFIG_MAP, namespace, "pr1"))


async def test_a_status_that_etcd_has_no_room_for_is_logged_and_stops_no_other_environment(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    await installed.template(config_map())
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        await largest(cluster, namespace)
        await eventually("its objects are made", lambda: exists(cluster, Ref(CONFIG_MAP, namespace, "pr1")))
        await replica.deliver(installed.repository, "opened", 2, A, 0)
        await eventually("another environment is shown", lambda: installed.shows(2))

        async def is_logged() -> bool:
            return any(
                line.get("environment") == f"{namespace}/shop-pr1" and "too large" in text(line, "error")
                for line in replica.said()
            )

        await eventually("the log says why there is no status", is_logged)
        assert await replica.probe("/healthz") == 200


async def test_a_namespace_deleted_with_its_environments_comes_back_empty_and_is_used_again(
    elsewhere: Installation, cluster: KubeCluster
) -> None:
    previews = Ref(NAMESPACE, "", elsewhere.namespace)
    await elsewhere.template(config_map())
    async with elsewhere.replica() as replica:
        for number in (1, 2):
            await replica.deliver(elsewhere.repository, "opened", number, A, 0)
        await eventually("both are shown", lambda: shown(elsewhere, A, 1, 2))
        await cluster.delete(previews)
        await gone(cluster, previews)
        await replica.deliver(elsewhere.repository, "synchronize", 1, B, 1)  # no ReviewApp, nothing to do
        assert [await replica.probe(path) for path in ("/healthz", "/readyz")] == [200, 200]
        # The ReviewApp may go before its PR objects, which are then said to lack it.
        troubles = [line for line in replica.said() if line["level"] in ("warning", "error", "critical")]
        assert [line for line in troubles if line.get("reason") != "ReviewAppNotFound"] == []

        await cluster.apply(made(NAMESPACE, elsewhere.namespace), manager=MANAGER)
        await elsewhere.template(config_map())
        await eventually("there is a ReviewApp again", lambda: is_made(replica, elsewhere, 1))
        await eventually("it is shown", lambda: elsewhere.shows(1, B))
    await cluster.delete(previews)


async def is_made(replica: Replica, installed: Installation, number: int) -> bool:
    await replica.deliver(installed.repository, "synchronize", number, B, 1)
    return await exists(installed.cluster, Ref(PR, installed.namespace, f"shop-pr{number}"))


def quota(namespace: str, config_maps: int) -> Manifest:
    return made(QUOTA, "few", namespace, spec={"hard": {"count/configmaps": str(config_maps)}})


def denying(namespace: str, *names: str) -> tuple[Manifest, Manifest]:
    """No ConfigMap of these names may be written."""
    rule: Json = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
    }
    where: Json = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    validation: Json = {"expression": f"!(object.metadata.name in {list(names)})", "message": "this name is unlucky"}
    spec: Json = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": where},
        "validations": [validation],
    }
    binding: Json = {"policyName": namespace, "validationActions": ["Deny"]}
    return made(POLICY, namespace, spec=spec), made(POLICY_BINDING, namespace, spec=binding)


async def largest(cluster: KubeCluster, namespace: str) -> None:
    """Make a PR object by hand that is so large that no status fits beside it."""
    spec: Manifest = {"parentReviewApp": "shop", "prNumber": "1", "headCommitRef": A}
    for size in range(1_572_800, 1_571_000, -100):
        large: Json = {"name": "LARGE", "value": "x" * size}
        with suppress(ClusterError):
            await cluster.apply(made(PR, "shop-pr1", namespace, spec={**spec, "envVars": [large]}), manager=MANAGER)
            return
    pytest.fail("no PR object fits")


async def test_a_push_for_a_review_app_that_is_being_deleted_is_answered_and_brings_nothing(
    elsewhere: Installation, cluster: KubeCluster
) -> None:
    """A finalizer of somebody's keeps the ReviewApp, and with it the namespace that is being deleted, kind by kind."""
    previews, app = Ref(NAMESPACE, "", elsewhere.namespace), made(REVIEW_APP, "shop", elsewhere.namespace)
    pr = Ref(PR, elsewhere.namespace, "shop-pr1")

    async def goes() -> bool:
        return is_deleting(await cluster.get(ref_of(app)))

    await elsewhere.template(config_map())
    await cluster.apply(with_metadata(app, finalizers=["example.com/keep"]), manager="keeper")
    async with elsewhere.replica() as replica:
        await replica.deliver(elsewhere.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: elsewhere.shows(1))
        await cluster.delete(previews)
        await gone(cluster, pr)
        await eventually("the ReviewApp is being deleted", goes)
        await replica.deliver(elsewhere.repository, "synchronize", 1, B, 1)
        await replica.deliver(elsewhere.repository, "closed", 2, B, 1)
        assert not await exists(cluster, pr)
        await cluster.apply(app, manager="keeper")
        await gone(cluster, previews)

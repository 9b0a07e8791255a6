"""`greenroom cleanup` with the rights of the Role that was published, which has none on ReplicaSets, and of our own."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.kubernetes import MANAGER, Kubernetes
from tests.cluster.node.published import filled
from tests.contract.suite import container, deployment, eventually, exists, gone, pull_request, with_metadata

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import Forbidden
from greenroom.model.manifest import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    items,
    kind_of,
    name_of,
    owner_reference,
    ref_of,
    table,
    text,
)

OURS = Path(__file__).parents[2] / "deploy" / "cleanup.yaml"
ACCOUNT = "pr-cleanup"
MANIFESTS: dict[str, Callable[[], str]] = {"published": lambda: filled("cleanup.yaml"), "ours": OURS.read_text}


def objects(source: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(MANIFESTS[source]()) if each]


@dataclass(frozen=True, slots=True)
class Job:
    """What the job does in a namespace, run on this machine as its ServiceAccount."""

    cluster: KubeCluster
    namespace: str
    kubeconfig: Path
    kubectl: Kubectl

    async def run(self, *options: str, **variables: str) -> tuple[int, str, str]:
        """Exit code, output, and what went to the error output. Every pod is old enough."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": "src",
            "NAMESPACE": self.namespace,
            "AGE": "0",
            **variables,
        }
        process = await asyncio.create_subprocess_exec(
            *(".venv/bin/greenroom", "cleanup", "--kubeconfig", str(self.kubeconfig), *options),
            env=environment,
            stdout=PIPE,
            stderr=PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def environment(self, number: int, reason: str, *, replicas: int = 1) -> Ref:
        """A PR object and what Kubernetes makes of its Deployment; its pods' containers wait for that. Without a node,
        nobody else says anything of them."""
        name = f"pr{number}"
        pr = await self.cluster.apply(with_metadata(pull_request(self.namespace), name=f"shop-{name}"), manager=MANAGER)
        labels: Json = {"app": name}
        pods: Json = {"metadata": {"labels": labels}, "spec": {"containers": [container("web")]}}
        made = with_metadata(deployment(self.namespace), name=name, ownerReferences=[owner_reference(pr)])
        spec: Json = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pods}
        await self.cluster.apply({**made, "spec": spec}, manager=MANAGER)
        await eventually("its pods are there", lambda: self._has_pods(name, replicas))
        for pod in await self._pods(name):
            await self.says(ref_of(pod), reason)
        return ref_of(pr)

    async def says(self, pod: Ref, reason: str) -> None:
        state: Json = {"waiting": {"reason": reason}} if reason else {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
        status: Json = {"name": "web", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        await self.cluster.patch_status(pod, {"containerStatuses": [status]})

    async def may(self, verb: str, kind: str) -> str:
        """``yes`` or ``no``, with which kubectl fails."""
        account = f"--as=system:serviceaccount:{self.namespace}:{ACCOUNT}"
        try:
            return (await self.kubectl("auth", "can-i", verb, kind, account)).strip()
        except KubectlFailed:
            return "no"

    async def _has_pods(self, name: str, count: int) -> bool:
        return len(await self._pods(name)) == count

    async def _pods(self, name: str) -> list[Manifest]:
        return list((await self.cluster.list(POD, namespace=self.namespace, labels=f"app={name}")).items)


@pytest.fixture(params=sorted(MANIFESTS))
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def job(
    source: str, cluster: KubeCluster, kubernetes: Kubernetes, namespace: str, binaries: Path, tmp_path: Path
) -> Job:
    """Its manifest is applied, and its rights are in force."""
    config = yaml.safe_load(kubernetes.kubeconfig.read_text())
    config["users"][0]["user"]["as"] = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    kubectl = Kubectl(binaries / "kubectl", kubernetes.kubeconfig, namespace)
    await kubectl("apply", "--filename=-", given=MANIFESTS[source]())
    job = Job(cluster, namespace, kubeconfig, kubectl)

    async def may_list() -> bool:
        return await job.may("list", "pods") == "yes"

    await eventually("the rights are given", may_list)
    return job


async def test_who_waits_in_vain_goes_with_all_that_is_his(job: Job) -> None:
    vain, running = await job.environment(7, "ImagePullBackOff", replicas=2), await job.environment(8, "")
    code, output, errors = await job.run("--dry-run")
    assert (code, output) == (0, "Would delete pr: shop-pr7\n")
    assert await exists(job.cluster, vain)
    code, output, errors = await job.run()
    assert (code, output) == (0, "Deleted pr: shop-pr7\n")
    assert errors == (
        f"3 pods in {job.namespace}, 2 of them without an image and at least 0 minutes old: "
        "1 PR deleted, 0 left alone, 0 errors\n"
    )
    await gone(job.cluster, vain)
    await gone(job.cluster, Ref(DEPLOYMENT, job.namespace, "pr7"))
    assert await exists(job.cluster, running)
    assert await exists(job.cluster, Ref(DEPLOYMENT, job.namespace, "pr8"))


async def test_pods_that_are_not_old_enough_are_waited_for(job: Job) -> None:
    vain = await job.environment(7, "ImagePullBackOff")
    code, output, _ = await job.run(AGE="60")
    assert (code, output) == (0, "")
    assert await exists(job.cluster, vain)


@pytest.mark.parametrize("source", ["published"], indirect=True)
async def test_without_rights_on_replica_sets_a_deployment_that_is_not_sure_is_not_taken(job: Job) -> None:
    with pytest.raises(Forbidden):
        await job.cluster.impersonating(f"system:serviceaccount:{job.namespace}:{ACCOUNT}").list(
            REPLICA_SET, namespace=job.namespace
        )
    vain = await job.environment(7, "ErrImagePull")
    selector: Json = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    pods: Json = {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": [container("web")]}}
    other = with_metadata(deployment(job.namespace), name="other")
    await job.cluster.apply({**other, "spec": {"replicas": 0, "selector": selector, "template": pods}}, manager=MANAGER)
    code, output, errors = await job.run()
    assert (code, output) == (0, "")
    assert "several Deployments select the pod: other, pr7" in errors
    assert await exists(job.cluster, vain)


async def test_what_may_not_be_deleted_is_an_error_of_the_job(job: Job) -> None:
    vain = await job.environment(7, "InvalidImageName")
    (role,) = (each for each in objects("ours") if each["kind"] == "Role")
    rules: Any = [{**rule, "verbs": ["get", "list"]} for rule in items(role, "rules") if isinstance(rule, dict)]
    await job.kubectl("apply", "--filename=-", given=yaml.safe_dump({**role, "rules": rules}))

    async def may_not_delete() -> bool:
        return await job.may("delete", "prs.kubetempura.mercari.com") == "no"

    await eventually("the right is taken away", may_not_delete)
    code, output, errors = await job.run()
    assert (code, output) == (1, "")
    assert "pr shop-pr7 failed: " in errors
    assert errors.endswith(", 1 error\n")
    assert await exists(job.cluster, vain)


def containers(manifests: Iterable[Manifest]) -> Json:
    (job,) = (each for each in manifests if text(each, "kind") == "CronJob")
    return table(job, "spec", "jobTemplate", "spec", "template", "spec", "containers", 0)


def test_our_manifest_takes_the_place_of_the_published_one() -> None:
    """Applied over it, nothing of it stays behind under another name."""
    assert {(kind_of(each), name_of(each)) for each in objects("ours")} == {
        (kind_of(each), name_of(each)) for each in objects("published")
    }
    assert items(containers(objects("ours")), "args") == ["cleanup"]
    assert [text(each, "name") for each in items(containers(objects("ours")), "env")] == ["NAMESPACE", "AGE"]


@pytest.mark.parametrize("source", ["published"], indirect=True)
async def test_our_manifest_can_be_applied_over_the_published_one(job: Job) -> None:
    await job.kubectl("apply", "--filename=-", given=MANIFESTS["ours"]())
    (there,) = (await job.cluster.list(Kind("batch", "v1", "CronJob"), namespace=job.namespace)).items
    assert items(containers([there]), "env") == [
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
        {"name": "AGE", "value": "60"},
    ]

    async def is_in_force() -> bool:
        return (await job.may("list", "replicasets.apps"), await job.may("delete", "pods")) == ("yes", "no")

    await eventually("its Role is in force", is_in_force)


def test_our_role_lets_nobody_delete_anything_but_prs() -> None:
    (role,) = (each for each in objects("ours") if each["kind"] == "Role")
    deletes = [items(rule, "resources") for rule in items(role, "rules") if "delete" in items(rule, "verbs")]
    assert deletes == [["prs"]]
    assert "*" not in str(role)


async def test_the_api_server_takes_our_manifest(cluster: KubeCluster, kubernetes: Kubernetes, namespace: str) -> None:
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        for manifest in objects("ours"):
            ref = ref_of(manifest)
            plural = (await cluster.resource(ref.kind)).plural
            root = f"/apis/{ref.kind.api_version}" if ref.kind.group else f"/api/{ref.kind.version}"
            await server.request(
                "PATCH",
                f"{root}/namespaces/{namespace}/{plural}/{ref.name}",
                params={"dryRun": "All", "fieldManager": MANAGER, "fieldValidation": "Strict"},
                body=manifest,
                headers={"Content-Type": "application/apply-patch+yaml"},
            )


async def test_pod_security_of_the_strictest_level_takes_our_pod(
    cluster: KubeCluster, kubernetes: Kubernetes, namespace: str
) -> None:
    labels: Json = {"pod-security.kubernetes.io/enforce": "restricted"}
    strict: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    await cluster.apply(strict, manager="pod-security")
    (job,) = (each for each in objects("ours") if each["kind"] == "CronJob")
    template = table(job, "spec", "jobTemplate", "spec", "template")
    spec: Json = {**table(template, "spec"), "serviceAccountName": "default"}
    pod: Manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cleanup"}, "spec": spec}
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        await server.request("POST", f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, body=pod)

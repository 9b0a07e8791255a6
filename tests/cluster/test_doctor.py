"""`greenroom doctor` against a real API server: what it finds there, that its cures work, and what it may not read."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import MANAGER, Kubernetes
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.app.doctor import examine
from greenroom.core.doctor import CHECKS, kinds_read
from greenroom.core.findings import Finding
from greenroom.core.injection import INJECT
from greenroom.model.errors import NotFound
from greenroom.model.manifest import (
    DEPLOYMENT,
    MUTATING_WEBHOOKS,
    NAMESPACE,
    POD,
    VALIDATING_WEBHOOKS,
    Kind,
    Ref,
    labels_of,
)
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY

DEAD = "finalizers.appmesh.k8s.aws/aws-appmesh-resources"
ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole")
BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding")


async def findings(cluster: KubeCluster, name: str) -> dict[str, Finding]:
    """By reason, those about objects that have ``name`` in theirs: other tests have objects here, too."""
    found = (await examine(cluster)).findings
    return {finding.reason: finding for finding in found if any(name in each for each in finding.objects)}


async def gone(cluster: KubeCluster, ref: Ref) -> bool:
    try:
        await cluster.get(ref)
    except NotFound:
        return True
    return False


@asynccontextmanager
async def applied(cluster: KubeCluster, kind: Kind, name: str, **content: Any) -> AsyncIterator[None]:
    """An object without a namespace, until the block ends."""
    manifest = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, **content}
    await cluster.apply(manifest, manager=MANAGER)
    try:
        yield
    finally:
        with suppress(NotFound):
            await cluster.delete(Ref(kind, "", name))


@pytest.fixture
def kubectl(kubernetes: Kubernetes, binaries: Path, namespace: str) -> Kubectl:
    return Kubectl(binaries / "kubectl", kubernetes.kubeconfig, namespace)


def route(namespace: str, **metadata: Any) -> Any:
    target = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    return {
        "apiVersion": GATEWAY_ROUTE.api_version,
        "kind": "GatewayRoute",
        "metadata": {"name": "web", "namespace": namespace, **metadata},
        "spec": {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}},
    }


def gateway(namespace: str) -> Any:
    return {
        "apiVersion": VIRTUAL_GATEWAY.api_version,
        "kind": "VirtualGateway",
        "metadata": {"name": "ingress-gw", "namespace": namespace},
        "spec": {
            "namespaceSelector": {"matchLabels": {"mesh": namespace}},
            "podSelector": {"matchLabels": {"app": "ingress-gw"}},
            "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        },
    }


async def cure(kubectl: Kubectl, finding: Finding) -> None:
    for line in finding.cure.splitlines():
        program, *words = shlex.split(line)
        assert program == "kubectl"
        await kubectl(*words)


@pytest.mark.parametrize("kind", [MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS], ids=str)
async def test_left_over_webhooks_are_found_and_their_cure_removes_them(
    cluster: KubeCluster, kubectl: Kubectl, namespace: str, kind: Kind
) -> None:
    webhook = {
        "name": "gatewayroute.appmesh.k8s.aws",
        "clientConfig": {"service": {"name": "gone", "namespace": namespace}},
        "rules": [
            {
                "apiGroups": ["appmesh.k8s.aws"],
                "apiVersions": ["v1beta2"],
                "operations": ["CREATE"],
                "resources": ["gatewayroutes"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    async with applied(cluster, kind, f"appmesh-{namespace}", webhooks=[webhook]):
        found = await findings(cluster, namespace)
        assert found["LeftOverWebhook"].message.endswith("each write of these is refused")
        await cure(kubectl, found["LeftOverWebhook"])
        assert await gone(cluster, Ref(kind, "", f"appmesh-{namespace}"))


async def test_what_hangs_is_let_go_of(cluster: KubeCluster, kubectl: Kubectl, namespace: str) -> None:
    await cluster.apply(route(namespace, finalizers=[DEAD]), manager=MANAGER)
    ref = Ref(GATEWAY_ROUTE, namespace, "web")
    await cluster.delete(ref)
    assert not await gone(cluster, ref)
    await cure(kubectl, (await findings(cluster, namespace))["Held"])
    assert await gone(cluster, ref)


async def test_a_namespace_becomes_one_with_a_gateway(cluster: KubeCluster, kubectl: Kubectl, namespace: str) -> None:
    """From nothing but the objects to a gateway that lacks nothing but a Greenroom, by the cures alone."""
    selector = {"namespaceSelector": {"matchLabels": {"mesh": namespace}}}
    async with applied(cluster, MESH, namespace, spec=selector):
        await cluster.apply(gateway(namespace), manager=MANAGER)
        await cluster.apply(route(namespace), manager=MANAGER)
        found = await findings(cluster, namespace)
        assert {"NotLabelled", "NoVirtualGateway", "NoPods"} <= found.keys()
        await cure(kubectl, found["NotLabelled"])
        await cure(kubectl, found["NoVirtualGateway"])
        labels = labels_of(await cluster.get(Ref(NAMESPACE, "", namespace)))
        assert (labels["mesh"], labels[INJECT]) == (namespace, "enabled")
        assert not {"NotLabelled", "NoVirtualGateway", "NoMesh"} & (await findings(cluster, namespace)).keys()


async def test_a_gateway_from_app_meshs_time_is_started_anew(
    cluster: KubeCluster, kubectl: Kubectl, namespace: str
) -> None:
    labels = {"app": "ingress-gw"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "envoy", "image": "registry.example.com/aws-appmesh-envoy:v1.24.1.0-prod"}]},
    }
    metadata = {"name": "ingress-gw", "namespace": namespace}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    deployment: Any = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    await cluster.apply(deployment, manager=MANAGER)
    await cluster.apply(gateway(namespace), manager=MANAGER)

    async def has_a_pod() -> bool:
        return bool((await cluster.list(POD, namespace=namespace)).items)

    await eventually("the Deployment has a pod", has_a_pod)
    finding = (await findings(cluster, namespace))["NotGreenroomsEnvoy"]
    assert finding.objects == (f"Deployment {namespace}/ingress-gw",)
    before: Any = await cluster.get(Ref(DEPLOYMENT, namespace, "ingress-gw"))
    await cure(kubectl, finding)
    after: Any = await cluster.get(Ref(DEPLOYMENT, namespace, "ingress-gw"))
    assert after["metadata"]["generation"] > before["metadata"]["generation"]


async def test_who_may_read_nothing_is_told_every_right_that_is_missing(
    kubernetes: Kubernetes, cluster: KubeCluster
) -> None:
    served = {resource.kind for resource in await cluster.resources()}  # not Gateway API's, unless a test needs them
    async with KubeCluster(kubernetes.nobody) as nobody:
        report = await examine(nobody)
    assert report.unread.keys() == set(kinds_read()) & served
    assert "may not list pods at cluster scope" in report.unread[POD]
    assert "resources: [pods], verbs: [get, list, watch]" in report.unread[POD]
    assert set(report.skipped) == {check.name for check in CHECKS if served & {*check.reads}}
    assert report.needs_somebody


async def test_who_may_read_a_part_is_told_of_that_part(
    kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    resources = ["meshes", "virtualgateways", "gatewayroutes"]
    rules = [
        {"apiGroups": ["appmesh.k8s.aws"], "resources": resources, "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]},
    ]
    await cluster.apply(route(namespace), manager=MANAGER)
    subject = {"kind": "User", "name": namespace, "apiGroup": ROLE.group}
    reference = {"kind": "ClusterRole", "name": namespace, "apiGroup": ROLE.group}
    async with (
        applied(cluster, ROLE, namespace, rules=rules),
        applied(cluster, BINDING, namespace, subjects=[subject], roleRef=reference),
    ):
        person = cluster.impersonating(namespace)

        async def may_list() -> bool:
            return GATEWAY_ROUTE not in (await examine(person)).unread

        await eventually("the role is known", may_list)
        report = await examine(person)
        assert any(f"GatewayRoute {namespace}/web" in finding.objects for finding in report.findings)
        assert POD in report.unread


async def test_the_command(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> None:
    await cluster.apply(route(namespace), manager=MANAGER)
    words = ("-m", "greenroom.cli", "doctor", "--kubeconfig", str(kubernetes.kubeconfig), "-o", "json")
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    named = [name for finding in json.loads(output)["findings"] for name in finding["objects"]]
    assert (process.returncode, f"GatewayRoute {namespace}/web" in named) == (1, True)

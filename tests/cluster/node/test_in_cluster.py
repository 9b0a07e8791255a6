"""The operator where it belongs: in the cluster, from its own image and chart, with the rights that the chart gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster.helm import Helm
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import MANAGER, Kubernetes
from tests.cluster.node.images import Images
from tests.cluster.node.machine import processes
from tests.cluster.node.published import GATEWAY, REPOSITORY, TEAM, Answer, Team, page, team
from tests.cluster.operators import SECRET, A, B, deliver
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.app.serve import LEASE_NAME
from greenroom.model.manifest import DEPLOYMENT, POD, SERVICE, Json, Manifest, Ref, items, number, text
from greenroom.runtime.leader import LEASE

HOME = "kubetempura-system"
"""Where KubeTempura was: what leads webhooks there stays as it is."""

WEBHOOKS = Ref(SERVICE, HOME, "github-service")
RELEASE = "greenroom"
SELECTOR = f"app.kubernetes.io/name={RELEASE}"
NOBODY = "65532"
TAG = "test"
ENVOY_TAG = "distroless-v1.40.0"
"""As the chart's ``gateways.envoyImage`` has it."""

pytestmark = pytest.mark.timeout(300)


def before_greenroom() -> list[Manifest]:
    """What somebody with KubeTempura has: its namespace, the webhook's secret, and the Service of its example."""
    ports: Json = [{"port": 3000, "targetPort": 3000}]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "github-webhook", "namespace": HOME},
            "stringData": {"secret": SECRET},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": WEBHOOKS.name, "namespace": HOME},
            "spec": {"selector": {"control-plane": "controller-manager"}, "ports": ports},
        },
    ]


@dataclass(frozen=True, slots=True)
class Operator:
    """A release of the chart, in ``HOME``."""

    cluster: KubeCluster
    kubectl: Kubectl

    async def pods(self) -> list[Manifest]:
        return list((await self.cluster.list(POD, namespace=HOME, labels=SELECTOR)).items)

    async def is_up(self) -> bool:
        """Whether both replicas are ready."""
        return number(await self.cluster.get(Ref(DEPLOYMENT, HOME, RELEASE)), "status", "readyReplicas") == 2

    async def is_gone(self) -> bool:
        return not await self.pods()

    async def leader(self) -> str:
        """The name of its pod."""
        lease = await self.cluster.get(Ref(LEASE, HOME, LEASE_NAME))
        return text(lease, "spec", "holderIdentity").partition("_")[0]

    async def has_other_leader(self, than: str) -> bool:
        return await self.leader() not in ("", than)

    async def deliver(self, action: str, head: str, minute: int) -> None:
        """Send a webhook to the Service that led to KubeTempura."""
        address = text(await self.cluster.get(WEBHOOKS), "spec", "clusterIP")
        await deliver(f"http://{address}:3000", REPOSITORY, action, 7, head, minute)

    async def said(self) -> str:
        """The logs of all pods; one that comes or goes just now may be left out."""
        return await self.kubectl("logs", f"--selector={SELECTOR}", "--tail=-1", "--ignore-errors")


@pytest.fixture
async def pr_env(cluster: KubeCluster, kubernetes: Kubernetes, binaries: Path) -> AsyncIterator[Team]:
    async with team(cluster, Kubectl(binaries / "kubectl", kubernetes.kubeconfig, TEAM)) as pr_env:
        await pr_env.apply("reviewapp.yaml")
        yield pr_env


@pytest.fixture
def helm(binaries: Path, tmp_path: Path) -> Helm:
    return Helm(binaries / "helm", tmp_path, RELEASE, HOME)


@asynccontextmanager
async def installed(helm: Helm, kubernetes: Kubernetes, pr_env: Team, images: Images) -> AsyncIterator[Operator]:
    """The release is there in this block."""
    for manifest in before_greenroom():
        await pr_env.cluster.apply(manifest, manager=MANAGER)
    images.push_envoy(ENVOY_TAG)
    image = {"repository": images.push_operator(TAG), "tag": TAG}
    helm.install({"image": image, "environments": {"namespaces": [TEAM]}}, kubernetes)
    try:
        operator = Operator(pr_env.cluster, Kubectl(pr_env.kubectl.program, kubernetes.kubeconfig, HOME))
        await eventually("both replicas are ready", operator.is_up)
        yield operator
    finally:
        helm.uninstall(kubernetes)


async def test_the_published_gateway_comes_up_with_upstream_envoy_and_leads_to_the_commit(
    helm: Helm, kubernetes: Kubernetes, pr_env: Team, images: Images
) -> None:
    for commit in (A, B):
        images.push_shop(f"pr7-{commit}", commit)
    async with installed(helm, kubernetes, pr_env, images) as operator:
        await restarted_gateway(pr_env)
        assert (await pr_env.visit()).status == 404
        await operator.deliver("opened", A, 0)
        await eventually("it shows the commit", lambda: pr_env.shows(A))
        assert await pr_env.visit() == Answer(200, A, A)
        await pr_env.kubectl("wait", "--for=condition=GatewayRouteActive", "gatewayroute/pr7", "--timeout=10s")

        await operator.deliver("synchronize", B, 1)
        await eventually("it shows the next commit", lambda: pr_env.shows(B))
        assert await pr_env.visit() == Answer(200, B, B)

        late = "c" * 40
        await operator.deliver("synchronize", late, 2)
        await eventually("the image is missing", lambda: is_missing(pr_env))
        assert await pr_env.visit() == Answer(200, B, B)

        for pod in await operator.pods():
            await operator.kubectl("delete", "pod", text(pod, "metadata", "name"), "--wait=false")
        assert await pr_env.visit() == Answer(200, B, B)
        await eventually("both replicas are ready again", operator.is_up)
        await operator.deliver("closed", late, 3)
        await eventually("nothing is there any more", lambda: is_unknown(pr_env))


async def restarted_gateway(pr_env: Team) -> None:
    """Its pods were made when there was no Greenroom yet."""
    await pr_env.kubectl("rollout", "restart", f"deployment/{GATEWAY}")
    await pr_env.kubectl("rollout", "status", f"deployment/{GATEWAY}", "--timeout=120s")


async def is_missing(pr_env: Team) -> bool:
    return text(await pr_env.ready(), "reason") == "WaitingForImage"


async def is_unknown(pr_env: Team) -> bool:
    return (await pr_env.visit()).status == 404


async def test_it_takes_the_place_of_kubetempura_and_leaves_environments_alive(
    helm: Helm, kubernetes: Kubernetes, pr_env: Team, images: Images
) -> None:
    for commit in (A, B):
        images.push_shop(f"pr7-{commit}", commit)
    async with installed(helm, kubernetes, pr_env, images) as operator:
        await restarted_gateway(pr_env)
        for pod in await operator.pods():
            assert confinement(pod) == [(NOBODY, "ro")]
        await operator.deliver("opened", A, 0)
        await eventually("it shows the commit", lambda: pr_env.shows(A))
        assert await page(await pr_env.url()) == A

        first, told = await operator.leader(), await operator.said()
        await operator.kubectl("delete", "pod", first, "--wait=false")
        await operator.deliver("synchronize", B, 1)
        await eventually("the other one leads", lambda: operator.has_other_leader(than=first))
        await eventually("it shows the next commit", lambda: pr_env.shows(B))
        told += await operator.said()
        assert '"event": "delivery handled"' in told
        assert not [line for line in told.splitlines() if "may not" in line or "orbidden" in line or SECRET in line]
    await eventually("the operator is gone", operator.is_gone)
    assert await page(await pr_env.url()) == B
    assert await pr_env.shows(B)


def confinement(pod: Manifest) -> list[tuple[str, str]]:
    """Of each process of the pod, its user and how it has its root filesystem: ``ro`` or ``rw``."""
    containers = [text(status, "containerID") for status in items(pod, "status", "containerStatuses")]
    return [(_user(process), _root(process)) for container in containers for process in processes(container)]


def _user(process: Path) -> str:
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Uid:"))


def _root(process: Path) -> str:
    """As proc_pid_mountinfo(5) has it: the fifth field is where it is mounted, the sixth how."""
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    return next(mount[5] for mount in mounts if mount[4] == "/").split(",")[0]

"""What the people see and wait for who look at environments with kubectl."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cluster.failing import NAME, config_map, gateway_route
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, Installation
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import Manifest

MISSING: Manifest = {"apiVersion": "example.com/v1", "kind": "Missing", "metadata": {"name": NAME}}


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(cluster, namespace, tmp_path, kubernetes)


@pytest.fixture
def kubectl(binaries: Path, kubernetes: Kubernetes, namespace: str) -> Kubectl:
    return Kubectl(binaries / "kubectl", kubernetes.kubeconfig, namespace)


async def test_an_environment_from_waiting_to_ready(installed: Installation, kubectl: Kubectl) -> None:
    await installed.template(config_map(), gateway_route(), MISSING)
    async with installed.replica() as operator:
        await operator.deliver(installed.repository, "opened", 1, A, 0)
        await kubectl("wait", "--for=condition=Ready=False", "pr/shop-pr1", "--timeout=30s")
        head, row = await table(kubectl, "get", "prs")
        assert head == ["NAME", "PR", "COMMIT", "READY", "WAITING FOR", "URL", "AGE"]
        assert row[:-1] == ["shop-pr1", "1", A, "False", "ApplyFailed", "https://pr1.example.com"]

        await installed.template(config_map(), gateway_route())
        await kubectl("wait", "--for=condition=Ready", "pr/shop-pr1", "--timeout=30s")
        _, row = await table(kubectl, "get", "prs")
        assert row[:-1] == ["shop-pr1", "1", A, "True", "https://pr1.example.com"]

        async def tells() -> bool:
            events = (await kubectl("describe", "pr", "shop-pr1")).partition("Events:")[2]
            return all(reason in events for reason in ("Created", "ApplyFailed", "Ready"))

        await eventually("its Events tell of it", tells)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("pr.spec", "prNumber\t<string> -required-"),
        ("pr.status", "shownCommit\t<string>"),
        ("ra.spec", "githubRepository\t<string> -required-"),
        ("reviewapp.spec.resources", "The objects of an environment, of any kind that the cluster serves"),
    ],
)
async def test_explain(kubectl: Kubectl, field: str, said: str) -> None:
    async def explains() -> bool:
        try:
            return said in await kubectl("explain", field)
        except KubectlFailed:
            return False  # the API server takes a moment to tell of new kinds

    await eventually("it is explained", explains)


async def table(kubectl: Kubectl, *arguments: str) -> list[list[str]]:
    """The lines of what it prints, each as its cells. Cells that are empty are left out."""
    lines = (await kubectl(*arguments)).splitlines()
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines]

"""The control plane that all tests of this folder share, and a namespace of its own for each."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.kubernetes import DEADLINE, Kubernetes

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import NAMESPACE, PR, REVIEW_APP, Kind, Ref
from greenroom.model.mesh import KINDS as MESH_KINDS

pytest.register_assert_rewrite("tests.contract.suite")

CRDS = Path(__file__).parents[2] / "deploy" / "crds"
MANAGER = "cluster-tests"
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount")


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    binaries = os.environ.get("KUBERNETES_BINARIES")
    if not binaries:
        pytest.fail("there is no Kubernetes to test against: use `make test-cluster`")
    kubernetes = Kubernetes(tmp_path_factory.mktemp("kubernetes"), Path(binaries))
    try:
        kubernetes.start()
        asyncio.run(_install_crds(kubernetes))
        kubernetes.start_controllers()
        yield kubernetes
    finally:
        kubernetes.stop()


@pytest.fixture
async def cluster(kubernetes: Kubernetes) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(kubernetes.admin) as cluster:
        yield cluster


@pytest.fixture
async def namespace(cluster: KubeCluster) -> AsyncIterator[str]:
    """A new namespace, ready for pods: their service account is there."""
    name = f"test-{secrets.token_hex(4)}"
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, manager=MANAGER)
    await _until(lambda: _holds_any(cluster, SERVICE_ACCOUNT, name))
    yield name
    await cluster.delete(Ref(NAMESPACE, "", name))


async def _install_crds(kubernetes: Kubernetes) -> None:
    async with KubeCluster(kubernetes.admin) as cluster:
        for file in CRDS.iterdir():
            await cluster.apply(yaml.safe_load(file.read_text()), manager=MANAGER)
        await _until(lambda: _serves(cluster, REVIEW_APP, PR, *MESH_KINDS))


async def _holds_any(cluster: KubeCluster, kind: Kind, namespace: str) -> bool:
    return bool((await cluster.list(kind, namespace=namespace)).items)


async def _serves(cluster: KubeCluster, *kinds: Kind) -> bool:
    return {resource.kind for resource in await cluster.resources()}.issuperset(kinds)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - the API server has no event for it
            await asyncio.sleep(0.05)

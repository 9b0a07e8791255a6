"""The control plane that all tests of this folder share, and a namespace of its own for each."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.cluster.kubernetes import MANAGER, Kubernetes, control_plane

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import NAMESPACE, Kind, Ref

pytest.register_assert_rewrite("tests.contract.suite")

from tests.contract.suite import eventually  # noqa: E402 - its asserts are rewritten when it is imported after that

SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount")


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder with Kubernetes' programs."""
    folder = os.environ.get("KUBERNETES_BINARIES")
    if not folder:
        pytest.fail("there is no Kubernetes to test against: use `make test-cluster`")
    return Path(folder)


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory, binaries: Path) -> Iterator[Kubernetes]:
    with control_plane(tmp_path_factory.mktemp("kubernetes"), binaries) as kubernetes:
        yield kubernetes


@pytest.fixture
async def cluster(kubernetes: Kubernetes) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(kubernetes.admin) as cluster:
        yield cluster


@pytest.fixture
async def namespace(cluster: KubeCluster) -> AsyncIterator[str]:
    """A new namespace, ready for pods: their service account is there."""
    name = f"test-{secrets.token_hex(4)}"
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, manager=MANAGER)

    async def is_ready() -> bool:
        return bool((await cluster.list(SERVICE_ACCOUNT, namespace=name)).items)

    await eventually("the namespace is ready for pods", is_ready)
    yield name
    await cluster.delete(Ref(NAMESPACE, "", name))

"""The cluster with a node that all tests of this folder share."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.kubernetes import Kubernetes, control_plane
from tests.cluster.node.images import Images
from tests.cluster.node.machine import HOST, Machine, alone
from tests.cluster.node.node import NAME, Node
from tests.cluster.programs import DEADLINE, Programs
from tests.contract.suite import exists

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import Kind, Ref, condition_of, text

NODE = Ref(Kind("", "v1", "Node"), "", NAME)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For images, containers and logs. Images are large, so that nothing is kept."""
    folder = tmp_path_factory.mktemp("node")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def programs(folder: Path, binaries: Path) -> Programs:
    return Programs(folder, binaries)


@pytest.fixture(scope="session")
def machine(folder: Path, programs: Programs) -> Iterator[Machine]:
    machine = Machine(folder, programs)
    with alone():
        try:
            machine.start()
            yield machine
        finally:
            programs.end_all()
            machine.stop()


@pytest.fixture(scope="session")
def images(folder: Path, programs: Programs, machine: Machine) -> Images:
    images = Images(folder, programs)
    images.start()
    return images


@pytest.fixture(scope="session")
def kubernetes(
    folder: Path, binaries: Path, programs: Programs, machine: Machine, images: Images
) -> Iterator[Kubernetes]:
    with control_plane(folder, binaries, HOST) as kubernetes:
        node = Node(folder, programs, machine, kubernetes.kubeconfig, images.address)
        node.start()
        asyncio.run(_wait_for(node, kubernetes))
        yield kubernetes


async def _wait_for(node: Node, kubernetes: Kubernetes) -> None:
    async with KubeCluster(kubernetes.admin) as cluster:
        try:
            async with asyncio.timeout(DEADLINE):
                while not await _is_ready(cluster):  # noqa: ASYNC110 - the API server has no event for it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"the node did not come up:\n{node.said()}")


async def _is_ready(cluster: KubeCluster) -> bool:
    return await exists(cluster, NODE) and text(condition_of(await cluster.get(NODE), "Ready"), "status") == "True"

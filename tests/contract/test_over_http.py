"""The contract of ``ports.Cluster``, through ``adapters.kube`` and ``local.api``: nothing may be lost on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.suite import MANAGER, ClusterContract, Compact, secret

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.local.api.server import make_app, running
from greenroom.local.storage.store import Store
from greenroom.model.errors import NotFound
from greenroom.model.manifest import SECRET, Manifest
from greenroom.ports import Cluster

HISTORY = 50
TOKEN = "token-of-the-test"


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def no_logs(namespace: str, pod: str, container: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
    if container:
        raise NotFound(f"there is no log of {pod}")
    yield b""


class TestOverHttp(ClusterContract):
    @pytest.fixture
    async def cluster(self, tmp_path: Path) -> AsyncIterator[Cluster]:
        with closing(Store.open(tmp_path / "cluster.db", clock=SystemClock(), history=HISTORY)) as store:
            async with (
                running(make_app(store, token=TOKEN, logs=no_logs)) as url,
                KubeCluster(Connection(url, Credential(TOKEN))) as cluster,
            ):
                yield cluster

    @pytest.fixture
    async def namespace(self, cluster: Cluster) -> str:
        manifest: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "contract"}}
        await cluster.apply(manifest, manager=MANAGER)
        return "contract"

    @pytest.fixture
    def compact(self, cluster: Cluster, namespace: str) -> Compact:
        async def write_more_than_is_kept() -> str:
            ancient = (await cluster.list(SECRET)).resource_version
            for number in range(2 * HISTORY):
                await cluster.apply(secret(namespace, "much-written", {"number": str(number)}), manager=MANAGER)
            return ancient

        return write_more_than_is_kept

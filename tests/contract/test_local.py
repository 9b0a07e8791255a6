"""The contract of ``Cluster``, kept by the one-machine cluster's store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.suite import MANAGER, ClusterContract, Compact, secret

from greenroom.local.storage.store import Store
from greenroom.model.manifest import NAMESPACE, SECRET, Ref
from greenroom.ports import Cluster

HISTORY = 50


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TestLocal(ClusterContract):
    @pytest.fixture
    async def cluster(self, tmp_path: Path) -> AsyncIterator[Cluster]:
        store = Store.open(tmp_path / "cluster.db", clock=WallClock(), history=HISTORY)
        yield store
        store.close()

    @pytest.fixture
    async def namespace(self, cluster: Cluster) -> AsyncIterator[str]:
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, manager=MANAGER)
        yield "shop"
        await cluster.delete(Ref(NAMESPACE, "", "shop"))

    @pytest.fixture
    def compact(self, cluster: Cluster, namespace: str) -> Compact:
        async def write_more_than_is_kept() -> str:
            before = await cluster.list(SECRET)
            for number in range(2 * HISTORY):
                await cluster.apply(secret(namespace, "much-written", {"number": str(number)}), manager=MANAGER)
            return before.resource_version

        return write_more_than_is_kept

"""The contract of ``ports.Cluster``, kept by ``adapters.kube`` and a real Kubernetes: what the other two must equal."""

from __future__ import annotations

import pytest
from tests.cluster.kubernetes import Kubernetes
from tests.contract.suite import MANAGER, ClusterContract, Compact, secret

from greenroom.model.manifest import SECRET
from greenroom.ports import Cluster


class TestKubernetes(ClusterContract):
    @pytest.fixture
    def compact(self, kubernetes: Kubernetes, cluster: Cluster, namespace: str) -> Compact:
        async def restart_the_api_server() -> str:
            """Its watch cache knows nothing of the time before its start."""
            before = await cluster.list(SECRET)
            await cluster.apply(secret(namespace, "later"), manager=MANAGER)
            async with kubernetes.without_api_server():
                return before.resource_version

        return restart_the_api_server

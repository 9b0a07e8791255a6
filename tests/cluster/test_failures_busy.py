"""An API server that gives Greenroom little room: its own priority and fairness answers 429, with ``Retry-After``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster.admission import holding
from tests.cluster.failing import applied, config_map, installation, made, shown
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, B, Installation
from tests.contract.suite import MANAGER, eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.model.errors import GreenroomError, Throttled
from greenroom.model.manifest import CONFIG_MAP, NAMESPACE, Json, Kind, Manifest, Ref, name_of

PRIORITY_LEVEL = Kind("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration")
FLOW_SCHEMA = Kind("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema")
CLUSTER_ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding")


@pytest.fixture
async def user(cluster: KubeCluster, namespace: str) -> AsyncIterator[str]:
    """An administrator with a priority level of its own, which rejects what it has no room for."""
    user = f"slow-{namespace}"
    async with applied(cluster, administrator(user), priority_level(user), flow_schema(user)):
        yield user


@pytest.fixture
async def slow(kubernetes: Kubernetes, user: str) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(replace(kubernetes.admin, impersonate=user)) as slow:
        yield slow


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes, user: str) -> Installation:
    return installation(cluster, namespace, tmp_path, kubernetes, impersonate=user)


def administrator(user: str) -> Manifest:
    group = CLUSTER_ROLE_BINDING.group
    role: Json = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
    subject: Json = {"apiGroup": group, "kind": "User", "name": user}
    return made(CLUSTER_ROLE_BINDING, user, roleRef=role, subjects=[subject])


def priority_level(name: str) -> Manifest:
    """Without a share, one request at a time is let in, and all others are rejected."""
    limited: Json = {
        "nominalConcurrencyShares": 0,
        "borrowingLimitPercent": 0,
        "lendablePercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    return made(PRIORITY_LEVEL, name, spec={"type": "Limited", "limited": limited})


def flow_schema(user: str) -> Manifest:
    """All that the user asks for goes to the priority level of that name."""
    everything: Json = {
        "verbs": ["*"],
        "apiGroups": ["*"],
        "resources": ["*"],
        "namespaces": ["*"],
        "clusterScope": True,
    }
    subject: Json = {"kind": "User", "user": {"name": user}}
    spec: Json = {
        "priorityLevelConfiguration": {"name": user},
        "matchingPrecedence": 500,
        "rules": [{"subjects": [subject], "resourceRules": [everything]}],
    }
    return made(FLOW_SCHEMA, user, spec=spec)


@asynccontextmanager
async def occupied(slow: KubeCluster, cluster: KubeCluster, namespace: str, folder: Path) -> AsyncIterator[None]:
    """A block in which a write of the user takes all the room there is."""
    async with holding(cluster, namespace, folder, "occupant") as held:
        occupant = asyncio.create_task(slow.apply(made(CONFIG_MAP, "occupant", namespace), manager=MANAGER))
        await eventually("it is under way", held.waits)
        yield
        held.let_go()
        await occupant


async def test_a_request_that_is_rejected_is_made_again_when_the_server_says_so(
    cluster: KubeCluster, slow: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    await slow.resources()
    async with occupied(slow, cluster, namespace, tmp_path):
        with pytest.raises(Throttled) as caught:
            await slow.get(Ref(NAMESPACE, "", namespace))
        assert caught.value.retry_after >= 1
        waiting = asyncio.create_task(slow.get(Ref(NAMESPACE, "", namespace)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert name_of(await waiting) == namespace


async def test_an_operator_that_is_rejected_again_and_again_gets_everything_done(
    installed: Installation, cluster: KubeCluster, slow: KubeCluster, tmp_path: Path
) -> None:
    await slow.resources()
    await installed.template(config_map(), config_map("also-pr{{PR_NUMBER}}"))
    numbers = (1, 2)
    async with installed.replica() as replica:
        await eventually("it leads", replica.leads)
        await asyncio.gather(*(replica.deliver(installed.repository, "opened", each, A, 0) for each in numbers))
        await eventually("all are shown", lambda: shown(installed, A, *numbers))
        async with occupied(slow, cluster, installed.namespace, tmp_path):
            with pytest.raises(GreenroomError, match=r"503.*429 Too Many Requests"):
                await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        await replica.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the push is shown", lambda: installed.shows(1, B))

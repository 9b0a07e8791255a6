"""What Greenroom keeps right though nobody pushes: drift, edited templates, kinds that come later, a restart.

``greenroom serve``, as it is run, against a real API server.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.cluster.failing import LOOKED, NAME, applied, config_map, made, ready
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import A, Installation, Replica
from tests.contract.suite import eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.flows.reconcile import EDITS_AT_ONCE, EDITS_PER_SECOND, REFUSED_SECONDS
from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import (
    CONFIG_MAP,
    ENVIRONMENT_LABEL,
    EVENT,
    PR,
    Kind,
    Manifest,
    Ref,
    condition_of,
    get,
    labels_of,
    name_of,
    text,
)

MANY = 100
EDITED = 30
GADGET = Kind("upkeep.example.com", "v1", "Gadget")
GADGETS: Manifest = made(
    Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    "gadgets.upkeep.example.com",
    spec={
        "group": GADGET.group,
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": GADGET.name},
        "versions": [
            {
                "name": GADGET.version,
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
)


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(cluster, namespace, tmp_path, kubernetes)


async def opened(installed: Installation, replica: Replica, count: int) -> None:
    """So many environments, each ready and told of."""
    numbers = range(1, count + 1)
    await asyncio.gather(*(replica.deliver(installed.repository, "opened", each, A, 0) for each in numbers))

    async def are_told() -> bool:
        prs = (await installed.cluster.list(PR, namespace=installed.namespace)).items
        events = (await installed.cluster.list(EVENT, namespace=installed.namespace)).items
        told = [event for event in events if text(event, "reason") == "Created"]
        return len(told) == sum(text(condition_of(pr, "Ready"), "status") == "True" for pr in prs) == count

    await eventually("all are ready, and told of", are_told)


async def test_what_somebody_changes_is_put_right_and_what_is_not_the_templates_stays(installed: Installation) -> None:
    ref = Ref(CONFIG_MAP, installed.namespace, "pr1")

    async def is_right() -> bool:
        return get(await installed.cluster.get(ref), "data", "commit") == A

    await installed.template(config_map())
    async with installed.replica() as replica:
        await opened(installed, replica, 1)
        changed = made(CONFIG_MAP, "pr1", installed.namespace, data={"commit": "theirs", "more": "theirs"})
        await installed.cluster.apply(changed, manager="somebody")
        await eventually("it is put right", is_right)
        assert get(await installed.cluster.get(ref), "data", "more") == "theirs"


async def test_an_edit_reaches_many_environments_at_its_pace_and_prunes_what_left_the_template(
    installed: Installation,
) -> None:
    loop, first, new = asyncio.get_running_loop(), list[float](), "edited"

    async def follows() -> bool:
        objects = (await installed.cluster.list(CONFIG_MAP, namespace=installed.namespace)).items
        ours = [each for each in objects if ENVIRONMENT_LABEL in labels_of(each)]
        edited = {name_of(each) for each in ours if text(each, "data", "commit") == new}
        first.extend([loop.time()] if edited and not first else [])
        return edited == {name_of(each) for each in ours} == {f"pr{number}" for number in range(1, EDITED + 1)}

    await installed.template(config_map(), config_map(f"also-{NAME}"))
    async with installed.replica() as replica:
        await opened(installed, replica, EDITED)
        await installed.template({**config_map(), "data": {"commit": new}})
        await eventually("all follow the edit", follows)
        # It may begin a poll later than it did.
        assert loop.time() - first[0] >= (EDITED - EDITS_AT_ONCE) / EDITS_PER_SECOND - 1


@pytest.mark.timeout(120)
async def test_a_kind_whose_crd_comes_later_is_made_by_itself(installed: Installation) -> None:
    gadget = Ref(GADGET, installed.namespace, "pr1")

    async def is_told() -> bool:
        condition = await ready(installed, 1)
        return text(condition, "status") == "False" and GADGET.name in text(condition, "message")

    await installed.template(config_map(), made(GADGET, NAME, spec={"size": 3}))
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is told", is_told)
        async with applied(installed.cluster, GADGETS):
            await asyncio.sleep(REFUSED_SECONDS - 20)
            await eventually("it is made", lambda: is_there(installed, gadget))
            await eventually("it is ready", lambda: installed.shows(1))


async def is_there(installed: Installation, ref: Ref) -> bool:
    try:
        return await exists(installed.cluster, ref)
    except UnknownKind:
        return False


async def test_a_restart_over_many_environments_writes_nothing(installed: Installation) -> None:
    await installed.template(config_map())
    async with installed.replica() as first:
        await opened(installed, first, MANY)
        assert await first.end(signal.SIGTERM) == 143
    before = await installed.versions()
    assert len([ref for ref in before if ref.kind == PR]) == MANY

    async def has_looked() -> bool:
        return await second.metric(LOOKED) >= MANY

    async with installed.replica() as second:
        await eventually("it looked at all environments", has_looked)
        assert await second.environment_writes() == 0
    assert await installed.versions() == before

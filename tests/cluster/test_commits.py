"""What real controllers keep of a StatefulSet and a DaemonSet, from which the commit of their pods is told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.suite import MANAGER, eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.core.commits import origin_of
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    CONTROLLER_REVISION,
    DAEMON_SET,
    POD,
    STATEFUL_SET,
    Kind,
    Manifest,
    Ref,
    controller_of,
    labels_of,
    name_of,
    number,
    ref_of,
    text,
)

A, B, C = "a" * 40, "b" * 40, "c" * 40


class Known:
    """``core.commits.Lookup``, as a cluster is now."""

    def __init__(self, *manifests: Manifest) -> None:
        self._objects = {ref_of(each): each for each in manifests}

    def get(self, ref: Ref) -> Manifest | None:
        return self._objects.get(ref)


@pytest.mark.parametrize("kind", [STATEFUL_SET, DAEMON_SET])
async def test_each_revision_tells_its_commit(cluster: KubeCluster, namespace: str, kind: Kind) -> None:
    async def shown() -> dict[int, str]:
        """Commit by number of the revision, of pods that have it."""
        workload = await cluster.get(Ref(kind, namespace, "web"))
        listed = (await cluster.list(CONTROLLER_REVISION, namespace=namespace)).items
        revisions = [each for each in listed if text(controller_of(each), "name") == "web"]
        known = Known(workload, *revisions)
        made = {number(each, "revision"): origin_of(pod(kind, each), known) for each in revisions}
        return {revision: origin.commit for revision, origin in made.items() if origin is not None and origin.is_known}

    async def shows(**commits: str) -> None:
        async def look() -> bool:
            return await shown() == {int(name[1:]): commit for name, commit in commits.items()}

        await eventually(f"{commits}", look)

    await cluster.apply(workload(kind, namespace, A, image="shop:a"), manager=MANAGER)
    await shows(r1=A)
    await cluster.apply(workload(kind, namespace, B, image="shop:a"), manager=MANAGER)
    await shows(r1=B)
    await cluster.apply(workload(kind, namespace, C, image="shop:c"), manager=MANAGER)
    await shows(r1=A, r2=C)
    if kind == STATEFUL_SET:
        await eventually("the controller labels pods as is thought here", lambda: is_labelled(cluster, namespace))


async def is_labelled(cluster: KubeCluster, namespace: str) -> bool:
    """Whether the names in the labels of all pods are those of ControllerRevisions."""
    pods = (await cluster.list(POD, namespace=namespace)).items
    revisions = {name_of(each) for each in (await cluster.list(CONTROLLER_REVISION, namespace=namespace)).items}
    return bool(pods) and all(labels_of(each)["controller-revision-hash"] in revisions for each in pods)


def workload(kind: Kind, namespace: str, commit: str, *, image: str) -> Manifest:
    port = {"containerPort": 8080}
    spec = {"containers": [{"name": "web", "image": image, "ports": [port], "env": [{"name": "EMPTY", "value": ""}]}]}
    template: dict[str, Any] = {"metadata": {"labels": {"app": "web"}, "annotations": {"note": "1"}}, "spec": spec}
    made: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    if kind == STATEFUL_SET:
        made |= {"replicas": 1, "serviceName": "web"}
    metadata: dict[str, Any] = {"name": "web", "namespace": namespace, "annotations": {COMMIT_ANNOTATION: commit}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": made}


def pod(kind: Kind, revision: Manifest) -> Manifest:
    """One that has the revision. Without a node a DaemonSet gets none."""
    name = name_of(revision)
    labels = {"controller-revision-hash": name if kind == STATEFUL_SET else name.removeprefix("web-")}
    owner: Manifest = {"kind": kind.name, "name": "web", "uid": "1", "controller": True}
    metadata: Manifest = {"name": "x", "namespace": text(revision, "metadata", "namespace"), "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "ownerReferences": [owner]}}

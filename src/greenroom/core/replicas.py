"""How a ReplicaSet keeps its number of pods: how many to create, which to delete, and what to report.

Which pods go first is the order of Kubernetes' ReplicaSet controller, as far as one machine has it: those that are not
ready, then the youngest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenroom.model.manifest import (
    POD,
    Json,
    Manifest,
    annotations_of,
    condition_of,
    is_deleting,
    labels_of,
    name_of,
    number,
    owner_reference,
    table,
    text,
)


@dataclass(frozen=True, slots=True)
class PodPlan:
    """How many pods to create, and the pods to delete."""

    create: int = 0
    delete: tuple[Manifest, ...] = ()


def plan_pods(replica_set: Manifest, pods: Sequence[Manifest]) -> PodPlan:
    """``pods`` are those that the ReplicaSet controls, in any state."""
    active = [pod for pod in pods if is_active(pod)]
    surplus = len(active) - number(replica_set, "spec", "replicas", default=1)
    if surplus <= 0:
        return PodPlan(create=-surplus)
    youngest_first = sorted(active, key=lambda pod: (text(pod, "metadata", "creationTimestamp"), name_of(pod)))[::-1]
    dispensable = sorted(youngest_first, key=is_ready)  # stable: the not ready ones come first
    return PodPlan(delete=tuple(dispensable[:surplus]))


def new_pod(replica_set: Manifest, name: str) -> Manifest:
    """The only restart policy that Kubernetes allows here is Always: a pod that ends would be replaced without end."""
    template = table(replica_set, "spec", "template")
    metadata: dict[str, Json] = {
        "name": name,
        "namespace": text(replica_set, "metadata", "namespace"),
        "labels": labels_of(template),
        "annotations": annotations_of(template),
        "ownerReferences": [owner_reference(replica_set)],
    }
    return {
        "apiVersion": POD.api_version,
        "kind": POD.name,
        "metadata": metadata,
        "spec": {**table(template, "spec"), "restartPolicy": "Always"},
    }


def replica_set_status(replica_set: Manifest, pods: Sequence[Manifest]) -> Mapping[str, Json]:
    active = [pod for pod in pods if is_active(pod)]
    ready = sum(1 for pod in active if is_ready(pod))
    return {
        "observedGeneration": number(replica_set, "metadata", "generation"),
        "replicas": len(active),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def is_active(pod: Manifest) -> bool:
    """Whether the pod counts as a replica: it has neither ended nor been told to."""
    return not is_deleting(pod) and not has_ended(pod)


def has_ended(pod: Manifest) -> bool:
    """Whether the pod is over for good, and nothing of it runs any more."""
    return text(pod, "status", "phase") in {"Succeeded", "Failed"}


def is_ready(pod: Manifest) -> bool:
    return text(condition_of(pod, "Ready"), "status") == "True"

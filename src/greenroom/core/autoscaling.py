"""How many replicas there are is for an autoscaler of the template to decide, where there is one.

Server-side apply takes away what its manager gives no more. So ``replicas`` that leave the template when an autoscaler
comes into it would fall to the API server's default, which is 1, until the autoscaler acts. Before that the number is
given to another manager to keep (Kubernetes, "Server-Side Apply", Transferring ownership). It loses the field by itself
when the autoscaler writes it. An annotation says that this was done.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.model.manifest import Manifest, annotations_of, get, kind_of, name_of, ref_of, table, text, uid_of
from greenroom.model.reviewapp import identity

KEEPER = "greenroom-replicas"
"""The field manager that keeps ``replicas`` for an autoscaler."""
AUTOSCALED = "greenroom.dev/autoscaled"
"""The annotation of a workload whose ``replicas`` are an autoscaler's."""


def left_to_autoscalers(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Without ``replicas`` where a HorizontalPodAutoscaler of the template decides: each would undo the other's."""
    targets = [
        table(manifest, "spec", "scaleTargetRef")
        for manifest in manifests
        if (kind_of(manifest).group, kind_of(manifest).name) == ("autoscaling", "HorizontalPodAutoscaler")
    ]
    scaled = {identity({**target, "metadata": {"name": text(target, "name")}}) for target in targets}
    return tuple(_autoscaled(manifest) if identity(manifest) in scaled else manifest for manifest in manifests)


def _autoscaled(workload: Manifest) -> Manifest:
    metadata, spec = table(workload, "metadata"), table(workload, "spec")
    return {
        **workload,
        "metadata": {**metadata, "annotations": {**table(metadata, "annotations"), AUTOSCALED: "true"}},
        "spec": {key: value for key, value in spec.items() if key != "replicas"},
    }


def to_keep(desired: Manifest, present: Manifest | None) -> Manifest | None:
    """What KEEPER has to apply before ``desired``, so that the workload keeps its replicas; None when nothing has."""
    replicas = get(present or {}, "spec", "replicas")
    is_left = AUTOSCALED in annotations_of(desired) and "replicas" not in table(desired, "spec")
    if present is None or replicas is None or not is_left or AUTOSCALED in annotations_of(present):
        return None
    return {
        "apiVersion": kind_of(desired).api_version,
        "kind": kind_of(desired).name,
        "metadata": {"name": name_of(desired), "namespace": ref_of(desired).namespace, "uid": uid_of(present)},
        "spec": {"replicas": replicas},
    }

"""Workloads that are stored but not run here: each gets an Event that says so, once."""

from __future__ import annotations

from greenroom.model.errors import NotFound
from greenroom.model.manifest import (
    EVENT,
    Json,
    Kind,
    Manifest,
    Ref,
    name_of,
    owner_reference,
    ref_of,
    text,
    timestamp,
    uid_of,
)
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

MANAGER = "greenroom-local"
REASON = "NotRunOnOneMachine"
KINDS = (
    Kind("apps", "v1", "StatefulSet"),
    Kind("apps", "v1", "DaemonSet"),
    Kind("batch", "v1", "Job"),
    Kind("batch", "v1", "CronJob"),
)


class NotRun:
    """Reports the objects of kinds that one machine does not run."""

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self.controller: Controller[Ref] = Controller("not-run", self._reconcile, workers=1)
        for kind in KINDS:
            informers.subscribe(Scope(kind), self._changed)

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is None and new is not None:
            self.controller.add(ref_of(new))

    async def _reconcile(self, ref: Ref) -> None:
        manifest = self._informers.get(ref)
        if manifest is None:
            return
        event = not_run_event(manifest, timestamp(self._clock.now()))
        try:
            await self._cluster.get(ref_of(event))
        except NotFound:
            await self._cluster.apply(event, manager=MANAGER)


def not_run_event(manifest: Manifest, now: str) -> Manifest:
    """The Event about ``manifest``, which goes with it."""
    ref = ref_of(manifest)
    about: dict[str, Json] = {
        "apiVersion": ref.kind.api_version,
        "kind": ref.kind.name,
        "namespace": ref.namespace,
        "name": ref.name,
        "uid": uid_of(manifest),
    }
    metadata: dict[str, Json] = {
        "name": f"{name_of(manifest)}.{ref.kind.name.lower()}-not-run",
        "namespace": text(manifest, "metadata", "namespace"),
        "ownerReferences": [owner_reference(manifest)],
    }
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": metadata,
        "involvedObject": about,
        "type": "Warning",
        "reason": REASON,
        "message": f"{ref.kind.name} {ref.name} is stored, but one machine runs Deployments and Pods only",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "greenroom"},
    }

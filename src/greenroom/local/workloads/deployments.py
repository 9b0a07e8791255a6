"""The controllers of Deployments and ReplicaSets: ``core.rollout`` and ``core.replicas`` decide, here it is done."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress

from greenroom.core.replicas import new_pod, plan_pods, replica_set_status
from greenroom.core.rollout import SAFE_ALPHABET, plan
from greenroom.core.rollout_status import deployment_status, seconds_to_deadline
from greenroom.model.errors import Conflict, NotFound
from greenroom.model.manifest import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    controller_of,
    is_deleting,
    kind_of,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

MANAGER = "greenroom-local"

_SUFFIX_LENGTH = 5


class Deployments:
    """Keeps the ReplicaSets of each Deployment, and the pods of each ReplicaSet."""

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._deployments: Controller[Ref] = Controller("deployments", self._reconcile_deployment)
        self._replica_sets: Controller[Ref] = Controller("replicasets", self._reconcile_replica_set)
        informers.subscribe(Scope(DEPLOYMENT), self._deployment_changed)
        informers.subscribe(Scope(REPLICA_SET), self._replica_set_changed)
        informers.subscribe(Scope(POD), self._pod_changed)

    @property
    def controllers(self) -> tuple[Controller[Ref], Controller[Ref]]:
        return self._deployments, self._replica_sets

    def _deployment_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for manifest in _known(old, new):
            self._deployments.add(ref_of(manifest))

    def _replica_set_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for manifest in _known(old, new):
            self._replica_sets.add(ref_of(manifest))
            self._add_owner(self._deployments, DEPLOYMENT, manifest)

    def _pod_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for manifest in _known(old, new):
            self._add_owner(self._replica_sets, REPLICA_SET, manifest)
        if new is None and old is not None:  # a Recreate, and the end of an old ReplicaSet, wait for the last pod
            owner = self._informers.get(_controller_ref(old))
            if owner is not None:
                self._add_owner(self._deployments, DEPLOYMENT, owner)

    def _add_owner(self, controller: Controller[Ref], kind: Kind, manifest: Manifest) -> None:
        owner = _controller_ref(manifest)
        if owner.kind == kind:
            controller.add(owner)

    async def _reconcile_deployment(self, ref: Ref) -> float | None:
        deployment = self._informers.get(ref)
        if deployment is None or is_deleting(deployment):
            return None
        replica_sets = self._owned(deployment, REPLICA_SET)
        pods = {uid_of(each): len(self._owned(each, POD)) for each in replica_sets}
        rollout = plan(deployment, replica_sets, pods)
        for manifest in rollout.apply:
            self._informers.observe(await self._cluster.apply(manifest, manager=MANAGER))
        for manifest in rollout.delete:
            await self._delete(manifest)
        now = self._clock.now()
        status = deployment_status(deployment, self._owned(deployment, REPLICA_SET), now)
        await self._write_status(deployment, status)
        return seconds_to_deadline(deployment, status, now)

    async def _reconcile_replica_set(self, ref: Ref) -> None:
        replica_set = self._informers.get(ref)
        if replica_set is None or is_deleting(replica_set):
            return
        pods = self._owned(replica_set, POD)
        planned = plan_pods(replica_set, pods)
        for _ in range(planned.create):
            pod = new_pod(replica_set, f"{ref.name}-{_suffix()}")
            self._informers.observe(await self._cluster.apply(pod, manager=MANAGER))
        for pod in planned.delete:
            await self._delete(pod)
        await self._write_status(replica_set, replica_set_status(replica_set, self._owned(replica_set, POD)))

    async def _delete(self, manifest: Manifest) -> None:
        """Delete this very object, and see at once that it is being deleted."""
        ref = ref_of(manifest)
        with suppress(NotFound, Conflict):
            await self._cluster.delete(ref, uid=uid_of(manifest))
            self._informers.observe(await self._cluster.get(ref))

    async def _write_status(self, manifest: Manifest, status: Manifest) -> None:
        before = table(manifest, "status")
        if any(before.get(field) != value for field, value in status.items()):
            with suppress(NotFound):
                self._informers.observe(await self._cluster.patch_status(ref_of(manifest), status))

    def _owned(self, owner: Manifest, kind: Kind) -> list[Manifest]:
        return [manifest for manifest in self._informers.owned(uid_of(owner)) if kind_of(manifest) == kind]


def _known(old: Manifest | None, new: Manifest | None) -> Iterable[Manifest]:
    return [manifest for manifest in (old, new) if manifest is not None]


def _controller_ref(manifest: Manifest) -> Ref:
    owner: Json = controller_of(manifest)
    kind = Kind.of(text(owner, "apiVersion"), text(owner, "kind"))
    return Ref(kind, text(manifest, "metadata", "namespace"), text(owner, "name"))


def _suffix() -> str:
    return "".join(random.choices(SAFE_ALPHABET, k=_SUFFIX_LENGTH))  # noqa: S311 - a name, not a secret

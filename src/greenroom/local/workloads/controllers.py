"""The workloads of the one-machine cluster, put together.

``deployments`` makes ReplicaSets and Pods, ``kubelet`` runs Pods as processes of commits that ``images`` built, and
``services`` tells gateways where those listen. What is not run is said by ``notrun``.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from greenroom.local.workloads.broadcast import Broadcast
from greenroom.local.workloads.deployments import Deployments
from greenroom.local.workloads.images import Images
from greenroom.local.workloads.kubelet import Kubelet
from greenroom.local.workloads.launch import Host
from greenroom.local.workloads.notrun import NotRun
from greenroom.local.workloads.pods import pod_folder
from greenroom.local.workloads.portpool import PortPool
from greenroom.local.workloads.services import Services
from greenroom.local.workloads.timing import DEFAULT_TIMING, Timing
from greenroom.model.manifest import DEPLOYMENT, POD, REPLICA_SET, Manifest, items, table, text, uid_of
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

_SETTLE_SECONDS = 0.2
"""Many changes together make one look for images that nobody needs."""


class Workloads:
    """Runs what is in ``cluster`` on this machine. ``informers`` are run by whoever made them.

    ``state`` gets the folders ``images``, ``pods`` and ``logs``; ``repository`` is the git repository whose commits are
    the images; ``instance`` marks every process. Processes that an earlier run left must have been ended before.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        *,
        state: Path,
        repository: Path,
        instance: str,
        clock: Clock,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        state = state.absolute()
        self._informers = informers
        self.images = Images(repository.absolute(), state / "images", instance=instance, timing=timing)
        self._host = Host(
            instance=instance,
            images=self.images,
            ports=PortPool(instance),
            lookup=informers.get,
            clock=clock,
            pods=state / "pods",
            logs=state / "logs",
            configured=Broadcast(),
            timing=timing,
        )
        self._kubelet = Kubelet(cluster, informers, self._host, freed=self._collect_soon)
        self._deployments = Deployments(cluster, informers, clock)
        self._services = Services(cluster, informers)
        self._not_run = NotRun(cluster, informers, clock)
        self._garbage: Controller[str] = Controller("images", self._collect, workers=1)
        for kind in (DEPLOYMENT, REPLICA_SET, POD):
            informers.subscribe(Scope(kind), self._users_changed)

    async def run(self) -> None:
        """Run until cancelled, then end every process."""
        await self._informers.synced()
        await asyncio.to_thread(_remove_strays, self._host, tuple(self._informers.list(POD)))
        try:
            async with asyncio.TaskGroup() as group:
                for controller in (*self._deployments.controllers, self._services.controller, self._not_run.controller):
                    group.create_task(controller.run())
                group.create_task(self._kubelet.run())
                group.create_task(self._garbage.run())
        finally:
            await self.images.close()

    def logs(self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        """The output of a container, see ``Kubelet.logs``."""
        return self._kubelet.logs(namespace, pod, container, follow=follow, tail=tail)

    def _users_changed(self, _old: Manifest | None, _new: Manifest | None) -> None:
        self._collect_soon()

    def _collect_soon(self) -> None:
        self._garbage.add("unused", after=_SETTLE_SECONDS)

    async def _collect(self, _key: str) -> None:
        """Remove the images that no workload names and no pod runs."""
        named = {
            image
            for kind in (DEPLOYMENT, REPLICA_SET)
            for each in self._informers.list(kind)
            for image in _images(table(each, "spec", "template"))
        }
        pods = {image for pod in self._informers.list(POD) for image in _images(pod)}
        self.images.keep(named | pods | self._kubelet.images)


def _images(template: Manifest) -> Iterable[str]:
    for field in ("initContainers", "containers"):
        for container in items(template, "spec", field):
            yield text(container, "image")


def _remove_strays(host: Host, pods: Iterable[Manifest]) -> None:
    """Remove the folders of pods that went while nobody looked."""
    uids = {uid_of(pod) for pod in pods}
    logs = {pod_folder(host.logs, pod) for pod in pods}
    strays = [folder for folder in host.pods.glob("*") if folder.name not in uids]
    strays += [folder for folder in host.logs.glob("*/*/") if folder not in logs]
    for folder in strays:
        shutil.rmtree(folder, ignore_errors=True)

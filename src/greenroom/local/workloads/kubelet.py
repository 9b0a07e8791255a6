"""The runner of pods: for each Pod of the cluster its processes, and of each process the truth in the Pod's status.

A reconcile only begins things and reports; what takes time happens in a ``workloads.pods.PodRun``, which asks for the
next reconcile when it has news. So a pod that hangs holds up nobody.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import structlog

from greenroom.core.replicas import has_ended, is_ready
from greenroom.local.workloads import logs
from greenroom.local.workloads.containers import grace_seconds
from greenroom.local.workloads.launch import Host
from greenroom.local.workloads.pods import PORTS_ANNOTATION, PodRun, log_path, pod_folder
from greenroom.model.errors import ClusterError, Conflict, NotFound
from greenroom.model.manifest import (
    CONFIG_MAP,
    POD,
    SECRET,
    Json,
    Manifest,
    Ref,
    annotations_of,
    is_deleting,
    items,
    name_of,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.watch import Scope
from greenroom.ports import Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

MANAGER = "greenroom-kubelet"
"""Not the manager of those who create Pods: applying an annotation must not take away what they applied."""

SHUTDOWN_SECONDS = 10.0
"""The longest grace that processes get when Greenroom itself stops."""

FORCED_SECONDS = 2.0
"""The longest grace that processes get when their Pod is gone already."""

log = structlog.get_logger(__name__)


class Kubelet:
    """Runs every Pod of the cluster on this machine. ``freed`` is called when a pod's processes are gone."""

    def __init__(self, cluster: Cluster, informers: Informers, host: Host, *, freed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._informers = informers
        self._host = host
        self._freed = freed
        self._runs: dict[Ref, PodRun] = {}
        self._controller: Controller[Ref] = Controller("pods", self._reconcile)
        informers.subscribe(Scope(POD), self._pod_changed)
        informers.subscribe(Scope(CONFIG_MAP), self._configured)
        informers.subscribe(Scope(SECRET), self._configured)

    @property
    def images(self) -> set[str]:
        """The images of everything that runs, told to or not."""
        return {image for run in self._runs.values() for image in run.images}

    async def run(self) -> None:
        """Run pods until cancelled; then end all processes. The Pods stay, and the next start carries on with them."""
        try:
            await self._controller.run()
        finally:
            await self._shut_down()

    async def logs(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        """The output of a container, or its last ``tail`` lines; ``""`` is the first container. Raises NotFound.

        With ``follow`` it goes on until the pod is gone.
        """
        ref = Ref(POD, namespace, pod)
        manifest = self._informers.get(ref)
        if manifest is None:
            raise NotFound(f'pods "{pod}" not found')
        names = _container_names(manifest)
        if container not in ("", *names):
            raise NotFound(f"container {container} is not valid for pod {pod}: it has {', '.join(names)}")
        path = log_path(self._host.logs, manifest, container or next(iter(names), ""))
        async for chunk in logs.read(path, tail=tail, writing=lambda: follow and self._has(manifest)):
            yield chunk

    def _has(self, pod: Manifest) -> bool:
        """Whether this very pod is still there and may go on."""
        present = self._informers.get(ref_of(pod))
        return present is not None and uid_of(present) == uid_of(pod) and not has_ended(present)

    def _pod_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        pod = new or old
        if pod is not None:
            self._controller.add(ref_of(pod))

    def _configured(self, _old: Manifest | None, _new: Manifest | None) -> None:
        self._host.configured.notify()

    async def _reconcile(self, ref: Ref) -> None:
        pod = self._informers.get(ref)
        run = self._runs.get(ref)
        if run is not None and (pod is None or is_deleting(pod) or uid_of(pod) != uid_of(run.pod)):
            self._stop(run, pod)
            if not run.ended:
                await self._report(run, pod)
                return
            await asyncio.to_thread(self._clean_up, run.pod)
            del self._runs[ref]
            self._freed()
        if pod is None:
            return
        if is_deleting(pod):
            await self._finish(pod)
        elif ref in self._runs:
            await self._report(self._runs[ref], pod)
        elif not has_ended(pod):
            await self._report(self._start(pod), pod)

    def _start(self, pod: Manifest) -> PodRun:
        """Raises Unavailable when there is no port for it."""
        ref = ref_of(pod)
        run = PodRun(pod, self._host, changed=lambda: self._controller.add(ref))
        self._runs[ref] = run
        run.start()
        return run

    def _stop(self, run: PodRun, pod: Manifest | None) -> None:
        """Begin to end it as ``pod`` asks; one that serves goes on until gateways know. No pod was deleted by force."""
        if pod is None:
            run.stop(drain=0.0, grace=min(grace_seconds(run.pod), FORCED_SECONDS))
        else:
            run.stop(drain=self._host.timing.drain if is_ready(pod) else 0.0, grace=grace_seconds(pod))

    async def _report(self, run: PodRun, pod: Manifest | None) -> None:
        """Write ports and status, where they differ. A pod that is gone meanwhile needs none."""
        if pod is None or uid_of(pod) != uid_of(run.pod):
            return
        with suppress(NotFound, Conflict):
            if annotations_of(pod).get(PORTS_ANNOTATION) != run.ports:
                pod = await self._cluster.apply(_with_ports(pod, run.ports), manager=MANAGER)
                self._informers.observe(pod)
            status = run.status(pod, self._host.clock.now())
            stored = table(pod, "status")
            if any(stored.get(field) != value for field, value in status.items()):
                self._informers.observe(await self._cluster.patch_status(ref_of(pod), status))

    async def _finish(self, pod: Manifest) -> None:
        """Its processes are gone: now the Pod may go too."""
        await asyncio.to_thread(self._clean_up, pod)
        with suppress(NotFound, Conflict):
            await self._cluster.delete(ref_of(pod), uid=uid_of(pod), grace_seconds=0)

    def _clean_up(self, pod: Manifest) -> None:
        shutil.rmtree(self._host.pods / uid_of(pod), ignore_errors=True)
        logs.remove(pod_folder(self._host.logs, pod))

    async def _shut_down(self) -> None:
        for run in self._runs.values():
            run.stop(drain=0.0, grace=min(grace_seconds(run.pod), SHUTDOWN_SECONDS))
        await asyncio.gather(*(run.stopped() for run in self._runs.values()))
        for ref, run in self._runs.items():
            pod = self._informers.get(ref)
            try:
                if pod is not None and is_deleting(pod):
                    await self._finish(pod)
                else:
                    await self._report(run, pod)
            except ClusterError as error:
                log.warning("the end of a pod is not written down", pod=str(ref), error=str(error))


def _with_ports(pod: Manifest, ports: str) -> Manifest:
    """The UID makes sure that a pod which is gone meanwhile is not created anew."""
    metadata: dict[str, Json] = {
        "name": name_of(pod),
        "namespace": text(pod, "metadata", "namespace"),
        "uid": uid_of(pod),
        "annotations": {PORTS_ANNOTATION: ports},
    }
    return {"apiVersion": POD.api_version, "kind": POD.name, "metadata": metadata}


def _container_names(pod: Manifest) -> list[str]:
    return [text(spec, "name") for field in ("containers", "initContainers") for spec in items(pod, "spec", field)]

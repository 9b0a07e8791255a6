"""One Envoy for each gateway: started, restarted when it dies, and stopped with its gateway.

Gateways are VirtualGateways, and those of Gateway API that are of a class of ours. What an Envoy serves it learns
from the control plane (``adapters.ads``). In a cluster a Deployment does all this.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import structlog

from greenroom.core.gateway_names import node_cluster
from greenroom.core.gateways import is_ours
from greenroom.local.envoy_process import EnvoyProcess, bootstrap, envoy_binary
from greenroom.local.instance import base_environment
from greenroom.model.gateway import GATEWAY, GATEWAY_CLASS
from greenroom.model.manifest import Manifest, Ref, is_deleting, ref_of
from greenroom.model.mesh import VIRTUAL_GATEWAY
from greenroom.model.watch import Scope
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.informer import Informers

log = structlog.get_logger(__name__)

_RESTART = Backoff(base=0.2, cap=10.0)
_LONG_LIFE_SECONDS = 30.0
"""An Envoy that lived this long is restarted as if it had never died before."""


class Gateways:
    """The Envoys of one machine. Their files are in the folder ``envoy`` of ``state``."""

    def __init__(self, informers: Informers, ads_address: str, *, state: Path, instance: str) -> None:
        """Raises GreenroomError where there is no Envoy for this machine."""
        self._informers = informers
        self._ads_address = ads_address
        self._folder = state / "envoy"
        self._environment = base_environment(instance)
        self._binary = envoy_binary()
        self._kept: dict[Ref, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled; no Envoy is left then."""
        async with asyncio.TaskGroup() as group:
            changed, class_changed = partial(self._changed, group), partial(self._class_changed, group)
            for kind in (VIRTUAL_GATEWAY, GATEWAY):
                self._informers.subscribe(Scope(kind), changed)
            self._informers.subscribe(Scope(GATEWAY_CLASS), class_changed)
            try:
                await asyncio.Event().wait()
            finally:
                for handler in (changed, class_changed):
                    self._informers.unsubscribe(handler)  # a group that is shutting down takes no task

    def _class_changed(self, group: asyncio.TaskGroup, _old: Manifest | None, _new: Manifest | None) -> None:
        for gateway in self._informers.list(GATEWAY):
            self._changed(group, None, gateway)

    def _changed(self, group: asyncio.TaskGroup, old: Manifest | None, new: Manifest | None) -> None:
        known = new or old
        if known is None:
            return
        ref = ref_of(known)
        kept = self._kept.get(ref)
        running = kept is not None and not kept.cancelling()
        wanted = new is not None and not is_deleting(new) and is_ours(new, self._informers)
        if wanted and not running:
            self._kept[ref] = group.create_task(self._keep(ref, kept), name=f"envoy-{node_cluster(ref)}")
        elif kept is not None and running and not wanted:
            kept.cancel()

    async def _keep(self, ref: Ref, before: asyncio.Task[None] | None) -> None:
        """One Envoy after the other, with a growing pause between them."""
        if before is not None:
            await asyncio.wait([before])  # its Envoy still has the port
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            outcome = await self._one_life(ref)
            failures = 1 if loop.time() - began >= _LONG_LIFE_SECONDS else failures + 1
            log.warning("Envoy ended, starting it again", gateway=node_cluster(ref), outcome=outcome)
            await asyncio.sleep(_RESTART.delay(failures))

    async def _one_life(self, ref: Ref) -> str:
        config = bootstrap(node_cluster(ref), self._ads_address)
        name = node_cluster(ref).replace("/", "_")  # no name of Kubernetes has an underscore
        try:
            envoy = await EnvoyProcess.start(self._binary, self._folder, name, config, env=self._environment)
        except OSError as error:
            return f"{error}"
        try:
            return f"exit code {await envoy.wait()}; see {self._folder / name}.log"
        finally:
            await envoy.stop()

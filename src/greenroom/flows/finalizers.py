"""Objects that are being deleted are let go of in the place of App Mesh's controller, which cannot any more.

A namespace goes when all in it is gone, so what is left here holds up the end of whole environments.
"""

from __future__ import annotations

from contextlib import suppress

from greenroom.core.finalizers import left_over
from greenroom.model.errors import NotFound
from greenroom.model.manifest import Manifest, Ref, ref_of
from greenroom.model.mesh import KINDS
from greenroom.model.watch import Scope
from greenroom.ports import Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import Monitors, unwatched


class Finalizers:
    def __init__(self, cluster: Cluster, informers: Informers, monitors: Monitors = unwatched) -> None:
        self._cluster = cluster
        self._informers = informers
        self._controller = Controller("finalizers", self._release, monitor=monitors("finalizers"))

    async def run(self) -> None:
        """Until cancelled."""
        for kind in KINDS:
            self._informers.subscribe(Scope(kind), self._changed)
        try:
            await self._controller.run()
        finally:
            self._informers.unsubscribe(self._changed)

    def _changed(self, _: Manifest | None, new: Manifest | None) -> None:
        if new is not None and left_over(new):
            self._controller.add(ref_of(new))

    async def _release(self, ref: Ref) -> None:
        manifest = self._informers.get(ref)
        if manifest is not None and (finalizers := left_over(manifest)):
            with suppress(NotFound):
                await self._cluster.release(manifest, finalizers)

"""What became of an environment is told: in the status of its PR object, in Events, and in a line of the log."""

from __future__ import annotations

import structlog

from greenroom.core import status
from greenroom.core.events import events_of, readiness
from greenroom.core.status import Findings
from greenroom.flows.children import MANAGER
from greenroom.model.errors import ClusterError, NotFound
from greenroom.model.manifest import Manifest, name_of, ref_of, table, version_of
from greenroom.ports import Clock, Cluster
from greenroom.runtime.informer import Informers

log = structlog.get_logger(__name__)


class Teller:
    """Whoever tells."""

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock

    async def tell(self, pr: Manifest, findings: Findings) -> None:
        """Raises ClusterError when the status is not stored: Conflict when there is a newer version of ``pr``."""
        now = self._clock.now()
        wanted = status.status_of(findings, pr, now)
        change = status.patch(table(pr, "status"), wanted)
        if not change:
            return
        try:
            stored = await self._cluster.patch_status(ref_of(pr), change, resource_version=version_of(pr))
            self._informers.observe(stored)
        except NotFound:
            return  # deleted meanwhile; the deletion brings the key here again
        for event in events_of(pr, wanted, now):
            await self._write(event)
        if news := readiness(pr, wanted):
            reason, message = news
            report = log.warning if reason in status.FAILURES else log.info
            report("readiness changed", reason=reason, message=message)

    async def _write(self, event: Manifest) -> None:
        """An Event is worth a try, and no more: the status says the same."""
        try:
            await self._cluster.apply(event, manager=MANAGER)
        except ClusterError as error:
            log.info("event was not written", event_name=name_of(event), error=str(error))

"""Routing objects -> Envoys, and what became of each object -> its status.

Whatever changes, everything is worked out anew from what the informers know, and published whole; only what differs
travels to Envoy (``core.xds``). When an Envoy answers, the verdict goes into the objects' ``…Active`` conditions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router, Routing
from greenroom.core.verdicts import Verdict, patience_lost, status_of, verdicts
from greenroom.core.xds import Standing
from greenroom.model.errors import NotFound
from greenroom.model.manifest import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NAMESPACE,
    POD,
    REPLICA_SET,
    SERVICE,
    Manifest,
    Ref,
)
from greenroom.model.mesh import KINDS as MESH_KINDS
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster, Gateway
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

KINDS = (*MESH_KINDS, NAMESPACE, SERVICE, ENDPOINT_SLICE, POD, REPLICA_SET, DEPLOYMENT)

_ALL = "all"
_DEBOUNCE_SECONDS = 0.02
"""Objects come in groups: those of one environment, or a pod with its endpoints. A group is published once."""
_ANSWER_SECONDS = 0.005
_PATIENCE_SECONDS = 10.0
"""How long what was said of an object stands while no Envoy answers: longer than an Envoy takes to start again."""


class Routes:
    """Keeps every gateway configured. The Envoys of all gateways listen on the address ``bind``."""

    def __init__(
        self, cluster: Cluster, informers: Informers, gateway: Gateway, clock: Clock, *, bind: str = "127.0.0.1"
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._gateway = gateway
        self._clock = clock
        self._bind = bind
        self._router = Router()
        self._routing = Routing({}, {}, frozenset(), {})
        self._standings: Mapping[Ref, Sequence[Standing]] = {}
        self._verdicts: Mapping[Ref, Verdict | None] = {}
        self._waiting_since: dict[Ref, float] = {}
        self._tables = Controller("routes", self._publish, workers=1)
        self._answers = Controller("gateway-answers", self._judge, workers=1)
        self._statuses = Controller("route-status", self._write)

    async def run(self) -> None:
        """Until cancelled. Publishes nothing before everything is known: half of the routes would cut off the rest."""
        for kind in KINDS:
            self._informers.start(Scope(kind))
        await self._informers.synced(*map(Scope, KINDS))
        for kind in KINDS:
            self._informers.subscribe(Scope(kind), lambda _old, _new: self._tables.add(_ALL, after=_DEBOUNCE_SECONDS))
        self._gateway.subscribe(lambda _: self._answers.add(_ALL, after=_ANSWER_SECONDS))
        self._tables.add(_ALL)
        async with asyncio.TaskGroup() as group:
            for controller in (self._tables, self._answers, self._statuses):
                group.create_task(controller.run())

    async def _publish(self, _: str) -> None:
        before, self._routing = self._routing, self._router.route(self._informers)
        for ref, table in self._routing.tables.items():
            self._gateway.publish(_name(ref), snapshot(table, bind=self._bind))
        for ref in before.tables.keys() - self._routing.tables.keys():
            self._gateway.withdraw(_name(ref))
        self._answers.add(_ALL)

    async def _judge(self, _: str) -> None:
        """Work out what to say of each object; write to those that say something else."""
        self._standings = {ref: self._gateway.standings(_name(ref)) for ref in self._routing.tables}
        self._verdicts = verdicts(self._routing, self._standings, bind=self._bind)
        now = asyncio.get_running_loop().time()
        waiting = {ref for ref, verdict in self._verdicts.items() if verdict is None}
        self._waiting_since = {ref: self._waiting_since.get(ref, now) for ref in waiting}
        for ref in waiting:
            self._statuses.add(ref, after=_PATIENCE_SECONDS)
        for ref, verdict in self._verdicts.items():
            if verdict is not None and self._differs(ref, verdict):
                self._statuses.add(ref)

    def _differs(self, ref: Ref, verdict: Verdict) -> bool:
        manifest = self._informers.get(ref)
        return manifest is not None and status_of(manifest, verdict, self._clock.now()) is not None

    async def _write(self, ref: Ref) -> float | None:
        """The status of one object, if it is to change. Answers the seconds of patience left without a verdict."""
        manifest = self._informers.get(ref)
        if manifest is None or ref not in self._verdicts:
            return None
        verdict = self._verdicts[ref]
        if verdict is None:
            left = self._waiting_since[ref] + _PATIENCE_SECONDS - asyncio.get_running_loop().time()
            if left > 0:
                return left
            verdict = self._impatient(ref)
        status = status_of(manifest, verdict, self._clock.now())
        if status is not None:
            await self._patch(ref, status)
        return None

    def _impatient(self, ref: Ref) -> Verdict:
        placement = self._routing.placed.get(ref)
        gateway = placement.gateway if placement is not None else ref
        return patience_lost(self._standings.get(gateway, ()))

    async def _patch(self, ref: Ref, status: Manifest) -> None:
        try:
            self._informers.observe(await self._cluster.patch_status(ref, status))
        except NotFound:
            return  # deleted meanwhile; so is what there was to say


def _name(gateway: Ref) -> str:
    return f"{gateway.namespace}/{gateway.name}"

"""Routing objects -> Envoys, and what became of each object -> its status.

Whatever changes, everything is worked out anew from what the informers know, and published whole; only what differs
travels to Envoy (``core.xds_stream``). When an Envoy answers, the verdict goes into the objects' ``…Active``
conditions (``flows.route_status``); and when it refuses all routes for the sake of one, ``core.quarantine`` finds and
holds that one. While an environment does not answer, its PR object says what visitors are told (``core.notices``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from greenroom.core.envoy import snapshot
from greenroom.core.gateway_names import node_cluster
from greenroom.core.gateways import NOTHING, Gateways
from greenroom.core.notices import announced, notices
from greenroom.core.quarantine import Quarantine
from greenroom.core.verdicts import Attested
from greenroom.core.xds import ROUTES, Standing
from greenroom.flows.backends import Backends
from greenroom.flows.route_status import RouteStatus
from greenroom.model.gateway import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.gateway import KINDS as API_KINDS
from greenroom.model.manifest import NAMESPACE, PR, Manifest, Ref, ref_of, table
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.model.mesh import KINDS as MESH_KINDS
from greenroom.model.routes import Notice, RouteTable
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster, Gateway
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import Monitors, unwatched

_TOLD = (*MESH_KINDS, GATEWAY_CLASS, GATEWAY, HTTP_ROUTE)
"""Kinds whose status tells what became of an object."""
KINDS = (*MESH_KINDS, *API_KINDS, NAMESPACE)
"""What is watched everywhere, of kinds that the cluster has. ``flows.backends`` watches the rest where it is needed."""

_ALL = "all"
_LULL_SECONDS = 0.005
"""Objects come in groups: those of one environment, or a pod with its endpoints. A group is published once."""
_LONGEST_SECONDS = 0.5
"""How long a change may wait for more of them, and for Envoys to take what was published before."""
_ANSWER_SECONDS = 0.005
_PAGES_SECONDS = 0.1
"""How soon visitors who wait are told something new."""

_PARTIAL_SECONDS = 30.0
"""How long the kinds of an API that are not served are waited for while others of it are. When an API server starts,
CRDs come one after the other, and a gateway whose routes are not known yet would lose them all."""


class Routes:
    """Keeps every gateway configured. The Envoys of all gateways listen on the address ``bind``."""

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        gateway: Gateway,
        clock: Clock,
        *,
        bind: str = "127.0.0.1",
        monitors: Monitors = unwatched,
    ) -> None:
        self._informers = informers
        self._gateway = gateway
        self._bind = bind
        self._backends = Backends(informers, changed=self._changed, turned=self._look_again)
        self._gateways = Gateways()
        self._routing = NOTHING
        self._notices: Mapping[str, Notice] = {}
        self._announced: Mapping[Ref, RouteTable] = {}
        self._quarantines: dict[Ref, Quarantine] = {}
        self._statuses = RouteStatus(cluster, informers, clock, monitors)
        self._partial_since: float | None = None
        self._lull = 0.0
        self._published = 0.0
        self._held_back = False
        self._tables = Controller("routes", self._publish, workers=1, monitor=monitors("routes"))
        self._pages = Controller("pages", self._announce, workers=1, monitor=monitors("pages"))
        self._answers = Controller("gateway-answers", self._judge, workers=1, monitor=monitors("gateway-answers"))

    async def run(self) -> None:
        """Until cancelled, once, and only by the replica that leads: Envoys get everything from one.

        Publishes nothing before everything is known: half of the routes would cut off the rest.
        """
        for kind in KINDS:
            self._informers.start(Scope(kind))
        await self._informers.synced(*map(Scope, KINDS))
        for kind in KINDS:
            self._informers.subscribe(Scope(kind), self._told_changed if kind in _TOLD else self._changed)
        self._informers.subscribe(Scope(PR), self._environment_changed)
        self._tables.add(_ALL)
        try:
            with self._gateway.serving(lambda _: self._answers.add(_ALL, after=_ANSWER_SECONDS)):
                async with asyncio.TaskGroup() as group:
                    for controller in (self._tables, self._pages, self._answers, self._statuses):
                        group.create_task(controller.run())
        finally:
            self._backends.close()
            for handler in (self._changed, self._told_changed, self._environment_changed):
                self._informers.unsubscribe(handler)

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is None or new is None or _told(old) != _told(new):
            self._look_again()

    def _told_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is None or new is None or _told(old) != _told(new):
            self._statuses.specified(ref_of(new or old or {}))
            self._look_again()
        else:
            self._statuses.stated(ref_of(new))

    def _look_again(self) -> None:
        """Soon; and when that takes long, not right after it was done, so that there is time for everything else."""
        now = asyncio.get_running_loop().time()
        self._tables.add(_ALL, after=max(_LULL_SECONDS, self._published + self._lull - now))

    def _environment_changed(self, _old: Manifest | None, _new: Manifest | None) -> None:
        self._pages.add(_ALL, after=_PAGES_SECONDS)

    async def _publish(self, _: str) -> float | None:
        """Answers the seconds to wait, while Envoys are busy with what they got before: they read it all each time."""
        began = asyncio.get_running_loop().time()
        self._held_back = self._is_unanswered() and began < self._published + _LONGEST_SECONDS
        if self._held_back:
            return self._published + _LONGEST_SECONDS - began
        if self._is_partial(began):
            return _LONGEST_SECONDS
        blind = await self._backends.follow(self._namespaces())
        self._statuses.routed()
        before, self._routing = self._routing, self._gateways.route(self._informers, blind=blind)
        self._show_all()
        for ref in before.tables.keys() - self._routing.tables.keys():
            self._gateway.withdraw(node_cluster(ref))
            self._quarantines.pop(ref, None)
        self._published = asyncio.get_running_loop().time()
        self._lull = min(self._published - began, _LONGEST_SECONDS)
        self._answers.add(_ALL)
        return None

    def _is_partial(self, now: float) -> bool:
        """Whether some kinds of an API are known and others are to be waited for."""
        listed = [[self._informers.has_listed(Scope(kind)) for kind in kinds] for kinds in (MESH_KINDS, API_KINDS)]
        if not any(any(api) and not all(api) for api in listed):
            self._partial_since = None
            return False
        self._partial_since = now if self._partial_since is None else self._partial_since
        return now < self._partial_since + _PARTIAL_SECONDS

    def _namespaces(self) -> set[str]:
        """Those that there are, with Services that routes lead to."""
        named = self._gateways.service_namespaces(self._informers)
        return {each for each in named if self._informers.get(Ref(NAMESPACE, "", each)) is not None}

    async def _announce(self, _: str) -> None:
        if self._present_notices() != self._notices:
            self._show_all()

    def _present_notices(self) -> Mapping[str, Notice]:
        routes = (*self._informers.list(GATEWAY_ROUTE), *self._informers.list(HTTP_ROUTE))
        return notices(self._informers.list(PR), routes)

    def _show_all(self) -> None:
        self._notices = self._present_notices()
        self._announced = announced(self._routing.tables, self._notices)
        for ref in self._announced:
            self._show(ref)

    def _show(self, ref: Ref) -> None:
        table = self._quarantines.setdefault(ref, Quarantine()).passed(self._announced[ref])
        self._gateway.publish(node_cluster(ref), snapshot(table, bind=self._bind))

    def _is_unanswered(self) -> bool:
        """Whether an Envoy has said neither yes nor no to the routes that were published last."""
        standings = [each for ref in self._routing.tables for each in self._gateway.standings(node_cluster(ref))]
        # Routes are not even asked for while their listener is refused.
        return any(not each.refused and ROUTES in {kind for kind, _ in each.missing} for each in standings)

    async def _judge(self, _: str) -> float | None:
        """Work out what to say of each object. Answers the seconds until patience with an Envoy ends."""
        attested = {ref: self._attest(ref) for ref in self._routing.tables}
        routing, bind = self._routing, self._bind
        verdicts = routing.said(attested, bind=bind)
        again = self._statuses.judged(verdicts, lambda ref: routing.impatient(ref, attested, bind=bind))
        if self._held_back and not self._is_unanswered():
            self._tables.add(_ALL)
        return again

    def _attest(self, ref: Ref) -> Attested:
        """What the Envoys of a gateway say now; after what they have said something else may be published."""
        quarantine = self._quarantines[ref]
        if self._is_told(quarantine, self._gateway.standings(node_cluster(ref))):
            self._show(ref)
        return Attested(self._gateway.standings(node_cluster(ref)), quarantine.reasons, quarantine.suspects)

    def _is_told(self, quarantine: Quarantine, standings: Sequence[Standing]) -> bool:
        """Whether the quarantine learned something, so that something else is to be published."""
        refused = [(name, why) for each in standings for (kind, name), why in each.refused.items() if kind == ROUTES]
        if refused:
            return quarantine.refused(*refused[0], trusted=self._routing.served_before(self._informers))
        taken = bool(standings) and not any(kind == ROUTES for each in standings for kind, _ in each.missing)
        return taken and quarantine.taken()


def _told(manifest: Manifest) -> Manifest:
    """What its user says: the status of an object, which changes often, is nothing to route by."""
    metadata = {k: v for k, v in table(manifest, "metadata").items() if k not in {"resourceVersion", "managedFields"}}
    return {**{k: v for k, v in manifest.items() if k != "status"}, "metadata": metadata}

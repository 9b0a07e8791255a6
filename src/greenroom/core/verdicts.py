"""What is said of each mesh object: active or not, why, and how that is written into its status.

A GatewayRoute is active when every connected Envoy has taken all that it needs; the objects behind it when they are
right in themselves. While an Envoy has not answered there is no verdict, and what was said before stands: otherwise
each change of one route would, for a moment, deny all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime

from greenroom.core.envoy import needs
from greenroom.core.memo import by_identity
from greenroom.core.routing import Placement, Routing
from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, Named, Standing
from greenroom.model.manifest import Json, Manifest, Ref, condition_of, get, items, text, timestamp
from greenroom.model.routes import Listener, RouteTable


@dataclass(frozen=True, slots=True)
class Verdict:
    active: bool
    reason: str
    message: str


ACCEPTED = Verdict(active=True, reason="Accepted", message="everything that it refers to is there")
PROGRAMMED = Verdict(active=True, reason="Programmed", message="every connected Envoy serves it")
NO_ENVOY = Verdict(active=False, reason="NoEnvoy", message="no Envoy of this VirtualGateway is connected to Greenroom")
NOT_ANSWERED = Verdict(
    active=False, reason="NotAcknowledged", message="an Envoy has not taken the present configuration"
)


@dataclass(frozen=True, slots=True)
class Attested:
    """What the Envoys of one gateway say, and what ``core.quarantine`` keeps from them.

    ``reasons`` tells by name why Envoy refused a route; of ``suspects`` it is not known yet.
    """

    standings: Sequence[Standing] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    suspects: frozenset[str] = frozenset()


NOTHING_ATTESTED = Attested()


def verdicts(routing: Routing, attested: Mapping[Ref, Attested], *, bind: str) -> dict[Ref, Verdict | None]:
    """One for each mesh object; None while it waits for an Envoy. ``attested`` is told by VirtualGateway."""
    found: dict[Ref, Verdict | None] = {**_in_themselves(routing)}
    of_gateways = {
        ref: OneGateway(table, attested.get(ref, NOTHING_ATTESTED), bind) for ref, table in routing.tables.items()
    }
    for ref, gateway in of_gateways.items():
        found[ref] = gateway.itself()
    for ref, placement in routing.placed.items():
        found[ref] = of_gateways[placement.gateway].route(ref, placement)
    return found


@by_identity(1)
def _in_themselves(routing: Routing) -> Mapping[Ref, Verdict]:
    """Whether they are right, which no Envoy has a say in."""
    found = dict.fromkeys(routing.accepted, ACCEPTED)
    found |= {ref: _but(remark) for ref, remark in routing.remarks.items()}
    found |= {ref: Verdict(active=False, reason=why.reason, message=str(why)) for ref, why in routing.refused.items()}
    return found


def _but(remark: str) -> Verdict:
    return replace(ACCEPTED, message=f"{ACCEPTED.message}; {remark}")


def patience_lost(standings: Sequence[Standing]) -> Verdict:
    """What is said when there is no verdict for too long."""
    return NOT_ANSWERED if standings else NO_ENVOY


def status_of(manifest: Manifest, verdict: Verdict, now: datetime) -> dict[str, Json] | None:
    """The status to write, None when it says so already. Conditions of other types are kept."""
    kind = f"{text(manifest, 'kind')}Active"
    generation = get(manifest, "metadata", "generation")
    before = condition_of(manifest, kind)
    status = "True" if verdict.active else "False"
    said: dict[str, Json] = {"type": kind, "status": status, "reason": verdict.reason, "message": verdict.message}
    stale = get(manifest, "status", "observedGeneration") != generation
    if not stale and all(before.get(field) == value for field, value in said.items()):
        return None
    since = text(before, "lastTransitionTime") if before.get("status") == status else ""
    said["lastTransitionTime"] = since or timestamp(now)
    others = [each for each in items(manifest, "status", "conditions") if text(each, "type") != kind]
    return {"observedGeneration": generation, "conditions": [*others, said]}


def is_active(manifest: Manifest) -> bool:
    """Whether its status says that it is active as it is now."""
    said = text(condition_of(manifest, f"{text(manifest, 'kind')}Active"), "status") == "True"
    return said and get(manifest, "status", "observedGeneration") == get(manifest, "metadata", "generation")


class OneGateway:
    """A gateway's Envoys, asked about one thing after another."""

    def __init__(self, table: RouteTable, attested: Attested, bind: str) -> None:
        self._table = table
        self._bind = bind
        self._attested = attested
        standings = attested.standings
        self._missing = frozenset[Named]().union(*(standing.missing for standing in standings))
        self._refused = {named: why for standing in standings for named, why in standing.refused.items()}
        self._doubtful = {name for kind, name in {*self._missing, *self._refused} if kind in {CLUSTER, ENDPOINTS}}
        self._holds = bool(attested.reasons or attested.suspects)
        self._of_ports: dict[tuple[int, ...], Verdict | None] = {}

    def itself(self) -> Verdict | None:
        return self.listening(tuple(each.listener for each in self._table.listeners))

    def route(self, ref: Ref, placement: Placement) -> Verdict | None:
        if self._holds:
            name = f"{ref.namespace}/{ref.name}"
            if name in self._attested.reasons:
                return _quarantined(self._attested.reasons[name])
            if name in self._attested.suspects:
                return None
        if self._doubtful.isdisjoint(placement.clusters):
            return self.listening(placement.listeners)
        return self._verdict(needs(placement.listeners, bind=self._bind, clusters=placement.clusters))

    def listening(self, listeners: tuple[Listener, ...]) -> Verdict | None:
        """The same for all routes of which no cluster is missing."""
        ports = tuple(each.port for each in listeners)
        if ports not in self._of_ports:
            self._of_ports[ports] = self._verdict(needs(listeners, bind=self._bind))
        return self._of_ports[ports]

    def _verdict(self, needed: AbstractSet[Named]) -> Verdict | None:
        for named in sorted(needed & self._refused.keys()):
            return self._rejection(named, self._refused[named])
        if not self._attested.standings or not needed.isdisjoint(self._missing):
            return None
        return PROGRAMMED

    def _rejection(self, named: Named, why: str) -> Verdict:
        if named[0] == LISTENER and "ddress already in use" in why:
            port = named[1].rpartition("_")[2]
            message = f"port {port} is in use: stop what listens there, or change it in spec.listeners"
            return Verdict(active=False, reason="PortInUse", message=message)
        return Verdict(active=False, reason="Rejected", message=f"Envoy refused {named[1]}: {why}")


def _quarantined(why: str) -> Verdict:
    message = f"Envoy refuses this route, which is left out, or as it was before, until it is changed: {why}"
    return Verdict(active=False, reason="Quarantined", message=message)

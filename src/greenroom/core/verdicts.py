"""What is said of each mesh object: active or not, why, and how that is written into its status.

A GatewayRoute is active when every connected Envoy has taken all that it needs; the objects behind it when they are
right in themselves. While an Envoy has not answered there is no verdict, and what was said before stands: otherwise
each change of one route would, for a moment, deny all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenroom.core.envoy import needs
from greenroom.core.routing import Routing
from greenroom.core.xds import LISTENER, ROUTES, Named, Standing
from greenroom.model.manifest import Json, Manifest, Ref, condition_of, get, items, text, timestamp
from greenroom.model.routes import RouteTable


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


def verdicts(routing: Routing, standings: Mapping[Ref, Sequence[Standing]], *, bind: str) -> dict[Ref, Verdict | None]:
    """One for each mesh object; None while it waits for an Envoy. ``standings`` are told by VirtualGateway."""
    found: dict[Ref, Verdict | None] = dict.fromkeys(routing.accepted, ACCEPTED)
    found |= {ref: Verdict(active=False, reason=why.reason, message=str(why)) for ref, why in routing.refused.items()}
    of_gateways = {
        ref: _OneGateway(table, standings.get(ref, ()), bind, _routes_of(ref, routing))
        for ref, table in routing.tables.items()
    }
    for ref, gateway in of_gateways.items():
        found[ref] = gateway.itself()
    for ref, placement in routing.placed.items():
        found[ref] = of_gateways[placement.gateway].route(ref, placement.cluster)
    return found


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


class _OneGateway:
    """A gateway's Envoys, asked about one thing after another."""

    def __init__(self, table: RouteTable, standings: Sequence[Standing], bind: str, routes: Sequence[Ref]) -> None:
        self._table = table
        self._bind = bind
        self._envoys = len(standings)
        self._missing = frozenset[Named]().union(*(standing.missing for standing in standings))
        self._refused = {named: why for standing in standings for named, why in standing.refused.items()}
        self._blamed = _blamed(self._refused, routes)

    def itself(self) -> Verdict | None:
        return self._verdict(needs(self._table.listener, bind=self._bind))

    def route(self, ref: Ref, cluster: str) -> Verdict | None:
        if self._blamed and ref not in self._blamed:
            return None  # another route is wrong; Envoy keeps the routes that it had, and this may be one of them
        return self._verdict(needs(self._table.listener, bind=self._bind, cluster=cluster))

    def _verdict(self, needed: frozenset[Named]) -> Verdict | None:
        for named in sorted(needed & self._refused.keys()):
            return self._rejection(named, self._refused[named])
        if not self._envoys or needed & self._missing:
            return None
        return PROGRAMMED

    def _rejection(self, named: Named, why: str) -> Verdict:
        if named[0] == LISTENER and "ddress already in use" in why:
            port = self._table.listener.port
            message = f"port {port} is in use: stop what listens there, or change spec.listeners[0].portMapping.port"
            return Verdict(active=False, reason="PortInUse", message=message)
        return Verdict(active=False, reason="Rejected", message=f"Envoy refused {named[1]}: {why}")


def _routes_of(gateway: Ref, routing: Routing) -> list[Ref]:
    return [ref for ref, placement in routing.placed.items() if placement.gateway == gateway]


def _blamed(refused: Mapping[Named, str], routes: Sequence[Ref]) -> frozenset[Ref]:
    """The routes that a refusal of the whole route configuration names, if it names any."""
    words = {word for (kind, _), why in refused.items() if kind == ROUTES for word in re.findall(r"[\w./-]+", why)}
    return frozenset(ref for ref in routes if f"{ref.namespace}/{ref.name}" in words)

"""What is said of GatewayClasses, Gateways and HTTPRoutes, and how it is written into their status.

Types and reasons of conditions are the specification's (``apis/v1`` of kubernetes-sigs/gateway-api), but for
``Quarantined``. Accepted tells whether the objects are right; Programmed, of Gateways and their listeners, whether
every connected Envoy has taken them. Other controllers write into the same statuses, and what they wrote stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from greenroom.core.gateway_api import GatewayRouting, route_name
from greenroom.core.http_attachment import Attachment
from greenroom.core.verdicts import (
    NO_ENVOY,
    NOT_ANSWERED,
    NOTHING_ATTESTED,
    Attested,
    OneGateway,
    Verdict,
    patience_lost,
)
from greenroom.model.gateway import CONTROLLER, Gateway, GatewayClass, GatewayListener, why_unserved
from greenroom.model.manifest import Json, Kind, Manifest, Ref, get, items, text, timestamp
from greenroom.model.mesh import Refused
from greenroom.model.routes import RouteTable

_OURS = frozenset({"Accepted", "ResolvedRefs", "PartiallyInvalid", "Programmed", "Conflicted"})
_PARENTS_LIMIT = 32
"""Entries in the status of a route, of all controllers."""


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ListenerStatement:
    name: str
    kinds: tuple[Kind, ...]
    attached: int
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class ParentStatement:
    """``parent`` is the reference as the route has it."""

    parent: Json
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """Of a GatewayClass ``conditions``; of a Gateway ``listeners``, too; of an HTTPRoute ``parents`` alone."""

    conditions: tuple[Condition, ...] = ()
    listeners: tuple[ListenerStatement, ...] = ()
    parents: tuple[ParentStatement, ...] = ()


def statements(
    found: GatewayRouting, attested: Mapping[Ref, Attested], *, bind: str, patient: bool = True
) -> dict[Ref, Statement | None]:
    """One for each object; while ``patient``, None for a Gateway that waits for an Envoy.

    ``attested`` is told by Gateway.
    """
    said: dict[Ref, Statement | None] = {ref: _of_class(each) for ref, each in found.classes.items()}
    for ref, gateway in found.gateways.items():
        table = found.tables.get(ref)
        envoys = None if table is None else _Envoys(table, attested.get(ref, NOTHING_ATTESTED), bind)
        waits = patient and envoys is not None and not envoys.answered()
        said[ref] = None if waits else _of_gateway(gateway, envoys, _attached(ref, found.attachments))
    for ref, attachments in found.attachments.items():
        unresolved = found.unresolved.get(ref)
        parents = (
            _parent(ref, each, unresolved, attested.get(each.parent.ref, NOTHING_ATTESTED)) for each in attachments
        )
        said[ref] = Statement(parents=tuple(parents))
    return said


def status_of(manifest: Manifest, statement: Statement, now: datetime) -> dict[str, Json] | None:
    """What to write of the status, None when it says so already."""
    status: dict[str, Json] = {}
    generation = get(manifest, "metadata", "generation")
    if statement.conditions:
        status["conditions"] = _conditions(
            items(manifest, "status", "conditions"), statement.conditions, generation, now
        )
    if statement.listeners or items(manifest, "status", "listeners"):
        before = {text(each, "name"): each for each in items(manifest, "status", "listeners")}
        status["listeners"] = [_listener(each, before.get(each.name), generation, now) for each in statement.listeners]
    if statement.parents or _ours(manifest):
        status["parents"] = _parents(manifest, statement.parents, generation, now)
    same = all(get(manifest, "status", field) == value for field, value in status.items())
    return None if same else status


def is_accepted(route: Manifest) -> bool:
    """Whether the status of an HTTPRoute says that a Gateway of ours takes it as it is now."""
    generation = get(route, "metadata", "generation")
    return any(
        text(each, "status") == "True" and get(each, "observedGeneration") == generation
        for parent in _ours(route)
        for each in items(parent, "conditions")
        if text(each, "type") == "Accepted"
    )


def _of_class(gateway_class: GatewayClass) -> Statement:
    return Statement((_accepted(gateway_class.trouble, "Greenroom serves its Gateways"),))


def _of_gateway(gateway: Gateway, envoys: _Envoys | None, attached: Mapping[str, int]) -> Statement:
    """``envoys`` are None for a Gateway that is not served."""
    unserved = "; ".join(filter(None, map(why_unserved, gateway.listeners)))
    accepted = _accepted(gateway.trouble, "all of its listeners are served")
    if gateway.trouble is None and unserved:
        accepted = Condition("Accepted", True, "ListenersNotValid", f"all of its listeners are served but {unserved}")
    programmed = _unprogrammed(gateway.trouble) if envoys is None else _programmed(envoys.all())
    listeners = (_of_listener(each, envoys, attached.get(each.name, 0)) for each in gateway.listeners)
    return Statement((accepted, programmed), tuple(listeners))


def _of_listener(listener: GatewayListener, envoys: _Envoys | None, attached: int) -> ListenerStatement:
    conflict = Refused("HostnameConflict", why_unserved(listener)) if listener.conflict else None
    trouble = listener.trouble or conflict
    served = envoys is not None and trouble is None
    kinds = (
        Refused("InvalidRouteKinds", f"not served here: {listener.unknown_kinds}") if listener.unknown_kinds else None
    )
    return ListenerStatement(
        listener.name,
        listener.allowed.kinds,
        attached,
        (
            _accepted(trouble, "it can be served"),
            Condition("Conflicted", True, "HostnameConflict", str(conflict))
            if conflict
            else Condition("Conflicted", False, "NoConflicts", "no other listener has its port and its host"),
            _resolved(kinds),
            _programmed(envoys.on(listener.port)) if envoys is not None and served else _unprogrammed(trouble),
        ),
    )


def _parent(ref: Ref, attachment: Attachment, unresolved: Refused | None, attested: Attested) -> ParentStatement:
    given = attachment.parent.given
    refused = attested.reasons.get(route_name(ref))
    if refused is not None:
        message = f"Envoy refuses this route, which is left out, or as it was before, until it is changed: {refused}"
        return ParentStatement(given, (Condition("Accepted", False, "Quarantined", message),))
    listeners = ", ".join(sorted(attachment.hosts))
    accepted = _accepted(attachment.trouble, f"attached to {listeners}")
    return ParentStatement(given, (accepted, _resolved(unresolved)) if attachment.is_accepted else (accepted,))


def _attached(gateway: Ref, attachments: Mapping[Ref, Sequence[Attachment]]) -> Mapping[str, int]:
    """Accepted routes, by the name of the listener."""
    counts: Counter[str] = Counter()
    for parents in attachments.values():
        mine = (each for each in parents if each.parent.ref == gateway and each.is_accepted)
        counts.update({name for each in mine for name in each.hosts})
    return counts


class _Envoys:
    """Those of one Gateway that is served: whether they have taken what they need. Silence is an answer, too."""

    def __init__(self, table: RouteTable, attested: Attested, bind: str) -> None:
        self._says = OneGateway(table, attested, bind)
        self._silence = _of_this_gateway(patience_lost(attested.standings))
        self._of_ports = {each.listener.port: each.listener for each in table.listeners}

    def answered(self) -> bool:
        return self._says.itself() is not None

    def all(self) -> Verdict:
        return self._says.itself() or self._silence

    def on(self, port: int) -> Verdict:
        return self._says.listening((self._of_ports[port],)) or self._silence


def _of_this_gateway(verdict: Verdict) -> Verdict:
    return replace(verdict, message="no Envoy of this Gateway is connected") if verdict == NO_ENVOY else verdict


def _accepted(trouble: Refused | None, message: str) -> Condition:
    if trouble is None:
        return Condition("Accepted", True, "Accepted", message)
    return Condition("Accepted", False, trouble.reason, str(trouble))


def _resolved(trouble: Refused | None) -> Condition:
    if trouble is None:
        return Condition("ResolvedRefs", True, "ResolvedRefs", "everything that it refers to is there")
    return Condition("ResolvedRefs", False, trouble.reason, str(trouble))


def _programmed(verdict: Verdict) -> Condition:
    """Envoy's refusal makes it Invalid, and its silence Pending."""
    reason = verdict.reason if verdict.active else "Pending" if verdict.reason in _SILENT else "Invalid"
    return Condition("Programmed", verdict.active, reason, verdict.message)


_SILENT = frozenset({NO_ENVOY.reason, NOT_ANSWERED.reason})


def _unprogrammed(trouble: Refused | None) -> Condition:
    return Condition("Programmed", False, "Invalid", str(trouble or "the Gateway is not served"))


def _listener(said: ListenerStatement, before: Json, generation: Json, now: datetime) -> Json:
    kinds: Json = [{"group": kind.group, "kind": kind.name} for kind in said.kinds]
    return {
        "name": said.name,
        "supportedKinds": kinds,
        "attachedRoutes": said.attached,
        "conditions": _conditions(items(before, "conditions"), said.conditions, generation, now),
    }


def _parents(manifest: Manifest, said: Sequence[ParentStatement], generation: Json, now: datetime) -> list[Json]:
    others = [each for each in items(manifest, "status", "parents") if not _is_ours(each)]
    ours = _ours(manifest)
    for each in said:
        before = next((entry for entry in ours if get(entry, "parentRef") == each.parent), None)
        conditions = _conditions(items(before, "conditions"), each.conditions, generation, now)
        others.append({"parentRef": each.parent, "controllerName": CONTROLLER, "conditions": conditions})
    return others[:_PARENTS_LIMIT]


def _ours(manifest: Manifest) -> list[Json]:
    return [each for each in items(manifest, "status", "parents") if _is_ours(each)]


def _is_ours(parent: Json) -> bool:
    return text(parent, "controllerName") == CONTROLLER


def _conditions(before: Sequence[Json], said: Sequence[Condition], generation: Json, now: datetime) -> list[Json]:
    """Those that are there stay in their places; what somebody else wrote stays as it is."""
    old = {text(each, "type"): each for each in before}
    new = {each.type: _condition(each, old.get(each.type), generation, now) for each in said}
    kept = [new.pop(text(each, "type"), each) for each in before if text(each, "type") in {*new} or not _is_known(each)]
    return [*kept, *new.values()]


def _is_known(condition: Json) -> bool:
    return text(condition, "type") in _OURS


def _condition(said: Condition, before: Json, generation: Json, now: datetime) -> Json:
    status = "True" if said.holds else "False"
    since = text(before, "lastTransitionTime") if text(before, "status") == status else ""
    return {
        "type": said.type,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since or timestamp(now),
        "reason": said.reason,
        "message": said.message,
    }

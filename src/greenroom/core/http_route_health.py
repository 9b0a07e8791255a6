"""Whether visitors get where an HTTPRoute leads, by what its status and that of its Gateway say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from greenroom.model.gateway import CONTROLLER, GATEWAY
from greenroom.model.manifest import Json, Manifest, Ref, condition_of, get, items, number, text

Look: TypeAlias = Callable[[Ref], "Manifest | None"]
"""Answers the known object: ``ports.Reader.get``."""


def unserved(route: Manifest, look: Look, *, routed: bool) -> str:
    """Why they do not get there yet, ``""`` when they do.

    Of a route that belongs to Gateways of ours, only they count. Without ``routed`` it is no gateway of ours that is to
    take it, and there may be none that says so.
    """
    parents = items(route, "status", "parents")
    ours = [each for each in parents if text(each, "controllerName") == CONTROLLER]
    if not parents:
        return "no gateway has taken the route yet" if routed else ""
    return next(filter(None, (_trouble(route, each, look) for each in ours or parents)), "")


def gateways_of(route: Manifest) -> frozenset[Ref]:
    return frozenset(_gateway(route, each) for each in items(route, "spec", "parentRefs"))


def is_programmed(gateway: Manifest | None) -> bool:
    return text(condition_of(gateway or {}, "Programmed"), "status") == "True"


def _trouble(route: Manifest, parent: Json, look: Look) -> str:
    for kind in ("Accepted", "ResolvedRefs"):
        condition = next((each for each in items(parent, "conditions") if text(each, "type") == kind), None)
        if text(condition, "status") != "True":
            return _told(condition) or "no gateway has taken the route yet"
        if number(condition, "observedGeneration") < number(route, "metadata", "generation"):
            return "its gateway has not looked at the present version yet"
    if text(parent, "controllerName") != CONTROLLER:
        return ""
    ref = _gateway(route, get(parent, "parentRef"))
    gateway = look(ref)
    if is_programmed(gateway):
        return ""
    why = _told(condition_of(gateway, "Programmed")) if gateway else "it is gone"
    return f"Gateway {ref.name}: {why or 'no Envoy serves it yet'}"


def _gateway(route: Manifest, parent: Json) -> Ref:
    return Ref(GATEWAY, text(parent, "namespace") or text(route, "metadata", "namespace"), text(parent, "name"))


def _told(condition: Json) -> str:
    return ": ".join(part for part in (text(condition, "reason"), text(condition, "message")) if part)

"""What Greenroom has said of objects in their conditions, once more in one place: each that is not as it should be.

Only what Greenroom said counts, and only of the object as it is now: App Mesh's controller gave no reasons, and of a
Gateway or a route there may be other controllers' words, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.core.findings import Finding, Known, on, told
from greenroom.core.gateways import class_of, is_own_class
from greenroom.core.verdicts import NO_ENVOY, NOT_ANSWERED
from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.manifest import Json, Manifest, condition_of, get, is_deleting, items, ref_of, text
from greenroom.model.mesh import KINDS

API_KINDS = (GATEWAY_CLASS, GATEWAY, HTTP_ROUTE)
_GOOD = frozenset({"Accepted", "ResolvedRefs", "Programmed"})
_ABOUT_PODS = frozenset({NO_ENVOY.reason, NOT_ANSWERED.reason, "Pending"})
"""Reasons that no change of the object cures."""


def mesh_objects(known: Known) -> Iterator[Finding]:
    """App Mesh's kinds: ``…Active`` is False."""
    for kind in KINDS:
        for manifest in known.list(kind):
            condition = condition_of(manifest, f"{kind.name}Active")
            seen = get(manifest, "status", "observedGeneration") == get(manifest, "metadata", "generation")
            if seen and text(condition, "status") == "False" and not is_deleting(manifest):
                yield from _finding(manifest, condition, text(condition, "message"))


def api_objects(known: Known) -> Iterator[Finding]:
    """Gateway API's kinds, as far as they are Greenroom's."""
    for manifest in known.list(GATEWAY_CLASS):
        if is_own_class(manifest):
            yield from _conditions(manifest, get(manifest, "status"), "")
    for manifest in known.list(GATEWAY):
        gateway_class = known.get(class_of(manifest))
        if gateway_class is not None and is_own_class(gateway_class):
            yield from _conditions(manifest, get(manifest, "status"), "")
            for listener in items(manifest, "status", "listeners"):
                yield from _conditions(manifest, listener, f"listener {text(listener, 'name')}: ")
    for manifest in known.list(HTTP_ROUTE):
        for parent in items(manifest, "status", "parents"):
            if text(parent, "controllerName") == CONTROLLER:
                name = text(parent, "parentRef", "name")
                yield from _conditions(manifest, parent, f"at Gateway {name}: ")


def _conditions(manifest: Manifest, status: Json, where: str) -> Iterator[Finding]:
    if is_deleting(manifest):
        return
    for condition in items(status, "conditions"):
        kind, said = text(condition, "type"), text(condition, "status")
        is_present = get(condition, "observedGeneration") == get(manifest, "metadata", "generation")
        if is_present and said == "False" and kind in _GOOD:
            yield from _finding(manifest, condition, f"{where}{kind} is False: {text(condition, 'message')}")


def _finding(manifest: Manifest, condition: Json, message: str) -> Iterator[Finding]:
    ref, reason = ref_of(manifest), text(condition, "reason")
    if reason:
        yield Finding(reason, (told(ref),), message, on(ref, "describe" if reason in _ABOUT_PODS else "edit"))

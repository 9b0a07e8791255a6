"""All gateways, whichever API they are of: what each serves, and what is said of each object in the words of its API.

App Mesh's objects are the business of ``core.routing`` and ``core.verdicts``, Gateway API's of ``core.gateway_api`` and
``core.gateway_api_status``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from greenroom.core import gateway_api_status, verdicts
from greenroom.core.commits import Lookup
from greenroom.core.endpoints import Objects
from greenroom.core.gateway_api import GatewayApi, GatewayRouting, backend_namespaces, route_name
from greenroom.core.gateway_api_status import Statement, statements
from greenroom.core.memo import Each
from greenroom.core.routing import Router, Routing
from greenroom.core.service_names import service_name
from greenroom.core.verdicts import NOTHING_ATTESTED, Attested, Verdict, patience_lost
from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.manifest import Json, Manifest, Ref, kind_of, text
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE, Refused
from greenroom.model.routes import RouteTable

Said: TypeAlias = Verdict | Statement


@dataclass(frozen=True, slots=True)
class Found:
    """What came of the objects of each API, and the ``tables`` of all gateways."""

    mesh: Routing
    api: GatewayRouting
    tables: Mapping[Ref, RouteTable]

    def said(self, attested: Mapping[Ref, Attested], *, bind: str) -> dict[Ref, Said | None]:
        """One for each object; None while it waits for an Envoy. ``attested`` is told by gateway."""
        of_mesh: dict[Ref, Said | None] = {**verdicts.verdicts(self.mesh, attested, bind=bind)}
        return of_mesh | statements(self.api, attested, bind=bind)

    def impatient(self, ref: Ref, attested: Mapping[Ref, Attested], *, bind: str) -> Said | None:
        """What is said of one that has waited for too long, None if there is nothing to say any more."""
        if ref.kind == GATEWAY:
            return statements(self.api, attested, bind=bind, patient=False).get(ref)
        placement = self.mesh.placed.get(ref)
        gateway = placement.gateway if placement is not None else ref
        return patience_lost(attested.get(gateway, NOTHING_ATTESTED).standings)

    def served_before(self, objects: Objects) -> list[str]:
        """The names of the routes whose status says that they are served as they are now."""
        known = ((ref, objects.get(ref)) for ref in (*self.mesh.placed, *self.api.attachments))
        return [_route_name(ref) for ref, manifest in known if manifest is not None and _is_served(manifest)]


NOTHING = Found(Routing({}, {}, frozenset(), {}), GatewayRouting({}, {}, {}, {}, {}), {})


class Gateways:
    """Makes the tables. What did not change is not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._mesh = Router()
        self._api = GatewayApi()
        self._namespaces = Each[int, Manifest, frozenset[str]](_namespaces_of)

    def service_namespaces(self, objects: Objects) -> frozenset[str]:
        """Those with Services that VirtualNodes and HTTPRoutes name."""
        # They are known by themselves: to look into all of them takes longer than all else.
        asked = {id(each): each for kind in (VIRTUAL_NODE, HTTP_ROUTE) for each in objects.list(kind)}
        return frozenset[str]().union(*set(self._namespaces.of(asked).values()))

    def route(self, objects: Objects, *, blind: Mapping[str, Refused]) -> Found:
        """The present state. Never raises for what an object contains. ``blind`` is as for ``core.routing.Router``."""
        mesh, api = self._mesh.route(objects, blind=blind), self._api.route(objects, blind=blind)
        return Found(mesh, api, {**mesh.tables, **api.tables})


def _namespaces_of(manifest: Manifest) -> frozenset[str]:
    if kind_of(manifest) == HTTP_ROUTE:
        return backend_namespaces(manifest)
    host = text(manifest, "spec", "serviceDiscovery", "dns", "hostname")
    name = service_name(host.lower(), text(manifest, "metadata", "namespace"))
    return frozenset({name.ref.namespace}) if name else frozenset()


def status_of(manifest: Manifest, said: Said, now: datetime) -> dict[str, Json] | None:
    """The status to write, None when it says so already. What others wrote into it is kept."""
    if isinstance(said, Verdict):
        return verdicts.status_of(manifest, said, now)
    return gateway_api_status.status_of(manifest, said, now)


def is_ours(gateway: Manifest, objects: Lookup) -> bool:
    """Whether Envoys of ours serve it: a VirtualGateway, or a Gateway of one of our classes."""
    if kind_of(gateway) == VIRTUAL_GATEWAY:
        return True
    gateway_class = objects.get(class_of(gateway))
    return gateway_class is not None and is_own_class(gateway_class)


def class_of(gateway: Manifest) -> Ref:
    return Ref(GATEWAY_CLASS, "", text(gateway, "spec", "gatewayClassName"))


def is_own_class(gateway_class: Manifest) -> bool:
    return text(gateway_class, "spec", "controllerName") == CONTROLLER


def _route_name(ref: Ref) -> str:
    return route_name(ref) if ref.kind == HTTP_ROUTE else f"{ref.namespace}/{ref.name}"


def _is_served(manifest: Manifest) -> bool:
    return gateway_api_status.is_accepted(manifest) or verdicts.is_active(manifest)

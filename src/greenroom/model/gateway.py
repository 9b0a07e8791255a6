"""Gateway API's objects that decide who may attach where: GatewayClass, Gateway, ReferenceGrant.

Group ``gateway.networking.k8s.io``, as its specification has them (``apis/v1`` of kubernetes-sigs/gateway-api); reasons
are the specification's words. Routes are in ``model.http_route``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from greenroom.model.manifest import Json, Kind, Manifest, Ref, get, items, number, ref_of, text
from greenroom.model.mesh import Refused, Selector, label_selector
from greenroom.model.routes import ANY_HOST, HOST

GROUP = "gateway.networking.k8s.io"
GATEWAY_CLASS = Kind(GROUP, "v1", "GatewayClass")
GATEWAY = Kind(GROUP, "v1", "Gateway")
HTTP_ROUTE = Kind(GROUP, "v1", "HTTPRoute")
REFERENCE_GRANT = Kind(GROUP, "v1beta1", "ReferenceGrant")
KINDS = (GATEWAY_CLASS, GATEWAY, HTTP_ROUTE, REFERENCE_GRANT)

CONTROLLER = "greenroom.dev/gateway"
"""The ``controllerName`` of GatewayClasses that are ours."""

_OF_HTTP = frozenset({"HTTP", "HTTPS"})
_CURE = "let the load balancer in front end TLS, and use HTTP here"


@dataclass(frozen=True, slots=True)
class GatewayClass:
    ref: Ref
    controller: str
    trouble: Refused | None


class From(Enum):
    """Whose routes may attach to a listener, by their namespaces."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


@dataclass(frozen=True, slots=True)
class AllowedRoutes:
    """``selector`` is for From.SELECTOR. ``kinds`` are those, of the allowed ones, that this gateway serves."""

    namespaces: From
    selector: Selector
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class GatewayListener:
    name: str
    port: int
    host: str
    """A host name, one that begins with ``*.``, or ANY_HOST."""
    allowed: AllowedRoutes
    trouble: Refused | None = None
    """Why it is not served."""
    unknown_kinds: str = ""
    """Kinds of routes that it allows and that are not served here."""
    conflict: str = ""
    """The listeners that claim the same host on the same port."""

    @property
    def is_served(self) -> bool:
        return self.trouble is None and not self.conflict


@dataclass(frozen=True, slots=True)
class Gateway:
    ref: Ref
    class_name: str
    listeners: tuple[GatewayListener, ...]
    trouble: Refused | None = None
    """Why nothing of it is served."""


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """What lets objects of a kind in another namespace refer to objects in the grant's own.

    ``subjects`` are group, kind and namespace; ``targets`` are group, kind and name, ``""`` for every name.
    """

    ref: Ref
    subjects: frozenset[tuple[str, str, str]]
    targets: frozenset[tuple[str, str, str]]

    def permits(self, subject: Ref, target: Ref) -> bool:
        """Whether ``subject`` may refer to ``target``."""
        kind = target.kind
        names = {(kind.group, kind.name, target.name), (kind.group, kind.name, "")}
        allowed = (subject.kind.group, subject.kind.name, subject.namespace) in self.subjects
        return allowed and target.namespace == self.ref.namespace and not names.isdisjoint(self.targets)


def parse_gateway_class(manifest: Manifest) -> GatewayClass:
    trouble = None
    if get(manifest, "spec", "parametersRef") is not None:
        trouble = Refused("InvalidParameters", "there are no parameters here: leave it out", path="spec.parametersRef")
    return GatewayClass(ref_of(manifest), text(manifest, "spec", "controllerName"), trouble)


def parse_gateway(manifest: Manifest) -> Gateway:
    """Never raises: whatever is wrong is in the value, since its status tells of each listener."""
    given = enumerate(items(manifest, "spec", "listeners"))
    parsed = [_listener(each, f"spec.listeners[{index}]") for index, each in given]
    listeners = tuple(replace(each, conflict=_rivals(each, parsed)) for each in parsed)
    class_name = text(manifest, "spec", "gatewayClassName")
    return Gateway(ref_of(manifest), class_name, listeners, _trouble(manifest, listeners))


def parse_reference_grant(manifest: Manifest) -> ReferenceGrant:
    return ReferenceGrant(
        ref=ref_of(manifest),
        subjects=frozenset(
            (text(each, "group"), text(each, "kind"), text(each, "namespace"))
            for each in items(manifest, "spec", "from")
        ),
        targets=frozenset(
            (text(each, "group"), text(each, "kind"), text(each, "name")) for each in items(manifest, "spec", "to")
        ),
    )


def host_name(value: Json, path: str) -> str:
    """A host name, or one that begins with ``*.``, in lower case. Raises Refused."""
    name = value.lower() if isinstance(value, str) else ""
    if not HOST.fullmatch(name.removeprefix("*.")):
        raise Refused("UnsupportedValue", f"{value!r} is not a host name, nor one behind *.", path=path)
    return name


def _listener(listener: Json, path: str) -> GatewayListener:
    name, port = text(listener, "name"), number(listener, "port")
    try:
        allowed, unknown = _allowed(get(listener, "allowedRoutes"), f"{path}.allowedRoutes")
        host = ANY_HOST if not get(listener, "hostname") else host_name(get(listener, "hostname"), f"{path}.hostname")
    except Refused as trouble:
        return GatewayListener(name, port, ANY_HOST, AllowedRoutes(From.SAME, Selector(), ()), trouble)
    if text(listener, "protocol") not in _OF_HTTP:
        allowed = replace(allowed, kinds=())
    return GatewayListener(name, port, host, allowed, _unserved(listener, path), unknown)


def _unserved(listener: Json, path: str) -> Refused | None:
    if not 1 <= number(listener, "port") <= 65535:
        return Refused("PortUnavailable", "must be a whole number from 1 to 65535", path=f"{path}.port")
    protocol = text(listener, "protocol")
    if protocol == "HTTP":
        return None
    cure = f": {_CURE}" if protocol == "HTTPS" else ""
    return Refused(
        "UnsupportedProtocol", f"{protocol or 'nothing'} is not served here yet{cure}", path=f"{path}.protocol"
    )


def _allowed(allowed: Json, path: str) -> tuple[AllowedRoutes, str]:
    """What may attach, and the kinds that cannot. Raises Refused."""
    whose = text(allowed, "namespaces", "from") or From.SAME.value
    if whose not in {each.value for each in From}:
        raise Refused("UnsupportedValue", "must be All, Same or Selector", path=f"{path}.namespaces.from")
    asked = [Kind(text(each, "group") or GROUP, "v1", text(each, "kind")) for each in items(allowed, "kinds")]
    kinds = tuple(each for each in dict.fromkeys(asked or [HTTP_ROUTE]) if each == HTTP_ROUTE)
    unknown = ", ".join(sorted(str(each) for each in {*asked} if each != HTTP_ROUTE))
    selector = label_selector(get(allowed, "namespaces", "selector"), f"{path}.namespaces.selector")
    return AllowedRoutes(From(whose), selector, kinds), unknown


def _rivals(listener: GatewayListener, listeners: Sequence[GatewayListener]) -> str:
    """None of them is served: the specification forbids to choose one."""
    claim = listener.port, listener.host
    return ", ".join(each.name for each in listeners if each is not listener and (each.port, each.host) == claim)


def _trouble(manifest: Manifest, listeners: tuple[GatewayListener, ...]) -> Refused | None:
    if items(manifest, "spec", "addresses"):
        message = "addresses are those of the Service in front of the gateway's pods: leave them out"
        return Refused("UnsupportedAddress", message, path="spec.addresses")
    if get(manifest, "spec", "infrastructure", "parametersRef") is not None:
        path = "spec.infrastructure.parametersRef"
        return Refused("InvalidParameters", "there are no parameters here: leave it out", path=path)
    if not any(each.is_served for each in listeners):
        return Refused("ListenersNotValid", _why_none(listeners), path="spec.listeners")
    return None


def _why_none(listeners: tuple[GatewayListener, ...]) -> str:
    return "; ".join(map(why_unserved, listeners)) or "must have a listener: the port that visitors connect to"


def why_unserved(listener: GatewayListener) -> str:
    """``""`` for one that is served."""
    if listener.trouble is not None:
        return f"{listener.name}: {listener.trouble}"
    return f"{listener.name}: has the port and the host of {listener.conflict}" if listener.conflict else ""

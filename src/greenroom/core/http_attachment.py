"""Which listeners an HTTPRoute attaches to: those that its parentRefs mean, that allow it, and that share a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenroom.core.results import attempt
from greenroom.model.gateway import From, Gateway, GatewayListener, why_unserved
from greenroom.model.http_route import HttpRoute, ParentRef
from greenroom.model.manifest import Manifest, Ref, labels_of
from greenroom.model.mesh import Refused
from greenroom.model.routes import ANY_HOST

_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that Kubernetes gives to each namespace."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What became of one parentRef. ``hosts`` are, by the name of each listener, those that route and listener share.

    They are empty unless the route is accepted.
    """

    parent: ParentRef
    hosts: Mapping[str, tuple[str, ...]]
    trouble: Refused | None = None

    @property
    def is_accepted(self) -> bool:
        return self.trouble is None


def attachments(
    route: HttpRoute, gateways: Sequence[Gateway | None], namespace: Manifest | None
) -> tuple[Attachment, ...]:
    """One for each parentRef that means a Gateway of ours: ``gateways`` are those that they mean, in their order.

    ``namespace`` is the route's.
    """
    pairs = zip(route.parents, gateways, strict=True)
    return tuple(_attachment(route, parent, found, namespace) for parent, found in pairs if found is not None)


def _attachment(route: HttpRoute, parent: ParentRef, gateway: Gateway, namespace: Manifest | None) -> Attachment:
    shared = attempt(_shared, route, parent, gateway, namespace)
    return Attachment(parent, {}, shared) if isinstance(shared, Refused) else Attachment(parent, shared)


def _shared(
    route: HttpRoute, parent: ParentRef, gateway: Gateway, namespace: Manifest | None
) -> Mapping[str, tuple[str, ...]]:
    """Raises Refused, with the specification's reasons for Accepted."""
    if route.trouble is not None:
        raise Refused(route.trouble.reason, str(route.trouble))
    matching = _matching(route, parent, gateway, namespace)
    if gateway.trouble is not None:
        raise Refused("NoMatchingParent", f"the Gateway is not served: {gateway.trouble}")
    if not any(each.is_served for each in matching):
        why = "; ".join(map(why_unserved, matching))
        raise Refused("NoMatchingParent", f"the Gateway's listener is not served: {why}")
    return {each.name: shared_hosts(each.host, route.hosts) for each in matching}


def _matching(
    route: HttpRoute, parent: ParentRef, gateway: Gateway, namespace: Manifest | None
) -> Sequence[GatewayListener]:
    """The listeners that route and Gateway agree on, at least one. Raises Refused."""
    meant = [each for each in gateway.listeners if _is_meant(parent, each)]
    if not meant:
        offered = ", ".join(f"{each.name} (port {each.port})" for each in gateway.listeners) or "none"
        raise Refused("NoMatchingParent", f"the Gateway has no such listener; its listeners: {offered}")
    allowing = [each for each in meant if _allows(each, gateway.ref.namespace, route.ref, namespace)]
    if not allowing:
        names = ", ".join(each.name for each in meant)
        message = f"allowedRoutes of {names} does not allow HTTPRoutes of the namespace {route.ref.namespace}"
        raise Refused("NotAllowedByListeners", message)
    matching = [each for each in allowing if shared_hosts(each.host, route.hosts)]
    if not matching:
        names = ", ".join(f"{each.host} of {each.name}" for each in allowing)
        raise Refused("NoMatchingListenerHostname", f"spec.hostnames has none that fits {names}")
    return matching


def _allows(listener: GatewayListener, own: str, route: Ref, namespace: Manifest | None) -> bool:
    """Whether ``listener``, of a Gateway in the namespace ``own``, lets ``route`` attach, which is in ``namespace``."""
    allowed = listener.allowed
    if route.kind not in allowed.kinds:
        return False
    match allowed.namespaces:
        case From.ALL:
            return True
        case From.SAME:
            return route.namespace == own
        case From.SELECTOR:
            labels = {_NAMESPACE_NAME: route.namespace, **(labels_of(namespace) if namespace else {})}
            return allowed.selector.matches(labels)


def shared_hosts(listener: str, hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts of a route without those that are not the listener's, each as narrow as both say."""
    both = [narrower for host in hosts or (ANY_HOST,) if (narrower := _narrower(listener, host))]
    return tuple(dict.fromkeys(both))


def _narrower(one: str, other: str) -> str:
    """``""`` when no host is in both."""
    if covers(one, other):
        return other
    return one if covers(other, one) else ""


def covers(wide: str, narrow: str) -> bool:
    """Whether every host of ``narrow`` is one of ``wide``: ``*.a`` stands for ``b.a`` and ``c.b.a``, not for ``a``."""
    return wide in (ANY_HOST, narrow) or (wide.startswith("*.") and narrow.endswith(wide[1:]))


def _is_meant(parent: ParentRef, listener: GatewayListener) -> bool:
    return parent.section in ("", listener.name) and parent.port in (0, listener.port)

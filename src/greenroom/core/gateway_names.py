"""What a gateway is called by its Envoys, in their certificate, and as a Secret.

A Gateway may have the namespace and the name of a VirtualGateway, so each of these tells them apart.
"""

from __future__ import annotations

from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import SECRET, Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY

_GATEWAY = "gateway"


def node_cluster(gateway: Ref) -> str:
    """What Envoys say in ``node.cluster``: ``namespace/name``, for a Gateway ``gateway/namespace/name``."""
    own = f"{gateway.namespace}/{gateway.name}"
    return f"{_GATEWAY}/{own}" if gateway.kind == GATEWAY else own


def gateway_of(cluster: str) -> Ref | None:
    """The gateway that an Envoy means by its ``node.cluster``."""
    match cluster.split("/"):
        case [namespace, name]:
            return Ref(VIRTUAL_GATEWAY, namespace, name)
        case [first, namespace, name] if first == _GATEWAY:
            return Ref(GATEWAY, namespace, name)
        case _:
            return None


def gateway_identity(gateway: Ref) -> str:
    """The URI in the client certificate of a gateway's Envoys: what they may ask the control plane for."""
    return f"greenroom://{_word(gateway)}/{gateway.namespace}/{gateway.name}"


def gateway_secret(gateway: Ref) -> Ref:
    """The Secret with the client certificate of a gateway, in its namespace."""
    return Ref(SECRET, gateway.namespace, f"greenroom-{_word(gateway)}-{gateway.name}")


def _word(gateway: Ref) -> str:
    """Neither begins with the other and a separator, so no two Secrets have the same name."""
    return "gatewayapi" if gateway.kind == GATEWAY else "gateway"

"""The messages of both variants of xDS: read from gRPC, and written for many streams at the cost of one.

Serialised protobuf messages of one type may be put behind each other and are one message then, with the lists of both
(protobuf.dev, "Encoding", last field wins and lists are joined). So each resource is serialised once, together with
what wraps it, and a response is a small head and the bytes of its resources.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from envoy.service.discovery.v3 import discovery_pb2

from greenroom.core.xds import Response, XdsResource
from greenroom.core.xds_delta import DeltaRequest
from greenroom.core.xds_sotw import SotwRequest

_Wrapped: TypeAlias = MutableMapping[XdsResource, bytes]


class Encoder:
    """Serialises responses. What wraps a resource is kept for as long as the resource is."""

    def __init__(self) -> None:
        self._delta: dict[str, _Wrapped] = defaultdict(WeakKeyDictionary)
        self._sotw: dict[str, _Wrapped] = defaultdict(WeakKeyDictionary)

    def delta(self, response: Response) -> bytes:
        """A DeltaDiscoveryResponse."""
        head = discovery_pb2.DeltaDiscoveryResponse(
            type_url=response.type_url, nonce=response.nonce, removed_resources=response.removed
        )
        return _joined(head, response, self._delta[response.type_url], _delta_part)

    def sotw(self, response: Response) -> bytes:
        """A DiscoveryResponse. Its version changes with its resources and with nothing else."""
        version = hashlib.sha256("\n".join(f"{each.name} {each.version}" for each in response.resources).encode())
        head = discovery_pb2.DiscoveryResponse(
            type_url=response.type_url, nonce=response.nonce, version_info=version.hexdigest()[:16]
        )
        return _joined(head, response, self._sotw[response.type_url], _sotw_part)


def delta_request(data: bytes) -> tuple[DeltaRequest, Any]:
    """A DeltaDiscoveryRequest, and the node that sent it."""
    message = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    request = DeltaRequest(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=_error(message),
    )
    return request, message.node


def sotw_request(data: bytes) -> tuple[SotwRequest, Any]:
    """A DiscoveryRequest, and the node that sent it."""
    message = discovery_pb2.DiscoveryRequest.FromString(data)
    request = SotwRequest(
        type_url=message.type_url,
        names=tuple(message.resource_names),
        nonce=message.response_nonce,
        error=_error(message),
    )
    return request, message.node


def _error(message: Any) -> str:
    return (message.error_detail.message or "refused without a reason") if message.HasField("error_detail") else ""


def _joined(head: Any, response: Response, known: _Wrapped, wrap: Callable[[str, XdsResource], Any]) -> bytes:
    return b"".join([head.SerializeToString(), *_parts(response.type_url, response.resources, known, wrap)])


def _parts(
    type_url: str, resources: Iterable[XdsResource], known: _Wrapped, wrap: Callable[[str, XdsResource], Any]
) -> Iterable[bytes]:
    for resource in resources:
        if resource not in known:
            known[resource] = wrap(type_url, resource).SerializeToString()
        yield known[resource]


def _delta_part(type_url: str, resource: XdsResource) -> Any:
    body = {"type_url": type_url, "value": resource.body}
    wrapped = discovery_pb2.Resource(name=resource.name, version=resource.version, resource=body)
    return discovery_pb2.DeltaDiscoveryResponse(resources=[wrapped])


def _sotw_part(type_url: str, resource: XdsResource) -> Any:
    return discovery_pb2.DiscoveryResponse(resources=[{"type_url": type_url, "value": resource.body}])

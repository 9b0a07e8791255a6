"""The objects of a host: those of the published ReviewApp, and an EndpointSlice in the place of its pods."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from tests.gateway.world import GATEWAY, NAMESPACE, load

from greenroom.model.manifest import ENDPOINT_SLICE, SERVICE, Manifest, Ref, kind_of
from greenroom.model.mesh import GATEWAY_ROUTE, VIRTUAL_NODE, VIRTUAL_SERVICE

GATEWAY_NAME = f"{NAMESPACE}/{GATEWAY.name}"

_NUMBER = b"{{PR_NUMBER}}"


@dataclass(frozen=True, slots=True)
class Backend:
    """What answers for every host. An EndpointSlice takes no loopback address, so it is another one of this machine."""

    address: str
    port: int


def host_name(number: int) -> str:
    return f"pr{number}.pr-env.example.com"


def route_ref(number: int) -> Ref:
    return Ref(GATEWAY_ROUTE, NAMESPACE, f"pr{number}")


def stage(port: int) -> list[Manifest]:
    """Namespace, mesh and gateway as published, but that the gateway listens on ``port``, and logs no request."""
    gateway = load("gateway.yaml")[0]
    gateway["metadata"]["namespace"] = NAMESPACE
    del gateway["spec"]["logging"]
    gateway["spec"]["listeners"][0]["portMapping"]["port"] = port
    return [*load("namespace.yaml"), *load("mesh.yaml"), gateway]


class Hosts:
    """Makes the objects of hosts, which are numbered. They all lead to ``backend``."""

    def __init__(self, backend: Backend) -> None:
        published = {kind_of(each): each for each in load("reviewapp.yaml")[0]["spec"]["resources"]}
        for manifest in published.values():
            manifest["metadata"]["namespace"] = NAMESPACE
        del published[SERVICE]["spec"]["selector"]  # for which the controllers would make an EndpointSlice, too
        before = [published[VIRTUAL_SERVICE], published[VIRTUAL_NODE], published[SERVICE], _endpoints(backend)]
        self._before = msgspec.json.encode(before)
        self._route = msgspec.json.encode(published[GATEWAY_ROUTE])

    def before(self, number: int) -> list[Manifest]:
        """Everything but its GatewayRoute."""
        manifests: list[Manifest] = msgspec.json.decode(_numbered(self._before, number))
        return manifests

    def route(self, number: int) -> Manifest:
        manifest: Manifest = msgspec.json.decode(_numbered(self._route, number))
        return manifest


def _numbered(template: bytes, number: int) -> bytes:
    return template.replace(_NUMBER, str(number).encode())


def _endpoints(backend: Backend) -> Manifest:
    name = _NUMBER.decode()
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": {
            "name": f"pr{name}",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": f"pr{name}"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [backend.address], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": backend.port, "protocol": "TCP"}],
    }

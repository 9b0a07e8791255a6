"""VirtualNodes and VirtualGateways for tests, each with something of its own."""

from __future__ import annotations

from typing import Any

from tests.gateway.world import GATEWAY, NAMESPACE, World, environment, find, route, stage, web

from greenroom.core.routing import Router, Routing
from greenroom.model.manifest import Manifest, Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE
from greenroom.model.routes import Cluster, RouteTable

NODE = Ref(VIRTUAL_NODE, NAMESPACE, "web")
COMMIT = "a" * 40
HEALTH_CHECK = {
    "protocol": "http",
    "path": "/health?deep=1",
    "port": 80,
    "healthyThreshold": 2,
    "unhealthyThreshold": 3,
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
}
OUTLIERS = {
    "maxServerErrors": 5,
    "interval": {"value": 10, "unit": "s"},
    "baseEjectionDuration": {"value": 1500, "unit": "ms"},
    "maxEjectionPercent": 50,
}


def node(listener: dict[str, Any] | None = None, **spec: Any) -> list[Manifest]:
    """A gateway and a route to one VirtualNode on port 80, whose first listener and spec have something more."""
    made = [*stage(), *web(), route("web", {"prefix": "/"})]
    found = find(made, VIRTUAL_NODE, "web")["spec"]
    found |= spec
    if listener:
        found["listeners"][0] |= listener
    return made


def spoken(protocol: str) -> dict[str, Any]:
    return {"portMapping": {"port": 80, "protocol": protocol}}


def named(hostname: str, response_type: str | None = None) -> dict[str, Any]:
    return {"dns": {"hostname": hostname, "responseType": response_type}}


def gateway(listener: dict[str, Any] | None = None, **spec: Any) -> list[Manifest]:
    """An environment behind a gateway, whose first listener and spec have something more."""
    made = [*stage(), *environment(1, COMMIT, 20001)]
    found = find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"]
    found |= spec
    if listener:
        found["listeners"][0] |= listener
    return made


def routed(*manifests: Manifest) -> Routing:
    return Router().route(World(*manifests))


def table(*manifests: Manifest) -> RouteTable:
    """Of the only gateway. Nothing may be refused."""
    routing = routed(*manifests)
    assert not routing.refused
    return routing.tables[GATEWAY]


def cluster(*manifests: Manifest) -> Cluster:
    """The only one."""
    (found,) = table(*manifests).clusters
    return found


def refusal(ref: Ref, *manifests: Manifest) -> str:
    return str(routed(*manifests).refused[ref])


def file_tls(folder: str = "/certs", **more: Any) -> dict[str, Any]:
    """The ``tls`` of a listener, with its certificate in files."""
    file = {"certificateChain": f"{folder}/server.crt", "privateKey": f"{folder}/server.key"}
    return {"tls": {"mode": "STRICT", "certificate": {"file": file}, **more}}


def policy(trust: str = "/certs/ca.crt", *names: str, **more: Any) -> dict[str, Any]:
    """The ``backendDefaults`` of a gateway that asks for TLS."""
    validation: dict[str, Any] = {"trust": {"file": {"certificateChain": trust}}}
    if names:
        validation["subjectAlternativeNames"] = {"match": {"exact": list(names)}}
    return {"backendDefaults": {"clientPolicy": {"tls": {"validation": validation, **more}}}}

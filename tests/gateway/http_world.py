"""Clusters for tests of Gateway API: a Gateway of Greenroom's class, HTTPRoutes, and Services behind them."""

from __future__ import annotations

from typing import Any

from tests.gateway.world import CREATED, NAMESPACE, endpoint_slice, stored

from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS, HTTP_ROUTE, REFERENCE_GRANT
from greenroom.model.manifest import NAMESPACE as NAMESPACE_KIND
from greenroom.model.manifest import SERVICE, Kind, Manifest, Ref

WEB = Ref(GATEWAY, NAMESPACE, "web")


def made(
    kind: Kind, name: str, spec: dict[str, Any], *, namespace: str = NAMESPACE, created: str = ""
) -> dict[str, Any]:
    manifest = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}
    return stored(manifest, namespace=namespace, created=created or CREATED)


def gateway_class(controller: str = CONTROLLER, **spec: Any) -> dict[str, Any]:
    return made(GATEWAY_CLASS, "greenroom", {"controllerName": controller, **spec}, namespace="")


def listener(name: str = "http", **fields: Any) -> dict[str, Any]:
    return {"name": name, "port": 8080, "protocol": "HTTP", **fields}


def gateway(*listeners: dict[str, Any], name: str = "web", **spec: Any) -> dict[str, Any]:
    return made(GATEWAY, name, {"gatewayClassName": "greenroom", "listeners": list(listeners or [listener()]), **spec})


def stage(*listeners: dict[str, Any], **spec: Any) -> list[Manifest]:
    """The class, and the Gateway ``web``; by default on port 8080, for every host."""
    return [gateway_class(), gateway(*listeners, **spec)]


def namespace(name: str, **labels: str) -> dict[str, Any]:
    manifest = made(NAMESPACE_KIND, name, {}, namespace="")
    manifest["metadata"]["labels"] = labels
    return manifest


def service(name: str = "shop", *, namespace: str = NAMESPACE, pod: int = 0, **port: Any) -> list[Manifest]:
    """A Service with the port 80, and an endpoint on the port ``pod`` unless it is 0."""
    ports = [{"port": 80, **port}]
    found: list[Manifest] = [made(SERVICE, name, {"ports": ports, "clusterIP": "10.0.0.1"}, namespace=namespace)]
    if pod:
        endpoints = endpoint_slice(name, "direct", pod)
        endpoints["metadata"]["namespace"] = namespace
        del endpoints["endpoints"][0]["targetRef"]
        found.append(endpoints)
    return found


def backend(name: str = "shop", **fields: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, **fields}


def path(value: str, kind: str = "PathPrefix", **match: Any) -> dict[str, Any]:
    """A match."""
    return {"path": {"type": kind, "value": value}, **match}


def rule(*matches: dict[str, Any], to: Any = "shop", **fields: Any) -> dict[str, Any]:
    """``to`` is the name of a Service, or a list of backendRefs."""
    backends = [backend(to)] if isinstance(to, str) else to
    return {"matches": list(matches), "backendRefs": backends, **fields}


def http_route(
    name: str,
    *rules: dict[str, Any],
    parent: dict[str, Any] | None = None,
    namespace: str = NAMESPACE,
    created: str = "",
    **spec: Any,
) -> dict[str, Any]:
    fields = {"parentRefs": [{"name": "web", **(parent or {})}], "rules": list(rules or [rule()]), **spec}
    return made(HTTP_ROUTE, name, fields, namespace=namespace, created=created)


def grant(namespace: str, *, to: str = "", whose: str = NAMESPACE) -> dict[str, Any]:
    """Lets HTTPRoutes of the namespace ``whose`` refer to Services in ``namespace``: to all, or to one."""
    target = {"group": "", "kind": "Service", **({"name": to} if to else {})}
    subject = {"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.name, "namespace": whose}
    return made(REFERENCE_GRANT, f"grant-{to}", {"from": [subject], "to": [target]}, namespace=namespace)

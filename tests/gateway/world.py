"""Clusters for tests: the published manifests, rendered for pull requests, and the pods a Deployment would make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from greenroom.model.manifest import COMMIT_ANNOTATION, Kind, Manifest, Ref, get, name_of, ref_of, table
from greenroom.model.mesh import GATEWAY_ROUTE, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_ROUTER, VIRTUAL_SERVICE

DATA = Path(__file__).parents[1] / "data" / "published"
NAMESPACE = "pr-env"
GATEWAY = Ref(VIRTUAL_GATEWAY, NAMESPACE, "ingress-gw")
CREATED = "2026-11-23T10:00:00Z"


class World:
    """The objects of a cluster at one moment (``core.endpoints.Objects``)."""

    def __init__(self, *manifests: Manifest) -> None:
        self._objects: dict[Kind, dict[Ref, Manifest]] = {}
        self.put(*manifests)

    def put(self, *manifests: Manifest) -> World:
        for manifest in manifests:
            ref = ref_of(manifest)
            self._objects.setdefault(ref.kind, {})[ref] = manifest
        return self

    def remove(self, *refs: Ref) -> None:
        for ref in refs:
            del self._objects[ref.kind][ref]

    def get(self, ref: Ref) -> Manifest | None:
        return self._objects.get(ref.kind, {}).get(ref)

    def list(self, kind: Kind) -> Iterable[Manifest]:
        return tuple(self._objects.get(kind, {}).values())


def load(name: str, **replacements: str) -> list[dict[str, Any]]:
    text = (DATA / name).read_text()
    for variable, value in replacements.items():
        text = text.replace(f"{{{{{variable}}}}}", value)
    return list(yaml.safe_load_all(text))


def stage(*, port: int = 8080) -> list[Manifest]:
    """The namespace, the mesh and the gateway, as published."""
    gateway = load("gateway.yaml")[0]
    gateway["spec"]["listeners"][0]["portMapping"]["port"] = port
    return [*load("namespace.yaml"), *load("mesh.yaml"), stored(gateway)]


def stored(manifest: dict[str, Any], *, created: str = CREATED, namespace: str = NAMESPACE) -> dict[str, Any]:
    """``manifest`` as a cluster gives it back."""
    result = deepcopy(manifest)
    result["metadata"] |= {"namespace": namespace, "creationTimestamp": created, "generation": 1}
    result["metadata"]["uid"] = f"{result['kind']}-{result['metadata']['name']}"
    return result


def applied(manifest: Manifest) -> dict[str, Any]:
    """``manifest`` as a user applies it: ``stored`` undone."""
    server = {"uid", "generation", "creationTimestamp", "ownerReferences"}
    if manifest["kind"] in {"Mesh", "Namespace"}:
        server.add("namespace")
    return {**manifest, "metadata": {k: v for k, v in table(manifest, "metadata").items() if k not in server}}


def environment(number: int, commit: str, *pods: int, host: str = "") -> list[Manifest]:
    """All objects of a pull request, ``reviewapp.yaml`` rendered, with a ready pod at each of the ports ``pods``."""
    template = load("reviewapp.yaml", PR_NUMBER=str(number), COMMIT_REF=commit)[0]["spec"]["resources"]
    made = [stored(resource) for resource in template]
    for resource in made:
        resource["metadata"]["annotations"] = {COMMIT_ANNOTATION: commit}
    if host:
        made[0]["spec"]["httpRoute"]["match"]["hostname"] = {"exact": host}
    made[-1]["spec"]["replicas"] = len(pods)
    return [*made, *running(f"pr{number}", commit, *pods)]


def running(service: str, commit: str, *ports: int, ready: bool = True, created: str = CREATED) -> list[Manifest]:
    """A ReplicaSet of the Deployment ``service``, and a pod with its EndpointSlice at each of ``ports``."""
    name = f"{service}-{commit[:5]}"
    replica_set = _object("apps/v1", "ReplicaSet", name, ("Deployment", service), created=created)
    replica_set["metadata"]["annotations"] = {COMMIT_ANNOTATION: commit}
    replica_set["spec"] = {"replicas": len(ports)}
    return [replica_set, *(each for port in ports for each in _pod(service, name, port, ready=ready))]


def _pod(service: str, replica_set: str, port: int, *, ready: bool) -> list[Manifest]:
    name = f"{replica_set}-{port}"
    pod = _object("v1", "Pod", name, ("ReplicaSet", replica_set))
    return [pod, endpoint_slice(service, name, port, ready=ready)]


def endpoint_slice(service: str, pod: str, port: int, *, ready: bool = True, port_name: str = "") -> dict[str, Any]:
    made = _object("discovery.k8s.io/v1", "EndpointSlice", f"{service}-{pod}", ("Service", service))
    made["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    target = {"kind": "Pod", "namespace": NAMESPACE, "name": pod}
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return made | {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": conditions, "targetRef": target}],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }


def _object(
    api_version: str, kind: str, name: str, owner: tuple[str, str], *, created: str = CREATED
) -> dict[str, Any]:
    reference = {"kind": owner[0], "name": owner[1], "uid": f"{owner[0]}-{owner[1]}", "controller": True}
    made = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "ownerReferences": [reference]}}
    return stored(made, created=created)


def route(name: str, match: Mapping[str, Any], *, to: str = "web", **spec: Any) -> dict[str, Any]:
    """A GatewayRoute. ``rewrite`` goes to its place in the action."""
    action: dict[str, Any] = {"target": {"virtualService": {"virtualServiceRef": {"name": to}}}}
    if "rewrite" in spec:
        action["rewrite"] = spec.pop("rewrite")
    metadata = {"name": name, **spec.pop("metadata", {})}
    route: dict[str, Any] = {"httpRoute": {"match": match, "action": action}, **spec}
    made: dict[str, Any] = {"kind": "GatewayRoute", "metadata": metadata, "spec": route}
    return stored({"apiVersion": GATEWAY_ROUTE.api_version, **made}, created=metadata.get("creationTimestamp", CREATED))


def router(name: str, *routes: Mapping[str, Any], ports: Iterable[int] = (80,)) -> list[Manifest]:
    """A VirtualRouter, and the VirtualService of the same name in front of it."""
    listeners = [{"portMapping": {"port": port, "protocol": "http"}} for port in ports]
    provider = {"virtualRouter": {"virtualRouterRef": {"name": name}}}
    specs = {VIRTUAL_ROUTER: {"listeners": listeners, "routes": list(routes)}, VIRTUAL_SERVICE: {"provider": provider}}
    return [
        stored({"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec})
        for kind, spec in specs.items()
    ]


def routers_route(name: str, match: Mapping[str, Any], *, to: Mapping[str, int], **spec: Any) -> dict[str, Any]:
    """A route of a VirtualRouter. ``to`` has weights of VirtualNodes; what is no ``priority`` belongs to its type."""
    priority = {"priority": spec.pop("priority")} if "priority" in spec else {}
    targets = [{"virtualNodeRef": {"name": node}, "weight": weight} for node, weight in to.items()]
    of_type = {"match": match, "action": {"weightedTargets": targets}, **spec}
    return {"name": name, **priority, "httpRoute": of_type}


def of_type(spec: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """The spec of a GatewayRoute, or a route of a VirtualRouter, as another type than ``httpRoute``."""
    return {(type_ if field == "httpRoute" else field): value for field, value in spec.items()}


def web(name: str = "web") -> list[Manifest]:
    """A VirtualService without an ``awsName``, its VirtualNode, and a Service that has no pods."""
    api = VIRTUAL_NODE.api_version
    host = {"dns": {"hostname": f"{name}.{NAMESPACE}.svc.cluster.local"}}
    mapping = {"portMapping": {"port": 80, "protocol": "http"}}
    provider = {"virtualNode": {"virtualNodeRef": {"name": name}}}
    specs: list[tuple[str, Kind, dict[str, Any]]] = [
        (api, VIRTUAL_SERVICE, {"provider": provider}),
        (api, VIRTUAL_NODE, {"listeners": [mapping], "serviceDiscovery": host}),
        ("v1", Kind("", "v1", "Service"), {"ports": [{"port": 80}]}),
    ]
    return [
        stored({"apiVersion": version, "kind": kind.name, "metadata": {"name": name}, "spec": spec})
        for version, kind, spec in specs
    ]


def find(manifests: Iterable[Manifest], kind: Kind, name: str) -> dict[str, Any]:
    """The one of that kind and name, to be changed in place."""
    found = next(each for each in manifests if get(each, "kind") == kind.name and name_of(each) == name)
    assert isinstance(found, dict)
    return found

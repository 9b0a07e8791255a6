"""Which endpoints of a Service get requests: ready ones, and of one commit only.

During a rollout old and new pods are ready side by side, and Kubernetes would send requests to both. An address that
shows now one commit, now another, misleads whoever reviews it. So the new commit takes over when all the pods that its
Deployment wants are ready, at once and for every request; until then, and if it never gets there, the old one serves.
A pod's commit is that of the ReplicaSet which owns it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from greenroom.core.memo import Each
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    controller_of,
    get,
    is_deleting,
    items,
    name_of,
    number,
    text,
)
from greenroom.model.mesh import Refused
from greenroom.model.routes import Endpoint, is_address

SERVICE_LABEL = "kubernetes.io/service-name"
_REVISION = "deployment.kubernetes.io/revision"


class Lookup(Protocol):
    """Objects by their names, at one moment."""

    def get(self, ref: Ref) -> Manifest | None: ...


class Objects(Lookup, Protocol):
    """What is known of the cluster, at one moment."""

    def list(self, kind: Kind) -> Iterable[Manifest]: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """A ready endpoint, and the ReplicaSet behind it if there is one."""

    endpoint: Endpoint
    replica_set: Manifest | None


def port_of(service: Manifest, port: int) -> str | int:
    """The name of the Service's ``port``, under which EndpointSlices tell the real one. Raises Refused.

    The name of a headless Service leads to its pods, and they are dialled on ``port`` itself: so there the target port
    is meant first, and a port that the Service does not know is the answer itself.
    """
    ports = items(service, "spec", "ports")
    headless = text(service, "spec", "clusterIP") == "None"
    for field in ("targetPort", "port") if headless else ("port",):
        for known in ports:
            if get(known, field) == port:
                return text(known, "name")
    if headless:
        return port
    offered = ", ".join(str(number(known, "port")) for known in ports) or "none"
    raise Refused("PortNotFound", f"Service {name_of(service)} has no port {port}; its ports: {offered}")


def endpoints(port: str | int, slices: Sequence[Manifest], objects: Lookup) -> tuple[Endpoint, ...]:
    """The endpoints that serve now, in a stable order. ``port`` is what ``port_of`` answers."""
    families = [[each for each in slices if text(each, "addressType") == family] for family in ("IPv4", "IPv6")]
    usable = next((family for family in families if family), [])
    ready = [found for each in usable for found in _ready(each, port, objects)]
    return tuple(sorted({found.endpoint for found in _of_one_commit(ready, objects)}))


def _ready(endpoint_slice: Manifest, port: str | int, objects: Lookup) -> Iterator[_Ready]:
    dialled = port if isinstance(port, int) else _port_named(port, endpoint_slice)
    if not 1 <= dialled <= 65535:
        return
    for endpoint in items(endpoint_slice, "endpoints"):
        address = text(endpoint, "addresses", 0)
        # No word on readiness means ready (discovery.k8s.io/v1, EndpointConditions).
        if not is_address(address) or get(endpoint, "conditions", "ready") is False:
            continue
        found = _owner(endpoint, text(endpoint_slice, "metadata", "namespace"), objects)
        if found is not None:
            commit, replica_set = found
            yield _Ready(Endpoint(address, dialled, commit), replica_set)


def _port_named(name: str, endpoint_slice: Manifest) -> int:
    """0 when there is none."""
    ports = items(endpoint_slice, "ports")
    return next((number(port, "port") for port in ports if text(port, "name") == name), 0)


def _owner(endpoint: Json, namespace: str, objects: Lookup) -> tuple[str, Manifest | None] | None:
    """The commit behind an endpoint, and its ReplicaSet. None while it is not known, so that no wrong one is shown."""
    if text(endpoint, "targetRef", "kind") != POD.name:
        return "", None
    pod = objects.get(Ref(POD, namespace, text(endpoint, "targetRef", "name")))
    if pod is None or is_deleting(pod):
        return None
    controller = controller_of(pod)
    if text(controller, "kind") != REPLICA_SET.name:
        return annotations_of(pod).get(COMMIT_ANNOTATION, ""), None
    replica_set = objects.get(Ref(REPLICA_SET, namespace, text(controller, "name")))
    return None if replica_set is None else (annotations_of(replica_set).get(COMMIT_ANNOTATION, ""), replica_set)


def _of_one_commit(ready: Iterable[_Ready], objects: Lookup) -> Sequence[_Ready]:
    commits: dict[str, list[_Ready]] = defaultdict(list)
    for found in ready:
        commits[found.endpoint.commit].append(found)
    if len(commits) <= 1:
        return next(iter(commits.values()), ())
    oldest_first = sorted(commits.values(), key=lambda group: max(_newness(found, objects) for found in group))
    newest = oldest_first.pop()
    return newest if _is_complete(newest, objects) else max(oldest_first, key=len)


def _newness(found: _Ready, objects: Lookup) -> tuple[bool, bool, int, str]:
    """Orders commits. What the Deployment asks for is the newest: after a step back that is an old ReplicaSet."""
    replica_set = found.replica_set
    if replica_set is None:
        return bool(found.endpoint.commit), False, 0, ""
    deployment = _deployment(replica_set, objects)
    wanted = deployment is not None and annotations_of(deployment).get(COMMIT_ANNOTATION, "") == found.endpoint.commit
    revision = annotations_of(replica_set).get(_REVISION, "")
    created = text(replica_set, "metadata", "creationTimestamp")
    return True, wanted, int(revision) if revision.isdecimal() else 0, created


def _is_complete(group: Sequence[_Ready], objects: Lookup) -> bool:
    """Whether each ReplicaSet has as many ready endpoints as its Deployment wants pods."""
    counted: dict[str, tuple[int, Manifest]] = {}
    for found in group:
        if found.replica_set is not None:
            name = name_of(found.replica_set)
            counted[name] = (counted.get(name, (0, found.replica_set))[0] + 1, found.replica_set)
    return all(count >= _wanted(replica_set, objects) for count, replica_set in counted.values())


def _wanted(replica_set: Manifest, objects: Lookup) -> int:
    return number(_deployment(replica_set, objects) or replica_set, "spec", "replicas", default=1)


def _deployment(replica_set: Manifest, objects: Lookup) -> Manifest | None:
    controller = controller_of(replica_set)
    if text(controller, "kind") != DEPLOYMENT.name:
        return None
    return objects.get(Ref(DEPLOYMENT, text(replica_set, "metadata", "namespace"), text(controller, "name")))


class SlicesByService:
    """EndpointSlices under the namespace and name of their Service. Unchanged ones are not looked at again."""

    def __init__(self) -> None:
        self._service_of = Each[int, Manifest, tuple[str, str] | None](_service_of)

    def of(self, slices: Sequence[Manifest]) -> Mapping[tuple[str, str], Sequence[Manifest]]:
        services = self._service_of.of({id(each): each for each in slices})
        found: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
        for each in slices:
            service = services[id(each)]
            if service is not None:
                found[service].append(each)
        return found


def by_service(slices: Iterable[Manifest]) -> Mapping[tuple[str, str], Sequence[Manifest]]:
    """EndpointSlices under the namespace and name of their Service."""
    return SlicesByService().of(tuple(slices))


def _service_of(endpoint_slice: Manifest) -> tuple[str, str] | None:
    """None when it is of no use."""
    name = text(endpoint_slice, "metadata", "labels", SERVICE_LABEL)
    return (text(endpoint_slice, "metadata", "namespace"), name) if name and not is_deleting(endpoint_slice) else None

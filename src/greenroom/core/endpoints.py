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
from ipaddress import ip_address
from typing import Protocol

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
from greenroom.model.routes import Endpoint

SERVICE_LABEL = "kubernetes.io/service-name"
_REVISION = "deployment.kubernetes.io/revision"


class Objects(Protocol):
    """What is known of the cluster, at one moment."""

    def get(self, ref: Ref) -> Manifest | None: ...

    def list(self, kind: Kind) -> Iterable[Manifest]: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """A ready endpoint, and the ReplicaSet behind it if there is one."""

    endpoint: Endpoint
    replica_set: Manifest | None


def port_name(service: Manifest, port: int) -> str:
    """The name of the Service's ``port``, under which EndpointSlices tell the real one. Raises Refused.

    A headless Service is dialled on the pods' own port, so there the target port counts too.
    """
    ports = items(service, "spec", "ports")
    fields = ("port", "targetPort") if text(service, "spec", "clusterIP") == "None" else ("port",)
    for field in fields:
        for known in ports:
            if get(known, field) == port:
                return text(known, "name")
    offered = ", ".join(str(number(known, "port")) for known in ports) or "none"
    raise Refused("PortNotFound", f"Service {name_of(service)} has no port {port}; its ports: {offered}")


def endpoints(port: str, slices: Sequence[Manifest], objects: Objects) -> tuple[Endpoint, ...]:
    """The endpoints that serve now, in a stable order. ``port`` is the name from ``port_name``."""
    families = [[each for each in slices if text(each, "addressType") == family] for family in ("IPv4", "IPv6")]
    usable = next((family for family in families if family), [])
    ready = [found for each in usable for found in _ready(each, port, objects)]
    return tuple(sorted({found.endpoint for found in _of_one_commit(ready, objects)}))


def _ready(endpoint_slice: Manifest, port: str, objects: Objects) -> Iterator[_Ready]:
    number_ = next((number(p, "port") for p in items(endpoint_slice, "ports") if text(p, "name") == port), 0)
    if not 1 <= number_ <= 65535:
        return
    for endpoint in items(endpoint_slice, "endpoints"):
        address = text(endpoint, "addresses", 0)
        # No word on readiness means ready (discovery.k8s.io/v1, EndpointConditions).
        if not _is_address(address) or get(endpoint, "conditions", "ready") is False:
            continue
        found = _owner(endpoint, text(endpoint_slice, "metadata", "namespace"), objects)
        if found is not None:
            commit, replica_set = found
            yield _Ready(Endpoint(address, number_, commit), replica_set)


def _is_address(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return "%" not in address  # a zone of IPv6 means something on one machine only


def _owner(endpoint: Json, namespace: str, objects: Objects) -> tuple[str, Manifest | None] | None:
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


def _of_one_commit(ready: Iterable[_Ready], objects: Objects) -> Sequence[_Ready]:
    commits: dict[str, list[_Ready]] = defaultdict(list)
    for found in ready:
        commits[found.endpoint.commit].append(found)
    if len(commits) <= 1:
        return next(iter(commits.values()), ())
    oldest_first = sorted(commits.values(), key=lambda group: max(_newness(found, objects) for found in group))
    newest = oldest_first.pop()
    return newest if _is_complete(newest, objects) else max(oldest_first, key=len)


def _newness(found: _Ready, objects: Objects) -> tuple[bool, bool, int, str]:
    """Orders commits. What the Deployment asks for is the newest: after a step back that is an old ReplicaSet."""
    replica_set = found.replica_set
    if replica_set is None:
        return bool(found.endpoint.commit), False, 0, ""
    deployment = _deployment(replica_set, objects)
    wanted = deployment is not None and annotations_of(deployment).get(COMMIT_ANNOTATION, "") == found.endpoint.commit
    revision = annotations_of(replica_set).get(_REVISION, "")
    created = text(replica_set, "metadata", "creationTimestamp")
    return True, wanted, int(revision) if revision.isdecimal() else 0, created


def _is_complete(group: Sequence[_Ready], objects: Objects) -> bool:
    """Whether each ReplicaSet has as many ready endpoints as its Deployment wants pods."""
    counted: dict[str, tuple[int, Manifest]] = {}
    for found in group:
        if found.replica_set is not None:
            name = name_of(found.replica_set)
            counted[name] = (counted.get(name, (0, found.replica_set))[0] + 1, found.replica_set)
    return all(count >= _wanted(replica_set, objects) for count, replica_set in counted.values())


def _wanted(replica_set: Manifest, objects: Objects) -> int:
    return number(_deployment(replica_set, objects) or replica_set, "spec", "replicas", default=1)


def _deployment(replica_set: Manifest, objects: Objects) -> Manifest | None:
    controller = controller_of(replica_set)
    if text(controller, "kind") != DEPLOYMENT.name:
        return None
    return objects.get(Ref(DEPLOYMENT, text(replica_set, "metadata", "namespace"), text(controller, "name")))


def by_service(slices: Iterable[Manifest]) -> Mapping[tuple[str, str], Sequence[Manifest]]:
    """EndpointSlices under the namespace and name of their Service."""
    found: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for each in slices:
        name = text(each, "metadata", "labels", SERVICE_LABEL)
        if name and not is_deleting(each):
            found[text(each, "metadata", "namespace"), name].append(each)
    return found

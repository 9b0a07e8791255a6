"""Which endpoints of a Service get requests: ready ones, and of one commit only.

During a rollout old and new pods are ready side by side, and Kubernetes would send requests to both. An address that
shows now one commit, now another, misleads whoever reviews it. So the new commit takes over when all the pods that its
workload wants are ready, at once and for every request; until then, and if it never gets there, the old one serves.
``core.commits`` tells which commit a pod shows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from greenroom.core.commits import Lookup, Origin, origin_of
from greenroom.core.memo import Each
from greenroom.model.manifest import (
    POD,
    Json,
    Kind,
    Manifest,
    Ref,
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
_NOWHERE = Origin("")


class Objects(Lookup, Protocol):
    """What is known of the cluster, at one moment."""

    def list(self, kind: Kind) -> Iterable[Manifest]: ...


@dataclass(frozen=True, slots=True)
class _Ready:
    """A ready endpoint, and what its pod was made from."""

    endpoint: Endpoint
    origin: Origin


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
    return tuple(sorted({found.endpoint for found in _of_one_commit(ready)}))


def _ready(endpoint_slice: Manifest, port: str | int, objects: Lookup) -> Iterator[_Ready]:
    dialled = port if isinstance(port, int) else _port_named(port, endpoint_slice)
    if not 1 <= dialled <= 65535:
        return
    for endpoint in items(endpoint_slice, "endpoints"):
        address = text(endpoint, "addresses", 0)
        # No word on readiness means ready (discovery.k8s.io/v1, EndpointConditions).
        if not is_address(address) or get(endpoint, "conditions", "ready") is False:
            continue
        origin = _origin(endpoint, text(endpoint_slice, "metadata", "namespace"), objects)
        if origin is not None:
            yield _Ready(Endpoint(address, dialled, origin.commit), origin)


def _port_named(name: str, endpoint_slice: Manifest) -> int:
    """0 when there is none."""
    ports = items(endpoint_slice, "ports")
    return next((number(port, "port") for port in ports if text(port, "name") == name), 0)


def _origin(endpoint: Json, namespace: str, objects: Lookup) -> Origin | None:
    """None for an endpoint that gets no requests: its pod, or the commit of it, is not known or goes away."""
    if text(endpoint, "targetRef", "kind") != POD.name:
        return _NOWHERE
    pod = objects.get(Ref(POD, namespace, text(endpoint, "targetRef", "name")))
    return None if pod is None or is_deleting(pod) else origin_of(pod, objects)


def _of_one_commit(ready: Sequence[_Ready]) -> Sequence[_Ready]:
    commits: dict[str, list[_Ready]] = defaultdict(list)
    for found in [each for each in ready if each.origin.is_known] or ready:
        commits[found.endpoint.commit].append(found)
    if len(commits) <= 1:
        return next(iter(commits.values()), ())
    oldest_first = sorted(commits.values(), key=lambda group: max(_newness(found.origin) for found in group))
    newest = oldest_first.pop()
    return newest if _is_complete(newest) else max(oldest_first, key=len)


def _newness(origin: Origin) -> tuple[bool, bool, int, str]:
    """Orders commits. What a workload asks for is the newest."""
    return bool(origin.maker or origin.commit), origin.is_present, origin.revision, origin.created


def _is_complete(group: Iterable[_Ready]) -> bool:
    """Whether there are as many ready endpoints as the workload of each wants pods."""
    counted = Counter(found.origin.maker for found in group)
    return all(found.origin.maker is None or counted[found.origin.maker] >= found.origin.wanted for found in group)


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


def _service_of(endpoint_slice: Manifest) -> tuple[str, str] | None:
    """None when it is of no use."""
    name = text(endpoint_slice, "metadata", "labels", SERVICE_LABEL)
    return (text(endpoint_slice, "metadata", "namespace"), name) if name and not is_deleting(endpoint_slice) else None

"""Services -> clusters, for routes that name a Service and a port of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenroom.core.commits import Lookup
from greenroom.core.endpoints import Objects, SlicesByService, endpoints
from greenroom.core.results import same
from greenroom.model.http_route import BackendRef
from greenroom.model.manifest import ENDPOINT_SLICE, SERVICE, Json, Manifest, Ref, get, is_deleting, items, text
from greenroom.model.mesh import Refused
from greenroom.model.routes import Cluster, Upstream

_HTTP2 = "kubernetes.io/h2c"
_NOT_SPOKEN = frozenset({"https", "kubernetes.io/wss", "tcp"})
"""Words of ``appProtocol`` for what a gateway that speaks plain HTTP to Services cannot do."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A cluster, and everything that it was made of."""

    read: Mapping[Ref, Manifest | None]
    slices: Sequence[Manifest]
    cluster: Cluster


class ServiceClusters:
    """Makes clusters. Those of unchanged objects are not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Ref, int], _Made] = {}
        self._before: Mapping[tuple[Ref, int], _Made] = {}
        self._by_service = SlicesByService()

    def at(self, objects: Objects, blind: Mapping[str, Refused]) -> ServiceClusters:
        """From now on of ``objects``, the state of another moment.

        ``blind`` tells by namespace why it is not known which Services are there.
        """
        self._before, self._seen = self._seen, {}
        self._objects, self._blind = objects, blind
        self._slices = self._by_service.of(tuple(objects.list(ENDPOINT_SLICE)))
        return self

    def of(self, backend: BackendRef) -> Cluster:
        """Raises Refused, with the specification's reasons for ResolvedRefs."""
        key = backend.ref, backend.port
        if key in self._seen:
            return self._seen[key].cluster
        slices = self._slices.get((backend.ref.namespace, backend.ref.name), ())
        made = self._before.get(key)
        if made is None or not self._still_holds(made, slices):
            made = self._make(backend, slices)
        self._seen[key] = made
        return made.cluster

    def _still_holds(self, made: _Made, slices: Sequence[Manifest]) -> bool:
        unchanged = all(self._objects.get(ref) is manifest for ref, manifest in made.read.items())
        return unchanged and same(slices, made.slices)

    def _make(self, backend: BackendRef, slices: Sequence[Manifest]) -> _Made:
        ref = backend.ref
        if ref.kind != SERVICE:
            raise Refused("InvalidKind", f"{ref.kind} is not served: only Services are", path=backend.path)
        reading = _Reading(self._objects)
        service = reading.get(ref)
        if service is None or is_deleting(service):
            blind = self._blind.get(ref.namespace)
            if blind is not None:
                raise Refused(blind.reason, str(blind), path=backend.path)
            raise Refused("BackendNotFound", f"{_name(ref)} does not exist", path=backend.path)
        port = _port(service, backend)
        name = f"service_{ref.namespace}_{ref.name}_{backend.port}"  # no name of Kubernetes has an underscore
        upstream = Upstream(f"{ref.name}.{ref.namespace}.svc", backend.port)
        found = endpoints(text(port, "name"), slices, reading)
        return _Made(reading.read, slices, Cluster(name, text(port, "appProtocol") == _HTTP2, found, upstream))


def _port(service: Manifest, backend: BackendRef) -> Json:
    """Raises Refused."""
    if text(service, "spec", "type") == "ExternalName":
        message = f"{_name(backend.ref)} is another host's name: use a Service with endpoints"
        raise Refused("BackendNotFound", message, path=backend.path)
    ports = items(service, "spec", "ports")
    port = next((each for each in ports if get(each, "port") == backend.port), None)
    if port is None:
        offered = ", ".join(str(get(each, "port")) for each in ports) or "none"
        message = f"{_name(backend.ref)} has no port {backend.port}; its ports: {offered}"
        raise Refused("BackendNotFound", message, path=f"{backend.path}.port")
    spoken = text(port, "appProtocol")
    if spoken in _NOT_SPOKEN or text(port, "protocol") not in {"", "TCP"}:
        message = f"{_name(backend.ref)} speaks {spoken or text(port, 'protocol')} on port {backend.port}"
        raise Refused("UnsupportedProtocol", f"{message}: plain HTTP is needed", path=backend.path)
    return port


def _name(ref: Ref) -> str:
    return f"Service {ref.namespace}/{ref.name}"


class _Reading:
    """``objects``, noting what is asked for."""

    def __init__(self, objects: Lookup) -> None:
        self._objects = objects
        self.read: dict[Ref, Manifest | None] = {}

    def get(self, ref: Ref) -> Manifest | None:
        found = self.read[ref] = self._objects.get(ref)
        return found

"""VirtualNodes -> clusters: who answers, by which addresses, and how Envoy treats them.

A host name of a Service of this cluster never reaches a DNS server: its endpoints come from EndpointSlices
(``core.endpoints``), so that a new pod serves within milliseconds. What any other name leads to, Envoy finds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

from greenroom.core import commits
from greenroom.core.endpoints import Objects, SlicesByService, endpoints, port_of
from greenroom.core.membership import Membership
from greenroom.core.results import Results, attempt, same, sure
from greenroom.core.service_names import service_name
from greenroom.model.manifest import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    POD,
    REPLICA_SET,
    SERVICE,
    Manifest,
    Ref,
    is_deleting,
    name_of,
    text,
)
from greenroom.model.mesh import Mesh, Refused
from greenroom.model.routes import HOST, ClientTls, Cluster, Endpoint, Protocol, Resolution, Upstream, is_address
from greenroom.model.virtual_gateway import VirtualGateway
from greenroom.model.virtual_node import NodeListener, VirtualNode

KINDS = (SERVICE, ENDPOINT_SLICE, POD, REPLICA_SET, DEPLOYMENT)
"""Whatever stands behind VirtualNodes, but for what tells of commits only: ``core.commits.KINDS``."""

_Known: TypeAlias = "Manifest | Refused | None"
"""An object, why it is not known, or None when there is none."""


Ports: TypeAlias = Mapping[int, Cluster | Refused]
"""The clusters of a VirtualNode's listeners that speak HTTP, by port; or why there is none."""


class Clusters:
    """Makes clusters. Those of unchanged objects are not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._made: Mapping[Ref, _Made] = {}
        self._looked_at: Sequence[object] = ()
        self._by_service = SlicesByService()
        self._ports: Mapping[Ref, Ports] = {}

    def of(
        self, nodes: Results[VirtualNode], membership: Membership, objects: Objects, blind: Mapping[str, Refused]
    ) -> Mapping[Ref, Ports]:
        """Those of all nodes; the same mapping as before, if nothing changed. ``blind`` is as for ``Router.route``."""
        everything = chain.from_iterable(map(objects.list, (*KINDS, *commits.KINDS)))
        looked_at: Sequence[object] = (nodes, membership, *blind, *blind.values(), *everything)
        if not same(looked_at, self._looked_at):
            self._looked_at = looked_at
            present = _Present(objects, blind, self._by_service.of(tuple(objects.list(ENDPOINT_SLICE))))
            self._made = {
                ref: self._of(node, membership.mesh(ref.namespace), present) for ref, node in nodes.values.items()
            }
            self._ports = {ref: made.ports for ref, made in self._made.items()}
        return self._ports

    def _of(self, node: VirtualNode, mesh: Mesh | Refused, present: _Present) -> _Made:
        made = self._made.get(node.ref)
        if made is not None and made.node is node and made.mesh is mesh and made.still_holds(present):
            return made
        return _make(node, mesh, present)


class _Present:
    """What is known at one moment."""

    def __init__(
        self, objects: Objects, blind: Mapping[str, Refused], slices: Mapping[tuple[str, str], Sequence[Manifest]]
    ) -> None:
        self._objects, self._blind, self._slices = objects, blind, slices

    def known(self, ref: Ref) -> _Known:
        return self._objects.get(ref) or self._blind.get(ref.namespace)

    def slices(self, service: tuple[str, str]) -> Sequence[Manifest]:
        return self._slices.get(service, ())


class _Reading:
    """What is known, noting what is asked for."""

    def __init__(self, present: _Present) -> None:
        self._present = present
        self.read: dict[Ref, _Known] = {}

    def known(self, ref: Ref) -> _Known:
        found = self.read[ref] = self._present.known(ref)
        return found

    def get(self, ref: Ref) -> Manifest | None:
        found = self.known(ref)
        return None if isinstance(found, Refused) else found


@dataclass(frozen=True, slots=True)
class _Made:
    """The clusters of a node, and everything that they were made of."""

    node: VirtualNode
    mesh: Mesh | Refused
    read: Mapping[Ref, _Known]
    service: tuple[str, str]
    slices: Sequence[Manifest]
    ports: Ports

    def still_holds(self, present: _Present) -> bool:
        known = present.known
        return same(present.slices(self.service), self.slices) and all(
            known(ref) is found for ref, found in self.read.items()
        )


def _make(node: VirtualNode, mesh: Mesh | Refused, present: _Present) -> _Made:
    name, reading = service_name(node.hostname, node.ref.namespace), _Reading(present)
    service = (name.ref.namespace, name.ref.name) if name is not None else ("", "")
    slices = present.slices(service)
    http = [each for each in node.listeners if each.protocol is not Protocol.TCP]
    ports = {each.port: attempt(_cluster, node, each, mesh, slices, reading) for each in http}
    return _Made(node, mesh, reading.read, service, slices, ports)


def _cluster(
    node: VirtualNode, listener: NodeListener, mesh: Mesh | Refused, slices: Sequence[Manifest], reading: _Reading
) -> Cluster:
    """The cluster of one of a node's listeners, named as App Mesh did. Raises Refused."""
    name = f"cds_egress_{sure(mesh).aws_name}_{node.aws_name}_{listener.protocol.value}_{listener.port}"
    cluster = Cluster(name, listener.protocol is not Protocol.HTTP, (), _upstream(node, listener))
    if is_address(node.hostname):
        return replace(cluster, endpoints=(Endpoint(node.hostname, listener.port, ""),))
    service = _service(node, reading)
    if service is None:
        return _resolved(cluster, node, node.hostname)
    if text(service, "spec", "type") == "ExternalName":
        return _resolved(cluster, node, _external(service))
    return replace(cluster, endpoints=endpoints(port_of(service, listener.port), slices, reading))


def _service(node: VirtualNode, reading: _Reading) -> Manifest | None:
    """The Service that the node names, None when it names another host.

    Raises Refused when it does not exist, or when it cannot be known whether it does.
    """
    name = service_name(node.hostname, node.ref.namespace)
    service = reading.known(name.ref) if name is not None else None
    if service is not None and not isinstance(service, Refused) and not is_deleting(service):
        return service
    if name is None or not name.is_certain:
        return None
    if isinstance(service, Refused):
        return sure(service)
    message = f"Service {name.ref.namespace}/{name.ref.name} does not exist"
    raise Refused("ServiceNotFound", message, path="spec.serviceDiscovery.dns.hostname")


def _external(service: Manifest) -> str:
    """The host that the Service stands for. Raises Refused."""
    host = text(service, "spec", "externalName").lower().removesuffix(".")
    if not HOST.fullmatch(host):
        raise Refused("Invalid", f"Service {name_of(service)} has the externalName {host!r}, which is not a host name")
    return host


def through(gateway: VirtualGateway, cluster: Cluster) -> Cluster:
    """``cluster`` as ``gateway`` connects to it: within its limits, and with TLS where its policy asks for it.

    Without a policy for the port, whether there is TLS is what the VirtualNode says, and its certificate is not looked
    at; with a policy that names nobody, it must be for the host that the node names (user guide, tls.md).
    """
    upstream = replace(cluster.upstream, limits=cluster.upstream.limits.within(gateway.limits))
    policy = gateway.client_policy
    if policy is not None and (not policy.ports or upstream.port in policy.ports):
        upstream = replace(upstream, tls=replace(policy.tls, names=policy.tls.names or (upstream.host,)))
    return cluster if upstream == cluster.upstream else replace(cluster, upstream=upstream)


def _upstream(node: VirtualNode, listener: NodeListener) -> Upstream:
    return Upstream(
        host=node.hostname.rstrip("."),
        port=listener.port,
        limits=listener.limits,
        health_check=listener.health_check,
        outliers=listener.outliers,
        tls=ClientTls() if listener.tls else None,
    )


def _resolved(cluster: Cluster, node: VirtualNode, host: str) -> Cluster:
    """``cluster`` with a host that Envoy looks up, in the way that the node's ``responseType`` asks for."""
    resolution = Resolution.ALL_ADDRESSES if node.every_address else Resolution.ONE_ADDRESS
    return replace(cluster, upstream=replace(cluster.upstream, host=host.rstrip("."), resolution=resolution))

"""Which mesh a namespace is in, and which gateway a route belongs to: exactly one each.

The rules are App Mesh's, as far as its dead controller tells (``pkg/mesh/membership_designator.go``,
``pkg/virtualgateway/membership_designator.go``), asked anew each time rather than at creation only.
"""

from __future__ import annotations

from collections.abc import Mapping

from greenroom.core.endpoints import Objects
from greenroom.core.results import Results, same, sure
from greenroom.model.gateway_route import GatewayRoute
from greenroom.model.manifest import NAMESPACE, Ref, labels_of, name_of
from greenroom.model.mesh import Mesh, Refused
from greenroom.model.virtual_gateway import VirtualGateway

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


class Membership:
    """That of all objects, as long as no Namespace and no Mesh changes."""

    def __init__(self, objects: Objects, meshes: Results[Mesh]) -> None:
        self._namespaces = tuple(objects.list(NAMESPACE))
        self._labels_of = {name_of(each): labels_of(each) for each in self._namespaces}
        self._meshes = meshes
        self._of_namespace: dict[str, Mesh | Refused] = {}

    def still_holds(self, objects: Objects, meshes: Results[Mesh]) -> bool:
        return meshes is self._meshes and same(tuple(objects.list(NAMESPACE)), self._namespaces)

    def mesh(self, namespace: str) -> Mesh | Refused:
        """The namespace's mesh, or why there is none: exactly one mesh must select it."""
        if namespace not in self._of_namespace:
            self._of_namespace[namespace] = self._find(namespace)
        return self._of_namespace[namespace]

    def gateway_of(self, route: GatewayRoute, gateways: Results[VirtualGateway]) -> VirtualGateway:
        """Raises Refused unless exactly one gateway selects the route, in the same mesh."""
        labels = self._labels(route.ref.namespace)
        found = [gateway for gateway in gateways.values.values() if _selects(gateway, labels, route)]
        if not found:
            unusable = "; ".join(f"{ref.namespace}/{ref.name}: {why}" for ref, why in sorted(gateways.refused.items()))
            hint = f" (not usable: {unusable})" if unusable else ""
            raise Refused("NoVirtualGateway", f"no VirtualGateway's selectors match this route{hint}")
        if len(found) > 1:
            names = ", ".join(sorted(f"{gateway.ref.namespace}/{gateway.ref.name}" for gateway in found))
            raise Refused("SeveralVirtualGateways", f"only one VirtualGateway may match, but these do: {names}")
        gateway = found[0]
        require_same(sure(self.mesh(route.ref.namespace)), gateway.ref, sure(self.mesh(gateway.ref.namespace)))
        return gateway

    def _labels(self, namespace: str) -> Mapping[str, str]:
        """The namespace's labels, with the one that Kubernetes gives to each."""
        return {_NAMESPACE_NAME: namespace, **self._labels_of.get(namespace, {})}

    def _find(self, namespace: str) -> Mesh | Refused:
        labels = self._labels(namespace)
        meshes = self._meshes.values.values()
        found = [mesh for mesh in meshes if mesh.namespaces is not None and mesh.namespaces.matches(labels)]
        if len(found) == 1:
            return found[0]
        if not found:
            unusable = "; ".join(f"{ref.name}: {why}" for ref, why in sorted(self._meshes.refused.items()))
            hint = f" (not usable: {unusable})" if unusable else ""
            return Refused("NoMesh", f"no Mesh's namespaceSelector matches the namespace {namespace}{hint}")
        names = ", ".join(sorted(mesh.ref.name for mesh in found))
        return Refused("SeveralMeshes", f"only one Mesh may match the namespace {namespace}, but these do: {names}")


def require_same(mine: Mesh, other: Ref, its: Mesh) -> None:
    """Raises Refused, for an object of the mesh ``mine``, unless the mesh of ``other`` is the same."""
    if mine.ref != its.ref:
        where = f"{other.kind.name} {other.namespace}/{other.name}"
        raise Refused("OtherMesh", f"{where} is in mesh {its.ref.name}, this one in mesh {mine.ref.name}")


def _selects(gateway: VirtualGateway, namespace_labels: Mapping[str, str], route: GatewayRoute) -> bool:
    in_namespace = gateway.namespaces is not None and gateway.namespaces.matches(namespace_labels)
    return in_namespace and (gateway.routes is None or gateway.routes.matches(route.labels))

"""What stands behind a VirtualService: a VirtualNode, or a VirtualRouter that divides requests among several.

Both are branches in the end: which requests, and the clusters that share them. ``core.routing`` leads GatewayRoutes to
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from greenroom.core.clusters import Clusters, Ports
from greenroom.core.endpoints import Objects
from greenroom.core.membership import Membership, require_same
from greenroom.core.memo import Last
from greenroom.core.results import Results, Step, needed, sure
from greenroom.model.manifest import Ref
from greenroom.model.mesh import VIRTUAL_NODE, Mesh, Refused, VirtualService
from greenroom.model.routes import DEFAULT_RETRY, Cluster, Match, Retry, WeightedCluster
from greenroom.model.virtual_node import NodeListener, VirtualNode
from greenroom.model.virtual_router import RouterRoute, VirtualRouter, WeightedTarget


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a VirtualNode, and the cluster that answers there."""

    listener: NodeListener
    cluster: Cluster


@dataclass(frozen=True, slots=True)
class Branch:
    """Requests for which ``targets`` answer, in proportion to ``weights``. All weights 0 means that nobody does.

    ``name`` is that of the router's route. ``timeout`` (whole request) and ``idle`` (without a byte) are seconds, 0 for
    no limit.
    """

    name: str
    match: Match
    targets: tuple[Target, ...]
    weights: tuple[int, ...]
    timeout: float
    idle: float
    retry: Retry = DEFAULT_RETRY

    @property
    def clusters(self) -> tuple[WeightedCluster, ...]:
        pairs = zip(self.targets, self.weights, strict=True)
        return tuple(WeightedCluster(target.cluster.name, weight) for target, weight in pairs)


class Provider(Protocol):
    """Who answers for a VirtualService."""

    @property
    def mesh(self) -> Mesh: ...

    def branches(self, port: int) -> Sequence[Branch]:
        """Those for the provider's listener on ``port``, or with 0 on its first port. Raises Refused."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A VirtualNode, and what is known of each of its ports for HTTP."""

    node: VirtualNode
    mesh: Mesh
    ports: Ports

    def target(self, port: int) -> Target:
        """The port's, or with 0 the first port's. Raises Refused."""
        listener = self.node.listener(port or None)
        return Target(listener, sure(self.ports[listener.port]))

    def branches(self, port: int) -> Sequence[Branch]:
        """One, for every request. Raises Refused."""
        target = self.target(port)
        return (Branch("", Match(), (target,), (1,), target.listener.timeout, target.listener.idle),)


@dataclass(frozen=True, slots=True)
class ResolvedRouter:
    """A VirtualRouter whose VirtualNodes are there. ``of_routes`` are in the order of its routes."""

    router: VirtualRouter
    mesh: Mesh
    of_routes: tuple[Branch, ...]

    def branches(self, port: int) -> Sequence[Branch]:
        """Those for the router's listener on ``port``, or with 0 on its first port. Raises Refused."""
        ports = self.router.ports
        if port and port not in ports:
            where = f"VirtualRouter {self.router.ref.namespace}/{self.router.ref.name}"
            offered = ", ".join(map(str, ports))
            raise Refused("PortNotFound", f"{where} has no listener on port {port}; its ports: {offered}")
        wanted = {0, port or ports[0]}
        pairs = zip(self.router.routes, self.of_routes, strict=True)
        return tuple(branch for route, branch in pairs if route.port in wanted)

    @property
    def remark(self) -> str:
        """What its owner may not expect; ``""`` when there is nothing to say."""
        if not self.of_routes:
            return "it has no routes, so every request is answered with 404"
        unserved = [branch.name for branch in self.of_routes if not any(branch.weights)]
        return f"answered with 503 since all weights are 0: {', '.join(unserved)}" if unserved else ""


@dataclass(frozen=True, slots=True)
class Served:
    """A VirtualService, and who answers for it."""

    service: VirtualService
    mesh: Mesh
    provider: Provider


class Providers:
    """Makes providers. Those of unchanged objects are not made again, which is all that it remembers."""

    def __init__(self) -> None:
        self._clusters = Clusters()
        self._backends = Step(_of_node, _backend)
        self._unrivalled = Last(_unrivalled)
        self._routers = Step(_of_router, _resolved)
        self._served = Step(_of_service, _served)

    def backends(
        self, nodes: Results[VirtualNode], membership: Membership, objects: Objects, blind: Mapping[str, Refused]
    ) -> Results[Backend]:
        """VirtualNodes that can be reached, no two of one name: names are unique in a mesh, and the older has it."""
        clusters = self._clusters.of(nodes, membership, objects, blind)
        return self._unrivalled.of(self._backends.of(nodes, membership, clusters))

    def routers(
        self, routers: Results[VirtualRouter], nodes: Results[Backend], membership: Membership
    ) -> Results[ResolvedRouter]:
        """VirtualRouters all of whose targets are there."""
        return self._routers.of(routers, nodes, membership)

    def served(
        self,
        services: Results[VirtualService],
        nodes: Results[Backend],
        routers: Results[ResolvedRouter],
        membership: Membership,
    ) -> Results[Served]:
        """VirtualServices whose provider is there."""
        return self._served.of(services, nodes, routers, membership)


_OfNode: TypeAlias = tuple[VirtualNode, Mesh | Refused, Ports]


def _of_node(node: VirtualNode, membership: Membership, clusters: Mapping[Ref, Ports]) -> _OfNode:
    return node, membership.mesh(node.ref.namespace), clusters[node.ref]


def _backend(parts: _OfNode) -> Backend:
    node, mesh, ports = parts
    backend = Backend(node, sure(mesh), ports)
    broken = [cluster for cluster in ports.values() if isinstance(cluster, Refused)]
    if broken and len(broken) == len(ports):  # one port that is there makes the node useful
        sure(broken[0])
    return backend


def _unrivalled(found: Results[Backend]) -> Results[Backend]:
    rivals: dict[str, list[Backend]] = defaultdict(list)
    for backend in found.values.values():
        rivals[f"{backend.mesh.aws_name}_{backend.node.aws_name}"].append(backend)
    losers: dict[Ref, Refused] = {}
    for each in rivals.values():
        if len(each) > 1:
            owner, *others = sorted((backend.node for backend in each), key=lambda node: node.age)
            message = f"VirtualNode {owner.ref.namespace}/{owner.ref.name} is older and has the same name"
            losers |= {node.ref: Refused("Conflict", message, path="spec.awsName") for node in others}
    return found.without(losers)


_Nodes: TypeAlias = Mapping[Ref, Backend | Refused | None]
_OfRouter: TypeAlias = tuple[VirtualRouter, Mesh | Refused, _Nodes]


def _of_router(router: VirtualRouter, nodes: Results[Backend], membership: Membership) -> _OfRouter:
    targets = {target.node: nodes.find(target.node) for route in router.routes for target in route.targets}
    return router, membership.mesh(router.ref.namespace), targets


def _resolved(parts: _OfRouter) -> ResolvedRouter:
    router, mesh, nodes = parts
    itself = sure(mesh)
    return ResolvedRouter(router, itself, tuple(_branch(route, itself, nodes) for route in router.routes))


_OfService: TypeAlias = tuple[VirtualService, Mesh | Refused, Provider | Refused | None]


def _of_service(
    service: VirtualService, nodes: Results[Backend], routers: Results[ResolvedRouter], membership: Membership
) -> _OfService:
    providers: Results[Provider] = nodes if service.provider.kind == VIRTUAL_NODE else routers
    return service, membership.mesh(service.ref.namespace), providers.find(service.provider)


def _served(parts: _OfService) -> Served:
    service, mesh, found = parts
    provider = needed(service.provider, found)
    itself = sure(mesh)
    require_same(itself, service.provider, provider.mesh)
    return Served(service, itself, provider)


def _branch(route: RouterRoute, mesh: Mesh, nodes: _Nodes) -> Branch:
    targets = tuple(_target(target, mesh, nodes) for target in route.targets)
    listeners = [target.listener for target in targets]
    return Branch(
        name=route.name,
        match=route.match,
        targets=targets,
        weights=tuple(target.weight for target in route.targets),
        timeout=_longest(listener.timeout for listener in listeners) if route.timeout is None else route.timeout,
        idle=_longest(listener.idle for listener in listeners) if route.idle is None else route.idle,
        retry=route.retry or DEFAULT_RETRY,
    )


def _target(target: WeightedTarget, mesh: Mesh, nodes: _Nodes) -> Target:
    backend = needed(target.node, nodes[target.node])
    require_same(mesh, target.node, backend.mesh)
    return backend.target(target.port)


def _longest(seconds: Iterable[float]) -> float:
    """0 means no limit, so it is the longest."""
    found = tuple(seconds)
    return 0.0 if 0.0 in found else max(found)

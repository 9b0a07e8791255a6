"""RouteTable -> Envoy resources: a Listener, a RouteConfiguration, and for each cluster its endpoints apart.

They are written as in Envoy's documents of its v3 API. Names and defaults are those of App Mesh's gateway
(``ingress.<protocol>.<port>``, ``cds_egress_…``), so that dashboards go on working. The same table always gives the
same bytes, and each resource carries a hash of its own as version. ``core.xds`` hands them to Envoys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

# Imported for their types, which the configuration names.
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from greenroom.core import pages
from greenroom.core.envoy_cluster import COMMIT_HEADER, METADATA, cluster_config, endpoints_config
from greenroom.core.envoy_listener import listener_config, listener_name, routes_name
from greenroom.core.envoy_routes import virtual_host
from greenroom.core.memo import by_identity
from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Named, Snapshot, XdsResource
from greenroom.model.manifest import Json
from greenroom.model.routes import (
    Cluster,
    Listener,
    ListenerRoutes,
    Resolution,
    RouteTable,
    Upstream,
    VirtualHost,
)

_REMEMBERED = 16384
"""How many encoded parts are kept, so that a change costs what it changes: several a pull request, for thousands."""


def snapshot(table: RouteTable, *, bind: str) -> Snapshot:
    """Everything that the Envoys of one gateway get. They listen on the address ``bind``."""
    return {
        CLUSTER: _named(map(_cluster, table.clusters)),
        ENDPOINTS: _named(map(_endpoints, filter(_is_known, table.clusters))),
        LISTENER: _named(_listener(each.listener, bind) for each in table.listeners),
        ROUTES: _named(_routes(each) for each in table.listeners),
    }


def needs(listeners: Sequence[Listener], *, bind: str, clusters: Iterable[str] = ()) -> frozenset[Named]:
    """What an Envoy must have to serve: listeners with their routes, and for one route the clusters that answer."""
    listening = {(LISTENER, listener_name(each, bind)) for each in listeners}
    routing = {(ROUTES, routes_name(each)) for each in listeners}
    answering = {(kind, name) for name in clusters for kind in (CLUSTER, ENDPOINTS)}
    return frozenset(listening | routing | answering)


def routes_config() -> dict[str, Json]:
    """What all route configurations share: all but the name and the virtual hosts."""
    commit = {"key": COMMIT_HEADER, "value": f'%UPSTREAM_METADATA(["{METADATA}","commit"])%'}
    return {
        "ignore_port_in_host_matching": True,
        "response_headers_to_add": [{"header": commit, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        # Clusters come before routes; a route that overtakes its cluster answers 503 for a moment, and is not refused.
        "validate_clusters": False,
    }


def _named(resources: Iterable[XdsResource]) -> Mapping[str, XdsResource]:
    return {resource.name: resource for resource in resources}


def _is_known(cluster: Cluster) -> bool:
    return cluster.upstream.resolution is Resolution.KNOWN


@by_identity(_REMEMBERED)
def _cluster(cluster: Cluster) -> XdsResource:
    return _cluster_apart(cluster.name, cluster.http2, cluster.upstream)


@lru_cache(_REMEMBERED)
def _cluster_apart(name: str, http2: bool, upstream: Upstream) -> XdsResource:
    """It stays the same when endpoints come and go."""
    return _resource(name, ParseDict(cluster_config(Cluster(name, http2, (), upstream)), cluster_pb2.Cluster()))


@by_identity(_REMEMBERED)
def _endpoints(cluster: Cluster) -> XdsResource:
    config = endpoints_config(cluster.name, cluster.endpoints)
    return _resource(cluster.name, ParseDict(config, endpoint_pb2.ClusterLoadAssignment()))


@lru_cache(_REMEMBERED)
def _listener(listener: Listener, bind: str) -> XdsResource:
    made = ParseDict(listener_config(listener, bind), listener_pb2.Listener())
    # ParseDict serialises what is inside an Any with its maps in any order, another one in each process.
    for chain in made.filter_chains:
        packed = chain.filters[0].typed_config
        connections = http_connection_manager_pb2.HttpConnectionManager.FromString(packed.value)
        for log in connections.access_log:
            file_log = file_pb2.FileAccessLog.FromString(log.typed_config.value)
            log.typed_config.value = file_log.SerializeToString(deterministic=True)
        packed.value = connections.SerializeToString(deterministic=True)
    return _resource(listener_name(listener, bind), made)


def _routes(served: ListenerRoutes) -> XdsResource:
    """Put together from bytes, in the order of its fields: parts of a message that follow each other are the whole
    (protobuf.dev, "Encoding")."""
    name = routes_name(served.listener)
    parts = (_route_bytes(name=name), *map(_virtual_host, served.hosts), _route_bytes(**routes_config()))
    return _serialised(name, b"".join(parts))


@by_identity(_REMEMBERED)
@lru_cache(_REMEMBERED)  # one with a notice is made anew each time, equal to the one before
def _virtual_host(host: VirtualHost) -> bytes:
    """A RouteConfiguration with this virtual host and nothing else."""
    config = virtual_host(host)
    if host.notice is not None:
        config["metadata"] = {"filter_metadata": {METADATA: pages.metadata(host.notice)}}
    return _route_bytes(virtual_hosts=[config])


def _route_bytes(**fields: Json) -> bytes:
    return _bytes(ParseDict(fields, route_pb2.RouteConfiguration()))


def _resource(name: str, message: Message) -> XdsResource:
    return _serialised(name, _bytes(message))


def _serialised(name: str, body: bytes) -> XdsResource:
    return XdsResource(name, hashlib.sha256(body).hexdigest()[:16], body)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)

"""RouteTable -> Envoy resources: a Listener, a RouteConfiguration, and for each cluster its endpoints apart.

They are written as in Envoy's documents of its v3 API. Names and defaults are those of App Mesh's gateway
(``ingress.<protocol>.<port>``, ``cds_egress_…``), so that dashboards go on working. The same table always gives the
same bytes, and each resource carries a hash of its own as version. ``core.xds`` hands them to Envoys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

# Imported for their types, which the configuration names.
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from greenroom.core.envoy_listener import listener_config, listener_name, routes_name
from greenroom.core.envoy_routes import virtual_host
from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Named, Snapshot, XdsResource
from greenroom.model.manifest import Json
from greenroom.model.routes import Endpoint, Listener, RouteTable, VirtualHost

COMMIT_HEADER = "x-greenroom-commit"
_METADATA = "greenroom"
_UNLIMITED = 2147483647
_REMEMBERED = 16384
"""How many encoded parts are kept, so that a change costs what it changes: several a pull request, for thousands."""


def snapshot(table: RouteTable, *, bind: str) -> Snapshot:
    """Everything that the Envoys of one gateway get. They listen on the address ``bind``."""
    return {
        CLUSTER: _named(_cluster(cluster.name, cluster.http2) for cluster in table.clusters),
        ENDPOINTS: _named(_endpoints(cluster.name, cluster.endpoints) for cluster in table.clusters),
        LISTENER: _named([_listener(table.listener, bind)]),
        ROUTES: _named([_routes(table)]),
    }


def needs(listener: Listener, *, bind: str, cluster: str = "") -> frozenset[Named]:
    """What an Envoy must have to serve: the listener with its routes, and for one route the cluster that answers."""
    shared = {(LISTENER, listener_name(listener, bind)), (ROUTES, routes_name(listener))}
    return frozenset(shared | {(CLUSTER, cluster), (ENDPOINTS, cluster)} if cluster else shared)


def cluster_config(name: str, *, http2: bool) -> dict[str, Json]:
    """Endpoints come apart, so that a change of pods does not touch the cluster, and Envoy never asks a DNS server."""
    # App Mesh's defaults (user guide, envoy-defaults.md): no limit.
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    config: dict[str, Json] = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _UNLIMITED)]},
    }
    if http2:
        config["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return config


def endpoints_config(cluster: str, endpoints: Iterable[Endpoint]) -> dict[str, Json]:
    """Each endpoint carries its commit, for the header that every answer gets."""
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [_endpoint(each) for each in endpoints]}]}


def _endpoint(endpoint: Endpoint) -> Json:
    address: Json = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
    known: dict[str, Json] = {"endpoint": {"address": address}}
    if endpoint.commit and endpoint.commit.isascii() and endpoint.commit.isprintable():  # it becomes a header
        known["metadata"] = {"filter_metadata": {_METADATA: {"commit": endpoint.commit}}}
    return known


def routes_config(listener: Listener) -> dict[str, Json]:
    """Without the virtual hosts."""
    commit = {"key": COMMIT_HEADER, "value": f'%UPSTREAM_METADATA(["{_METADATA}","commit"])%'}
    return {
        "name": routes_name(listener),
        "ignore_port_in_host_matching": True,
        "response_headers_to_add": [{"header": commit, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        # Clusters come before routes; a route that overtakes its cluster answers 503 for a moment, and is not refused.
        "validate_clusters": False,
    }


def _named(resources: Iterable[XdsResource]) -> Mapping[str, XdsResource]:
    return {resource.name: resource for resource in resources}


@lru_cache(_REMEMBERED)
def _cluster(name: str, http2: bool) -> XdsResource:
    return _resource(name, ParseDict(cluster_config(name, http2=http2), cluster_pb2.Cluster()))


@lru_cache(_REMEMBERED)
def _endpoints(cluster: str, endpoints: tuple[Endpoint, ...]) -> XdsResource:
    config = endpoints_config(cluster, endpoints)
    return _resource(cluster, ParseDict(config, endpoint_pb2.ClusterLoadAssignment()))


@lru_cache(_REMEMBERED)
def _listener(listener: Listener, bind: str) -> XdsResource:
    made = ParseDict(listener_config(listener, bind), listener_pb2.Listener())
    # ParseDict serialises what is inside an Any with its maps in any order, another one in each process.
    packed = made.filter_chains[0].filters[0].typed_config
    connections = http_connection_manager_pb2.HttpConnectionManager.FromString(packed.value)
    packed.value = connections.SerializeToString(deterministic=True)
    return _resource(listener_name(listener, bind), made)


def _routes(table: RouteTable) -> XdsResource:
    routes = ParseDict(routes_config(table.listener), route_pb2.RouteConfiguration())
    routes.virtual_hosts.extend(_virtual_host(host) for host in table.hosts)
    return _resource(routes_name(table.listener), routes)


@lru_cache(_REMEMBERED)
def _virtual_host(host: VirtualHost) -> Message:
    made: Message = ParseDict(virtual_host(host), route_components_pb2.VirtualHost())
    return made


def _resource(name: str, message: Message) -> XdsResource:
    body = message.SerializeToString(deterministic=True)
    return XdsResource(name, hashlib.sha256(body).hexdigest()[:16], body)

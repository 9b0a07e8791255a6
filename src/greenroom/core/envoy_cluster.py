"""Clusters and their endpoints as Envoy's ``config.cluster.v3`` and ``config.endpoint.v3`` have them."""

from __future__ import annotations

from collections.abc import Iterable

from greenroom.core.envoy_tls import upstream_tls
from greenroom.model.manifest import Json
from greenroom.model.routes import (
    UNLIMITED,
    Cluster,
    Endpoint,
    HealthCheck,
    Limits,
    OutlierDetection,
    Protocol,
    Resolution,
    Upstream,
)

COMMIT_HEADER = "x-greenroom-commit"
METADATA = "greenroom"
"""The namespace of what is said of endpoints and of virtual hosts, for headers and pages."""
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_config(cluster: Cluster) -> dict[str, Json]:
    """Without its endpoints, unless Envoy is to find them."""
    upstream = cluster.upstream
    config: dict[str, Json] = {
        "name": cluster.name,
        **_addresses(cluster.name, upstream),
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [_limits(upstream.limits)]},
    }
    if cluster.http2:
        options: dict[str, Json] = {"explicit_http_config": {"http2_protocol_options": {}}}
        config["typed_extension_protocol_options"] = {
            _OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", **options},
        }
    if upstream.health_check is not None:
        config["health_checks"] = [_health_check(upstream.health_check, upstream.host)]
        # Otherwise Envoy would go on sending requests to pods that are gone, the old commit's, while they answer.
        config["ignore_health_on_host_removal"] = True
    if upstream.outliers is not None:
        config["outlier_detection"] = _outliers(upstream.outliers)
    if upstream.tls is not None:
        config["transport_socket"] = upstream_tls(upstream.tls, host=upstream.host, http2=cluster.http2)
    return config


def endpoints_config(cluster: str, endpoints: Iterable[Endpoint]) -> dict[str, Json]:
    """Each endpoint carries its commit, for the header that every answer gets."""
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [_endpoint(each) for each in endpoints]}]}


def _addresses(name: str, upstream: Upstream) -> dict[str, Json]:
    """Endpoints come apart, so that a change of pods does not touch the cluster; a foreign host is asked for."""
    if upstream.resolution is Resolution.KNOWN:
        return {"type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}}}
    return {
        "type": "STRICT_DNS" if upstream.resolution is Resolution.ALL_ADDRESSES else "LOGICAL_DNS",
        # App Mesh's AUTO takes an IPv6 address where there is one, even where nothing can reach it.
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": True,
        # A name that no DNS server answers for must not hold up the clusters that come with it.
        "wait_for_warm_on_init": False,
        "load_assignment": endpoints_config(name, [Endpoint(upstream.host, upstream.port, "")]),
    }


def _limits(limits: Limits) -> Json:
    return {
        "max_connections": limits.connections,
        "max_pending_requests": limits.pending,
        "max_requests": limits.requests,
        "max_retries": UNLIMITED,
    }


def _health_check(check: HealthCheck, host: str) -> Json:
    config: dict[str, Json] = {
        "interval": _duration(check.interval),
        "timeout": _duration(check.timeout),
        "healthy_threshold": check.healthy,
        "unhealthy_threshold": check.unhealthy,
    }
    match check.protocol:
        case Protocol.TCP:
            return {**config, "tcp_health_check": {}}
        case Protocol.GRPC:
            return {**config, "grpc_health_check": {"authority": host}}
        case Protocol.HTTP | Protocol.HTTP2:
            codec = "HTTP2" if check.protocol is Protocol.HTTP2 else "HTTP1"
            return {**config, "http_health_check": {"host": host, "path": check.path, "codec_client_type": codec}}


def _outliers(outliers: OutlierDetection) -> Json:
    return {
        "consecutive_5xx": outliers.errors,
        "interval": _duration(outliers.interval),
        "base_ejection_time": _duration(outliers.ejection),
        "max_ejection_percent": outliers.max_percent,
        # App Mesh API, OutlierDetection: one may always be left out, and nothing but errors counts.
        "always_eject_one_host": True,
        "enforcing_success_rate": 0,
    }


def _endpoint(endpoint: Endpoint) -> Json:
    address: Json = {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
    known: dict[str, Json] = {"endpoint": {"address": address}}
    if endpoint.commit and endpoint.commit.isascii() and endpoint.commit.isprintable():  # it becomes a header
        known["metadata"] = {"filter_metadata": {METADATA: {"commit": endpoint.commit}}}
    return known


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}s"

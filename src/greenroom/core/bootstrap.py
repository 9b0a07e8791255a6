"""What the Envoy of a gateway in a cluster knows before it hears from the control plane.

It asks for everything over one stream (ADS, incremental), with mutual TLS, and serves nothing until it has been told
what. Its certificate and those it trusts are files, which Envoy reads anew when they are replaced (SDS from files, with
a watched directory), so that a renewed certificate needs no restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenroom.core.certificates import CERTIFICATE, KEY, TRUST
from greenroom.core.envoy_listener import socket_address
from greenroom.model.manifest import Json

ADMIN_PORT = 9901
"""App Mesh's. Only processes of the pod reach it: whoever does may stop Envoy."""
READY_PORT = 9902
READY_PATH = "/ready"
KEEPALIVE: Json = {"interval": "5s", "timeout": "5s"}
"""A control plane whose node vanished is found gone within ten seconds, and Envoy goes on to the next replica."""
IDENTITY_FILE, TRUST_FILE = "identity.json", "trust.json"
"""SDS files in the folder of the certificates, which tell Envoy where those are."""

_TYPES = "type.googleapis.com/envoy.extensions"
_SECRET = f"{_TYPES}.transport_sockets.tls.v3.Secret"
_CONNECTIONS = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONTROL_PLANE = "greenroom"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where it is. ``host`` is a DNS name, which its certificate must have: that of a headless Service, so that Envoy
    knows every replica, and goes on to the next one when a replica is gone or does not serve gateways."""

    host: str
    port: int


def bootstrap(control_plane: ControlPlane, *, folder: str, bind: str) -> dict[str, Json]:
    """``folder`` holds the certificates and SDS files. The kubelet may ask at ``bind`` whether Envoy is ready.

    The node's id and cluster are given on the command line.
    """
    # Envoy would give up waiting after 15 s, and serve nothing as if that were all there is.
    by_ads: Json = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "admin": {"address": socket_address("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {
            "lds_config": by_ads,
            "cds_config": by_ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": _CONTROL_PLANE,
                            # Envoy would wait for up to 30 s before it looks for a restarted control plane again. (The
                            # service has a retry policy, too, of which Envoy takes no notice here.)
                            "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
        },
        "static_resources": {"clusters": [_cluster(control_plane, folder)], "listeners": [_ready(bind)]},
        # What is really too large is found before, and told to the one whose it is (``model.regex``).
        "layered_runtime": {
            "layers": [{"name": "greenroom", "static_layer": {"re2.max_program_size.error_level": 2**32 - 1}}]
        },
        # Thousands of clusters have hundreds of statistics each, most of which are never counted.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }


def sds_files(folder: str) -> Mapping[str, Json]:
    """The SDS files for ``folder``, by name."""
    watched: Json = {"path": folder}
    certificate: Json = {
        "certificate_chain": {"filename": f"{folder}/{CERTIFICATE}"},
        "private_key": {"filename": f"{folder}/{KEY}"},
        "watched_directory": watched,
    }
    trust: Json = {"trusted_ca": {"filename": f"{folder}/{TRUST}"}, "watched_directory": watched}
    return {
        IDENTITY_FILE: {"resources": [{"@type": _SECRET, "name": "identity", "tls_certificate": certificate}]},
        TRUST_FILE: {"resources": [{"@type": _SECRET, "name": "trust", "validation_context": trust}]},
    }


def _cluster(control_plane: ControlPlane, folder: str) -> Json:
    options: Json = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": KEEPALIVE}},
    }
    endpoint: Json = {"endpoint": {"address": socket_address(control_plane.host, control_plane.port)}}
    return {
        "name": _CONTROL_PLANE,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
        "load_assignment": {"cluster_name": _CONTROL_PLANE, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _tls(control_plane.host, folder),
        },
    }


def _tls(host: str, folder: str) -> Json:
    def from_file(name: str, file: str) -> Json:
        source: Json = {"path": f"{folder}/{file}"}
        return {"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}}

    named: Json = {"san_type": "DNS", "matcher": {"exact": host}}
    return {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {
            # As a client, Envoy would offer 1.2 at most.
            "tls_params": dict.fromkeys(("tls_minimum_protocol_version", "tls_maximum_protocol_version"), "TLSv1_3"),
            "tls_certificate_sds_secret_configs": [from_file("identity", IDENTITY_FILE)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [named]},
                "validation_context_sds_secret_config": from_file("trust", TRUST_FILE),
            },
        },
    }


def _ready(bind: str) -> Json:
    """Tells the kubelet, which reaches the pod's address only, that Envoy serves, and leads nowhere else.

    Envoy accepts nobody here before it has its configuration, and answers 503 while it drains.
    """
    check: Json = {
        "@type": f"{_TYPES}.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": False,
        "headers": [{"name": ":path", "string_match": {"exact": READY_PATH}}],
    }
    router: Json = {"@type": f"{_TYPES}.filters.http.router.v3.Router"}
    connections: Json = {
        "@type": _CONNECTIONS,
        "stat_prefix": "ready",
        "route_config": {"name": "ready"},
        "http_filters": [
            {"name": "envoy.filters.http.health_check", "typed_config": check},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    manager: Json = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}
    return {"name": "ready", "address": socket_address(bind, READY_PORT), "filter_chains": [{"filters": [manager]}]}

"""A gateway's listener as Envoy's ``config.listener.v3`` has it: how HTTP is spoken, and what Envoy itself answers."""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.core import pages
from greenroom.model.manifest import Json
from greenroom.model.routes import Listener

_TYPE = "type.googleapis.com/envoy.extensions"
_NO_ANSWER = ("UH", "UF", "UC", "NC")
"""Response flags: no healthy endpoint, connection failed, connection closed without an answer, no such cluster."""


def listener_name(listener: Listener, bind: str) -> str:
    return f"lds_ingress_{bind}_{listener.port}"


def routes_name(listener: Listener) -> str:
    return f"rds_ingress_{_protocol(listener)}_{listener.port}"


def listener_config(listener: Listener, bind: str) -> dict[str, Json]:
    return {
        "name": listener_name(listener, bind),
        "address": {"socket_address": {"address": bind, "port_value": listener.port}},
        # With SO_REUSEPORT a second Envoy could listen on the same port unnoticed, and get half of the requests.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [_extension("filters.network.http_connection_manager", _connections(listener))]}],
    }


def _connections(listener: Listener) -> dict[str, Json]:
    config: dict[str, Json] = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"ingress.{_protocol(listener)}.{listener.port}",
        "codec_type": "HTTP2" if listener.http2 else "AUTO",
        "rds": {"route_config_name": routes_name(listener), "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "http_filters": [_extension("filters.http.router", {"@type": f"{_TYPE}.filters.http.router.v3.Router"})],
        # One proxy in front is believed: the load balancer that ends TLS and says so in x-forwarded-proto.
        "use_remote_address": True,
        "xff_num_trusted_hops": 1,
        # Streams may be quiet for as long as their route allows; App Mesh has no limit of its own.
        "stream_idle_timeout": "0s",
        "local_reply_config": {"mappers": _local_replies()},
    }
    if not listener.http2:
        config["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if listener.access_log:
        log: dict[str, Json] = {"@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog", "path": listener.access_log}
        config["access_log"] = [_extension("access_loggers.file", log)]
    return config


def _local_replies() -> list[Json]:
    """JSON for programs that ask for it, a page for everybody else."""
    refresh = _header("refresh", str(pages.REFRESH_SECONDS))
    return [
        _reply(["NR"], {"json_format": pages.NOT_FOUND_JSON}, json=True),
        _reply(["NR"], _html(pages.not_found())),
        _reply(_NO_ANSWER, {"json_format": pages.NOT_ANSWERING_JSON}, json=True),
        _reply(_NO_ANSWER, _html(pages.not_answering()), headers=[refresh]),
    ]


def _reply(flags: Sequence[str], body: dict[str, Json], *, json: bool = False, headers: Sequence[Json] = ()) -> Json:
    flagged: Json = {"response_flag_filter": {"flags": list(flags)}}
    asks: Json = {"header_filter": {"header": {"name": "accept", "string_match": {"contains": "application/json"}}}}
    shared = [_header("cache-control", "no-store"), _header("x-robots-tag", "noindex")]
    return {
        "filter": {"and_filter": {"filters": [flagged, asks]}} if json else flagged,
        "body_format_override": body,
        "headers_to_add": [*shared, *headers],
    }


def _html(page: str) -> dict[str, Json]:
    return {"text_format_source": {"inline_string": page}, "content_type": "text/html; charset=utf-8"}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _extension(name: str, config: dict[str, Json]) -> Json:
    return {"name": f"envoy.{name}", "typed_config": config}


def _protocol(listener: Listener) -> str:
    return "http2" if listener.http2 else "http"

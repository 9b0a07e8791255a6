"""A gateway's listener as Envoy's ``config.listener.v3`` has it: how HTTP is spoken, and what Envoy itself answers."""

from __future__ import annotations

from collections.abc import Mapping

from greenroom.core import pages
from greenroom.core.envoy_cluster import COMMIT_HEADER, METADATA
from greenroom.core.envoy_tls import downstream_tls
from greenroom.model.manifest import Json
from greenroom.model.routes import AccessLog, Listener, Protocol

_TYPE = "type.googleapis.com/envoy.extensions"
_NO_ANSWER = ("UH", "UF", "UC", "NC")
"""Response flags: no healthy endpoint, connection failed, connection closed without an answer, no such cluster."""


def socket_address(host: str, port: int) -> Json:
    """On which Envoy listens, or with which it connects. ``::`` is every address, of IPv4 as well."""
    both = {"ipv4_compat": True} if host == "::" else {}
    return {"socket_address": {"address": host, "port_value": port, **both}}


def listener_name(listener: Listener, bind: str) -> str:
    return f"lds_ingress_{bind}_{listener.port}"


def routes_name(listener: Listener) -> str:
    return f"rds_ingress_{listener.protocol.value}_{listener.port}"


def listener_config(listener: Listener, bind: str) -> dict[str, Json]:
    config: dict[str, Json] = {
        "name": listener_name(listener, bind),
        "address": socket_address(bind, listener.port),
        # With SO_REUSEPORT a second Envoy could listen on the same port unnoticed, and get half of the requests.
        "enable_reuse_port": False,
    }
    manager = _extension("filters.network.http_connection_manager", _connections(listener))
    chain: dict[str, Json] = {"filters": [manager]}
    if listener.tls is None:
        return config | {"filter_chains": [chain]}
    secure = {**chain, "transport_socket": downstream_tls(listener.tls, http2=listener.protocol is not Protocol.HTTP)}
    if not listener.tls.optional:
        return config | {"filter_chains": [secure]}
    inspector: dict[str, Json] = {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"}
    config["listener_filters"] = [_extension("filters.listener.tls_inspector", inspector)]
    encrypted: dict[str, Json] = {**secure, "name": "tls", "filter_chain_match": {"transport_protocol": "tls"}}
    return config | {"filter_chains": [encrypted, {**chain, "name": "plain"}]}


def _connections(listener: Listener) -> dict[str, Json]:
    config: dict[str, Json] = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"ingress.{listener.protocol.value}.{listener.port}",
        "codec_type": "AUTO" if listener.protocol is Protocol.HTTP else "HTTP2",
        "rds": {"route_config_name": routes_name(listener), "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "http_filters": [_extension("filters.http.router", {"@type": f"{_TYPE}.filters.http.router.v3.Router"})],
        # One proxy in front is believed: the load balancer that ends TLS and says so in x-forwarded-proto.
        "use_remote_address": True,
        "xff_num_trusted_hops": 1,
        # Streams may be quiet for as long as their route allows; App Mesh has no limit of its own.
        "stream_idle_timeout": "0s",
        "local_reply_config": {"mappers": _local_replies()},
    }
    if listener.protocol is Protocol.HTTP:
        config["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if listener.access_log is not None:
        config["access_log"] = [_extension("access_loggers.file", _access_log(listener.access_log))]
    return config


def _access_log(log: AccessLog) -> dict[str, Json]:
    config: dict[str, Json] = {"@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog", "path": log.path}
    if log.text:
        line = log.text if log.text.endswith("\n") else f"{log.text}\n"
        config["log_format"] = {"text_format_source": {"inline_string": line}}
    elif log.json:
        config["log_format"] = {"json_format": dict(log.json)}
    return config


def _local_replies() -> list[Json]:
    """The first that fits: what is said of one environment, of none, of one that is silent.

    They never stand in for an answer of an application: Envoy knows which answers are its own.
    """
    silent = _any_of({"response_flag_filter": {"flags": list(_NO_ANSWER)}}, _direct(503))
    missing = _any_of({"response_flag_filter": {"flags": ["NR"]}}, _direct(404))
    has_notice = _expression(f"'{METADATA}' in xds.virtual_host_metadata.filter_metadata")
    notice: Json = {"and_filter": {"filters": [silent, has_notice]}}
    return [
        *_in_each_form(notice, pages.noticed(), pages.NOTICED_JSON, pages.NOTICED_TEXT, pages.NOTICED_REFRESH),
        *_in_each_form(missing, pages.not_found(), pages.NOT_FOUND_JSON, pages.NOT_FOUND_TEXT),
        *_in_each_form(
            silent,
            pages.not_answering(),
            pages.NOT_ANSWERING_JSON,
            pages.NOT_ANSWERING_TEXT,
            str(pages.REFRESH_SECONDS),
        ),
    ]


def _in_each_form(condition: Json, page: str, fields: Mapping[str, Json], line: str, refresh: str = "") -> list[Json]:
    """A line for gRPC, whose message it becomes; JSON for programs that ask for it; a page for everybody else."""
    again = [_header("refresh", refresh)] if refresh else []
    return [
        _reply(_asked(condition, "content-type", {"prefix": "application/grpc"}), _text(line)),
        _reply(_asked(condition, "accept", {"contains": "application/json"}), {"json_format": fields}),
        _reply(condition, {**_text(page), "content_type": "text/html; charset=utf-8"}, *again),
    ]


def _reply(condition: Json, body: Json, *headers: Json) -> Json:
    shared = [_header("cache-control", "no-store"), _header("x-robots-tag", "noindex")]
    # Where an endpoint was asked and did not answer, its commit is there already, although this is no word of its.
    shared.append(_header(COMMIT_HEADER, "none", "OVERWRITE_IF_EXISTS"))
    return {"filter": condition, "body_format_override": body, "headers_to_add": [*shared, *headers]}


def _text(text: str) -> dict[str, Json]:
    return {"text_format_source": {"inline_string": text}}


def _asked(condition: Json, header: str, match: Json) -> Json:
    asks: Json = {"header_filter": {"header": {"name": header, "string_match": match}}}
    return {"and_filter": {"filters": [condition, asks]}}


def _any_of(*conditions: Json) -> Json:
    return {"or_filter": {"filters": list(conditions)}}


def _direct(status: int) -> Json:
    """A route of the gateway itself that answers ``status``."""
    return _expression(f"response.code_details == 'direct_response' && response.code == {status}")


def _expression(expression: str) -> Json:
    config: dict[str, Json] = {
        "@type": f"{_TYPE}.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": expression,
    }
    return {"extension_filter": _extension("access_loggers.extension_filters.cel", config)}


def _header(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _extension(name: str, config: dict[str, Json]) -> Json:
    return {"name": f"envoy.{name}", "typed_config": config}

"""The format of an access log, checked: for one word that Envoy does not know, it refuses the whole listener.

The grammar is that of Envoy's substitution formatter (``configuration/advanced/substitution_formatter``); the commands
are those that tell of a request, and none that reads Envoy's environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from greenroom.model.manifest import Json, get, items, text
from greenroom.model.mesh import invalid
from greenroom.model.routes import AccessLog

_COMMAND = re.compile(r"%([A-Z0-9_]+)(?:\(([^()]*)\))?(?::([0-9]{1,9}))?%|%%")
_HEADER = re.compile(r":?[A-Za-z0-9_.-]+(\?:?[A-Za-z0-9_.-]+)?")
_TIME = re.compile(r"[^\x00-\x1f{}]*")
_KEYS = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)*")
_WITHOUT_ARGUMENT = """
START_TIME EMIT_TIME REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION DURATION
DOWNSTREAM_HANDSHAKE_DURATION UPSTREAM_CONNECTION_POOL_READY_DURATION BYTES_RECEIVED BYTES_SENT
UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT
DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DOWNSTREAM_HEADER_BYTES_RECEIVED
DOWNSTREAM_HEADER_BYTES_SENT PROTOCOL UPSTREAM_PROTOCOL RESPONSE_CODE RESPONSE_CODE_DETAILS
CONNECTION_TERMINATION_DETAILS RESPONSE_FLAGS RESPONSE_FLAGS_LONG UPSTREAM_HOST UPSTREAM_CLUSTER
UPSTREAM_CLUSTER_RAW UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_PORT
UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT
UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_TLS_CIPHER UPSTREAM_TLS_VERSION UPSTREAM_TLS_SESSION_ID
DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT
DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_LOCAL_URI_SAN
DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_VERSION CONNECTION_ID STREAM_ID REQUESTED_SERVER_NAME
ROUTE_NAME VIRTUAL_CLUSTER_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY FILTER_CHAIN_NAME TRACE_ID
"""
_PLAIN = frozenset(_WITHOUT_ARGUMENT.split())
_WITH_ARGUMENT: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("REQ", "RESP", "TRAILER"), _HEADER),
    **dict.fromkeys(("START_TIME", "EMIT_TIME"), _TIME),
    **dict.fromkeys(("DYNAMIC_METADATA", "CLUSTER_METADATA"), _KEYS),
}
_WITH_LENGTH = frozenset({"REQ", "RESP", "TRAILER", "DYNAMIC_METADATA", "CLUSTER_METADATA"})


def parse_access_log(file: Json, path: str) -> AccessLog | None:
    """The log of ``accessLog.file``, None without one. Raises Refused."""
    if file is None:
        return None
    name = text(file, "path")
    if not 1 <= len(name) <= 255 or not name.isprintable():
        raise invalid(f"{path}.path", "must be a path of 1 to 255 characters that can be printed")
    line, pairs = get(file, "format", "text"), get(file, "format", "json")
    if line is not None and pairs is not None:
        raise invalid(f"{path}.format", "must not have both text and json")
    if line is not None:
        return AccessLog(name, text=_checked(line, f"{path}.format.text"))
    return AccessLog(name, json=_pairs(pairs, f"{path}.format.json"))


def _pairs(pairs: Json, path: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for index, pair in enumerate(items(pairs)):
        key = text(pair, "key")
        if not key.isprintable() or not 1 <= len(key) <= 100 or key in found:
            raise invalid(f"{path}[{index}].key", "must be a text of 1 to 100 characters that no other pair has")
        found[key] = _checked(get(pair, "value"), f"{path}[{index}].value")
    return tuple(found.items())


def _checked(value: Json, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 1000:
        raise invalid(path, "must be a text of 1 to 1000 characters")
    if not value.replace("\n", " ").replace("\t", " ").isprintable():
        raise invalid(path, "has characters that cannot be printed")
    for command in _COMMAND.finditer(value):
        _check_command(command, path)
    rest = _COMMAND.sub("", value)
    if "%" in rest:
        raise invalid(path, "has a per cent sign that begins no command: write %% for the sign itself")
    return value


def _check_command(command: re.Match[str], path: str) -> None:
    name, argument, length = command.groups()
    if name is None:
        return  # %%
    known = _WITH_ARGUMENT.get(name)
    if known is None and name not in _PLAIN:
        raise invalid(path, f"has {command[0]}, which is not supported by this gateway")
    right = name in _PLAIN if argument is None else known is not None and known.fullmatch(argument)
    if not right or (length is not None and name not in _WITH_LENGTH):
        raise invalid(path, f"has {command[0]}, which has a wrong argument for {name}")

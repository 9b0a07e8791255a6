"""A stand-in for the Terraform provider hashicorp/aws that has a schema (``aws.yaml``), and talks to nobody.

Terraform and OpenTofu ask a provider for its schema before they check a module; with ``mock_provider`` in a test they
ask it for little else. This is the part of their plugin protocol, version 6, that takes, over gRPC to a provider that
runs already (``TF_REATTACH_PROVIDERS``). Messages are read and written by hand, for there are few.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import yaml

Block: TypeAlias = dict[str, "str | Block"]
Schemas: TypeAlias = dict[str, dict[str, Block]]
"""By ``provider``, ``resource`` and ``data``, then by type."""

SCHEMA = Path(__file__).with_name("aws.yaml")
FLAGS = {"required": 4, "optional": 5, "computed": 6}
"""Fields of an attribute's message."""
LIST = 2
"""Nesting mode of every block that is used here."""


def read_schemas() -> Schemas:
    schemas: Schemas = yaml.safe_load(SCHEMA.read_text())
    return schemas


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _fields(message: bytes) -> dict[int, bytes]:
    """Fields of a message by number, the last of each; numbers and texts are all that is expected."""
    fields, rest = {}, message
    while rest:
        tag, rest = _read_varint(rest)
        size, rest = _read_varint(rest)
        if tag & 7 == 2:
            fields[tag >> 3], rest = rest[:size], rest[size:]
    return fields


def _read_varint(data: bytes) -> tuple[int, bytes]:
    size = next(index for index, byte in enumerate(data) if byte < 128) + 1
    return sum((byte & 127) << 7 * index for index, byte in enumerate(data[:size])), data[size:]


def _attribute(name: str, line: str) -> bytes:
    """``line`` is one of ``aws.yaml``: flags, and a type."""
    words = line.split(" ")
    flags = [FLAGS[word] for word in words if word in FLAGS]
    kind = " ".join(words[len(flags) :])
    json_kind = kind if kind.startswith("[") else f'"{kind}"'
    return _bytes(1, name) + _bytes(2, json_kind) + b"".join(_number(flag, 1) for flag in flags)


def _block(block: Block) -> Iterator[bytes]:
    for name, value in block.items():
        if isinstance(value, str):
            yield _bytes(2, _attribute(name, value))
        else:
            yield _bytes(3, _bytes(1, name) + _bytes(2, b"".join(_block(value))) + _number(3, LIST))


def _schema(block: Block) -> bytes:
    return _bytes(2, b"".join(_block(block)))


def schema_response(schemas: Schemas) -> bytes:
    """``GetProviderSchema.Response``."""
    kinds = {"resource": 2, "data": 3}
    return _bytes(1, _schema(schemas["provider"]["aws"])) + b"".join(
        _bytes(field, _bytes(1, name) + _bytes(2, _schema(block)))
        for kind, field in kinds.items()
        for name, block in schemas[kind].items()
    )


def upgraded(request: bytes) -> bytes:
    """``UpgradeResourceState``: the state, in JSON, as it was. OpenTofu asks this of what it made up itself."""
    state = _fields(_fields(request)[3])[1]
    return _bytes(1, _bytes(2, state))


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The schema, the state as it is, and an empty answer, "no objection", to whether an argument is valid."""

    def __init__(self, schema: bytes) -> None:
        self._answers: dict[str, Callable[[bytes], bytes]] = {
            "GetProviderSchema": lambda _request: schema,
            "UpgradeResourceState": upgraded,
            "ValidateProviderConfig": lambda _request: b"",
            "ValidateResourceConfig": lambda _request: b"",
            "ValidateDataResourceConfig": lambda _request: b"",
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        answer = self._answers.get(str(details.method).rpartition("/")[2])
        if answer is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: answer(request))


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Serve on a port of 127.0.0.1. Yields the variables that make Terraform and OpenTofu ask it, and no provider."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[Service(schema_response(read_schemas()))])
        address = {"Network": "tcp", "String": f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"}
        server.start()
        try:
            attach = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
            yield {"TF_REATTACH_PROVIDERS": json.dumps({"hashicorp/aws": attach})}
        finally:
            server.stop(grace=None).wait()

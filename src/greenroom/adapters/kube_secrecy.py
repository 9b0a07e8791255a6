"""Values of the objects that we apply, taken out of what an API server says of them.

A refusal is logged, and told in Events and in the status of the PR object. Whoever may read those may not read the
Secret, or the variables of the Deployment, that was refused.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Iterator, Mapping

from greenroom.model.manifest import Json, items, table, text

HIDDEN = "[hidden]"

_LONG_ENOUGH = 6
"""Characters. Shorter values are words like ``true`` and ``80``, which would be blacked out everywhere."""

_VALUE = re.compile(r"(?:Invalid|Unsupported|Duplicate) value: ")
"""How a field's error begins (``k8s.io/apimachinery/pkg/util/validation/field``). The value follows, then the cause."""

_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[\[({]|[\])}]|: |, |.', re.DOTALL)
"""Of a value as Go prints it, in JSON or as source: a text, a bracket, what may end the value, or a character."""

_TYPED = re.compile(r"(?<=, got )&.*", re.DOTALL)
"""A value of the wrong type. Texts in it may stand without quotes, so that nobody can tell where it ends."""

_DIFFERENCE = re.compile(r"(?<= is invalid: )([^\n]*)\n.*", re.DOTALL)
"""What changed in a pod or claim that cannot be changed follows in lines of its own, values and all."""


def without_values(message: str) -> str:
    """A message of the API server's own, with the paths of fields and with causes, but without the fields' values."""
    message = _TYPED.sub(HIDDEN, _DIFFERENCE.sub(r"\1", message))
    told, begin = [], 0
    while found := _VALUE.search(message, begin):
        told += [message[begin : found.end()], HIDDEN]
        begin = _end_of_value(message, found.end())
    return "".join([*told, message[begin:]])


def _end_of_value(message: str, begin: int) -> int:
    depth = 0
    for part in _PART.finditer(message, begin):
        match part.group():
            case "[" | "(" | "{":
                depth += 1
            case "]" | ")" | "}" if depth:
                depth -= 1
            case ": " | ", " | "]" if not depth:
                return part.start()
            case '"':  # of a text that is cut off: there is no telling where it ends
                break
    return len(message)


def values_of(manifest: Json) -> Iterator[str]:
    """What must not be told of an object: its ``data``, plain and in base64, and the values of its variables."""
    for field in ("data", "stringData"):
        for value in table(manifest, field).values():
            if isinstance(value, str):
                yield from (value, _decoded(value), b64encode(value.encode()).decode())
    yield from _variables(manifest)


def _variables(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (text(variable, "value") for variable in items(value, "env"))
        for below in value.values():
            yield from _variables(below)
    elif isinstance(value, list):
        for each in value:
            yield from _variables(each)


def _decoded(value: str) -> str:
    """What a Secret's ``data`` stands for; ``""`` for what is no text in base64."""
    try:
        return b64decode(value, validate=True).decode()
    except (Error, ValueError):
        return ""


def hidden(message: str, values: Iterable[str]) -> str:
    """``message`` without these values, but for short ones. The longest go first: others may be a part of it."""
    for value in sorted({value for value in values if len(value) >= _LONG_ENOUGH}, key=len, reverse=True):
        message = message.replace(value, HIDDEN)
    return message

"""GitHub's published description of its API: what requests and answers have to look like.

``tests/data/github/trim.py`` makes the file. It is stricter here than GitHub says: fields that are not described are
taken for misspelt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from jsonschema import Draft4Validator, FormatChecker

DATA = Path(__file__).parents[1] / "data" / "github" / "openapi.json"

UNTOLD = re.compile(r"\$(\[\d+\])?\.head\.repo")
"""Where GitHub answers null and does not say so: the repository of a fork that is gone."""

Operation = tuple[str, str]
"""A method, and a path with names in braces."""


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(re.match(r"https?://[^\s{]+\Z", value))


_formats = FormatChecker(formats=())
_formats.checks("date-time", raises=ValueError)(_is_time)
_formats.checks("uri")(_is_uri)


@dataclass(frozen=True)
class Match:
    """Which operation a request is for, and what stands in place of the names."""

    operation: Operation
    names: Mapping[str, str]


class Description:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._components = {"schemas": translated(document["components"]["schemas"], names=True)}
        self.operations: frozenset[Operation] = frozenset(
            (method.upper(), path) for path, methods in document["paths"].items() for method in methods
        )
        self._patterns = [(method, path, _pattern(path)) for method, path in sorted(self.operations)]
        self._filled: dict[str, Any] = {}
        self._validators: dict[tuple[Operation, str], Draft4Validator | None] = {}

    def match(self, method: str, raw_path: str) -> Match | None:
        """``raw_path`` is quoted."""
        for described, path, pattern in self._patterns:
            found = pattern.fullmatch(raw_path)
            if described == method and found:
                return Match((method, path), {name: unquote(value) for name, value in found.groupdict().items()})
        return None

    def wrong_request(self, match: Match, query: Mapping[str, str], body: Any) -> list[str]:
        """What is wrong with a request; ``body`` is None without one."""
        described = self._parameters(match.operation)
        wrong = [f"the parameter {name} is not described" for name in query if ("query", name) not in described]
        for (place, name), parameter in described.items():
            value = (query if place == "query" else match.names).get(name)
            if value is not None:
                wrong += _errors(_validator(parameter["schema"], self._components), _typed(value, parameter["schema"]))
        validator = self._body_validator(match.operation, "")
        if validator is not None and body is not None:
            wrong += _errors(validator, body)
        elif (body is None) == bool(self._part(match.operation).get("requestBody", {}).get("required")):
            wrong.append("the body is missing" if body is None else "a body is not described")
        return wrong

    def wrong_answer(self, operation: Operation, status: int, body: Any) -> list[str]:
        """What is wrong with an answer. A refusal that is not described has to look like all of them."""
        if str(status) not in self._part(operation)["responses"]:
            if status < 300:
                return [f"the status {status} is not described"]
            return _errors(_validator(_REFUSAL, self._components), body)
        validator = self._body_validator(operation, str(status))
        if validator is None:
            return [] if body is None else ["a body is not described"]
        return [error for error in _errors(validator, body) if not UNTOLD.match(error) or "None is" not in error]

    def fill(self, schema: str, /, **fields: Any) -> dict[str, Any]:
        """A whole answer by the name of its schema: ``fields``, and something for all others that must be there."""
        if schema not in self._filled:
            described = self._document["components"]["schemas"][schema]
            self._filled[schema] = self._example({**described, "nullable": False})
        return merged(self._filled[schema], fields)

    def _part(self, operation: Operation) -> dict[str, Any]:
        part: dict[str, Any] = self._document["paths"][operation[1]][operation[0].lower()]
        return part

    def _parameters(self, operation: Operation) -> dict[tuple[str, str], Any]:
        found = [self._resolved(parameter) for parameter in self._part(operation).get("parameters", ())]
        return {(parameter["in"], parameter["name"]): parameter for parameter in found}

    def _body_validator(self, operation: Operation, status: str) -> Draft4Validator | None:
        """Of the answer's body, or of the request's when ``status`` is ``""``; None where there is to be none."""
        key = operation, status
        if key not in self._validators:
            part = self._part(operation)
            body = self._resolved(part["responses"][status] if status else part.get("requestBody", {}))
            schema = body.get("content", {}).get("application/json", {}).get("schema")
            self._validators[key] = None if schema is None else _validator(schema, self._components)
        return self._validators[key]

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            _, *names = part["$ref"].split("/")
            part = self._document
            for name in names:
                part = part[name]
        return part

    def _example(self, schema: dict[str, Any]) -> Any:
        """The least that a schema takes."""
        schema = self._resolved(schema)
        if schema.get("nullable"):
            return None
        if "allOf" in schema:
            return merged({}, *map(self._example, schema["allOf"]))
        for alternatives in ("oneOf", "anyOf"):
            if alternatives in schema and "properties" not in schema:
                return self._example(schema[alternatives][0])
        if "enum" in schema:
            return schema["enum"][0]
        return self._example_of_type(schema)

    def _example_of_type(self, schema: dict[str, Any]) -> Any:
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            return {name: self._example(properties[name]) for name in schema.get("required", ())}
        if schema.get("type") == "string":
            return {"uri": "https://example.com/", "date-time": "2026-01-01T00:00:00Z"}.get(
                schema.get("format", ""), ""
            )
        return {"array": [], "boolean": False, "integer": 1, "number": 1}.get(schema.get("type", ""))


@cache
def published() -> Description:
    """The one of github.com."""
    return Description(msgspec.json.decode(DATA.read_bytes()))


def merged(base: dict[str, Any], *overlays: Mapping[str, Any]) -> dict[str, Any]:
    """``base``, which stays as it is, with what the overlays have in its place."""
    found = dict(base)
    for overlay in overlays:
        for name, value in overlay.items():
            before = found.get(name)
            both = isinstance(before, dict) and isinstance(value, Mapping)
            found[name] = merged(before, value) if both and isinstance(before, dict) else value
    return found


def translated(schema: Any, *, names: bool = False, whole: bool = True) -> Any:
    """A schema of OpenAPI 3.0 as one of JSON Schema, draft 4, from which it comes.

    ``nullable`` is a word of OpenAPI's only. ``whole`` tells that no other schema adds fields to this one.
    """
    if isinstance(schema, list):
        return [translated(entry, whole=whole) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: translated(entry) for name, entry in schema.items()}
    found = {
        word: translated(entry, names=word == "properties", whole=word != "allOf")
        for word, entry in schema.items()
        if word != "nullable"
    }
    if found.get("properties") and whole and "allOf" not in found:
        found.setdefault("additionalProperties", False)
    return {"anyOf": [found, {"enum": [None]}]} if schema.get("nullable") else found


_REFUSAL = {"type": "object", "allOf": [{"$ref": "#/components/schemas/basic-error"}], "required": ["message"]}


def _validator(schema: dict[str, Any], components: dict[str, Any]) -> Draft4Validator:
    document = {"components": components, "allOf": [translated(schema)]}
    return Draft4Validator(document, format_checker=_formats)


def _errors(validator: Draft4Validator, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


def _typed(value: str, schema: dict[str, Any]) -> Any:
    if schema.get("type") == "integer" and value.isdecimal():
        return int(value)
    return value


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))

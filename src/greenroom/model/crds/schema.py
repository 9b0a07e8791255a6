"""The words in which CustomResourceDefinitions are written here.

A schema is structural (Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions"): every
field has a type, and fields that no schema names are dropped unless an object is ``open``. Every field has a
description, because that is what ``kubectl explain`` shows. Validation rules are CEL (``x-kubernetes-validations``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from greenroom.model.manifest import Json, Kind

Schema: TypeAlias = "dict[str, Json]"

OPEN = "x-kubernetes-preserve-unknown-fields"


def string(description: str, **limits: Json) -> Schema:
    """``limits`` are words of OpenAPI, such as ``enum`` and ``maxLength``; so they are in the other functions."""
    return {"description": description, "type": "string", **limits}


def integer(description: str, **limits: Json) -> Schema:
    return {"description": description, "type": "integer", "format": "int64", **limits}


def boolean(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def array(description: str, items: Schema, **limits: Json) -> Schema:
    return {"description": description, "type": "array", "items": items, **limits}


def fields(description: str, properties: Mapping[str, Schema], **limits: Json) -> Schema:
    """An object of these fields and no others."""
    return {"description": description, "type": "object", "properties": {**properties}, **limits}


def open_fields(description: str, properties: Mapping[str, Schema] | None = None, **limits: Json) -> Schema:
    """An object of these fields and any others, which are kept as they are."""
    described: Schema = {"properties": {**properties}} if properties else {}
    return {"description": description, "type": "object", **described, **limits, OPEN: True}


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression about ``self`` that must hold. ``message`` says what to do when it does not.

    ``field`` is the path below ``self`` that is to blame, ``.metadata.name`` for example; ``""`` is ``self``.
    """

    expression: str
    message: str
    field: str = ""

    def manifest(self) -> Schema:
        where: Schema = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.expression, "message": self.message, **where}


def ruled(schema: Schema, *rules: Rule) -> Schema:
    """The same schema with rules. They cost: lists and texts that they read need a ``maxItems`` or ``maxLength``."""
    return {**schema, "x-kubernetes-validations": [rule.manifest() for rule in rules]}


def matches(pattern: str) -> str:
    """The CEL expression that the whole of ``self`` matches a pattern, which RE2 has to read as Python does."""
    return f"self.matches(r'^{pattern}$')"


def conditions(description: str) -> Schema:
    """A list of conditions as ``kubectl wait`` and kstatus read them (Kubernetes API conventions, "Conditions")."""
    properties = {
        "type": string("What is said to be true or false, in CamelCase."),
        "status": string("Whether it is: True, False, or Unknown.", enum=["True", "False", "Unknown"]),
        "reason": string("Why, in one word of CamelCase, for programs."),
        "message": string("Why, for people: it names the object and says what to do."),
        "lastTransitionTime": string("Since when the condition has this status.", format="date-time"),
        "observedGeneration": integer("The metadata.generation of which it is said. Older: it may be out of date."),
    }
    one = fields("One condition.", properties, required=["type", "status"])
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return array(description, one, **keys)


def observed_generation() -> Schema:
    return integer("The metadata.generation that this status is about. Older than it: not looked at yet.")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; ``wide`` ones are shown by ``-o wide`` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def manifest(self) -> Schema:
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return {**column, "priority": 1} if self.wide else column


AGE = Column("Age", ".metadata.creationTimestamp", "How long ago the object was made.", "date")


def definition(
    kind: Kind,
    plural: str,
    schema: Schema,
    columns: Sequence[Column],
    *,
    short_names: Sequence[str] = (),
    categories: Sequence[str] = (),
    namespaced: bool = True,
) -> Schema:
    """The CustomResourceDefinition of a kind that has one version, and a status that is written apart."""
    names: Schema = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": plural, "singular": kind.name.lower()}
    if short_names:
        names["shortNames"] = short_names
    if categories:
        names["categories"] = categories
    version: Schema = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.manifest() for column in columns],
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": names,
            "versions": [version],
        },
    }

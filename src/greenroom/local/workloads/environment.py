"""The environment of a container, as Kubernetes computes it, and the ports that it is told.

``PORT`` (and ``PORT_<NAME>`` for named ports) say where to listen: a process of this machine cannot have the port that
its container declares, because others declare the same one. A value that the manifest gives to such a name is therefore
not used. Not supported are ``resourceFieldRef`` and the fields that only a node could answer.

Source of the rules: "Define Environment Variables for a Container" and "Dependent environment variables" of the
Kubernetes documentation.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import (
    CONFIG_MAP,
    SECRET,
    Json,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    get,
    items,
    labels_of,
    name_of,
    number,
    table,
    text,
    uid_of,
)

UNDECLARED = 0
"""Stands for the port of a container that declares none."""

_EXPANSION = re.compile(r"\$\$|\$\(([^)]*)\)")
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Lookup = Callable[[Ref], "Manifest | None"]


class ConfigError(GreenroomError):
    """The container's configuration cannot be made: CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables, and which of their values came out of Secrets."""

    variables: Mapping[str, str]
    secrets: frozenset[str] = field(repr=False)

    def scrub(self, line: str) -> str:
        """``line`` without anything that a Secret put into the environment."""
        parts = {part for secret in self.secrets for part in (secret, *secret.splitlines()) if part.strip()}
        for part in sorted(parts, key=len, reverse=True):
            line = line.replace(part, "***")
        return line


def environment(pod: Manifest, container: Json, ports: Mapping[int, int], lookup: Lookup) -> Environment:
    """Variables of ``container`` without those of the machine. ``ports`` gives the real port of each declared one.

    Raises ConfigError when something it refers to is missing.
    """
    told = port_variables(container, ports)
    variables, secrets = dict(told), set()
    for source in items(container, "envFrom"):
        for name, value in _all_of(pod, source, lookup).items():
            variables[name] = told.get(name, value)
            if get(source, "secretRef") is not None:
                secrets.add(value)
    for entry in items(container, "env"):
        name = text(entry, "name")
        found = _value(pod, entry, variables, lookup)
        if name and found is not None:
            variables[name] = told.get(name, found)
            if get(entry, "valueFrom", "secretKeyRef") is not None:
                secrets.add(found)
    return Environment(variables, frozenset(secrets))


def port_variables(container: Json, ports: Mapping[int, int]) -> dict[str, str]:
    """``PORT`` is the first port of the container, or the pod's undeclared one."""
    declared = items(container, "ports")
    told: dict[str, str] = {}
    for port in declared:
        actual = ports.get(number(port, "containerPort"))
        if actual is not None:
            told.setdefault("PORT", str(actual))
            if name := text(port, "name"):
                told[f"PORT_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"] = str(actual)
    if not declared and UNDECLARED in ports:
        told["PORT"] = str(ports[UNDECLARED])
    return told


def expand(value: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable. ``$$`` is a dollar sign, and an unknown name stays as it stands."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return variables.get(match[1], match[0])

    return _EXPANSION.sub(replace, value)


def data_of(pod: Manifest, kind: Kind, name: str, lookup: Lookup, *, optional: bool) -> Mapping[str, bytes]:
    """The contents of a ConfigMap or Secret. Raises ConfigError when it is missing and not ``optional``."""
    manifest = lookup(Ref(kind, text(pod, "metadata", "namespace"), name))
    if manifest is None:
        if optional:
            return {}
        raise ConfigError(f'{kind.name} "{name}" not found')
    encoded = table(manifest, "data" if kind == SECRET else "binaryData")
    plain = {} if kind == SECRET else table(manifest, "data")
    data = {key: value.encode() for key, value in plain.items() if isinstance(value, str)}
    for key, value in encoded.items():
        data[key] = _decoded(str(value), f'key "{key}" of {kind.name} "{name}"')
    return data


def _all_of(pod: Manifest, source: Json, lookup: Lookup) -> dict[str, str]:
    """Everything in the ConfigMap or Secret that an ``envFrom`` entry names."""
    kind, field = (SECRET, "secretRef") if get(source, "secretRef") is not None else (CONFIG_MAP, "configMapRef")
    reference = get(source, field)
    data = data_of(pod, kind, text(reference, "name"), lookup, optional=get(reference, "optional") is True)
    return {text(source, "prefix") + key: value.decode(errors="replace") for key, value in data.items()}


def _value(pod: Manifest, entry: Json, variables: Mapping[str, str], lookup: Lookup) -> str | None:
    """The value of one ``env`` entry, or None when it is optional and not there."""
    source = get(entry, "valueFrom")
    if source is None:
        return expand(text(entry, "value"), variables)
    if (reference := get(source, "fieldRef")) is not None:
        return _field(pod, text(reference, "fieldPath"))
    for kind, name in ((CONFIG_MAP, "configMapKeyRef"), (SECRET, "secretKeyRef")):
        if (reference := get(source, name)) is not None:
            return _key(pod, kind, reference, lookup)
    given = ", ".join(table(source)) or "nothing"
    raise ConfigError(f"env {text(entry, 'name')}: one machine cannot take a value from {given}")


def _key(pod: Manifest, kind: Kind, reference: Json, lookup: Lookup) -> str | None:
    name, key, optional = text(reference, "name"), text(reference, "key"), get(reference, "optional") is True
    value = data_of(pod, kind, name, lookup, optional=optional).get(key)
    if value is None and not optional:
        raise ConfigError(f'couldn\'t find key "{key}" in {kind.name} "{name}"')
    return None if value is None else value.decode(errors="replace")


def _field(pod: Manifest, path: str) -> str:
    if match := _MAP_FIELD.fullmatch(path):
        return (labels_of(pod) if match[1] == "labels" else annotations_of(pod)).get(match[2], "")
    fields = {
        "metadata.name": name_of(pod),
        "metadata.namespace": text(pod, "metadata", "namespace"),
        "metadata.uid": uid_of(pod),
        "spec.serviceAccountName": text(pod, "spec", "serviceAccountName"),
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    if path not in fields:
        raise ConfigError(f"one machine does not know the field {path}")
    return fields[path]


def _decoded(value: str, what: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ConfigError(f"{what} is not base64") from None

"""What a request asks for: the object or collection in its path, its parameters and its body, all checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from greenroom.local.api.errors import Refused
from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import Json, Manifest, Ref, kind_of, name_of, table, text
from greenroom.model.watch import Resource

_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a kind, a namespace (``""``: all, or none), a name (``""``: the collection)."""

    resource: Resource
    namespace: str
    name: str

    @property
    def ref(self) -> Ref:
        return Ref(self.resource.kind, self.namespace, self.name)


def target_of(request: web.Request, resources: Iterable[Resource]) -> Target:
    """Raises UnknownKind when nothing is served there."""
    path = request.match_info
    served_as = path.get("group", ""), path["version"], path["plural"]
    namespace, name = path.get("namespace", ""), path.get("name", "")
    for resource in resources:
        if (resource.kind.group, resource.kind.version, resource.plural) == served_as:
            across_namespaces = request.method == "GET" and not name and not namespace
            if resource.namespaced == bool(namespace) or across_namespaces:
                return Target(resource, namespace, name)
    raise UnknownKind("the server could not find the requested resource")


def flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "") not in ("", "0", "false")


def whole_number(parameters: Mapping[str, Json], name: str) -> int | None:
    """A parameter, which a query gives as text and a body as a number; None when it is not given."""
    given = parameters.get(name)
    if given is None:
        return None
    if not str(given).isdecimal() or len(str(given)) > _DIGITS:
        raise Refused(400, f"{name} must be a whole number, not {str(given)[:100]!r}")
    return int(str(given))


def refuse(request: web.Request, *names: str) -> None:
    """Raise Refused for parameters whose being ignored would do something else than was asked for."""
    for name in names:
        if flag(request, name):
            raise Refused(422, f"Greenroom's local cluster does not support the parameter {name}")


async def body_of(request: web.Request) -> Mapping[str, Json]:
    """The JSON object in the body; an empty body is an empty object."""
    body = await request.read()
    try:
        decoded: Json = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(decoded, Mapping):
        raise Refused(400, "the body is not a JSON object")
    return decoded


def identified(manifest: Manifest, target: Target) -> Manifest:
    """The body of a write, in the namespace of its path. Raises Refused when it is another object than the path's."""
    if kind_of(manifest) != target.resource.kind:
        given = f"{text(manifest, 'apiVersion')} {text(manifest, 'kind')}"
        raise Refused(400, f"the object is of kind {given[:100]!r}, the URL of {target.resource.kind}")
    if target.name and name_of(manifest) != target.name:
        raise Refused(400, f"the name of the object ({name_of(manifest)[:100]}) is not the one on the URL")
    metadata = table(manifest, "metadata")
    if metadata.get("namespace") not in (None, "", target.namespace):
        raise Refused(400, "the namespace of the object is not the one on the URL")
    return {**manifest, "metadata": {**metadata, "namespace": target.namespace}} if target.namespace else manifest

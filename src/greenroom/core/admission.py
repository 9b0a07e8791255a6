"""Answers to the API server's questions (``admission.k8s.io/v1``), and the one about App Mesh's kinds.

An object that could never work is refused, with the field and the cure, before it is stored. What works only in part
is let through with a warning, for manifests that were written for App Mesh are to be applied as they are.

App Mesh also refused to let ``awsName`` change, and ``meshRef`` and ``virtualGatewayRef`` be set or changed. That kept
its copies in AWS in step, of which there are none any more. A new ``awsName`` is a new name and no more; the references
are not read (``model.mesh``), and refusing them would refuse every object that was once exported from a cluster.
``core.injection`` answers for pods, ``web.admission`` serves both.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from greenroom.model.gateway_route import parse_gateway_route
from greenroom.model.manifest import Json, Kind, Manifest, get, is_deleting, kind_of, name_of, table, text
from greenroom.model.mesh import (
    GATEWAY_ROUTE,
    GROUP,
    MESH,
    VIRTUAL_GATEWAY,
    VIRTUAL_NODE,
    VIRTUAL_ROUTER,
    VIRTUAL_SERVICE,
    Refused,
    parse_mesh,
    parse_virtual_service,
)
from greenroom.model.virtual_gateway import parse_virtual_gateway
from greenroom.model.virtual_node import parse_virtual_node
from greenroom.model.virtual_router import parse_virtual_router

WARNING_LIMIT = 256
"""Characters of a warning: Kubernetes, "Dynamic Admission Control", cuts longer ones off."""

_WRONG = frozenset({"Invalid", "InvalidRegex"})
"""Reasons that App Mesh's API would have had, too. All others are about this gateway, or about objects to come."""

_PARSERS: Mapping[Kind, Callable[[Manifest], object]] = {
    MESH: parse_mesh,
    VIRTUAL_GATEWAY: parse_virtual_gateway,
    GATEWAY_ROUTE: parse_gateway_route,
    VIRTUAL_SERVICE: parse_virtual_service,
    VIRTUAL_ROUTER: parse_virtual_router,
    VIRTUAL_NODE: parse_virtual_node,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """``message`` is why it is not allowed; ``patch`` is a JSON patch (RFC 6902) of the object."""

    allowed: bool = True
    message: str = ""
    warnings: tuple[str, ...] = ()
    patch: Sequence[Manifest] = ()


def refused(message: str) -> Answer:
    return Answer(allowed=False, message=message)


def warned(message: str) -> Answer:
    return Answer(warnings=(message,))


def review(uid: str, answer: Answer) -> Manifest:
    """The AdmissionReview that answers the request ``uid``."""
    response: dict[str, Json] = {"uid": uid, "allowed": answer.allowed}
    if answer.message:
        # As of an object that the API server itself finds wrong, so that clients do not try again.
        response["status"] = {"code": 422, "reason": "Invalid", "message": answer.message}
    if answer.warnings:
        response["warnings"] = [warning[:WARNING_LIMIT] for warning in answer.warnings]
    if answer.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(msgspec.json.encode(answer.patch)).decode()
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def judge(request: Manifest) -> Answer:
    """Whether an object of App Mesh's kinds may be written as it is."""
    manifest, before = table(request, "object"), get(request, "oldObject", "spec")
    parse = _PARSERS.get(kind_of(manifest))
    if parse is None:
        return warned(f"Greenroom does not know {kind_of(manifest)}") if kind_of(manifest).group == GROUP else Answer()
    if is_deleting(manifest) or (before is not None and before == get(manifest, "spec")):
        return Answer()  # what is wrong was stored already; labels must be mendable, and finalizers removable
    try:
        parse(manifest)
    except Refused as error:
        told = f"{text(manifest, 'kind')} {name_of(manifest)}: {error}"
        return refused(told) if error.reason in _WRONG else warned(told)
    return Answer()

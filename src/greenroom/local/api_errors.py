"""How the API server tells an error: Kubernetes' ``Status`` object, with the code and reason that clients act on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from greenroom.model.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
    UnknownKind,
)
from greenroom.model.manifest import Json

_MEANING: Mapping[type[ClusterError], tuple[int, str]] = {
    NotFound: (404, "NotFound"),
    UnknownKind: (404, "NotFound"),
    AlreadyExists: (409, "AlreadyExists"),
    Conflict: (409, "Conflict"),
    Invalid: (422, "Invalid"),
    Forbidden: (403, "Forbidden"),
    Expired: (410, "Expired"),
    Throttled: (429, "TooManyRequests"),
    Unavailable: (503, "ServiceUnavailable"),
}

_REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    500: "InternalError",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request was about: the plural of a kind, and a name where there is one."""

    plural: str
    name: str


class Refused(Exception):
    """A request that is wrong as such, whatever the cluster holds. Carries the HTTP code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def refused_status(code: int, message: str) -> dict[str, Json]:
    return _status(code, _REASONS.get(code, "Unknown"), message)


def error_status(error: ClusterError, subject: Subject | None = None) -> dict[str, Json]:
    """The ``Status`` of an error. Only a missing object names its subject: a 404 without one means that the path
    itself, and so the kind, is unknown."""
    code, reason = _MEANING.get(type(error), (500, "InternalError"))
    details: dict[str, Json] = {}
    if subject is not None and not isinstance(error, UnknownKind):
        details |= {"kind": subject.plural, "name": subject.name}
    if error.retry_after:
        details["retryAfterSeconds"] = math.ceil(error.retry_after)
    return _status(code, reason, str(error), details)


def success_status(subject: Subject) -> dict[str, Json]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Success",
        "details": {"kind": subject.plural, "name": subject.name},
    }


def respond(status: Mapping[str, Json], code: int, *, retry_after: float = 0.0) -> web.Response:
    """The answer that carries a ``Status``. ``retry_after`` is in seconds, 0 for none."""
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after else {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(
        status=code, body=msgspec.json.encode(status), content_type="application/json", headers=headers
    )


def _status(code: int, reason: str, message: str, details: Mapping[str, Json] | None = None) -> dict[str, Json]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details or {},
        "code": code,
    }

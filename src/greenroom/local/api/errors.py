"""How the API server tells an error: Kubernetes' ``Status`` object, with the code and reason that clients act on."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
from greenroom.model.manifest import Json, number

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
    422: "Invalid",
    500: "InternalError",
}


class Refused(Exception):
    """A request that is wrong as such, whatever the cluster holds. Carries the HTTP code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def refused_status(code: int, message: str) -> dict[str, Json]:
    return _status(code, _REASONS.get(code, "Unknown"), message)


def error_status(error: ClusterError, plural: str = "", name: str = "") -> dict[str, Json]:
    """The ``Status`` of an error about the object ``name`` of a kind. Only a missing object is named in the details:
    a 404 without them means that the path itself, and so the kind, is unknown."""
    code, reason = _MEANING.get(type(error), (500, "InternalError"))
    details: dict[str, Json] = {} if isinstance(error, UnknownKind) else {"kind": plural, "name": name}
    if error.retry_after:
        details["retryAfterSeconds"] = math.ceil(error.retry_after)
    return _status(code, reason, str(error), details)


def success_status(plural: str, name: str) -> dict[str, Json]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Success",
        "details": {"kind": plural, "name": name},
    }


def respond(status: Mapping[str, Json], *, retry_after: float = 0.0) -> web.Response:
    """The answer that carries the ``Status`` of a failure. ``retry_after`` is in seconds, 0 for none."""
    code = number(status, "code")
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after else {}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(status=code, body=msgspec.json.encode(status), content_type="application/json", headers=headers)


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

"""What an API server's refusal means in the words of ``model.errors``.

The server explains itself in a ``Status`` object (``meta/v1``), as the body of an answer or as an ERROR event of a
watch. What stands between (a load balancer, a proxy) answers with something else, of which only the code is used.
What is told of it may be read by many, so that ``adapters.kube_secrecy`` takes the values out first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus

import msgspec

from greenroom.adapters.kube_secrecy import HIDDEN, hidden, without_values
from greenroom.model.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Immutable,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
    UnknownKind,
)
from greenroom.model.manifest import Json, items, number, table, text
from greenroom.model.permission import Permission

_MEANING: Mapping[int, type[ClusterError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    405: Invalid,
    406: Invalid,
    408: Unavailable,
    409: Conflict,
    410: Expired,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Throttled,
}

OF_THE_WRONG_SHAPE = "failed to create typed patch object"
"""How kube-apiserver begins to tell that applied fields are unknown, of a wrong type, or repeated. It is the client's
mistake all the same (``k8s.io/apimachinery/pkg/util/managedfields``)."""

_NOT_ENCODED_RIGHT = "unable to convert unstructured object to"
"""How kube-apiserver tells that a value is not what its field wants, such as base64. It comes with 500."""

_TOO_LARGE = ("etcdserver: request is too large", "trying to send message larger than max")
"""How etcd, and kube-apiserver's connection to it, refuse an object that there is no room for. It comes with 500."""

_POLICY = "denied request: "
"""How a ValidatingAdmissionPolicy begins its reason. Its 422 is about the policy, which may change, not the object."""

_IMMUTABLE = (
    "field is immutable",
    "may not change once set",
    "is immutable after creation",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "cannot change roleRef",
)
"""How kube-apiserver tells that a field cannot be changed. It has no reason or code of its own for that
(``pkg/apis/*/validation`` of Kubernetes)."""

_DENIED = re.compile(
    r'\S+(?: "(?:[^"\\]|\\.)*")? is forbidden: User "(?P<user>(?:[^"\\]|\\.)*)" cannot (?P<verb>\S+)'
    r' resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r' (?:in the namespace "(?P<namespace>[^"]+)"|at the cluster scope)'
)
"""How kube-apiserver tells that an authorizer denied a request for a resource, or to impersonate. Behind it comes the
authorizer's reason, if it gives one (``k8s.io/apiserver/pkg/endpoints/handlers/responsewriters``). Everything else
that is forbidden, by admission above all, begins otherwise."""

_ESCALATION = "is attempting to grant RBAC permissions not currently held"
_ESCALATION_CURE = (
    "nobody can grant rights that it does not hold itself: grant them to whoever writes this object, too, or let it "
    "`escalate` (for a Role) or `bind` (for a RoleBinding)"
)


def error_of(
    code: int, status: Json, *, retry_after: str = "", secret: str = "", values: Collection[str] = ()
) -> ClusterError:
    """The error for an HTTP code and the ``Status`` that came with it.

    ``retry_after`` is the header; ``secret`` is text that must not appear, should the server repeat it. ``values`` are
    those of the object that was sent, which must not appear in the words of webhooks and policies.
    """
    message = without_values(text(status, "message")) or f"the API server answered {code} {_phrase(code)}".rstrip()
    if secret:
        message = message.replace(secret, HIDDEN)
    meaning, seconds = _meaning(code, status), _seconds(status, retry_after)
    if meaning is Forbidden:
        permission = _denied(status)
        message = message if permission else _plain(hidden(message, values))
        return Forbidden(message, retry_after=seconds, permission=permission)
    return meaning(message if _is_of_fields(message) else hidden(message, values), retry_after=seconds)


def decode_status(body: bytes) -> Json:
    """The ``Status`` in a body, or None when it is something else."""
    try:
        status: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return status if text(status, "kind") == "Status" else None


def _meaning(code: int, status: Json) -> type[ClusterError]:
    message = text(status, "message")
    if code == 500 and (_is_of_fields(message) or any(told in message for told in (_NOT_ENCODED_RIGHT, *_TOO_LARGE))):
        return Invalid
    if code >= 500:
        return Unavailable
    if code == 404:
        # A missing object is named in the details. A path that is not served answers text, or an empty Status.
        details = table(status, "details")
        return NotFound if details.get("name") or details.get("kind") else UnknownKind
    if code == 409 and text(status, "reason") == "AlreadyExists":
        return AlreadyExists
    causes = items(status, "details", "causes")
    if any(text(cause, "field") == "metadata.uid" for cause in causes):
        return Conflict  # "field is immutable": another object has this name now
    if any(text(cause, "reason") == "NamespaceTerminating" for cause in causes):
        return NotFound  # as it is answered when the namespace is gone, a moment later
    if code == 422 and "ValidatingAdmissionPolicy" in message and _POLICY in message:
        return Forbidden
    if code == 422 and any(told in message for told in _IMMUTABLE):
        return Immutable
    return _MEANING.get(code, ClusterError)


def _is_of_fields(message: str) -> bool:
    """Whether it tells of fields that cannot be applied: in the server's own words, with paths to be read again."""
    return message.startswith(OF_THE_WRONG_SHAPE)


def _plain(message: str) -> str:
    """With what to do about it, where the server's words are for those who know them already."""
    return f"{_ESCALATION_CURE}: {message}" if _ESCALATION in message else message


def _denied(status: Json) -> Permission | None:
    """The permission that is missing, if that is the cause."""
    found = _DENIED.match(text(status, "message"))
    return Permission(**found.groupdict(default=""), name=text(status, "details", "name")) if found else None


def _seconds(status: Json, header: str) -> float:
    # RFC 9110 also allows a date; no API server sends one.
    return float(header) if header.isdecimal() else float(number(status, "details", "retryAfterSeconds"))


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""

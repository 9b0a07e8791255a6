"""What can go wrong, as the rest of the program sees it.

::

    GreenroomError            a message for a person: what happened and what to do
    ├── InvalidInput          the user's file, flag, object or request; ``path`` names the field
    ├── ForgeError            the forge did not do it; ``retry_after`` seconds when it said how long to wait
    │   ├── ForgeNotFound     404, 410: it is not there, or not for us to see
    │   ├── ForgeForbidden    401, 403: the credentials are wrong, or lack a right
    │   ├── ForgeInvalid      400, 422: trying again does not help
    │   ├── ForgeThrottled    403, 429 of a rate limit
    │   └── ForgeUnavailable  5xx, no connection, an answer cut off: try again
    ├── VisitFailed           an address did not answer, or not as HTTP
    └── ClusterError          the cluster did not do it; ``retry_after`` seconds when it said how long to wait
        ├── NotFound          404
        ├── AlreadyExists     409 on create
        ├── Conflict          409: someone else owns the field, or the object changed meanwhile
        ├── Invalid           400, 422: the object itself is wrong; trying again does not help
        │   └── Immutable     422: a field is changed that cannot be; another object of that name could have it
        ├── Forbidden         401, 403
        ├── UnknownKind       the cluster serves no such kind (its CRD may come later)
        ├── Expired           410: list again
        ├── Throttled         429
        └── Unavailable       5xx, no connection, disk full: try again

Adapters translate foreign errors into these with ``raise … from``; texts are capped and carry no secret.
"""

from __future__ import annotations

from greenroom.model.permission import Permission

MESSAGE_LIMIT = 1024


class GreenroomError(Exception):
    """An error with a message written for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message[:MESSAGE_LIMIT])


class InvalidInput(GreenroomError):
    """The user's input is wrong. ``source`` is the file or flag, ``path`` the field in it, ``cure`` what to do."""

    def __init__(self, message: str, *, source: str = "", path: str = "", cure: str = "") -> None:
        self.problem, self.source, self.path, self.cure = message, source, path, cure
        where = ": ".join(part for part in (source, path) if part)
        text = f"{where}: {message}" if where else message
        super().__init__(f"{text} ({cure})" if cure else text)


class ForgeError(GreenroomError):
    """The forge refused or failed. ``retry_after`` is in seconds, 0 when the forge did not say."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ForgeNotFound(ForgeError):
    pass


class ForgeForbidden(ForgeError):
    pass


class ForgeInvalid(ForgeError):
    pass


class ForgeThrottled(ForgeError):
    pass


class ForgeUnavailable(ForgeError):
    pass


class VisitFailed(GreenroomError):
    pass


class ClusterError(GreenroomError):
    """The cluster refused or failed. ``retry_after`` is in seconds, 0 when the cluster did not say."""

    retryable = False

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(ClusterError):
    pass


class AlreadyExists(ClusterError):
    pass


class Conflict(ClusterError):
    retryable = True


class Invalid(ClusterError):
    pass


class Immutable(Invalid):
    pass


class Forbidden(ClusterError):
    """``permission`` is the one that is missing; None when it is not for want of one: a quota, an admission policy, a
    namespace that is being deleted, credentials that are refused."""

    def __init__(self, message: str, *, retry_after: float = 0.0, permission: Permission | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.permission = permission


class UnknownKind(ClusterError):
    pass


class Expired(ClusterError):
    retryable = True


class Throttled(ClusterError):
    retryable = True


class Unavailable(ClusterError):
    retryable = True

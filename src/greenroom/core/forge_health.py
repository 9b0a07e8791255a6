"""Whether the forge answers, as a condition of a ReviewApp: without it lost deliveries stay lost."""

from __future__ import annotations

from datetime import datetime

from greenroom.model.errors import ForgeError, ForgeForbidden, ForgeNotFound, ForgeThrottled
from greenroom.model.manifest import Json, Manifest, condition_of, text, timestamp

FORGE_REACHABLE = "ForgeReachable"

_REASONS: tuple[tuple[type[ForgeError], str, str], ...] = (
    (ForgeForbidden, "Forbidden", "; see that the credentials are right, and may read pull requests"),
    (ForgeNotFound, "NotFound", "; see that spec.githubRepository is right, and that the credentials reach it"),
    (ForgeThrottled, "Throttled", "; it goes on by itself"),
    (ForgeError, "Failed", "; it is tried again"),
)


def forge_condition(app: Manifest, error: ForgeError | None, now: datetime) -> dict[str, Json] | None:
    """The condition to write, None when it says so already. One that passes by itself is told in no other words."""
    before = condition_of(app, FORGE_REACHABLE)
    status, reason, message = _said(error)
    if (text(before, "status"), text(before, "reason")) == (status, reason):
        return None
    same = text(before, "status") == status
    return {
        "type": FORGE_REACHABLE,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": text(before, "lastTransitionTime") if same else timestamp(now),
    }


def _said(error: ForgeError | None) -> tuple[str, str, str]:
    if error is None:
        return "True", "Listed", "pull requests are compared with those that are open"
    reason, cure = next((reason, cure) for kind, reason, cure in _REASONS if isinstance(error, kind))
    return "False", reason, f"{error}{cure}"

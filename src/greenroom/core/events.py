"""What happened to an environment, as Kubernetes Events: one for each transition of its status, and for each news.

An Event's name is made from the PR object and the reason, so that an environment has at most one Event of each reason,
however often it happens; it belongs to the PR object and goes with it. It is written anew when another object,
container or image is concerned, and not when the same is said with other numbers or in other words of the kubelet's: a
pod that crashes all week would be told of all week.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from greenroom.core import health
from greenroom.core.status import FAILURES, PROBLEMS, READY
from greenroom.model.manifest import (
    EVENT,
    Json,
    Manifest,
    condition_of,
    name_of,
    owner_reference,
    table,
    text,
    timestamp,
    uid_of,
)

SOURCE = "greenroom"

_NO_LETTER = re.compile(r"[^a-z]")  # reasons of Kubernetes' own conditions may hold what a name may not
_NAME_LIMIT = 253
_SHORT = 7

_PROGRESS = frozenset({health.ROLLING_OUT, health.NOT_READY, health.WAITING_FOR_ROUTE})
"""Told once, however it goes on: when it is over, that is told."""
_CONCERNED = 2
"""Parts of a message of ``core.health`` that say what it is about: the object, and its container, image or reason. What
follows is in the words of others."""
_COUNTING = PROBLEMS | {health.UNSCHEDULABLE}
"""Reasons whose messages hold numbers that change all the time. In others a number is a name's: of a commit, an image,
a container."""
_NUMBER = re.compile(r"(?<=[ =>(])(?<!commit )\d(?:[\d.:/]|(?:ms|[smhdk]|[KMGTP]i?)(?![A-Za-z]))*(?!\w|-\w)")
"""A count, an amount, a time or an address, and no part of a name or a commit."""


def events_of(pr: Manifest, status: Manifest, now: datetime) -> list[Manifest]:
    """The Events that tell of the change from the status of ``pr`` to ``status``."""
    return [_event(pr, reason, message, now) for reason, message in _transitions(pr, status)]


def _transitions(pr: Manifest, status: Manifest) -> Iterator[tuple[str, str]]:
    before, after = text(pr, "status", "commit"), text(status, "commit")
    if not table(pr, "status"):
        yield "Created", f"the environment is made for commit {after[:_SHORT]}" if after else "the environment is made"
    elif before != after:
        yield "CommitChanged", f"commit {after[:_SHORT]} is wanted instead of {before[:_SHORT]}"
    if news := readiness(pr, status):
        yield news


def readiness(pr: Manifest, status: Manifest) -> tuple[str, str] | None:
    """Reason and message of ``Ready`` in ``status``, if that is news to whoever has read the status of ``pr``."""
    was, is_ = condition_of(pr, READY), condition_of({"status": status}, READY)
    return (text(is_, "reason"), text(is_, "message")) if gist(was) != gist(is_) else None


def gist(condition: Manifest) -> tuple[str, str, str]:
    """What of a condition ``Ready`` is news when it changes."""
    reason, message = text(condition, "reason"), text(condition, "message")
    if reason in _PROGRESS:
        message = ""
    elif reason not in PROBLEMS:
        message = ": ".join(message.split(": ")[:_CONCERNED])
    return text(condition, "status"), reason, _NUMBER.sub("", message) if reason in _COUNTING else message


def refusal_event(app: Manifest, number: int, reason: str, message: str, now: datetime) -> Manifest:
    """That the gate of a ReviewApp refuses a pull request: one of each, however often it is refused."""
    told = f"pull request {number} gets no environment ({reason}): {message}"
    return _event(app, "PullRequestRefused", told, now, suffix=f".pr{number}")


def _event(about: Manifest, reason: str, message: str, now: datetime, *, suffix: str = "") -> Manifest:
    namespace, time = text(about, "metadata", "namespace"), timestamp(now)
    involved: dict[str, Json] = {
        "apiVersion": text(about, "apiVersion"),
        "kind": text(about, "kind"),
        "namespace": namespace,
        "name": name_of(about),
        "uid": uid_of(about),
    }
    suffix = f".{uid_of(about)[:8]}{suffix}.{_NO_LETTER.sub('', reason.lower())}"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "name": name_of(about)[: _NAME_LIMIT - len(suffix)] + suffix,
            "namespace": namespace,
            "ownerReferences": [{**owner_reference(about), "controller": False, "blockOwnerDeletion": False}],
        },
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning" if reason in FAILURES else "Normal",
        "source": {"component": SOURCE},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }

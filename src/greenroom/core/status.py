"""What came of a reconcile -> the status of the PR object.

``Applied`` tells whether the cluster holds what the template asks for, ``Ready`` whether the address shows the wanted
commit, and if not, the one thing that most needs to be known. Same findings, same status: a condition keeps its
``lastTransitionTime`` until its status changes, so that a reconcile that finds nothing new writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenroom.core import health
from greenroom.core.build import BUILD_FAILED
from greenroom.core.gate import Admission
from greenroom.core.health import Health
from greenroom.core.plan import IMMUTABLE, REPLACING, TAKEN, Record, digest, inventory_items
from greenroom.core.route_hosts import exact_hosts
from greenroom.model.errors import ClusterError, Forbidden
from greenroom.model.manifest import Json, Manifest, Ref, condition_of, number, ref_of, text, timestamp
from greenroom.model.permission import Permission, explained

READY = "Ready"
APPLIED = "Applied"
ADMITTED = "Admitted"
TEMPLATE_WARNING = "TemplateWarning"
DRIFT_WARNING = "DriftWarning"

APPLY_FAILED = "ApplyFailed"
MISSING_PERMISSION = "MissingPermission"
INVALID_TEMPLATE = "InvalidTemplate"
INVALID_PR = "InvalidPR"
REVIEW_APP_NOT_FOUND = "ReviewAppNotFound"

PROBLEMS = frozenset(
    {APPLY_FAILED, MISSING_PERMISSION, INVALID_TEMPLATE, INVALID_PR, REVIEW_APP_NOT_FOUND, TAKEN, IMMUTABLE, REPLACING}
)
"""Why the cluster does not hold what it should. All other reasons are what the objects that it holds say."""

_UNTRIED = frozenset({INVALID_TEMPLATE, INVALID_PR, REVIEW_APP_NOT_FOUND})
"""Problems with which nothing is applied, so that everything stays as it was."""

FAILURES = frozenset(
    PROBLEMS - {REPLACING}
    | {health.UNSCHEDULABLE, health.NOT_LISTENING, health.DEADLINE_EXCEEDED, health.JOB_FAILED, health.REPLICA_FAILURE}
    | {BUILD_FAILED}
    | health.CONTAINER_REASONS
)
"""Reasons that somebody has to do something about. All others pass by themselves."""

REASONS = FAILURES | {
    READY,
    REPLACING,
    health.NOT_READY,
    health.ROLLING_OUT,
    health.WAITING_FOR_IMAGE,
    health.WAITING_FOR_ROUTE,
}
"""Every reason that ``Ready`` can have."""

FIELDS = ("observedGeneration", "commit", "shownCommit", "url", "inventory", "conditions")
"""The fields of the status that are written here."""

MESSAGE_LIMIT = 1024
_LISTED = 3
_SHORT = 7


@dataclass(frozen=True, slots=True)
class Problem:
    """``message`` names the object; with a ``permission``, that is what is told."""

    reason: str
    message: str
    permission: Permission | None = None


def problem_of(ref: Ref, error: ClusterError) -> Problem:
    """What to say of an object that the cluster did not take, list, or delete."""
    permission = error.permission if isinstance(error, Forbidden) else None
    return Problem(MISSING_PERMISSION if permission else APPLY_FAILED, f"{ref}: {error}", permission)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a reconcile found. Healths and records are of the children; ``unseen`` is why the health of some cannot be
    told, now or once they are applied; ``left`` are braces that were left alone; ``unkept`` are fields that the cluster
    did not keep; ``contested`` are children that somebody changes back whenever they are put right. ``writer`` is the
    user in whose name the children are written, ``""`` for Greenroom itself. ``admission`` is what the ReviewApp's gate
    says, None where it has none."""

    generation: int
    commit: str = ""
    shown_commit: str = ""
    url: str = ""
    writer: str = ""
    problems: tuple[Problem, ...] = ()
    unseen: tuple[Problem, ...] = ()
    healths: tuple[Health, ...] = ()
    records: tuple[Record, ...] = ()
    left: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()
    contested: tuple[Ref, ...] = ()
    admission: Admission | None = None


def status_of(findings: Findings, previous: Manifest, now: datetime) -> dict[str, Json]:
    """The whole status. ``previous`` is the PR object as it is, ``now`` is used for conditions that changed."""
    conditions = [_ready(findings), _applied(findings)]
    if findings.admission:
        conditions.append(_Condition(ADMITTED, True, findings.admission.reason, findings.admission.message))
    if findings.left or findings.unkept:
        conditions.append(_Condition(TEMPLATE_WARNING, True, *_warning(findings)))
    if findings.contested:
        conditions.append(_Condition(DRIFT_WARNING, True, "Contested", _contested(findings.contested)))
    fields: dict[str, Json] = {
        "observedGeneration": findings.generation,
        "commit": findings.commit,
        "shownCommit": findings.shown_commit,
        "url": findings.url,
        "inventory": inventory_items(findings.records),
        "conditions": [_with_times(condition, findings, previous, now) for condition in conditions],
    }
    return {field: value for field, value in fields.items() if value != ""}


def is_applied(pr: Manifest) -> bool:
    return text(condition_of(pr, APPLIED), "status") == "True"


def is_edit(pr: Manifest, desired: Iterable[Manifest], inventory: Mapping[Ref, Record]) -> bool:
    """Whether ``desired`` differs from what was applied though the PR object asks for nothing new: for the template was
    edited, or is filled in otherwise by this version of ours.

    What is in only one of the two counts where nothing had failed before: else it may be what has to be tried again.
    """
    if number(pr, "status", "observedGeneration") != number(pr, "metadata", "generation"):
        return False
    wanted = {ref_of(manifest): digest(manifest) for manifest in desired}
    if any(ref in wanted and wanted[ref] != record.rendered for ref, record in inventory.items()):
        return True
    untried = text(condition_of(pr, APPLIED), "reason") in _UNTRIED and bool(inventory)
    return (is_applied(pr) or untried) and wanted.keys() != inventory.keys()


def patch(previous: Mapping[str, Json], wanted: Mapping[str, Json]) -> dict[str, Json]:
    """The merge patch from one status to the other, over the fields that are ours; nothing to do is ``{}``."""
    return {field: wanted.get(field) for field in FIELDS if previous.get(field) != wanted.get(field)}


def address_of(children: Iterable[Manifest], url_of: Callable[[str], str]) -> str:
    """Where the first route with an exact host is reached; ``url_of`` makes a URL of the host."""
    hosts = (host for child in children for host in exact_hosts(child))
    return next(map(url_of, hosts), "")


@dataclass(frozen=True, slots=True)
class _Condition:
    type: str
    status: bool
    reason: str
    message: str


def _ready(findings: Findings) -> _Condition:
    trouble = _refused([*findings.problems, *findings.unseen], findings.writer) or _worst(findings)
    if trouble is None:
        return _Condition(READY, True, READY, _shows(findings))
    reason, message = trouble
    return _Condition(READY, False, reason, message + _still_shown(findings))


def _refused(problems: Sequence[Problem], writer: str) -> tuple[str, str] | None:
    if not problems:
        return None
    ordered = sorted(problems, key=lambda problem: problem.reason not in FAILURES)
    return ordered[0].reason, _listed(_messages(ordered, writer))


def _messages(problems: Iterable[Problem], writer: str) -> list[str]:
    """One of each problem, and one of all permissions that a single Role is to grant."""
    together: dict[tuple[str, ...], list[Permission]] = {}
    for problem in problems:
        missing = problem.permission
        alike = (missing.user, missing.namespace) if missing else (problem.message,)
        together.setdefault(alike, []).extend([missing] if missing else [])
    return [
        explained(permissions, writer=writer) if permissions else message
        for (message, *_), permissions in together.items()
    ]


def _worst(findings: Findings) -> tuple[str, str] | None:
    """The trouble to tell of: one that stays before one that passes, a workload before the route that waits for it."""
    waiting = sorted((each for each in findings.healths if not each.ready), key=_urgency)
    if waiting:
        return waiting[0].reason, waiting[0].message
    if findings.shown_commit not in ("", findings.commit):
        return health.ROLLING_OUT, f"commit {_short(findings.commit)} is being rolled out"
    return None


def _urgency(found: Health) -> tuple[bool, int, str]:
    passing = (health.WAITING_FOR_IMAGE, health.NOT_READY, health.ROLLING_OUT, health.WAITING_FOR_ROUTE)
    order = passing.index(found.reason) if found.reason in passing else -1
    return found.reason not in FAILURES, order, str(found.ref)


def _applied(findings: Findings) -> _Condition:
    refused = _refused(findings.problems, findings.writer)
    if refused is not None:
        return _Condition(APPLIED, False, *refused)
    count = len(findings.records)
    return _Condition(APPLIED, True, APPLIED, f"{count} object{'' if count == 1 else 's'}")


def _shows(findings: Findings) -> str:
    place = findings.url or "the environment"
    return f"{place} shows commit {_short(findings.shown_commit)}" if findings.shown_commit else f"{place} is up"


def _still_shown(findings: Findings) -> str:
    if findings.shown_commit in ("", findings.commit):
        return ""
    return f"; commit {_short(findings.shown_commit)} keeps serving"


def _warning(findings: Findings) -> tuple[str, str]:
    left = f"left as it stands, no variable of Greenroom: {_listed(findings.left)}"
    unkept = f"unknown to Kubernetes, or given twice, and not kept: {_listed(findings.unkept)}"
    told = [*([left] if findings.left else []), *([unkept] if findings.unkept else [])]
    return "UnknownPlaceholder" if findings.left else "UnknownField", "; ".join(told)


def _contested(refs: Sequence[Ref]) -> str:
    what = "changed or deleted by somebody else whenever Greenroom puts it right, which it does ever more slowly"
    return f"{what}: {_listed([*map(str, refs)])}; kubectl get --show-managed-fields -o yaml tells by whom"


def _listed(messages: Sequence[str]) -> str:
    more = len(messages) - _LISTED
    return "; ".join([*messages[:_LISTED], *([f"and {more} more"] if more > 0 else [])])


def _short(commit: str) -> str:
    return commit[:_SHORT]


def _with_times(condition: _Condition, findings: Findings, previous: Manifest, now: datetime) -> dict[str, Json]:
    before = condition_of(previous, condition.type)
    status = "True" if condition.status else "False"
    since = text(before, "lastTransitionTime") if text(before, "status") == status else ""
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_LIMIT],
        "lastTransitionTime": since or timestamp(now),
        "observedGeneration": findings.generation,
    }

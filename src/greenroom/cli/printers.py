"""How objects look in a terminal: kubectl's plain columns, so that eyes and scripts feel at home."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenroom.model.manifest import (
    Json,
    Kind,
    Manifest,
    condition_of,
    get,
    is_deleting,
    items,
    kind_of,
    name_of,
    number,
    table,
    text,
)

Cell = Callable[[Manifest], str]


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cell: Cell
    wide: bool = False
    """Shown with ``-o wide`` only."""
    width: int = 0
    """Characters at least, so that the lines of a watch stay below each other."""


def rows(manifests: Sequence[Manifest], columns: Sequence[Column], *, header: bool = True) -> list[list[str]]:
    """The cells of a table. An empty cell shows as ``-``."""
    titles = [[column.title for column in columns]] if header else []
    return titles + [[column.cell(manifest) or "-" for column in columns] for manifest in manifests]


def align(cells: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> tuple[list[str], list[int]]:
    """Lines with three spaces between the columns, and the widths, for rows that come later."""
    if not cells:
        return [], list(widths)
    floor = [*widths, *[0] * (len(cells[0]) - len(widths))]
    wide = [max(floor[i], *(len(row[i]) for row in cells)) for i in range(len(cells[0]))]
    return ["   ".join(cell.ljust(wide[i]) for i, cell in enumerate(row)).rstrip() for row in cells], wide


def columns_for(kind: Kind, *, wide: bool, namespaces: bool, now: Callable[[], datetime]) -> list[Column]:
    """The columns of a kind; NAME and AGE around what is particular to it."""
    shown = [column for column in COLUMNS.get(kind.name, ()) if wide or not column.wide]
    first = [Column("NAMESPACE", lambda m: text(m, "metadata", "namespace"))] if namespaces else []
    name = [] if kind.name == "Event" else [Column("NAME", name_of)]
    age = Column("LAST SEEN" if kind.name == "Event" else "AGE", lambda m: age_of(_since(m), now()))
    return [*first, age, *shown] if kind.name == "Event" else [*first, *name, *shown, age]


def _since(manifest: Manifest) -> str:
    return text(manifest, "lastTimestamp") or text(manifest, "metadata", "creationTimestamp")


def when(event: Manifest) -> tuple[str, int]:
    """Sorts events by when they were last seen; timestamps know whole seconds only."""
    version = text(event, "metadata", "resourceVersion")
    return _since(event), int(version) if version.isdecimal() else 0


def to_yaml(content: Json) -> str:
    import yaml

    written: str = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return written


def age_of(timestamp: str, now: datetime) -> str:
    """``5s``, ``3m12s``, ``4h5m``, ``2d3h`` since an RFC 3339 timestamp, as kubectl writes it (but for years)."""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(timestamp)).total_seconds()))
    except ValueError:
        return "<unknown>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d"


def short(commit: str) -> str:
    return commit[:7]


def _ready(manifest: Manifest) -> str:
    return text(condition_of(manifest, "Ready"), "status")


def _waiting(manifest: Manifest) -> str:
    ready = condition_of(manifest, "Ready")
    return "" if text(ready, "status") == "True" else text(ready, "reason")


def _pod_ready(manifest: Manifest) -> str:
    statuses = items(manifest, "status", "containerStatuses")
    ready = sum(1 for status in statuses if get(status, "ready") is True)
    return f"{ready}/{len(items(manifest, 'spec', 'containers'))}"


def _pod_status(manifest: Manifest) -> str:
    if is_deleting(manifest):
        return "Terminating"
    statuses = (*items(manifest, "status", "initContainerStatuses"), *items(manifest, "status", "containerStatuses"))
    for status in statuses:
        reason = text(status, "state", "waiting", "reason")
        if reason:
            return reason
    return text(manifest, "status", "phase") or "Pending"


def _restarts(manifest: Manifest) -> str:
    return str(sum(number(status, "restartCount") for status in items(manifest, "status", "containerStatuses")))


def _host(manifest: Manifest) -> str:
    for route in ("httpRoute", "http2Route", "grpcRoute"):
        match = table(manifest, "spec", route, "match", "hostname")
        if match:
            return text(match, "exact") or f"*{text(match, 'suffix')}"
    return "*"


def _active(field: str) -> Cell:
    """A field of the condition that App Mesh's kinds have: ``MeshActive``, ``GatewayRouteActive``, …"""
    return lambda manifest: text(condition_of(manifest, f"{kind_of(manifest).name}Active"), field)


def _status_of(*path: str) -> Cell:
    return lambda manifest: str(number(manifest, "status", *path))


def _text(*path: str | int) -> Cell:
    return lambda manifest: text(manifest, *path)


_ACTIVE = (
    Column("ACTIVE", _active("status")),
    Column("REASON", _active("reason")),
    Column("MESSAGE", _active("message"), wide=True),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "PR": (
        Column("PR", _text("spec", "prNumber")),
        Column("COMMIT", lambda m: short(text(m, "spec", "headCommitRef")), width=7),
        Column("SHOWN", lambda m: short(text(m, "status", "shownCommit")), width=7),
        Column("READY", _ready),
        Column("WAITING FOR", _waiting, width=16),
        Column("URL", _text("status", "url"), width=26),
        Column("MESSAGE", lambda m: text(condition_of(m, "Ready"), "message"), wide=True),
    ),
    "ReviewApp": (
        Column("REPOSITORY", _text("spec", "githubRepository")),
        Column("RESOURCES", lambda m: str(len(items(m, "spec", "resources")))),
    ),
    "Deployment": (
        Column("READY", lambda m: f"{number(m, 'status', 'readyReplicas')}/{number(m, 'spec', 'replicas', default=1)}"),
        Column("UP-TO-DATE", _status_of("updatedReplicas")),
        Column("AVAILABLE", _status_of("availableReplicas")),
    ),
    "ReplicaSet": (
        Column("DESIRED", lambda m: str(number(m, "spec", "replicas", default=1))),
        Column("CURRENT", _status_of("replicas")),
        Column("READY", _status_of("readyReplicas")),
    ),
    "Pod": (
        Column("READY", _pod_ready),
        Column("STATUS", _pod_status),
        Column("RESTARTS", _restarts),
        Column("IMAGE", _text("spec", "containers", 0, "image"), wide=True),
        Column("PORTS", _text("metadata", "annotations", "greenroom.dev/ports"), wide=True),
    ),
    "Service": (
        Column("TYPE", lambda m: text(m, "spec", "type") or "ClusterIP"),
        Column("PORT(S)", lambda m: ",".join(str(number(port, "port")) for port in items(m, "spec", "ports"))),
    ),
    "EndpointSlice": (
        Column("PORTS", lambda m: ",".join(str(number(port, "port")) for port in items(m, "ports"))),
        Column("ENDPOINTS", lambda m: ",".join(text(e, "addresses", 0) for e in items(m, "endpoints"))),
    ),
    "GatewayRoute": (Column("HOST", _host), *_ACTIVE),
    "VirtualGateway": _ACTIVE,
    "VirtualService": _ACTIVE,
    "VirtualNode": _ACTIVE,
    "VirtualRouter": _ACTIVE,
    "Mesh": _ACTIVE,
    "Event": (
        Column("TYPE", _text("type")),
        Column("REASON", _text("reason")),
        Column("OBJECT", lambda m: f"{text(m, 'involvedObject', 'kind').lower()}/{text(m, 'involvedObject', 'name')}"),
        Column("MESSAGE", _text("message")),
    ),
}

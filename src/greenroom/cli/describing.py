"""The text of ``greenroom describe``: what an object is, how it is, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from greenroom.cli.printers import age_of, align, to_yaml
from greenroom.core.explanation import printable
from greenroom.core.remembered import CLOSED, REFUSED
from greenroom.model.manifest import Json, Manifest, get, items, kind_of, labels_of, name_of, table, text

SHOWN_APART = {"apiVersion", "kind", "metadata", "status"}
STATUS_SHOWN_APART = {"conditions", "inventory", "refused", "closed"}
CLOSED_SHOWN = 20


def describe_object(manifest: Manifest, events: Sequence[Manifest], now: datetime) -> str:
    """``events`` are those about this object, oldest first."""
    status = {key: value for key, value in table(manifest, "status").items() if key not in STATUS_SHOWN_APART}
    sections = (
        _identity(manifest, now),
        _yaml({key: value for key, value in manifest.items() if key not in SHOWN_APART}),
        _titled("Status:", _yaml(status).splitlines()),
        _titled("Conditions:", _conditions(manifest, now)),
        _titled("Resources:", _inventory(manifest)),
        _titled("Pull requests without an environment:", _refused(manifest)),
        _titled("Pull requests closed:", _closed(manifest)),
        _titled("Events:", _events(events, now)),
    )
    return "\n\n".join(section for section in sections if section)


def _identity(manifest: Manifest, now: datetime) -> str:
    created = text(manifest, "metadata", "creationTimestamp")
    owners = items(manifest, "metadata", "ownerReferences")
    pairs = {
        "Name": name_of(manifest),
        "Namespace": text(manifest, "metadata", "namespace"),
        "Kind": str(kind_of(manifest)),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels_of(manifest).items())),
        "Created": f"{created} ({age_of(created, now)} ago)",
        "Controlled by": ",".join(f"{text(owner, 'kind')}/{text(owner, 'name')}" for owner in owners),
    }
    width = max(map(len, pairs)) + 3
    return "\n".join(f"{key + ':':<{width}}{value}" for key, value in pairs.items() if value)


def _yaml(content: Json) -> str:
    return to_yaml(content).rstrip() if content else ""


def _conditions(manifest: Manifest, now: datetime) -> list[str]:
    conditions = items(manifest, "status", "conditions")
    cells = [
        [
            text(condition, "type"),
            text(condition, "status"),
            text(condition, "reason") or "-",
            age_of(text(condition, "lastTransitionTime"), now),
            text(condition, "message"),
        ]
        for condition in conditions
    ]
    return _table(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], cells)


def _inventory(manifest: Manifest) -> list[str]:
    children = [child for child in items(manifest, "status", "inventory") if get(child, "kind")]
    return [f"{text(child, 'kind').lower()}/{text(child, 'name')}" for child in children]


def _refused(manifest: Manifest) -> list[str]:
    """Those that a ReviewApp's gate does not let through."""
    refused = table(manifest, "status", REFUSED)
    cells = [
        [key, text(refused[key], "reason") or "-", printable(text(refused[key], "message"))]
        for key in sorted(refused, key=_number)
    ]
    return _table(["PR", "REASON", "MESSAGE"], cells)


def _closed(manifest: Manifest) -> list[str]:
    """The newest of those that a ReviewApp remembers as closed."""
    numbers = sorted(table(manifest, "status", CLOSED), key=_number)
    more = len(numbers) - CLOSED_SHOWN
    told = [*([f"… ({more} more)"] if more > 0 else []), *numbers[-CLOSED_SHOWN:]]
    return [", ".join(told)] if numbers else []


def _number(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isascii() and key.isdigit() else (0, key)


def _events(events: Sequence[Manifest], now: datetime) -> list[str]:
    cells = [
        [age_of(text(event, "lastTimestamp"), now), text(event, "type"), text(event, "reason"), text(event, "message")]
        for event in events
    ]
    return _table(["LAST SEEN", "TYPE", "REASON", "MESSAGE"], cells)


def _table(titles: list[str], cells: list[list[str]]) -> list[str]:
    return align([titles, *cells])[0] if cells else []


def _titled(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *("  " + line for line in lines)]) if lines else ""

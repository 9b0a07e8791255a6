"""What a ReviewApp's status remembers of pull requests that have no environment, so that no late delivery brings it.

``status.closed`` has those that are closed, as text (``core.ordering``); ``status.refused`` those that are open and
that the gate refuses, with the reason for people, and with what is known of them, so that an edited gate can be asked
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from greenroom.core.gate import Admission, Reason, Refusal, Undecided
from greenroom.core.ordering import Knowledge, outdated
from greenroom.model.manifest import Json, Manifest, table, text

CLOSED, REFUSED = "closed", "refused"
BYTES_LIMIT = 400_000
"""Of all that is remembered of refused pull requests, as the API server stores it: JSON in UTF-8, in which a title has
four or six times as many bytes as characters. An object may have 1.5 MB in etcd, and there is the template."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a pull request, by what was known then."""

    number: int
    known: Knowledge
    answer: Admission | Refusal | Undecided


def closed_knowledge(app: Manifest, number: int) -> Knowledge | None:
    return Knowledge.parse(text(app, "status", CLOSED, str(number)))


def refused_knowledge(app: Manifest, number: int) -> Knowledge | None:
    return Knowledge.parse(text(app, "status", REFUSED, str(number), "observed"))


def refused_message(app: Manifest, number: str) -> str:
    """Why the gate refuses it, for people; ``""`` where it is not remembered as refused."""
    return text(app, "status", REFUSED, number, "message")


def refused_numbers(app: Manifest) -> list[int]:
    return sorted(int(key) for key in table(app, "status", REFUSED) if key.isascii() and key.isdigit())


def change(app: Manifest, decided: Iterable[Decided]) -> dict[str, Json]:
    """A merge patch of the status, ``{}`` when it says so already. What is newer there stays, and what nobody needs any
    more goes."""
    closed = {key: value for key, value in table(app, "status", CLOSED).items() if isinstance(value, str)}
    refused = table(app, "status", REFUSED)
    wanted_closed: dict[str, Json] = {}
    wanted_refused: dict[str, Json] = {}
    seen: set[str] = set()
    for each in decided:
        key = str(each.number)
        if _is_newer(closed_knowledge(app, each.number), each) or _is_newer(refused_knowledge(app, each.number), each):
            continue
        if isinstance(each.answer, Admission):
            wanted_refused[key] = None
        elif each.answer.reason is Reason.CLOSED:
            wanted_closed[key], wanted_refused[key] = str(each.known.bare()), None
        else:
            wanted_refused[key] = _record(each)
            seen |= {key} if each.known.was_read else set()
    for key in _not_worth_writing(refused, wanted_refused, seen):
        del wanted_refused[key]
    changed_closed = _changes(closed, wanted_closed)
    changed_refused = _changes(refused, wanted_refused)
    if changed_closed:
        changed_closed = {**dict.fromkeys(outdated(closed) - wanted_closed.keys()), **changed_closed}
    if any(value is not None for value in changed_refused.values()):
        changed_refused = {**dict.fromkeys(_forgotten(refused, wanted_refused)), **changed_refused}
    parts = {CLOSED: changed_closed, REFUSED: changed_refused}
    return {name: part for name, part in parts.items() if part}


def _is_newer(known: Knowledge | None, decided: Decided) -> bool:
    return known is not None and known.at > decided.known.at


def _record(decided: Decided) -> dict[str, Json]:
    answer = decided.answer
    reason = "" if isinstance(answer, Admission) else answer.reason.value
    return {"reason": reason, "message": answer.message, "observed": str(decided.known)}


def _changes(present: Mapping[str, Json], wanted: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in wanted.items() if present.get(key) != value}


def _forgotten(present: Mapping[str, Json], wanted: Mapping[str, Json]) -> set[str]:
    """The oldest, as far as they are too many or too large."""
    texts = {key: text(value, "observed") for key, value in present.items() if key not in wanted}
    forgotten = outdated(texts)
    left = BYTES_LIMIT - sum(_size(key, value) for key, value in wanted.items())
    for key in sorted(texts.keys() - forgotten, key=lambda key: texts[key], reverse=True):
        left -= _size(key, present[key])
        if left < 0:
            forgotten.add(key)
    return forgotten


def _not_worth_writing(present: Mapping[str, Json], wanted: Mapping[str, Json], seen: set[str]) -> set[str]:
    """Those of ``seen``, read from the forge itself, that are new and would be the first to be forgotten. Each sweep
    would write them, and forget others for them that the next one writes again."""
    new = seen - present.keys()
    together = {key: value for key, value in {**present, **wanted}.items() if value is not None}
    return new & _forgotten(together, {}) if new else set()


def _size(key: str, value: Json) -> int:
    return len(msgspec.json.encode({key: value}))

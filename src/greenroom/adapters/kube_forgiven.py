"""What creating an object forgives and server-side apply does not, taken out of a manifest.

From an object that is created kube-apiserver drops a field that it does not know, and it takes a variable or a port
that is given twice; programs see the variable's last value. An apply with such a mistake it refuses as a whole.
Manifests that ran with KubeTempura, which created its objects, may have made it for years.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from greenroom.model.manifest import Json, Manifest, items, table

_MISTAKE = re.compile(
    r"(?:^|: |\n *)(?P<path>\.[^\n]+?): "
    r"(?:(?P<unknown>field not declared in schema)|duplicate entries for key \[(?P<key>.*)\])$",
    re.MULTILINE,
)
"""How kube-apiserver tells of one, at the end of a line (``sigs.k8s.io/structured-merge-diff``)."""

_TEXT = r'"(?:[^"\\]|\\.)*"'
_STEP = re.compile(rf"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]|\[(?P<key>(?:{_TEXT}|[^\]\"])+)\]")
"""A part of a path: ``.containers``, ``[0]``, ``[name="app"]``."""
_KEY = re.compile(rf"(\w+)=({_TEXT}|[^,]+)")

_TAKEN_TWICE = re.compile(r"\]\.(?:env|ports)$|\.imagePullSecrets$")
"""Of pods. Containers and the ports of a Service cannot be created twice, either. ``hostAliases`` can, but something
would be lost: of an address that is given twice both lists of names count."""

_DEFAULTS: Mapping[str, Json] = {"protocol": "TCP"}
"""What a key is when the item does not give it."""

Key: TypeAlias = Mapping[str, Json]
Step: TypeAlias = str | int | Key


@dataclass(frozen=True, slots=True)
class Forgiven:
    """``manifest`` without the mistakes, and the paths of what was left out."""

    manifest: Manifest
    left_out: tuple[str, ...] = ()


def forgiven(manifest: Manifest, refusal: str) -> Forgiven:
    """``manifest`` without the mistakes that ``refusal`` names and creating the object would forgive."""
    left_out: list[str] = []
    for mistake in _MISTAKE.finditer(refusal):
        changed = _corrected(manifest, mistake)
        if changed != manifest:
            manifest = changed
            left_out.append(mistake["path"] + (f"[{mistake['key']}]" if mistake["key"] else ""))
    return Forgiven(manifest, tuple(left_out))


def _corrected(manifest: Manifest, mistake: re.Match[str]) -> Manifest:
    steps = _steps(mistake["path"])
    if not steps:
        return manifest
    if not mistake["unknown"]:
        if not _TAKEN_TWICE.search(mistake["path"]):
            return manifest
        return table(_changed(manifest, steps, partial(_with_the_last, key=_key(mistake["key"]))))
    *above, field = steps
    return table(_changed(manifest, above, partial(_without, field=field)))


def _steps(path: str) -> Sequence[Step]:
    """Nothing when the path cannot be read."""
    steps: list[Step] = []
    end = 0
    while found := _STEP.match(path, end):
        end = found.end()
        steps.append(found["field"] or (int(found["index"]) if found["index"] else _key(found["key"])))
    return steps if end == len(path) else ()


def _key(text: str) -> Key:
    return {name: json.loads(value) for name, value in _KEY.findall(text)}


def _changed(value: Json, steps: Sequence[Step], change: Callable[[Json], Json]) -> Json:
    """A copy of ``value`` in which that is changed which the steps lead to."""
    if not steps:
        return change(value)
    step, *below = steps
    if isinstance(step, str):
        fields = table(value)
        return {**fields, step: _changed(fields[step], below, change)} if step in fields else value
    return [
        _changed(each, below, change) if _is_meant(each, index, step) else each
        for index, each in enumerate(items(value))
    ]


def _without(value: Json, field: Step) -> Json:
    return {name: each for name, each in table(value).items() if name != field}


def _with_the_last(value: Json, key: Key) -> Json:
    """Of the items of this key, the last one only."""
    meant = [index for index, each in enumerate(items(value)) if _has(each, key)]
    return [each for index, each in enumerate(items(value)) if index not in meant[:-1]]


def _is_meant(item: Json, index: int, step: int | Key) -> bool:
    return index == step if isinstance(step, int) else _has(item, step)


def _has(item: Json, key: Key) -> bool:
    fields = table(item)
    return bool(key) and all(fields.get(name, _DEFAULTS.get(name)) == value for name, value in key.items())

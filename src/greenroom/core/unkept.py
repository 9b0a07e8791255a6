"""What a template asks for and the cluster took without keeping it: fields that are unknown, and what is given twice.

A misspelled field is no error to Kubernetes, and so it is none here; but whoever wrote it wants to know. It is told
from the objects as they are, whoever left the field out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from greenroom.model.manifest import Json, Manifest, items, ref_of, text

_ELSEWHERE = frozenset({"stringData", "status"})
"""Stored in ``data``, and not for whoever applies an object to say."""


def unkept(rendered: Manifest, stored: Manifest) -> list[str]:
    """The fields of ``rendered`` that ``stored``, which is what became of it, does not have."""
    given = {name: value for name, value in rendered.items() if name not in _ELSEWHERE}
    return [f"{ref_of(rendered)} {path}" for path in _missing(given, stored, "")]


def _missing(rendered: Json, stored: Json, path: str) -> Iterator[str]:
    # dict stands first because asking an abstract class takes ten times as long, and this is asked a lot.
    if isinstance(rendered, (dict, Mapping)) and isinstance(stored, (dict, Mapping)):
        for name, value in rendered.items():
            if name in stored:
                yield from _missing(value, stored[name], f"{path}.{name}")
            elif value:  # what is empty may be left out
                yield f"{path}.{name}"
    elif isinstance(rendered, list) and isinstance(stored, list):
        yield from _missing_items(rendered, stored, path)


def _missing_items(rendered: Sequence[Json], stored: Sequence[Json], path: str) -> Iterator[str]:
    """Items are matched as ``core.plan.projection`` does it; of lists that differ otherwise nothing can be said."""
    names = [text(item, "name") for item in rendered]
    by_name = {text(item, "name"): item for item in stored}
    if all(names) and len(by_name) == len(stored):
        for name, item in dict(zip(names, rendered, strict=True)).items():
            place = f'{path}[name="{name}"]'
            if name not in by_name or names.count(name) > 1:
                yield place
            else:
                yield from _missing(item, by_name[name], place)
    elif len(rendered) == len(stored):
        for index, (item, other) in enumerate(zip(rendered, items(stored), strict=True)):
            yield from _missing(item, other, f"{path}[{index}]")

"""Server-side apply: merging what one manager wants into an object that others own fields of. Pure.

The rules are those of Kubernetes' structured-merge-diff. Each manager owns the paths of the fields that it applied
last. Applying merges the given fields into the object and then removes what the manager owned, gives no more, and
nobody else owns. Changing a value that another manager owns is a conflict, or with ``force`` takes it from them.

A path leads through the fields of objects and the keys of associative lists (``storage.schema``). It ends at a scalar,
at an atomic list, at an empty object, or at an item of an associative list. Values given are plain JSON without nulls
(``plain``); nothing is ever changed in place, and what a merge leaves alone is the same object as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import TypeAlias

from greenroom.local.storage.schema import ATOMIC, KEY_DEFAULTS, MEMBER, Schema
from greenroom.model.errors import Conflict, Invalid
from greenroom.model.manifest import Json, Manifest, get, items, table, text

Item: TypeAlias = tuple[tuple[str, Json], ...]
"""An item of an associative list, named by the values of its merge keys: ``(("name", "app"),)``."""

Path: TypeAlias = tuple[str | Item, ...]
Owners: TypeAlias = Mapping[str, frozenset[Path]]
"""The paths that each manager owns."""

_DEPTH = 64  # levels of nesting; far above any real object, far below Python's recursion limit
_CONFLICTS_SHOWN = 5


def apply(
    live: Manifest, owners: Owners, given: Manifest, *, manager: str, force: bool, schema: Schema
) -> tuple[Manifest, Owners]:
    """The object and its owners after ``manager`` applied ``given``; both as they were, if that changes nothing.

    Raises Conflict.
    """
    wanted = _shared(frozenset(_paths(given, schema)))
    merged = table(_merged(live, given, schema))
    others = {name: paths for name, paths in owners.items() if name != manager}
    contested = _contested(live, merged, others)
    if contested and not force:
        raise Conflict(_explain(contested))
    for name, paths in contested.items():
        others[name] = _shared(others[name] - paths)
    stale = owners.get(manager, frozenset()) - wanted
    if stale:
        merged = _prune(merged, stale, frozenset(wanted.union(*others.values())))
    present = {name: paths for name, paths in {**others, manager: wanted}.items() if paths}
    return merged, owners if present == owners else present


def plain(value: Json, schema: Schema, at: str = "", depth: int = 0) -> Json:
    """A copy of ``value`` without nulls and empty associative lists, which mean nothing in an applied object.

    Raises Invalid, naming the path, for what is not JSON, is nested too deep, or has no or a repeated merge key.
    """
    if depth > _DEPTH:
        raise Invalid(f"{at[:100]}…: nested deeper than {_DEPTH} levels")
    if value is None or isinstance(value, str) or _is_number(value):
        return value
    if isinstance(value, Mapping):
        return dict(_plain_fields(value, schema, at, depth))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _plain_list(value, schema, at, depth)
    raise Invalid(f"{at or 'the object'}: this {type(value).__name__} cannot be kept as JSON: put it in quotes")


def _is_number(value: Json) -> bool:
    """Whether JSON's readers, which use 64 bits, can keep the value."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return isinstance(value, float) and isfinite(value)


def same(one: Json, other: Json) -> bool:
    """Equality of JSON values. (To Python, ``true`` equals ``1``.)"""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def owners_from(encoded: Json) -> Owners:
    """The owners that were encoded as JSON, in which tuples and sets are lists."""
    return {
        manager: _shared(frozenset(tuple(map(_step_from, items(path))) for path in items(paths)))
        for manager, paths in table(encoded).items()
    }


def _step_from(encoded: Json) -> str | Item:
    if isinstance(encoded, str):
        return encoded
    return tuple((text(pair, 0), get(pair, 1)) for pair in items(encoded))


@lru_cache(maxsize=4096)
def _shared(paths: frozenset[Path]) -> frozenset[Path]:
    """One copy of equal path sets: objects made from one template own the same paths, and there are thousands."""
    return paths


def _plain_fields(value: Mapping[str, Json], schema: Schema, at: str, depth: int) -> Iterator[tuple[str, Json]]:
    for name, field in value.items():
        if not isinstance(name, str):
            raise Invalid(f"{at}.{name}: the name of a field must be text (quote it)")
        known = schema.fields.get(name, ATOMIC)
        kept = plain(field, known, f"{at}.{name}", depth + 1)
        if kept is not None and not (known.keys and kept == []):
            yield name, kept


def _plain_list(value: Sequence[Json], schema: Schema, at: str, depth: int) -> Json:
    kept = [plain(each, Schema(schema.fields), f"{at}[{index}]", depth + 1) for index, each in enumerate(value)]
    if schema.keys:
        _check_keys(kept, schema, at)
    return _last_of_each(kept, schema) if schema.forgiving else kept


def _last_of_each(value: Sequence[Json], schema: Schema) -> list[Json]:
    last = {_item(each, schema): index for index, each in enumerate(value)}
    return [value[index] for index in sorted(last.values())]


def _check_keys(value: Sequence[Json], schema: Schema, at: str) -> None:
    found: set[Item] = set()
    for index, each in enumerate(value):
        item = _item(each, schema)
        for key, named in item:
            if named is None or isinstance(named, list | dict):
                raise Invalid(f"{at}[{index}]{f'.{key}' if key else ''}: required, the list is merged by it")
        if item in found and not schema.forgiving:
            raise Invalid(
                f"{at}[{index}]: repeats {_show((item,))}; give each item its own {' and '.join(schema.keys)}"
            )
        found.add(item)


def _item(value: Json, schema: Schema) -> Item:
    if schema.keys == (MEMBER,):
        return ((MEMBER, value),)
    fields = table(value)
    return tuple((key, fields.get(key, KEY_DEFAULTS.get(key))) for key in schema.keys)


def _paths(value: Json, schema: Schema, at: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, field in value.items():
            yield from _paths(field, schema.fields.get(name, ATOMIC), (*at, name))
    elif isinstance(value, list) and schema.keys:
        for each in value:
            item = (*at, _item(each, schema))
            yield item
            if isinstance(each, dict):
                yield from _paths(each, Schema(schema.fields), item)
    elif at:
        yield at


def _merged(live: Json, given: Json, schema: Schema) -> Json:
    if isinstance(live, dict) and isinstance(given, dict):
        return _merged_fields(live, given, schema)
    if isinstance(live, list) and isinstance(given, list) and schema.keys:
        return _merged_items(live, given, schema)
    return live if same(live, given) else given


def _merged_fields(live: Mapping[str, Json], given: Mapping[str, Json], schema: Schema) -> Json:
    changed: dict[str, Json] = {}
    for name, field in given.items():
        if name not in live:
            changed[name] = field
        elif (merged := _merged(live[name], field, schema.fields.get(name, ATOMIC))) is not live[name]:
            changed[name] = merged
    return {**live, **changed} if changed else live


def _merged_items(live: list[Json], given: list[Json], schema: Schema) -> Json:
    """The given items in their order; each that only ``live`` has comes after the one that it followed there."""
    before = {_item(each, schema): each for each in live}
    order = [_item(each, schema) for each in given]
    merged = dict(zip(order, given, strict=True))
    for item, each in before.items():
        merged[item] = _merged(each, merged[item], Schema(schema.fields)) if item in merged else each
    result = [merged[item] for item in _woven(list(before), order)]
    unchanged = len(result) == len(live) and all(one is other for one, other in zip(result, live, strict=True))
    return live if unchanged else result


def _woven(live: Sequence[Item], given: Sequence[Item]) -> list[Item]:
    chosen = set(given)
    followers: dict[Item | None, list[Item]] = {}
    leader: Item | None = None
    for item in live:
        if item in chosen:
            leader = item
        else:
            followers.setdefault(leader, []).append(item)
    woven = followers.get(None, [])
    for item in given:
        woven += [item, *followers.get(item, ())]
    return woven


def _contested(live: Manifest, merged: Manifest, others: Owners) -> dict[str, set[Path]]:
    """Per other manager, the paths it owns whose value the merge changed."""
    if merged is live:
        return {}
    found = {
        manager: {path for path in paths if _differ(_at(live, path), _at(merged, path))}
        for manager, paths in others.items()
    }
    return {manager: paths for manager, paths in found.items() if paths}


def _differ(before: Json, after: Json) -> bool:
    """Whether a path's value changed. What is inside an object has paths of its own."""
    if before is after or (isinstance(before, dict) and isinstance(after, dict)):
        return False
    return not same(before, after)


def _at(value: Json, path: Path) -> Json:
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = next((each for each in items(value) if _names(step, each)), None)
    return value


def _names(item: Item, value: Json) -> bool:
    return _item(value, Schema(keys=tuple(key for key, _ in item))) == item


def _prune(merged: Manifest, stale: Iterable[Path], kept: Collection[Path]) -> Manifest:
    """Without the stale paths, unless something below them is kept, and without what becomes empty by that."""
    parents = {path[:length] for path in kept for length in range(len(path))}
    for path in sorted(stale, key=len):  # an item before its keys, without which it would not be found
        if path not in kept and path not in parents:
            merged = table(_without(merged, path, 0, kept))
    return merged


def _without(value: Json, path: Path, depth: int, kept: Collection[Path]) -> Json:
    """``value`` without what ``path[depth:]`` names; None if that leaves it empty and nobody owns it as such."""
    step, last = path[depth], depth == len(path) - 1
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            return value
        below = None if last else _without(value[step], path, depth + 1, kept)
        rest = {name: field for name, field in value.items() if name != step}
        left: Json = rest if below is None else {**value, step: below}
    else:
        found = _at(value, (step,))
        if found is None or not isinstance(value, list):
            return value
        below = None if last else _without(found, path, depth + 1, kept)
        left = [below if each is found else each for each in value if each is not found or below is not None]
    return left if left or depth == 0 or path[:depth] in kept else None


def _explain(contested: Mapping[str, set[Path]]) -> str:
    told = [
        f'"{manager}" owns {_show(path)}' for manager, paths in contested.items() for path in sorted(paths, key=str)
    ]
    more = f" and {len(told) - _CONFLICTS_SHOWN} more" if len(told) > _CONFLICTS_SHOWN else ""
    return f"{', '.join(told[:_CONFLICTS_SHOWN])}{more}: leave the field to its manager, or force the change"


def _show(path: Path) -> str:
    """As Kubernetes writes it: ``.spec.template.spec.containers[name="app"].image``."""
    return "".join(f".{step}" if isinstance(step, str) else f"[{_show_item(step)}]" for step in path)


def _show_item(item: Item) -> str:
    return ",".join(f"{key}={value!r}" if key else repr(value) for key, value in item)

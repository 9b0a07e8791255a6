"""Fields that another program wrote become fields that we applied.

Server-side apply takes a field away when its manager gives it no more, unless somebody else holds it. What a program
wrote without applying it, it holds as long as the object lives, even when the program is long gone. So an environment
that KubeTempura made would keep every variable, port and label that later leaves the template.

``metadata.managedFields`` says who holds what, and can be written like any other field. Its format is that of
structured-merge-diff (Kubernetes API reference, ``FieldsV1``): nested tables, in which ``f:NAME`` is a field.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import reduce

from greenroom.model.manifest import Json, Manifest, items, table, text


def handed_over(stored: Manifest, given: Manifest, *, former: str, manager: str) -> list[Json] | None:
    """``metadata.managedFields`` as though ``manager`` had applied what ``former`` wrote; None when that is nothing.

    It is about the labels, the annotations, and of ``spec`` each field that ``given`` has, with all that is below: what
    KubeTempura wrote anew at each push. Other fields stay with ``former``, for they may be nobody's to take away. What
    a webhook adds when an object is created counts as written by the creator, and App Mesh, for one, refuses every
    change of its ``spec.meshRef``.
    """
    version, entries = text(given, "apiVersion"), items(stored, "metadata", "managedFields")
    theirs = [entry for entry in entries if _is_entry(entry, former, "Update", version)]
    ours = [entry for entry in entries if _is_entry(entry, manager, "Apply", version)]
    names = {"f:metadata": {"f:labels", "f:annotations"}, "f:spec": {f"f:{field}" for field in table(given, "spec")}}
    taken = [_part(table(entry, "fieldsV1"), names, named=True) for entry in theirs]
    if not any(taken):
        return None
    left = [{**table(entry), "fieldsV1": _part(table(entry, "fieldsV1"), names, named=False)} for entry in theirs]
    own: Mapping[str, Json] = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": reduce(_union, (*(table(entry, "fieldsV1") for entry in ours), *taken)),
    }
    others = (entry for entry in entries if entry not in theirs and entry not in ours)
    return [*others, *(entry for entry in left if entry["fieldsV1"]), own]


def _is_entry(entry: Json, manager: str, operation: str, version: str) -> bool:
    """Whether it is about the object itself: what is written through a subresource, such as the status, has its own."""
    found = [text(entry, field) for field in ("manager", "operation", "apiVersion", "subresource")]
    return found == [manager, operation, version, ""]


def _part(fields: Mapping[str, Json], names: Mapping[str, Collection[str]], *, named: bool) -> dict[str, Json]:
    """Those of the fields, two levels deep, that are named, or those that are not."""
    found = {
        top: {field: below for field, below in table(fields, top).items() if (field in names.get(top, ())) is named}
        for top in fields
    }
    return {top: below for top, below in found.items() if below}


def _union(one: Mapping[str, Json], other: Mapping[str, Json]) -> Mapping[str, Json]:
    return {**one, **{field: _union(table(one, field), table(below)) for field, below in other.items()}}

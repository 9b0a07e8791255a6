"""What to do so that the cluster holds the objects of an environment, and no others of it.

Drift is found without comparing with the server's defaults: after an apply the inventory keeps a hash of what was
rendered, and a hash of how the server stored those same fields. The one changes when the template, the commit or a
variable does, the other when somebody touches the object. The server's own additions and its ways of writing a value
change neither, so that a plan after an apply is empty.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from greenroom.model.manifest import (
    GROUP,
    PR,
    Json,
    Kind,
    Manifest,
    Ref,
    controller_of,
    get,
    is_deleting,
    items,
    kind_of,
    ref_of,
    text,
    uid_of,
)

REPLACING = "Replacing"
"""An object of this name has to go first."""
TAKEN = "NameTaken"
"""An object of this name belongs to somebody else."""
IMMUTABLE = "ImmutableField"
"""The template changes a field that cannot be changed, and to make the object anew would lose what it holds."""

_RANKS = {
    **dict.fromkeys(("ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim", "Role", "RoleBinding"), 0),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob"), 2),
    **dict.fromkeys(("GatewayRoute", "HTTPRoute", "Ingress"), 3),
}
_HOLDS_DATA = frozenset({"PersistentVolumeClaim", "VolumeSnapshot", "BucketClaim"})
"""What is deleted with an object of these kinds does not come back with a new one."""
_WITHOUT_DATA = ("appmesh.k8s.aws", ".k8s.io")
"""How the names of groups end whose kinds are known to hold none, next to those of Kubernetes without a dot. Others may
be databases."""
_OTHER_RANK = 1
"""First what pods read, then services, then pods, then what leads visitors to them."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the inventory keeps of a child: hashes of what was rendered, and of how the server stored it."""

    ref: Ref
    rendered: str
    live: str

    @classmethod
    def of(cls, rendered: Manifest, stored: Manifest) -> Record:
        return cls(ref_of(rendered), digest(rendered), digest(projection(rendered, stored)))


@dataclass(frozen=True, slots=True)
class Apply:
    manifest: Manifest

    @property
    def ref(self) -> Ref:
        return ref_of(self.manifest)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object of this UID only: one that took its place since is not ours."""

    ref: Ref
    uid: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing can be done about a desired object now. The reason is REPLACING, TAKEN or IMMUTABLE, the message for a
    person."""

    ref: Ref
    reason: str
    message: str


Action: TypeAlias = Apply | Delete | Blocked


def plan(
    desired: Sequence[Manifest],
    observed: Callable[[Ref], Manifest | None],
    owned: Iterable[Manifest],
    inventory: Mapping[Ref, Record],
) -> tuple[Action, ...]:
    """The actions, in the order of their ranks; nothing to do is ``()``.

    ``observed`` answers the object of a name, whoever owns it; ``owned`` are the objects whose controller is the PR
    object. What is owned and not desired is deleted.
    """
    wanted = {_place(ref_of(manifest)) for manifest in desired}
    surplus = (child for child in owned if _place(ref_of(child)) not in wanted and not is_deleting(child))
    deletes = [Delete(ref_of(child), uid_of(child)) for child in surplus]
    steps = (
        _step(manifest, observed(ref_of(manifest)), inventory.get(ref_of(manifest)))
        for manifest in sorted(desired, key=rank)
    )
    return (*deletes, *(step for step in steps if step is not None))


def _place(ref: Ref) -> tuple[str, str, str, str]:
    """The same in every version in which the kind is served."""
    return ref.kind.group, ref.kind.name, ref.namespace, ref.name


def obstacle(desired: Manifest, present: Manifest) -> Delete | Blocked | None:
    """What has to come before ``desired`` is applied where ``present`` is; None when nothing stands in the way.

    An object that nobody controls is taken over, unless it holds data: that would end with the pull request.
    """
    ref, controller = ref_of(desired), controller_of(present)
    if is_deleting(present):
        return Blocked(ref, REPLACING, f"{ref} is being deleted, and is made again then")
    own = controller_of(desired)
    if not controller and holds_data(present):
        return Blocked(ref, TAKEN, f"{ref} was there before, and would be deleted with this environment, data and all")
    if not controller or text(controller, "uid") == text(own, "uid"):
        return None
    if _is_pr(controller, text(own, "name")):  # the pull request was closed and reopened quickly
        return Delete(ref, uid_of(present))
    return Blocked(ref, TAKEN, f"{ref} belongs to {text(controller, 'kind')}/{text(controller, 'name')}")


def replacement(desired: Manifest, present: Manifest, refusal: str) -> Delete | Blocked | None:
    """What to do when the cluster refused to change an immutable field: delete, so that the object is made anew.

    None when the object is not the environment's own, or not yet: then the refusal stands.
    """
    ref = ref_of(desired)
    if holds_data(present):
        cure = "give the new one another name in the template, or delete the old one yourself"
        return Blocked(ref, IMMUTABLE, f"{ref}: to make it anew would lose its data ({refusal}): {cure}")
    if text(controller_of(present), "uid") != text(controller_of(desired), "uid"):
        return None
    return Delete(ref, uid_of(present))


def holds_data(manifest: Manifest) -> bool:
    """Whether something could be lost with the object that does not come back with another of its name."""
    kind = kind_of(manifest)
    if kind.name in _HOLDS_DATA or ("." in kind.group and not kind.group.endswith(_WITHOUT_DATA)):
        return True
    return text(manifest, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete"


def rank(manifest: Manifest) -> int:
    return _RANKS.get(kind_of(manifest).name, _OTHER_RANK)


def is_repair(action: Action, record: Record | None) -> bool:
    """Whether the object was as it is desired, and somebody else changed or deleted it since."""
    return isinstance(action, Apply) and record is not None and record.rendered == digest(action.manifest)


def _step(desired: Manifest, present: Manifest | None, record: Record | None) -> Action | None:
    if (present is None or is_deleting(present)) and _has_run(desired, record):
        return None
    if present is None:
        return Apply(desired)
    if way := obstacle(desired, present):
        return way
    if record is not None and record == Record.of(desired, present):
        return None
    return Apply(desired)


def _has_run(desired: Manifest, record: Record | None) -> bool:
    """Whether it is a Job that is to be cleaned away when it has finished, and was started. To make it again would run
    it again, for ever."""
    kind = kind_of(desired)
    ends = (kind.group, kind.name) == ("batch", "Job") and get(desired, "spec", "ttlSecondsAfterFinished") is not None
    return ends and record is not None and record.rendered == digest(desired)


def _is_pr(controller: Mapping[str, Json], name: str) -> bool:
    kind = Kind.of(text(controller, "apiVersion"), text(controller, "kind"))
    return (kind.group, kind.name, text(controller, "name")) == (GROUP, PR.name, name)


def projection(rendered: Json, stored: Json) -> Json:
    """``stored`` reduced to the fields that ``rendered`` has.

    Items of lists are matched by their ``name`` where all have one, as server-side apply does with containers, ports
    and variables; else by their place.
    """
    # dict and list stand first because asking an abstract class takes ten times as long, and this is asked a lot.
    if isinstance(rendered, (dict, Mapping)) and isinstance(stored, (dict, Mapping)):
        return {key: projection(value, stored[key]) for key, value in rendered.items() if key in stored}
    if _is_list(rendered) and _is_list(stored):
        return _projected_list(items(rendered), items(stored))
    return stored


def _projected_list(rendered: Sequence[Json], stored: Sequence[Json]) -> Json:
    by_name = {text(item, "name"): item for item in stored}
    if rendered and all(text(item, "name") for item in rendered) and len(by_name) == len(stored):
        names = [text(item, "name") for item in rendered]
        return [projection(item, by_name[name]) for item, name in zip(rendered, names, strict=True) if name in by_name]
    if len(rendered) != len(stored):
        return stored
    return [projection(item, other) for item, other in zip(rendered, stored, strict=True)]


def _is_list(value: Json) -> bool:
    return isinstance(value, (list, Sequence)) and not isinstance(value, str)


def digest(value: Json) -> str:
    """Sixteen hexadecimal digits that change with the value, and not with the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=dict)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()[:16]


def inventory_of(status: Manifest, namespace: str) -> dict[Ref, Record]:
    """Reads ``inventory`` of a PR object's status; entries that are not ours to understand are skipped."""
    records = (
        Record(
            Ref(Kind.of(text(item, "apiVersion"), text(item, "kind")), namespace, text(item, "name")),
            text(item, "hash"),
            text(item, "live"),
        )
        for item in items(status, "inventory")
    )
    return {record.ref: record for record in records if record.ref.kind.name and record.ref.name}


def inventory_items(records: Iterable[Record]) -> list[Json]:
    """What ``inventory_of`` reads back."""
    return [
        {
            "apiVersion": record.ref.kind.api_version,
            "kind": record.ref.kind.name,
            "name": record.ref.name,
            "hash": record.rendered,
            "live": record.live,
        }
        for record in sorted(records, key=lambda record: record.ref)
    ]

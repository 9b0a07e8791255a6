"""Kubernetes objects as plain data: the JSON types, names for objects and kinds, and careful accessors.

Objects stay raw mappings from the border to the core, because a ReviewApp may carry any kind, known or not. The
accessors answer an empty value for a missing or mistyped path, so that a half-written object never raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"
Manifest: TypeAlias = "Mapping[str, Json]"

GROUP = "kubetempura.mercari.com"
NAME_LIMIT = 253
"""Characters in the name of an object: Kubernetes, "Object Names and IDs", DNS subdomain names."""
ENVIRONMENT_LABEL = "greenroom.dev/environment"
COMMIT_ANNOTATION = "greenroom.dev/commit"
RECEIVED_ANNOTATION = "greenroom.dev/received"
"""On a PR object: when the delivery that it was last written for was received, ISO 8601 with milliseconds."""


class Kind(NamedTuple):
    """A kind of object in one API version: ``Kind("apps", "v1", "Deployment")``; the core group is ``""``."""

    group: str
    version: str
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @classmethod
    def of(cls, api_version: str, name: str) -> Kind:
        group, _, version = api_version.rpartition("/")
        return cls(group, version, name)

    def __str__(self) -> str:
        return f"{self.name}.{self.group}" if self.group else self.name


class Ref(NamedTuple):
    """The name of one object. ``namespace`` is ``""`` for a cluster-scoped object.

    A tuple, as its Kind, because thousands are looked up at every change: they are found four times as fast.
    """

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


REVIEW_APP = Kind(GROUP, "v1", "ReviewApp")
PR = Kind(GROUP, "v1", "PR")
NAMESPACE = Kind("", "v1", "Namespace")
POD = Kind("", "v1", "Pod")
SERVICE = Kind("", "v1", "Service")
CONFIG_MAP = Kind("", "v1", "ConfigMap")
SECRET = Kind("", "v1", "Secret")
MUTATING_WEBHOOKS = Kind("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration")
VALIDATING_WEBHOOKS = Kind("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
EVENT = Kind("", "v1", "Event")
DEPLOYMENT = Kind("apps", "v1", "Deployment")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet")
DAEMON_SET = Kind("apps", "v1", "DaemonSet")
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision")
JOB = Kind("batch", "v1", "Job")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice")


def get(value: Json, *path: str | int) -> Json:
    """The value at ``path``, or None where any step is missing or of another type."""
    for step in path:
        # dict and list stand first because asking an abstract class takes ten times as long, and this is asked a lot.
        if isinstance(step, str) and isinstance(value, (dict, Mapping)):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, (list, Sequence)) and not isinstance(value, str):
            value = value[step] if -len(value) <= step < len(value) else None
        else:
            return None
    return value


def text(value: Json, *path: str | int) -> str:
    """The string at ``path``, or ``""``."""
    found = get(value, *path)
    return found if isinstance(found, str) else ""


def number(value: Json, *path: str | int, default: int = 0) -> int:
    """The integer at ``path``, or ``default``."""
    found = get(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def table(value: Json, *path: str | int) -> Mapping[str, Json]:
    """The mapping at ``path``, or an empty one."""
    found = get(value, *path)
    return found if isinstance(found, (dict, Mapping)) else {}


def items(value: Json, *path: str | int) -> Sequence[Json]:
    """The list at ``path``, or an empty one."""
    found = get(value, *path)
    return found if isinstance(found, (list, Sequence)) and not isinstance(found, str) else ()


def kind_of(manifest: Manifest) -> Kind:
    return Kind.of(text(manifest, "apiVersion"), text(manifest, "kind"))


def ref_of(manifest: Manifest) -> Ref:
    return Ref(kind_of(manifest), text(manifest, "metadata", "namespace"), text(manifest, "metadata", "name"))


def name_of(manifest: Manifest) -> str:
    return text(manifest, "metadata", "name")


def uid_of(manifest: Manifest) -> str:
    return text(manifest, "metadata", "uid")


def version_of(manifest: Manifest) -> str:
    """Its resource version."""
    return text(manifest, "metadata", "resourceVersion")


def labels_of(manifest: Manifest) -> dict[str, str]:
    return {k: v for k, v in table(manifest, "metadata", "labels").items() if isinstance(v, str)}


def annotations_of(manifest: Manifest) -> dict[str, str]:
    return {k: v for k, v in table(manifest, "metadata", "annotations").items() if isinstance(v, str)}


def is_deleting(manifest: Manifest) -> bool:
    return bool(text(manifest, "metadata", "deletionTimestamp"))


def owner_reference(owner: Manifest) -> dict[str, Json]:
    """The controller owner reference that names ``owner``, an object read from the cluster (it needs a UID)."""
    return {
        "apiVersion": text(owner, "apiVersion"),
        "kind": text(owner, "kind"),
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(manifest: Manifest) -> Mapping[str, Json]:
    """The owner reference marked ``controller``, or an empty mapping."""
    for reference in items(manifest, "metadata", "ownerReferences"):
        if get(reference, "controller") is True and isinstance(reference, Mapping):
            return reference
    return {}


def condition_of(manifest: Manifest, condition_type: str) -> Mapping[str, Json]:
    """The status condition of that type, or an empty mapping."""
    for condition in items(manifest, "status", "conditions"):
        if text(condition, "type") == condition_type and isinstance(condition, Mapping):
            return condition
    return {}


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes and GitHub write it: RFC 3339, in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label of an equality selector is present. An empty selector selects everything."""
    return all(labels.get(key) == value for key, value in selector.items())

"""How lists merge in server-side apply: which are associative, and by which keys.

Taken from ``x-kubernetes-list-type`` and ``x-kubernetes-list-map-keys`` in Kubernetes' OpenAPI document, for the kinds
that Greenroom meets. Every other list is atomic: it is replaced, and owned, as a whole. So are all lists of custom
resources outside ``metadata``, whose definitions the one-machine cluster does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenroom.model.manifest import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    SERVICE,
    Json,
    Kind,
)

MEMBER = ""
"""The merge key of a set: an item is its own key."""

KEY_DEFAULTS: Mapping[str, Json] = {"protocol": "TCP"}
"""What a merge key is when the item does not give it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What is known of a value: its fields, and if it is an associative list its merge keys and its items' fields.

    Of ``forgiving`` lists an item may be given twice, and the last one counts (see ``adapters.kube_forgiven``).
    """

    fields: Mapping[str, Schema] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    forgiving: bool = False


ATOMIC = Schema()


def _keyed(*keys: str, **fields: Schema) -> Schema:
    return Schema(fields, keys)


def _forgiving(*keys: str) -> Schema:
    return Schema(keys=keys, forgiving=True)


def _object(**fields: Schema) -> Schema:
    return Schema(fields)


_SET = _keyed(MEMBER)
_METADATA = _object(finalizers=_SET, ownerReferences=_keyed("uid"))
_CONTAINERS = _keyed(
    "name",
    env=_forgiving("name"),
    ports=_forgiving("containerPort", "protocol"),
    resources=_object(claims=_keyed("name")),
    volumeDevices=_keyed("devicePath"),
    volumeMounts=_keyed("mountPath"),
)
_POD_SPEC = _object(
    containers=_CONTAINERS,
    ephemeralContainers=_CONTAINERS,
    hostAliases=_keyed("ip"),
    imagePullSecrets=_forgiving("name"),
    initContainers=_CONTAINERS,
    resourceClaims=_keyed("name"),
    schedulingGates=_keyed("name"),
    topologySpreadConstraints=_keyed("topologyKey", "whenUnsatisfiable"),
    volumes=_keyed("name"),
)
_TEMPLATE = _object(metadata=_METADATA, spec=_POD_SPEC)
_WORKLOAD = _object(metadata=_METADATA, spec=_object(template=_TEMPLATE))
_CUSTOM = _object(metadata=_METADATA)

_SCHEMAS: Mapping[Kind, Schema] = {
    POD: _object(metadata=_METADATA, spec=_POD_SPEC),
    DEPLOYMENT: _WORKLOAD,
    REPLICA_SET: _WORKLOAD,
    Kind("apps", "v1", "StatefulSet"): _WORKLOAD,
    Kind("apps", "v1", "DaemonSet"): _WORKLOAD,
    Kind("batch", "v1", "Job"): _WORKLOAD,
    Kind("batch", "v1", "CronJob"): _object(
        metadata=_METADATA, spec=_object(jobTemplate=_object(metadata=_METADATA, spec=_object(template=_TEMPLATE)))
    ),
    SERVICE: _object(metadata=_METADATA, spec=_object(ports=_keyed("port", "protocol"))),
    Kind("", "v1", "ServiceAccount"): _object(metadata=_METADATA, secrets=_keyed("name")),
}


def schema_of(kind: Kind) -> Schema:
    return _SCHEMAS.get(kind, _CUSTOM)

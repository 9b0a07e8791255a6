"""The document in which an API server says what it serves, as plain data for ``api.server``.

It is Kubernetes' aggregated discovery (v2, since 1.30): all groups, their versions and kinds at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from greenroom.model.manifest import Json
from greenroom.model.watch import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_VERBS = ("delete", "get", "list", "patch", "watch")


def aggregated(resources: Iterable[Resource]) -> dict[str, Json]:
    """The ``APIGroupDiscoveryList`` of these resources."""
    return {
        "apiVersion": "apidiscovery.k8s.io/v2",
        "kind": "APIGroupDiscoveryList",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group},
                "versions": [
                    {"version": version, "freshness": "Current", "resources": [_aggregated(one) for one in served]}
                    for version, served in versions
                ],
            }
            for group, versions in _grouped(resources)
        ],
    }


def _aggregated(resource: Resource) -> Json:
    kind = resource.kind
    return {
        "resource": resource.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.name},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.name.lower(),
        "verbs": _VERBS,
        "shortNames": resource.short_names,
    }


def _grouped(resources: Iterable[Resource]) -> list[tuple[str, list[tuple[str, Sequence[Resource]]]]]:
    """By group, and in it by version."""
    ordered = sorted(resources, key=lambda resource: resource.kind)
    return [
        (group, [(version, list(found)) for version, found in groupby(members, lambda one: one.kind.version)])
        for group, members in groupby(ordered, lambda one: one.kind.group)
    ]

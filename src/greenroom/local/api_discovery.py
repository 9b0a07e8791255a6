"""The documents in which an API server says what it serves, as plain data for ``local.api``.

Two forms: aggregated discovery (all groups in one document, Kubernetes 1.30), and the older documents per group and
version that clients fall back to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from greenroom.model.manifest import Json
from greenroom.model.watch import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

VERSION: Mapping[str, Json] = {"major": "1", "minor": "30", "gitVersion": "v1.30.0+greenroom"}
"""The Kubernetes version whose API this is. Clients compare it with their own."""

_VERBS = ("create", "delete", "get", "list", "patch", "watch")


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


def core_versions(resources: Iterable[Resource]) -> dict[str, Json]:
    """The ``APIVersions`` of ``/api``."""
    return {"kind": "APIVersions", "versions": [version for _, found in _grouped(resources) for version, _ in found]}


def groups(resources: Iterable[Resource]) -> dict[str, Json]:
    """The ``APIGroupList`` of ``/apis``."""
    found: list[Json] = []
    for group, versions in _grouped(resources):
        named = [{"groupVersion": f"{group}/{version}", "version": version} for version, _ in versions]
        found.append({"name": group, "versions": named, "preferredVersion": named[0]})
    return {"apiVersion": "v1", "kind": "APIGroupList", "groups": found}


def resource_list(api_version: str, resources: Iterable[Resource]) -> dict[str, Json]:
    """The ``APIResourceList`` of one group and version."""
    return {
        "apiVersion": "v1",
        "kind": "APIResourceList",
        "groupVersion": api_version,
        "resources": [
            {
                "name": resource.plural,
                "singularName": resource.kind.name.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind.name,
                "verbs": _VERBS,
                "shortNames": resource.short_names,
            }
            for resource in resources
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

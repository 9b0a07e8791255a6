"""What an API server says of the kinds that it serves: to ``kubectl explain`` and to ``kubectl get``."""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.adapters.kube_http import ApiServer
from greenroom.model.manifest import GROUP, Json, Kind, Manifest, get, items, table, text

AS_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def custom(kind: Kind, namespace: str, name: str, spec: Json) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": namespace}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


async def schemas(server: ApiServer, api_version: str = f"{GROUP}/v1") -> dict[str, Json]:
    answer = await server.request("GET", f"/openapi/v3/apis/{api_version}")
    return {name.rpartition(".")[2]: schema for name, schema in table(answer, "components", "schemas").items()}


def undescribed(node: Json, path: str) -> Iterator[str]:
    if not text(node, "description"):
        yield path
    for name, below in table(node, "properties").items():
        yield from undescribed(below, f"{path}.{name}")
    if get(node, "items") is not None:
        yield from undescribed(get(node, "items"), f"{path}[]")


async def shown(
    server: ApiServer, namespace: str, plural: str, *, group: str = f"{GROUP}/v1", wide: bool = False
) -> list[list[Json]]:
    """The rows of ``kubectl get``, without the age, which is the last column that is not a wide one."""
    path = f"/apis/{group}/namespaces/{namespace}/{plural}"
    answer = await server.request("GET", path, headers=AS_TABLE)
    columns = items(answer, "columnDefinitions")
    kept = [
        number
        for number, column in enumerate(columns)
        if text(column, "name") != "Age" and (wide or get(column, "priority") == 0)
    ]
    return [[get(row, "cells", number) for number in kept] for row in items(answer, "rows")]

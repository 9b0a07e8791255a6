"""What KubeTempura does to a cluster, request by request, and its CRDs: for tests of moving from it and back.

It creates what is missing. What is there it reads, changes, and writes back whole. So the API server notes everything
in an object as held by its program. The facts are from its sources (``controllers/pr_controller.go``,
``controllers/template_engine.go``, ``github/webhooks.go``) and ``CreateOrUpdate`` of controller-runtime 0.9.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import Conflict, NotFound
from greenroom.model.manifest import (
    GROUP,
    PR,
    REVIEW_APP,
    Json,
    Kind,
    Manifest,
    Ref,
    items,
    owner_reference,
    ref_of,
    table,
    text,
)

MANAGER = "manager"
"""The name of its program, by which the API server knows who wrote."""
TRIES = 5
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


class KubeTempura:
    """As it works in one namespace."""

    def __init__(self, server: ApiServer, cluster: KubeCluster, namespace: str) -> None:
        self._server = server
        self._cluster = cluster
        self._namespace = namespace

    async def install_crds(self) -> None:
        """In the place of those that are there, as ``kubectl replace`` does."""
        for crd in definitions():
            await self._create_or_update(crd, partial(_with_spec, spec=table(crd, "spec")))

    async def opened(self, app: Ref, number: int, commit: str) -> Ref:
        """A pull request was opened, or pushed to. Answers its PR object."""
        owner = owner_reference(await self._cluster.get(app))
        metadata: Manifest = {
            "name": f"{app.name}-pr{number}",
            "namespace": self._namespace,
            "ownerReferences": [owner],
        }
        spec: Manifest = {"parentReviewApp": app.name, "prNumber": str(number), "headCommitRef": commit}
        pr: Manifest = {"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata, "spec": spec}
        await self._create_or_update(pr, partial(_with_spec, spec=spec))
        await self.settle(ref_of(pr))
        return ref_of(pr)

    async def settle(self, ref: Ref) -> None:
        """What it does for a PR object that changed, and for every one when it starts."""
        pr = await self._cluster.get(ref)
        app = await self._cluster.get(Ref(REVIEW_APP, ref.namespace, text(pr, "spec", "parentReviewApp")))
        for resource in items(app, "spec", "resources"):
            wanted = _rendered(resource, pr)
            await self._create_or_update(wanted, partial(_merged, wanted))

    async def _create_or_update(self, wanted: Manifest, changed: Callable[[Manifest], Manifest]) -> None:
        """Again when a controller wrote in between; KubeTempura would log that and wait for the next push."""
        for _ in range(TRIES - 1):
            try:
                return await self._create_or_update_once(wanted, changed)
            except Conflict:
                continue
        return await self._create_or_update_once(wanted, changed)

    async def _create_or_update_once(self, wanted: Manifest, changed: Callable[[Manifest], Manifest]) -> None:
        collection, ref = await self._collection(wanted), ref_of(wanted)
        try:
            present = await self._server.request("GET", f"{collection}/{ref.name}")
        except NotFound:
            await self._server.request("POST", collection, params={"fieldManager": MANAGER}, body=wanted)
            return
        after = changed(present)
        if after != present:
            await self._server.request("PUT", f"{collection}/{ref.name}", params={"fieldManager": MANAGER}, body=after)

    async def _collection(self, manifest: Manifest) -> str:
        ref = ref_of(manifest)
        root = f"/apis/{ref.kind.api_version}" if ref.kind.group else f"/api/{ref.kind.version}"
        namespace = f"/namespaces/{ref.namespace}" if ref.namespace else ""
        return f"{root}{namespace}/{(await self._cluster.resource(ref.kind)).plural}"


def _with_spec(present: Manifest, spec: Json) -> Manifest:
    return {**present, "spec": spec}


def _merged(rendered: Manifest, present: Manifest) -> Manifest:
    """Field by field of ``metadata`` and ``spec``, each as a whole. Nothing that it once wrote is taken away."""
    merged = {field: {**table(present, field), **table(rendered, field)} for field in ("metadata", "spec")}
    return {**present, **merged}


def _rendered(resource: Json, pr: Manifest) -> Manifest:
    """With the PR object's variables in a Deployment's containers, and the placeholders filled in."""
    found: Any = json.loads(json.dumps(resource))
    variables: list[Any] = [*items(pr, "spec", "envVars")]
    if found["kind"] == "Deployment" and variables:
        for container in found["spec"]["template"]["spec"]["containers"]:
            new = {each["name"] for each in variables}
            container["env"] = [each for each in container.get("env", []) if each["name"] not in new] + variables
    filled_in = json.dumps(found)
    for name, field in (("PR_NUMBER", "prNumber"), ("COMMIT_REF", "headCommitRef")):
        filled_in = filled_in.replace(f"{{{{{name}}}}}", text(pr, "spec", field))
    rendered: dict[str, Any] = json.loads(filled_in)
    rendered["metadata"] |= {"namespace": ref_of(pr).namespace, "ownerReferences": [owner_reference(pr)]}
    return rendered


def definitions() -> list[Manifest]:
    """Its CRDs: the same kinds, names and required fields. The status is an object of no fields, so none are kept."""
    variable: Json = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "value": _TEXT}}
    pr: Manifest = {
        "parentReviewApp": _TEXT,
        "prNumber": _TEXT,
        "headCommitRef": _TEXT,
        "envVars": {"type": "array", "items": variable, **_OPEN},
    }
    review_app: Manifest = {
        "githubRepository": {**_TEXT, "minLength": 1},
        "resources": {"type": "array", "items": {"type": "object"}, **_OPEN},
    }
    return [
        _definition(REVIEW_APP, "reviewapps", review_app, required=["githubRepository", "resources"]),
        _definition(PR, "prs", pr, required=["headCommitRef", "parentReviewApp", "prNumber"]),
    ]


_TEXT: dict[str, Json] = {"type": "string"}
_OPEN: dict[str, Json] = {"x-kubernetes-preserve-unknown-fields": True}


def _definition(kind: Kind, plural: str, fields: Json, *, required: list[Json]) -> Manifest:
    spec: Json = {"type": "object", "properties": fields, "required": required}
    schema: Json = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    version: Json = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    names: Json = {"kind": kind.name, "listKind": f"{kind.name}List", "plural": plural, "singular": kind.name.lower()}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.name,
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }

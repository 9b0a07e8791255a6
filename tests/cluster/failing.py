"""What tests of the operator share: objects that are ready as soon as they are applied, and the way through a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import Installation
from tests.cluster.proxy import Proxy
from tests.contract.suite import MANAGER, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import CONFIG_MAP, PR, Json, Kind, Manifest, Ref, condition_of, ref_of
from greenroom.model.mesh import GATEWAY_ROUTE

NAME = "pr{{PR_NUMBER}}"

LOOKED = 'greenroom_controller_reconcile_total{controller="environments",result="requeue_after"}'
"""How often an environment was looked at and found as it should be."""

RETRIES = 'greenroom_workqueue_retries_total{name="environments"}'


def made(kind: Kind, name: str, namespace: str = "", **fields: Json) -> Manifest:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **fields}


@asynccontextmanager
async def applied(cluster: KubeCluster, *manifests: Manifest) -> AsyncIterator[None]:
    """A block in which there are these objects."""
    async with AsyncExitStack() as stack:
        for manifest in manifests:
            await cluster.apply(manifest, manager=MANAGER)
            stack.push_async_callback(cluster.delete, ref_of(manifest))
        yield


def config_map(name: str = NAME) -> Manifest:
    """Every write of it is one that Greenroom does for an environment."""
    return made(CONFIG_MAP, name, data={"commit": "{{COMMIT_REF}}"})


def gateway_route() -> Manifest:
    """It gives an environment its URL."""
    match: Json = {"prefix": "/", "hostname": {"exact": f"{NAME}.example.com"}}
    target: Json = {"virtualService": {"virtualServiceRef": {"name": NAME}}}
    return made(GATEWAY_ROUTE, NAME, spec={"httpRoute": {"match": match, "action": {"target": target}}})


def installation(
    cluster: KubeCluster,
    namespace: str,
    folder: Path,
    kubernetes: Kubernetes,
    *,
    proxy: Proxy | None = None,
    impersonate: str = "",
    lease_namespace: str = "",
) -> Installation:
    """One whose replicas reach the API server by way of ``proxy``, in the name of ``impersonate``.

    The lease is in ``lease_namespace``, by default in that of the environments.
    """
    folder.mkdir(exist_ok=True)
    made = Installation(cluster, namespace, folder, kubernetes)
    file = folder / "kubeconfig"
    config = yaml.safe_load(file.read_text())
    if proxy is not None:
        config["clusters"][0]["cluster"]["server"] = proxy.connection.server
    if impersonate:
        config["users"][0]["user"]["as"] = impersonate
    if lease_namespace:
        config["contexts"][0]["context"]["namespace"] = lease_namespace
    file.write_text(yaml.safe_dump(config))
    return made


async def shown(installed: Installation, commit: str, *numbers: int) -> bool:
    return all([await installed.shows(number, commit) for number in numbers])


async def ready(installed: Installation, number: int) -> Mapping[str, Json]:
    """The condition of a pull request's environment; nothing while there is none."""
    ref = Ref(PR, installed.namespace, f"shop-pr{number}")
    return condition_of(await installed.cluster.get(ref), "Ready") if await exists(installed.cluster, ref) else {}

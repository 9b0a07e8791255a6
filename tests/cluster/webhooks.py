"""Greenroom's admission webhooks under the API server of a test: the program's own parts, at an address of this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml
from aiohttp import web
from tests.cluster.kubernetes import MANAGER

from greenroom.adapters.certificates import X509Mint
from greenroom.core.bootstrap import ControlPlane
from greenroom.core.injection import Injection
from greenroom.flows.admission import PodAdmission
from greenroom.flows.certificates import Certificates
from greenroom.model.manifest import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, Json, Kind, Manifest, Ref, ref_of
from greenroom.model.mesh import GROUP
from greenroom.ports import Cluster
from greenroom.web.admission import make_app
from greenroom.web.tls import ServerTls

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example.com/envoy:v1.40.0"
KINDS = ("gatewayroutes", "meshes", "virtualgateways", "virtualnodes", "virtualrouters", "virtualservices")


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Webhooks:
    """What serves them, and the names of their configurations."""

    def __init__(self, certificates: Certificates, runner: web.AppRunner, refs: tuple[Ref, ...]) -> None:
        self.certificates = certificates
        self.refs = refs
        self._runner = runner

    async def stop(self) -> None:
        """From now on nobody answers."""
        await self._runner.cleanup()


@asynccontextmanager
async def serving(cluster: Cluster, namespace: str) -> AsyncIterator[Webhooks]:
    """They answer for ``namespace`` only, where their certificates are, too."""
    tls = ServerTls()
    pods = PodAdmission(cluster, Injection(IMAGE, ControlPlane("greenroom.greenroom.svc", 18000)))
    runner = web.AppRunner(make_app(pods.review), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    configurations = [
        _configuration(MUTATING_WEBHOOKS, namespace, _pods(url, namespace)),
        _configuration(VALIDATING_WEBHOOKS, namespace, [_appmesh(url, namespace)]),
    ]
    refs = tuple(map(ref_of, configurations))
    certificates = Certificates(
        cluster, SystemClock(), X509Mint(), namespace=namespace, names=["localhost"], webhooks=refs
    )
    certificates.subscribe(lambda identity: tls.show(identity.server))
    try:
        for configuration in configurations:
            await cluster.apply(configuration, manager=MANAGER)
        await certificates.keep()
        yield Webhooks(certificates, runner, refs)
    finally:
        for ref in refs:
            await cluster.delete(ref)
        await runner.cleanup()


def _configuration(kind: Kind, namespace: str, webhooks: list[Json]) -> Manifest:
    metadata: Json = {"name": f"greenroom-{namespace}"}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "webhooks": webhooks}


def _pods(url: str, namespace: str) -> list[Json]:
    """The chart's own, asked here and for the pods of this namespace only."""
    everything = yaml.safe_load_all((ROOT / "deploy" / "greenroom.yaml").read_text())
    found = next(each for each in everything if each["kind"] == MUTATING_WEBHOOKS.name)["webhooks"]
    for webhook in found:
        webhook["clientConfig"] = {"url": f"{url}/mutate-pods"}
        webhook["namespaceSelector"]["matchLabels"] |= _only(namespace)
    made: list[Json] = found
    return made


def _appmesh(url: str, namespace: str) -> Json:
    return {
        "name": "appmesh.greenroom.dev",
        "clientConfig": {"url": f"{url}/validate-appmesh"},
        "rules": [_rule(GROUP, "v1beta2", KINDS, ["CREATE", "UPDATE"])],
        "namespaceSelector": {"matchLabels": _only(namespace)},
        "failurePolicy": "Ignore",
        "timeoutSeconds": 2,
        **_USUAL,
    }


_USUAL: dict[str, Json] = {"sideEffects": "None", "admissionReviewVersions": ["v1"]}


def _rule(group: str, version: str, resources: Json, operations: Json) -> Json:
    return {"apiGroups": [group], "apiVersions": [version], "resources": resources, "operations": operations}


def _only(namespace: str) -> dict[str, Json]:
    return {"kubernetes.io/metadata.name": namespace}

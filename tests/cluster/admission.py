"""An admission webhook that the API server asks before it writes: a test holds a write half-way, or makes it fail."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from tests.contract.suite import MANAGER, config_map, eventually

from greenroom.model.manifest import Json, Kind, Manifest, ref_of, text
from greenroom.ports import Cluster

WEBHOOKS = Kind("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
PROBE = "asked"


class Admission:
    """Lets every ConfigMap pass but the one called ``name``: that is for ``decides``, and after a no fails with 500."""

    def __init__(self, name: str, decides: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._decides = decides
        self._asked: set[str] = set()

    async def has_asked(self, name: str) -> bool:
        return name in self._asked

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        name = text(review, "request", "name")
        self._asked.add(name)
        if name == self._name and not await self._decides():
            return web.Response(status=500, text="out of order")
        allowed: Json = {"uid": text(review, "request", "uid"), "allowed": True}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": allowed})


@dataclass(frozen=True, slots=True)
class Held:
    """A write that waits in the API server."""

    name: str
    admission: Admission
    may_go: asyncio.Event

    async def waits(self) -> bool:
        return await self.admission.has_asked(self.name)

    def let_go(self) -> None:
        self.may_go.set()


@asynccontextmanager
async def holding(cluster: Cluster, namespace: str, folder: Path, name: str) -> AsyncIterator[Held]:
    """A block in which each write of this ConfigMap waits until it is let go; the API server gives up after 30 s."""
    may_go = asyncio.Event()
    admission = Admission(name, may_go.wait)
    async with _registered(cluster, namespace, folder, admission):
        try:
            yield Held(name, admission, may_go)
        finally:
            may_go.set()


@asynccontextmanager
async def failing(cluster: Cluster, namespace: str, folder: Path, name: str) -> AsyncIterator[None]:
    """A block in which the API server answers 500 to each write of this ConfigMap."""

    async def never() -> bool:
        return False

    async with _registered(cluster, namespace, folder, Admission(name, never)):
        yield


@asynccontextmanager
async def _registered(cluster: Cluster, namespace: str, folder: Path, admission: Admission) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/", admission.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    authority, context = await asyncio.to_thread(_certificate, folder)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    webhook = _webhook(namespace, f"https://127.0.0.1:{runner.addresses[0][1]}/", authority)
    try:
        await cluster.apply(webhook, manager=MANAGER)
        await eventually("the API server asks", lambda: _is_asked(cluster, namespace, admission))
        yield
    finally:
        await cluster.delete(ref_of(webhook))
        await runner.cleanup()


async def _is_asked(cluster: Cluster, namespace: str, admission: Admission) -> bool:
    """The API server learns of a new webhook after a moment."""
    await cluster.apply(config_map(namespace, PROBE), manager=MANAGER)
    return await admission.has_asked(PROBE)


def _webhook(namespace: str, url: str, authority: bytes) -> Manifest:
    rule: Manifest = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
    }
    webhook: Manifest = {
        "name": "half-way.example.com",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "timeoutSeconds": 30,
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": WEBHOOKS.api_version,
        "kind": WEBHOOKS.name,
        "metadata": {"name": f"half-way-{namespace}"},
        "webhooks": [webhook],
    }


def _certificate(folder: Path) -> tuple[bytes, ssl.SSLContext]:
    """Of 127.0.0.1, signed by itself."""
    certificate, key = folder / "admission.crt", folder / "admission.key"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", *new_key, *subject, "-keyout", key, "-out", certificate)
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return certificate.read_bytes(), context

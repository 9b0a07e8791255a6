"""A Kubernetes control plane to measure on, a new namespace for each run, and the operator as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import yaml
from tests.cluster.kubernetes import Kubernetes

from greenroom.adapters.kube import KubeCluster
from greenroom.app.forge import Webhook
from greenroom.model.errors import NotFound
from greenroom.model.manifest import NAMESPACE, Manifest, Ref

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "tests" / "data" / "published" / "reviewapp.yaml"
REPOSITORY = "https://github.com/acme/shop"
ACCOUNT = "pr-env-app"
"""The ServiceAccount that the template's pods run as."""
MANAGER = "bench"
PROGRAMS = ("kube-apiserver", "etcd", "kube-controller-manager")
DEADLINE = 120.0
"""Seconds for what must happen sooner or later."""

_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """A line of a Prometheus page."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Site:
    """The control plane. ``cluster`` is a client that may do everything."""

    kubernetes: Kubernetes
    cluster: KubeCluster
    folder: Path

    @asynccontextmanager
    async def namespace(self) -> AsyncIterator[Manifest]:
        """The published ReviewApp in a namespace of its own, with the account that its pods need.

        Afterwards all of it is gone, from the controllers' work too.
        """
        name = f"bench-{secrets.token_hex(4)}"
        ref = Ref(NAMESPACE, "", name)
        metadata: Manifest = {"namespace": name}
        await self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, manager=MANAGER)
        account: Manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "name": ACCOUNT}}
        await self.cluster.apply(account, manager=MANAGER)
        template = yaml.safe_load(TEMPLATE.read_text())
        app = {
            **template,
            "metadata": {**template["metadata"], **metadata},
            "spec": {**template["spec"], "githubRepository": REPOSITORY},
        }
        try:
            yield await self.cluster.apply(app, manager=MANAGER)
        finally:
            await self.cluster.delete(ref)
            await until(lambda: self._is_gone(ref))

    @asynccontextmanager
    async def operator(self, namespace: str) -> AsyncIterator[Operator]:
        """``greenroom serve`` for one namespace, once it leads."""
        config = yaml.safe_load(self.kubernetes.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        kubeconfig, secret = self.folder / f"{namespace}.kubeconfig", secrets.token_hex(16)
        kubeconfig.write_text(yaml.safe_dump(config))
        webhook, metrics, health = _free_ports(3)
        log_file = self.folder / f"{secrets.token_hex(4)}.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "greenroom.cli", "serve", "--kubeconfig", str(kubeconfig)),
                *("--namespace", namespace, "--address", "127.0.0.1", "--webhook-port", str(webhook)),
                *("--metrics-port", str(metrics), "--health-port", str(health)),
                env={**os.environ, "GREENROOM_WEBHOOK_SECRET": secret},
                stdout=log,
                stderr=log,
            )
        url = f"http://127.0.0.1:{webhook}/webhooks"
        operator = Operator(Webhook(url, secret.encode()), process, metrics, log_file)
        try:
            await until(operator.leads)
            yield operator
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def metrics(self) -> list[Sample]:
        """The API server's."""
        connection = self.kubernetes.admin
        credential = await connection.credentials.current()
        context = ssl.create_default_context(cadata=connection.authority)
        headers = {"Authorization": f"Bearer {credential.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{connection.server}/metrics", ssl=context) as answer,
        ):
            return parse(await answer.text())

    async def _is_gone(self, ref: Ref) -> bool:
        try:
            await self.cluster.get(ref)
        except NotFound:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Operator:
    """A running ``greenroom serve``."""

    webhook: Webhook
    process: asyncio.subprocess.Process
    metrics_port: int
    log: Path

    async def leads(self) -> bool:
        if self.process.returncode is not None:
            raise RuntimeError(f"the operator ended:\n{self.log.read_text()[-3000:]}")
        return any(sample.name == "greenroom_leader" and sample.value == 1 for sample in await self.metrics())

    async def metrics(self) -> list[Sample]:
        """Nothing while it does not answer yet."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer,
            ):
                return parse(await answer.text())
        except aiohttp.ClientConnectionError:
            return []


@asynccontextmanager
async def site(kubernetes: Kubernetes, folder: Path) -> AsyncIterator[Site]:
    """``folder`` is for the operator's files."""
    async with KubeCluster(kubernetes.admin) as cluster:
        yield Site(kubernetes, cluster, folder)


def parse(page: str) -> list[Sample]:
    return [Sample(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])) for match in _SAMPLE.finditer(page)]


def cpu_seconds() -> dict[str, float]:
    """What each program of the control plane, the operator, and this program, have used so far."""
    used: dict[str, float] = {}
    own = psutil.Process()
    for process in (own, *own.children()):
        times = process.cpu_times()
        name = "bench" if process == own else process.name()
        used[name if name in (*PROGRAMS, "bench") else "operator"] = times.user + times.system
    return used


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in listening]
    finally:
        for each in listening:
            each.close()

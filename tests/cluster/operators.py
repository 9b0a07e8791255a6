"""``greenroom serve`` as processes of this machine, against a real API server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import msgspec
import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.programs import END_WITH_US
from tests.contract.suite import MANAGER, eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.app.forge import Webhook
from greenroom.local.forge import payload
from greenroom.model.manifest import (
    CONFIG_MAP,
    EVENT,
    PR,
    REVIEW_APP,
    Json,
    Manifest,
    Ref,
    condition_of,
    ref_of,
    text,
    version_of,
)
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.runtime.leader import LEASE

SECRET = "a secret of this test"
A, B = "a" * 40, "b" * 40


async def deliver(server: str, repository: str, action: str, number: int, head: str, minute: int) -> None:
    """Send a webhook to the operator at ``server``. Raises GreenroomError when it is not answered with 2xx."""
    content = payload(
        action,
        html_url=repository,
        number=number,
        title="a title",
        branch="a-branch",
        head=head,
        state="closed" if action == "closed" else "open",
        updated_at=f"2026-01-31T12:{minute:02}:00Z",
        before="",
    )
    await Webhook(f"{server}/webhooks", SECRET.encode()).deliver("pull_request", msgspec.json.encode(content))


class Replica:
    """A process of the operator."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Mapping[str, int], log: Path) -> None:
        self.process = process
        self._ports = ports
        self._log = log

    async def deliver(self, repository: str, action: str, number: int, head: str, minute: int) -> None:
        """Send a webhook. Raises GreenroomError when it is not answered with 2xx."""
        await deliver(f"http://127.0.0.1:{self._ports['webhook']}", repository, action, number, head, minute)

    async def send(self, event: str, payload: bytes) -> None:
        """Send a webhook. Raises GreenroomError when it is not answered with 2xx."""
        await Webhook(f"http://127.0.0.1:{self._ports['webhook']}/webhooks", SECRET.encode()).deliver(event, payload)

    async def probe(self, path: str) -> int:
        return (await self._get("health", path))[0]

    async def is_ready(self) -> bool:
        return await self.probe("/readyz") == 200

    async def leads(self) -> bool:
        return await self.metric("greenroom_leader") == 1

    async def metric(self, series: str) -> float:
        """The value of a series, as ``name{label="value"}``; 0 when there is none yet."""
        _, page = await self._get("metrics", "/metrics")
        found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def environment_writes(self) -> float:
        """Writes of the leader's: to the objects of environments."""
        series = (
            f'greenroom_api_writes_total{{kind="{kind}",result="ok",verb="apply"}}' for kind in (CONFIG_MAP, EVENT)
        )
        return sum([await self.metric(each) for each in series])

    async def end(self, how: signal.Signals) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.process.wait()

    def said(self) -> list[Mapping[str, Json]]:
        return [msgspec.json.decode(line, type=dict) for line in self._log.read_bytes().splitlines()]

    async def _get(self, port: str, path: str) -> tuple[int, str]:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self._ports[port]}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""


class Installation:
    """A namespace with a ReviewApp, its lease, and the operator's replicas.

    They act as ``account``, a ServiceAccount of the namespace, or else as somebody who may do everything. They serve
    VirtualGateways when there is an installation's name, a ``release``.
    """

    def __init__(
        self,
        cluster: KubeCluster,
        namespace: str,
        folder: Path,
        kubernetes: Kubernetes,
        *,
        account: str = "",
        release: str = "",
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.repository = f"https://github.com/acme/{namespace}"
        self._folder = folder
        self._gateways = ("--gateways", release, "--envoy-image", "envoy") if release else ()
        config = yaml.safe_load(kubernetes.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        if account:
            config["users"][0]["user"]["as"] = f"system:serviceaccount:{namespace}:{account}"
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(yaml.safe_dump(config))
        self._secret = folder / "secret"
        self._secret.write_text(f"{SECRET}\n")

    async def template(self, *resources: Json) -> None:
        metadata: Json = {"name": "shop", "namespace": self.namespace}
        spec: Json = {"githubRepository": self.repository, "resources": resources}
        app: Manifest = {
            "apiVersion": REVIEW_APP.api_version,
            "kind": REVIEW_APP.name,
            "metadata": metadata,
            "spec": spec,
        }
        await self.cluster.apply(app, manager=MANAGER)

    @asynccontextmanager
    async def replica(self, *options: str, ready: bool = True, ads_port: int = 0) -> AsyncIterator[Replica]:
        """Envoys find it at ``ads_port``; ``options`` are further ones of the command."""
        ports = dict(zip(("webhook", "metrics", "health", "admission"), free_ports(4), strict=True))
        ports["ads"] = ads_port
        log = self._folder / f"{uuid4()}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*END_WITH_US, ".venv/bin/greenroom", "serve", "--kubeconfig", str(self._kubeconfig)),
                *("--namespace", self.namespace, "--webhook-secret-file", str(self._secret)),
                *("--address", "127.0.0.1"),
                *self._gateways,
                *options,
                *(f"--{name}-port={port}" for name, port in ports.items()),
                stdout=output,
                stderr=output,
            )
        replica = Replica(process, ports, log)
        try:
            if ready:
                await eventually("the replica is ready", replica.is_ready)
            yield replica
        finally:
            await replica.end(signal.SIGKILL)

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Replica, Replica]]:
        """The replica that leads, and the other one."""
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(self.replica())
            await eventually("the first leads", one.leads)
            yield one, await stack.enter_async_context(self.replica())

    async def shows(self, number: int, commit: str = A) -> bool:
        """Whether the environment is ready, with this commit."""
        ref = Ref(PR, self.namespace, f"shop-pr{number}")
        if not await exists(self.cluster, ref):
            return False
        pr = await self.cluster.get(ref)
        return text(condition_of(pr, "Ready"), "status") == "True" and text(pr, "status", "commit") == commit

    async def told(self, reason: str) -> bool:
        """Whether there is an Event of this reason, which comes after the status that it tells of."""
        events = (await self.cluster.list(EVENT, namespace=self.namespace)).items
        return any(text(event, "reason") == reason for event in events)

    async def versions(self) -> dict[Ref, str]:
        """Of everything that the operator writes, but its lease."""
        found: dict[Ref, str] = {}
        for kind in (PR, REVIEW_APP, CONFIG_MAP, GATEWAY_ROUTE, EVENT):
            for item in (await self.cluster.list(kind, namespace=self.namespace)).items:
                found[ref_of(item)] = version_of(item)
        return found

    async def holder(self) -> str:
        return text(await self.cluster.get(Ref(LEASE, self.namespace, "greenroom")), "spec", "holderIdentity")


def free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in listening]
    finally:
        for each in listening:
            each.close()

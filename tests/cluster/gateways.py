"""A gateway where no pod runs: its Envoy is a process of this machine, and so is what stands behind its routes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import ClientError, ClientSession, web
from tests.cluster.failing import made
from tests.cluster.operators import free_ports
from tests.contract.suite import MANAGER, eventually, exists
from tests.gateway.mounted import Mounted

from greenroom.adapters.kube import KubeCluster
from greenroom.core.bootstrap import READY_PATH, ControlPlane, bootstrap
from greenroom.core.certificates import CERTIFICATE, KEY, TRUST, Pair, content
from greenroom.core.endpoints import SERVICE_LABEL
from greenroom.core.gateway_names import gateway_secret, node_cluster
from greenroom.local.envoy_process import EnvoyProcess, envoy_binary
from greenroom.model.manifest import (
    ENDPOINT_SLICE,
    NAMESPACE,
    SERVICE,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    ref_of,
    text,
)
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE

RELEASE = "greenroom"
GATEWAY = "ingress-gw"
ADDRESS = "127.0.0.1"
BACKEND = "x-backend"
ASKED_IN_VAIN = "cluster_manager.cds.update_failure"


class Answer(NamedTuple):
    """``backend`` is the port of who answered, 0 when that was Envoy. The status is 0 when nobody answered."""

    status: int
    backend: int = 0


NOBODY, NOT_FOUND = Answer(0), Answer(404)


class Condition(NamedTuple):
    status: str
    reason: str
    message: str


@asynccontextmanager
async def backends(count: int, address: str = ADDRESS) -> AsyncIterator[list[int]]:
    """The ports of as many applications. Each tells its port."""

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(headers={BACKEND: str(request.transport.get_extra_info("sockname")[1])})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for _ in range(count):
            await web.TCPSite(runner, address, 0).start()
        yield [int(address[1]) for address in runner.addresses]
    finally:
        await runner.cleanup()


class Stage:
    """A namespace in a mesh of its own, with a VirtualGateway that listens on ``port`` of this machine."""

    def __init__(self, cluster: KubeCluster, namespace: str, port: int) -> None:
        self.cluster, self.namespace, self.port = cluster, namespace, port

    @asynccontextmanager
    async def set(self) -> AsyncIterator[Stage]:
        labels: Json = {"mesh": self.namespace}
        labelled: Manifest = {"metadata": {"name": self.namespace, "labels": labels}}
        selected: Json = {"namespaceSelector": {"matchLabels": labels}}
        mesh = made(MESH, self.namespace, spec=selected)
        await self.cluster.apply({**made(NAMESPACE, self.namespace), **labelled}, manager=MANAGER)
        await self.cluster.apply(mesh, manager=MANAGER)
        await self.put(self.gateway())
        try:
            yield self
        finally:
            await self.cluster.delete(ref_of(mesh))

    def gateway(self, **spec: Json) -> Manifest:
        """The VirtualGateway, with something more in its spec."""
        usual: dict[str, Json] = {
            "namespaceSelector": {"matchLabels": {"mesh": self.namespace}},
            "podSelector": {"matchLabels": {"app": GATEWAY}},
            "listeners": [{"portMapping": {"port": self.port, "protocol": "http"}}],
        }
        return made(VIRTUAL_GATEWAY, GATEWAY, self.namespace, spec=usual | spec)

    async def put(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            await self.cluster.apply(manifest, manager=MANAGER)

    async def show(self, hosts: Mapping[str, int]) -> None:
        """Routes for hosts, by name, each to the backend at a port."""
        for name, port in hosts.items():
            await self.put(*self._behind(name, port), self.route(name))

    async def show_services(self, hosts: Mapping[str, int], *, address: str) -> None:
        """The same, as environments have it: each behind a Service with an EndpointSlice."""
        for name, port in hosts.items():
            node, service = self._behind(name, 80, f"{name}.{self.namespace}.svc.cluster.local")
            endpoints = behind(name, self.namespace, port, address=address)
            await self.put(*endpoints, node, service, self.route(name))

    async def hide(self, names: Iterable[str], *, services: bool = False) -> None:
        kinds = (GATEWAY_ROUTE, VIRTUAL_SERVICE, VIRTUAL_NODE, *((SERVICE, ENDPOINT_SLICE) if services else ()))
        for name in names:
            for kind in kinds:
                await self.cluster.delete(self._ref(kind, name))

    def route(self, name: str, *, to: str = "", **match: Json) -> Manifest:
        """A GatewayRoute from the host of this name to a VirtualService, by default that of the same name."""
        target: Json = {"virtualService": {"virtualServiceRef": {"name": to or name}}}
        asked: Json = {"hostname": {"exact": host(name)}, **(match or {"prefix": "/"})}
        return made(
            GATEWAY_ROUTE,
            name,
            self.namespace,
            spec={"httpRoute": {"match": asked, "action": {"target": target}}},
        )

    async def condition(self, name: str, kind: Kind = GATEWAY_ROUTE) -> Condition:
        """What is said of whether an object is active."""
        found = condition_of(await self.cluster.get(self._ref(kind, name)), f"{kind.name}Active")
        return Condition(*(text(found, field) for field in Condition._fields))

    async def is_active(self, name: str, kind: Kind = GATEWAY_ROUTE) -> bool:
        return (await self.condition(name, kind)).status == "True"

    async def certificate(self, gateway: str = GATEWAY) -> tuple[Pair, bytes]:
        """What Greenroom made for a gateway, and whom it is to trust."""
        return await certificate(self.cluster, self._ref(VIRTUAL_GATEWAY, gateway))

    def _behind(self, name: str, port: int, hostname: str = ADDRESS) -> tuple[Manifest, Manifest]:
        listener: Json = {"portMapping": {"port": port, "protocol": "http"}}
        node: Json = {"listeners": [listener], "serviceDiscovery": {"dns": {"hostname": hostname}}}
        provider: Json = {"virtualNode": {"virtualNodeRef": {"name": name}}}
        return (
            made(VIRTUAL_NODE, name, self.namespace, spec=node),
            made(VIRTUAL_SERVICE, name, self.namespace, spec={"provider": provider}),
        )

    def _ref(self, kind: Kind, name: str) -> Ref:
        return Ref(kind, self.namespace, name)


async def certificate(cluster: KubeCluster, gateway: Ref) -> tuple[Pair, bytes]:
    """What Greenroom made for a gateway, and whom it is to trust."""
    ref = gateway_secret(gateway)

    async def is_made() -> bool:
        return await exists(cluster, ref) and TRUST in content(await cluster.get(ref))

    await eventually(f"{gateway} has its certificate", is_made)
    data = content(await cluster.get(ref))
    return Pair(data[CERTIFICATE], data[KEY]), data[TRUST]


def own_address() -> str:
    """One that an EndpointSlice may have, of this machine: the API server takes none of 127.0.0.0/8."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("198.51.100.1", 9))  # which sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        address: str = asked.getsockname()[0]
        return address


def behind(name: str, namespace: str, *ports: int, address: str) -> tuple[Manifest, Manifest]:
    """A Service with port 80, and the EndpointSlice with what is behind it."""
    service = made(SERVICE, name, namespace, spec={"ports": [{"port": 80}]})
    slices = made(
        ENDPOINT_SLICE,
        name,
        namespace,
        addressType="IPv4",
        endpoints=[{"addresses": [address]}],
        ports=[{"name": "", "port": port} for port in ports],
    )
    metadata: Json = {"name": name, "namespace": namespace, "labels": {SERVICE_LABEL: name}}
    return service, {**slices, "metadata": metadata}


def host(name: str) -> str:
    return f"{name}.example.com"


class Visits:
    """``many`` who each ask for one host after the other, round and round; ``seen`` counts what they got by name."""

    def __init__(self, envoy: Envoy, names: Sequence[str], many: int) -> None:
        self.seen: Counter[tuple[str, Answer]] = Counter()
        self._envoy, self._names = envoy, names
        self._rounds = [0] * many

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*map(self._run, range(len(self._rounds))))

    async def _run(self, visitor: int) -> None:
        """Not all begin at the same host."""
        first = visitor * len(self._names) // len(self._rounds)
        while True:
            for name in (*self._names[first:], *self._names[:first]):
                self.seen[name, await self._envoy.get(name)] += 1
            self._rounds[visitor] += 1

    async def go_on(self) -> None:
        """Wait until each host was asked for once more by everybody."""
        last = [rounds + 2 for rounds in self._rounds]

        async def are_over() -> bool:
            return all(rounds >= wanted for rounds, wanted in zip(self._rounds, last, strict=True))

        await eventually("everybody was visited", are_over)


class Envoy:
    """That of a gateway, started by ``running`` as in its pod, with the certificate in its volume."""

    def __init__(
        self, gateway: Ref, port: int, folder: Path, control_planes: Sequence[int], session: ClientSession
    ) -> None:
        self._gateway = node_cluster(gateway)
        self._release = ControlPlane(f"{RELEASE}-ads.{gateway.namespace}.svc", 0)
        self._port, (self._ready_port,) = port, free_ports(1)
        self._folder, self._control_planes, self._session = folder, control_planes, session
        self._mounted = Mounted(folder / "tls")

    def mount(self, pair: Pair, trust: bytes) -> None:
        self._mounted.put(pair, trust)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        env = {"PATH": os.defpath}
        process = await EnvoyProcess.start(envoy_binary(), self._folder, "pod", self._bootstrap(), env=env)
        try:
            yield
        finally:
            await process.stop()

    async def get(self, name: str) -> Answer:
        """What the gateway answers for the host of this name."""
        return await self._ask(self._port, "/", host(name))

    async def answers(self, hosts: Mapping[str, int]) -> bool:
        """Whether each of these names leads to the backend at its port."""
        return all([await self.get(name) == Answer(200, port) for name, port in hosts.items()])

    async def is_ready(self) -> bool:
        return await self._ask(self._ready_port, READY_PATH) == Answer(200)

    async def asked_in_vain(self) -> int:
        """How often, since it was started, it asked for its configuration and got none."""
        try:
            url = f"http://{(self._folder / 'pod.admin').read_text()}/stats"
            async with self._session.get(url, params={"filter": ASKED_IN_VAIN}) as response:
                return int((await response.text()).removeprefix(f"{ASKED_IN_VAIN}: "))
        except (ClientError, OSError, ValueError):
            return 0  # it does not answer yet

    async def asks_in_vain(self, *, after: int = 0) -> bool:
        """Whether it did so more often than before."""
        return await self.asked_in_vain() > after

    @asynccontextmanager
    async def visited(self, *names: str, by: int = 1) -> AsyncIterator[Visits]:
        """A block in which so many ask for these hosts, without a pause."""
        visits = Visits(self, names, by)
        task = asyncio.create_task(visits.run())
        try:
            yield visits
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _ask(self, port: int, path: str, asked: str = "") -> Answer:
        headers = {"host": asked} if asked else {}
        try:
            async with self._session.get(f"http://{ADDRESS}:{port}{path}", headers=headers) as response:
                await response.read()
                return Answer(response.status, int(response.headers.get(BACKEND, 0)))
        except (ClientError, OSError):
            return NOBODY

    def _bootstrap(self) -> dict[str, Any]:
        """That of a pod, which has its ports for itself, and finds the control plane by its name."""
        folder = str(self._mounted.folder)
        config: Any = msgspec.json.decode(msgspec.json.encode(bootstrap(self._release, folder=folder, bind=ADDRESS)))
        (cluster,), (listener,) = config["static_resources"].values()
        endpoints = [{"endpoint": {"address": _address(port)}} for port in self._control_planes]
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = endpoints
        listener["address"], config["admin"]["address"] = _address(self._ready_port), _address(0)
        return {**config, "node": {"id": "pod", "cluster": self._gateway}}


@asynccontextmanager
async def envoy(stage: Stage, folder: Path, *control_planes: int) -> AsyncIterator[Envoy]:
    """One that looks for control planes at these ports; not started yet, and without a certificate."""
    folder.mkdir()
    async with ClientSession() as session:
        gateway = Ref(VIRTUAL_GATEWAY, stage.namespace, GATEWAY)
        yield Envoy(gateway, stage.port, folder, control_planes, session)


def _address(port: int) -> Json:
    return {"socket_address": {"address": ADDRESS, "port_value": port}}

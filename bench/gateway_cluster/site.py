"""Where it is measured: an API server with the objects of so many hosts, the application, and the gateway."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.kubernetes import Kubernetes, free_port

from bench.gateway_cluster.hosts import GATEWAY_NAME, Backend, Hosts, route_ref, stage
from bench.gateway_cluster.peers import application
from bench.gateway_cluster.processes import Program, program
from bench.gateway_cluster.progress import progress
from greenroom.adapters.kube import KubeCluster
from greenroom.core.verdicts import is_active
from greenroom.local.envoy_process import bootstrap, envoy_binary
from greenroom.model.manifest import Manifest

MANAGER = "bench"
WRITERS = 32
"""Objects written at once."""
_TOLD_SECONDS = 60.0


@dataclass(slots=True)
class Site:
    """``known`` hosts have all their objects; those with higher numbers have none."""

    kubernetes: Kubernetes
    cluster: KubeCluster
    folder: Path
    backend: Backend
    port: int
    known: int = 0
    hosts: Hosts = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = Hosts(self.backend)

    async def grow(self, count: int) -> None:
        """Write what is missing of ``count`` hosts."""
        numbers = range(self.known, count)
        for first in range(0, len(numbers), 250):
            some = numbers[first : first + 250]
            await self.write(
                [each for number in some for each in (*self.hosts.before(number), self.hosts.route(number))]
            )
            progress(f"{some[-1] + 1} hosts written")
        progress("")
        self.known = max(self.known, count)

    async def prepare(self, count: int) -> range:
        """Write everything but the GatewayRoute of so many new hosts. Answers their numbers."""
        numbers = range(self.known, self.known + count)
        await self.write([each for number in numbers for each in self.hosts.before(number)])
        self.known += count
        return numbers

    async def write_route(self, number: int) -> None:
        await self.cluster.apply(self.hosts.route(number), manager=MANAGER)

    async def told(self, number: int) -> None:
        """Once the status of its GatewayRoute says that it is served. Raises TimeoutError."""
        async with asyncio.timeout(_TOLD_SECONDS):
            while not is_active(await self.cluster.get(route_ref(number))):  # noqa: ASYNC110 - a watch costs more
                await asyncio.sleep(0.05)

    async def write(self, manifests: Iterable[Manifest]) -> None:
        turns = asyncio.Semaphore(WRITERS)

        async def write(manifest: Manifest) -> None:
            async with turns:
                await self.cluster.apply(manifest, manager=MANAGER)

        async with asyncio.TaskGroup() as group:
            for each in manifests:
                group.create_task(write(each))


@dataclass(frozen=True, slots=True)
class Gateway:
    """A control plane and its Envoy."""

    control_plane: Program
    envoy: Program

    @property
    def both(self) -> tuple[Program, Program]:
        return self.control_plane, self.envoy


@asynccontextmanager
async def site(kubernetes: Kubernetes, folder: Path, address: str) -> AsyncIterator[Site]:
    """With the gateway's own objects, and no host. The application listens on ``address``."""
    backend = Backend(address, free_port(address))
    async with KubeCluster(kubernetes.admin) as cluster, application(folder, backend):
        here = Site(kubernetes, cluster, folder, backend, free_port("127.0.0.1"))
        for manifest in stage(here.port):
            await here.write([manifest])
        yield here


@asynccontextmanager
async def gateway(site: Site) -> AsyncIterator[Gateway]:
    """Both started anew. They may not know anything yet."""
    module = "bench.gateway_cluster.control_plane"
    kubeconfig = str(site.kubernetes.kubeconfig)
    async with program(site.folder, "control-plane", sys.executable, "-m", module, kubeconfig) as control_plane:
        config = site.folder / "gateway.json"
        config.write_text(json.dumps(bootstrap(GATEWAY_NAME, await control_plane.says())))
        async with envoy(site.folder, config) as running:
            yield Gateway(control_plane, running)


@asynccontextmanager
async def envoy(folder: Path, config: Path) -> AsyncIterator[Program]:
    """With one worker, as all proxies here."""
    arguments = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "--config-path", str(config))
    async with program(folder, f"envoy-{config.stem}", str(envoy_binary()), *arguments) as running:
        yield running

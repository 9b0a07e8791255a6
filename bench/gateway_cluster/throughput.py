"""Requests to all hosts in turn: through the gateway's Envoy, and through others with as many hosts.

The same application is behind all, the same load generator in front. The load generator and the application share the
machine with the proxy, so that requests/s say less than what a request costs the proxy, which is measured, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.cluster.kubernetes import free_port

from bench.gateway_cluster.hosts import host_name
from bench.gateway_cluster.peers import haproxy, nginx, write_static_envoy
from bench.gateway_cluster.processes import Program
from bench.gateway_cluster.progress import progress
from bench.gateway_cluster.site import Gateway, Site, envoy
from bench.load import Report, measure

OURS = "gateway"
ROUNDS = 4
"""As many as there are proxies: each comes once in each place."""
CONNECTIONS = 16
SECONDS = 3.0
_LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Proxy:
    program: Program
    port: int


@dataclass(frozen=True, slots=True)
class Run:
    """``cpu`` are the proxy's seconds for a request."""

    report: Report
    cpu: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What each proxy did, by name. ``memory`` is in MiB, after all runs."""

    hosts: int
    runs: Mapping[str, list[Run]]
    memory: Mapping[str, float]


async def compared(site: Site, gateway: Gateway, count: int) -> Compared:
    """With ``count`` hosts, which the gateway has to know."""
    hosts = [host_name(number) for number in range(count)]
    async with _peers(site, hosts) as peers:
        proxies = {OURS: Proxy(gateway.envoy, site.port), **peers}
        for each in proxies.values():
            await measure(each.port, ",".join(hosts), connections=CONNECTIONS, seconds=1.0)  # opens connections
        runs: dict[str, list[Run]] = {name: [] for name in proxies}
        for number in range(ROUNDS):
            for name in _turned([*proxies], number):
                runs[name].append(await _run(proxies[name], hosts))
            progress(f"round {number + 1} of {ROUNDS}")
        progress("")
        return Compared(count, runs, {name: each.program.memory for name, each in proxies.items()})


def _turned(names: list[str], by: int) -> list[str]:
    return names[by:] + names[:by]


async def _run(proxy: Proxy, hosts: list[str]) -> Run:
    before = proxy.program.cpu
    report = await measure(proxy.port, ",".join(hosts), connections=CONNECTIONS, seconds=SECONDS)
    return Run(report, (proxy.program.cpu - before) / report.requests)


@asynccontextmanager
async def _peers(site: Site, hosts: list[str]) -> AsyncIterator[Mapping[str, Proxy]]:
    async with AsyncExitStack() as stack:
        ports = {name: free_port(_LOCAL) for name in ("static Envoy", "nginx", "HAProxy")}
        static = write_static_envoy(site.folder, ports["static Envoy"], hosts, site.backend)
        programs = {
            "static Envoy": await stack.enter_async_context(envoy(site.folder, static)),
            "nginx": await stack.enter_async_context(nginx(site.folder, ports["nginx"], hosts, site.backend)),
            "HAProxy": await stack.enter_async_context(haproxy(site.folder, ports["HAProxy"], hosts, site.backend)),
        }
        for name, running in programs.items():
            await running.listening(ports[name])
        yield {name: Proxy(running, ports[name]) for name, running in programs.items()}

"""Requests through the gateway, next to the application asked directly and to an Envoy with a static configuration."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.load import Report, measure
from bench.machine import bench_machine, line
from greenroom.app.example_repository import free_port
from greenroom.local.envoy_process import envoy_binary
from greenroom.model.manifest import ENDPOINT_SLICE, number

ROUNDS = 3
CONNECTIONS = 16
SECONDS = 3.0
HOST = "pr1.localhost"
TYPES = "type.googleapis.com/envoy.extensions.filters"


async def run() -> None:
    async with bench_machine() as bench:
        pull = await bench.forge.open("main")
        await bench.visitor.until(HOST, 200, pull.head)
        endpoints = (await bench.machine.cluster.list(ENDPOINT_SLICE)).items
        backend = number(endpoints[0], "ports", 0, "port")
        async with _static_envoy(backend) as static:
            ports = {"gateway": bench.machine.gateway_port, "direct": backend, "static Envoy": static}
            reports: dict[str, list[Report]] = {name: [] for name in ports}
            for _ in range(ROUNDS):
                for name, port in ports.items():
                    reports[name].append(await measure(port, HOST, connections=CONNECTIONS, seconds=SECONDS))
    failures = sum(report.failures for each in reports.values() for report in each)
    print(f"{CONNECTIONS} connections, {SECONDS:g} s a run, {ROUNDS} runs each in turn, {failures} failures")
    for peer in ("direct", "static Envoy"):
        for title, figure in (("requests/s", "rate"), ("latency p50", "p50"), ("latency p99", "p99")):
            unit = "/s" if figure == "rate" else "s"
            values = {name: [getattr(report, figure) for report in each] for name, each in reports.items()}
            line(f"gateway, {title}", values["gateway"], values[peer], peer_name=peer, unit=unit)


@asynccontextmanager
async def _static_envoy(backend: int) -> AsyncIterator[int]:
    """An Envoy that leads every request to ``backend``, with nothing else in its configuration; answers its port."""
    port = free_port(0)
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "static",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": _address(backend)}}
    config = {
        "static_resources": {
            "listeners": [{"name": "in", "address": _address(port), "filter_chains": [{"filters": filters}]}],
            "clusters": [
                {
                    "name": "app",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        arguments = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c", file.name)
        process = await asyncio.create_subprocess_exec(str(envoy_binary()), *arguments)
        try:
            await _until_listening(port)
            yield port
        finally:
            process.terminate()
            await process.wait()


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


async def _until_listening(port: int) -> None:
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise TimeoutError(f"nothing listens on port {port}")

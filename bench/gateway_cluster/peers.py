"""The application, and the proxies that the gateway is measured against: each leads every host to the application.

One worker each, connections kept open on both sides, no log of requests: what the gateway's Envoy has, too. A host has
an upstream of its own, as there, though all have one address. What is not given is the program's default.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.gateway_cluster.hosts import Backend
from bench.gateway_cluster.processes import Program, program
from greenroom.model.manifest import Json

_TYPES = "type.googleapis.com/envoy.extensions.filters"
_TEMPORARY = "".join(f"  {each}_temp_path {each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
_KEPT_OPEN = "  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n"


@asynccontextmanager
async def application(folder: Path, backend: Backend) -> AsyncIterator[None]:
    """An nginx that answers every request itself."""
    where = folder / "application"
    listen = f"{backend.address}:{backend.port}"
    server = f'  server {{ listen {listen}; location / {{ return 200 "hello\\n"; }} }}\n'
    async with _nginx(where, server) as running:
        await running.listening(backend.port, backend.address)
        yield


@asynccontextmanager
async def nginx(folder: Path, port: int, hosts: Sequence[str], backend: Backend) -> AsyncIterator[Program]:
    def server(number: int, host: str) -> str:
        return (
            f"  upstream u{number} {{ server {backend.address}:{backend.port}; keepalive 16;"
            " keepalive_requests 1000000000; }\n"
            f"  server {{ listen 127.0.0.1:{port}; server_name {host}; location / {{ proxy_pass http://u{number};"
            ' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }\n'
        )

    hashes = "  server_names_hash_max_size 65536;\n  server_names_hash_bucket_size 128;\n"
    servers = "".join(server(number, host) for number, host in enumerate(hosts))
    async with _nginx(folder / "nginx", hashes + servers) as running:
        yield running


@asynccontextmanager
async def _nginx(folder: Path, servers: str) -> AsyncIterator[Program]:
    folder.mkdir(exist_ok=True)
    config = folder / "nginx.conf"
    # One process that does everything, so that it can be ended as one. Where this runs, root is the only user there is.
    config.write_text(
        "user root;\ndaemon off;\nmaster_process off;\npid nginx.pid;\n"
        f"events {{ worker_connections 16384; }}\nhttp {{\n{_TEMPORARY}{_KEPT_OPEN}{servers}}}\n"
    )
    command = ("nginx", "-p", str(folder), "-c", str(config), "-e", "stderr")
    async with program(folder, folder.name, *command) as running:
        yield running


@asynccontextmanager
async def haproxy(folder: Path, port: int, hosts: Sequence[str], backend: Backend) -> AsyncIterator[Program]:
    lines = [
        "global\n  nbthread 1",
        "defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h",
        f"frontend in\n  bind 127.0.0.1:{port}\n  use_backend %[req.hdr(host),lower,map({folder / 'haproxy.map'})]",
        *(f"backend b{number}\n  server app {backend.address}:{backend.port}" for number in range(len(hosts))),
    ]
    (folder / "haproxy.map").write_text("".join(f"{host} b{number}\n" for number, host in enumerate(hosts)))
    config = folder / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    async with program(folder, "haproxy", "haproxy", "-db", "-f", str(config)) as running:
        yield running


def static_envoy(port: int, hosts: Sequence[str], backend: Backend) -> Json:
    """The configuration of an Envoy that has its hosts from a file."""
    manager: Json = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "static",
        "route_config": {"virtual_hosts": [_virtual_host(number, host) for number, host in enumerate(hosts)]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}
        ],
    }
    filters: Json = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener: Json = {"name": "in", "address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}
    clusters: Json = [_cluster(f"c{number}", backend) for number in range(len(hosts))]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def write_static_envoy(folder: Path, port: int, hosts: Sequence[str], backend: Backend) -> Path:
    file = folder / "static.json"
    file.write_text(json.dumps(static_envoy(port, hosts, backend)))
    return file


def _virtual_host(number: int, host: str) -> Json:
    route: Json = {"match": {"prefix": "/"}, "route": {"cluster": f"c{number}"}}
    return {"name": host, "domains": [host], "routes": [route]}


def _cluster(name: str, backend: Backend) -> Json:
    endpoint: Json = {"endpoint": {"address": _address(backend.address, backend.port)}}
    assignment: Json = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "load_assignment": assignment}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}

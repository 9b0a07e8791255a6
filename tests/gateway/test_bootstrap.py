"""The bootstrap of a gateway's pod: a real Envoy takes it, says when it serves, and follows renewed certificates."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from aiohttp import ClientError, ClientSession
from envoy.service.discovery.v3 import discovery_pb2
from tests.gateway.live import free_port, until
from tests.gateway.mounted import Mounted

from greenroom.adapters.certificates import X509Mint
from greenroom.core import bootstrap as of_a_pod
from greenroom.core.bootstrap import ControlPlane, bootstrap
from greenroom.core.certificates import Pair
from greenroom.local.envoy_process import EnvoyProcess, envoy_binary

METHOD = "DeltaAggregatedResources"
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
HOST = "localhost"
MINT = X509Mint()


class Listening:
    """A control plane that answers each request with nothing, once it ``may_answer``. It ends connections soon.

    ``seen`` are the certificates by which Envoy introduced itself.
    """

    def __init__(self, server: Pair, trust: bytes) -> None:
        self.seen: list[bytes] = []
        self.may_answer = asyncio.Event()
        self._tls = grpc.ssl_server_credentials([(server.key, server.certificate)], trust, require_client_auth=True)
        self.port = 0

    async def __aenter__(self) -> Listening:
        short = [("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 100)]
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *short])
        talk = grpc.stream_stream_rpc_method_handler(
            self._talk,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: talk}),))
        self.port = self._server.add_secure_port("127.0.0.1:0", self._tls)
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def _talk(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.seen.append(context.auth_context()["x509_pem_cert"][0])
        while (request := await context.read()) is not grpc.aio.EOF:
            await self.may_answer.wait()
            if not request.response_nonce:
                await context.write(discovery_pb2.DeltaDiscoveryResponse(type_url=request.type_url, nonce="1"))


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod has its ports for itself."""
    monkeypatch.setattr(of_a_pod, "ADMIN_PORT", free_port())
    monkeypatch.setattr(of_a_pod, "READY_PORT", free_port())


def issued(authority: Pair, *, server: bool) -> Pair:
    names = [HOST] if server else ["greenroom://gateway/pr-env/ingress-gw"]
    return MINT.issue(authority, names, datetime.now(UTC), server=server)


@asynccontextmanager
async def envoy(folder: Path, port: int, mounted: Mounted) -> AsyncIterator[None]:
    config = bootstrap(ControlPlane(HOST, port), folder=str(mounted.folder), bind="127.0.0.1")
    named = {**config, "node": {"id": "pod", "cluster": "pr-env/ingress-gw"}}
    process = await EnvoyProcess.start(envoy_binary(), folder, "pod", named, env={"PATH": os.defpath})
    try:
        yield
    finally:
        await process.stop()


async def status_of(port: int, path: str) -> int:
    """0 when nobody answers."""
    try:
        async with asyncio.timeout(1), ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as got:
            return got.status
    except (ClientError, OSError, TimeoutError):
        return 0


def test_envoy_accepts_the_bootstrap_without_a_warning(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "tls")
    authority = MINT.authority(datetime.now(UTC))
    mounted.put(issued(authority, server=False), authority.certificate)
    config = bootstrap(ControlPlane("greenroom.greenroom.svc", 18000), folder=str(mounted.folder), bind="0.0.0.0")  # noqa: S104
    binary, text = str(envoy_binary()), msgspec.json.encode(config).decode()
    command = [binary, "--mode", "validate", "--config-yaml", text, "--disable-hot-restart", "--log-level", "warning"]
    command += ["--service-cluster", "pr-env/ingress-gw", "--service-node", "pod"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (0, "")


async def test_envoy_is_ready_once_the_control_plane_has_answered_and_shows_nothing_else(tmp_path: Path) -> None:
    mounted, authority = Mounted(tmp_path / "tls"), MINT.authority(datetime.now(UTC))
    mounted.put(issued(authority, server=False), authority.certificate)
    control_plane = Listening(issued(authority, server=True), authority.certificate)
    async with control_plane, envoy(tmp_path, control_plane.port, mounted):
        admin, ready = of_a_pod.ADMIN_PORT, of_a_pod.READY_PORT
        await until(lambda: len(control_plane.seen) > 0)
        assert (await status_of(admin, "/ready"), await status_of(ready, "/ready")) == (503, 0)
        control_plane.may_answer.set()

        async def is_ready() -> bool:
            return await status_of(ready, "/ready") == 200

        await until(is_ready)
        assert [await status_of(ready, path) for path in ("/", "/quitquitquit", "/ready/x")] == [404] * 3


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    mounted, authority = Mounted(tmp_path / "tls"), MINT.authority(datetime.now(UTC))
    first, second = issued(authority, server=False), issued(authority, server=False)
    mounted.put(first, authority.certificate)
    control_plane = Listening(issued(authority, server=True), authority.certificate)
    async with control_plane, envoy(tmp_path, control_plane.port, mounted):
        await until(lambda: control_plane.seen[:1] == [first.certificate])
        mounted.put(second, authority.certificate)
        await until(lambda: control_plane.seen[-1] == second.certificate)


async def test_a_new_authority_is_trusted_without_a_restart(tmp_path: Path) -> None:
    mounted, now = Mounted(tmp_path / "tls"), datetime.now(UTC)
    old, new = MINT.authority(now), MINT.authority(now)
    both = old.certificate + new.certificate
    mounted.put(issued(old, server=False), old.certificate)
    control_plane = Listening(issued(new, server=True), both)
    async with control_plane, envoy(tmp_path, control_plane.port, mounted):
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in (tmp_path / "pod.log").read_text())
        assert control_plane.seen == []
        mounted.put(issued(old, server=False), both)
        await until(lambda: control_plane.seen != [])


async def test_envoy_talks_to_nobody_whose_certificate_has_another_name(tmp_path: Path) -> None:
    mounted, authority = Mounted(tmp_path / "tls"), MINT.authority(datetime.now(UTC))
    mounted.put(issued(authority, server=False), authority.certificate)
    other = MINT.issue(authority, ["elsewhere.example.com"], datetime.now(UTC), server=True)
    control_plane = Listening(other, authority.certificate)
    async with control_plane, envoy(tmp_path, control_plane.port, mounted):
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in (tmp_path / "pod.log").read_text())
    assert control_plane.seen == []

"""The control plane's server, met by real Envoys: state of the world, mutual TLS, and replicas of which one serves."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession
from envoy.service.discovery.v3 import discovery_pb2
from tests.gateway.certificates import Authority as CertificateFiles
from tests.gateway.live import NAME, Backends, free_port, gateway, serving, until
from tests.gateway.upstream import policy
from tests.gateway.world import World, environment, find, stage

from greenroom.adapters.ads import AdsServer
from greenroom.adapters.ads_stream import _RETRY_SECONDS
from greenroom.adapters.ads_tls import AdsTls
from greenroom.adapters.certificates import X509Mint
from greenroom.core.certificates import Pair
from greenroom.core.gateway_names import gateway_identity
from greenroom.core.xds import CLUSTER, LISTENER, ROUTES, XdsResource
from greenroom.local.envoy_process import EnvoyProcess, bootstrap, envoy_binary
from greenroom.model.manifest import Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY

A = "a" * 40
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
MINT = X509Mint()


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


def host(number: int) -> str:
    return f"pr{number}.pr-env.example.com"


def with_variant(config: Any, api_type: str) -> Any:
    config["dynamic_resources"]["ads_config"]["api_type"] = api_type
    return config


def state_of_the_world(config: Any) -> Any:
    return with_variant(config, "GRPC")


async def test_an_envoy_that_speaks_state_of_the_world_sees_environments_come_and_go_without_a_503(
    tmp_path: Path, backends: Backends
) -> None:
    port = await backends.start(A)
    async with serving() as ads:
        config = state_of_the_world(bootstrap(NAME, ads.address))
        async with gateway(tmp_path, ads, free_port(), config=config) as envoy:
            stayed = environment(0, A, port)
            world = World(*stage(port=envoy.port), *stayed)
            await envoy.show(world)
            async with envoy.polled(host(0)) as others:
                for number in range(1, 11):
                    async with envoy.polled(host(number)) as counts:
                        await until(lambda counts=counts: counts[404] > 0)  # type: ignore[misc]
                        envoy.publish(world.put(*environment(number, A, port)))
                        await until(lambda counts=counts: counts[200] > 3)  # type: ignore[misc]
                    assert set(counts) == {404, 200}
                async with envoy.polled(host(1)) as counts:
                    await until(lambda: counts[200] > 0)
                    envoy.publish(World(*stage(port=envoy.port), *stayed))
                    await until(lambda: counts[404] > 3)
                    await until(envoy.is_taken)
                assert set(counts) == {200, 404}
            assert set(others) == {200}


async def test_an_envoy_that_speaks_state_of_the_world_keeps_what_is_good_when_one_cluster_is_bad(
    tmp_path: Path, backends: Backends
) -> None:
    async with serving() as ads:
        config = state_of_the_world(bootstrap(NAME, ads.address))
        async with gateway(tmp_path, ads, free_port(), config=config) as envoy:
            objects = [each for number in (1, 2) for each in environment(number, A, await backends.start(A))]
            snapshot = envoy.configuration(World(*stage(port=envoy.port), *objects))
            first, second = sorted(snapshot[CLUSTER])
            by_dns = b"\x10\x01"  # STRICT_DNS, which is not for clusters whose endpoints come by EDS
            spoiled = XdsResource(first, "bad", snapshot[CLUSTER][first].body + by_dns)
            ads.publish(NAME, {**snapshot, CLUSTER: {**snapshot[CLUSTER], first: spoiled}})
            await until(lambda: bool(ads.standings(NAME)) and bool(ads.standings(NAME)[0].refused))
            await until(lambda: (ROUTES, next(iter(snapshot[ROUTES]))) not in ads.standings(NAME)[0].missing)
            assert ads.standings(NAME)[0].refused.keys() == {(CLUSTER, first)}
            assert (CLUSTER, second) not in ads.standings(NAME)[0].missing
            assert (await envoy.get(host(2)))[0] == 200
            assert ads.refusals[NAME, CLUSTER] > 0


@pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
async def test_a_certificate_that_is_missing_heals_when_it_appears(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_RETRY_SECONDS, CLUSTER, _RETRY_SECONDS[CLUSTER] / 100)
    folder = tmp_path / "certs"
    folder.mkdir()
    authority = CertificateFiles(folder)
    trust = authority.trust.rename(tmp_path / "ca.crt")  # not yet where it belongs
    async with secure_backend(authority, tls_name(1), tls_name(2)) as port, serving() as ads:
        config = with_variant(bootstrap(NAME, ads.address), variant)
        async with gateway(tmp_path, ads, free_port(), config=config) as envoy:
            made = [*stage(port=envoy.port), *environment(1, A, port), *environment(2, A, port)]
            find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"] |= policy(str(authority.trust))
            snapshot = envoy.configuration(World(*made))
            ads.publish(NAME, snapshot)
            bad = {(CLUSTER, name) for name in snapshot[CLUSTER]}
            await until(lambda: any(each.refused.keys() == bad for each in ads.standings(NAME)))
            trust.rename(authority.trust)
            await until(envoy.is_taken)
            assert [(await envoy.get(host(number)))[0] for number in (1, 2)] == [200, 200]


def tls_name(number: int) -> str:
    """What an environment's certificate must be for."""
    return f"pr{number}.pr-env.svc.cluster.local"


@asynccontextmanager
async def secure_backend(authority: CertificateFiles, *names: str) -> AsyncIterator[int]:
    """An application that ends TLS itself, and says yes to everything; the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("backend", *names))
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield int(server.sockets[0].getsockname()[1])


async def code_of(call: Any) -> grpc.StatusCode:
    """How a stream ends."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError:
        pass
    code: grpc.StatusCode = await call.code()
    return code


async def asked(channel: grpc.aio.Channel, name: str = NAME) -> Any:
    """A stream whose first request asks for listeners."""
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=LISTENER, node={"id": "test", "cluster": name})
    call = channel.stream_stream(DELTA)()
    await call.write(request.SerializeToString())
    return call


async def test_a_replica_that_does_not_serve_sends_envoys_away() -> None:
    async with AdsServer() as ads, grpc.aio.insecure_channel(ads.address) as channel:
        assert await code_of(channel.stream_stream(SOTW)()) is grpc.StatusCode.UNAVAILABLE
        with ads.serving():
            ads.publish(NAME, {})
            call = await asked(channel)
            assert discovery_pb2.DeltaDiscoveryResponse.FromString(await call.read()).type_url == LISTENER
            assert ads.connected == {NAME: 1}
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE
        assert not ads.connected
        assert await code_of(channel.stream_stream(SOTW)()) is grpc.StatusCode.UNAVAILABLE


async def test_an_envoy_that_is_slow_to_read_its_first_answer_hears_that_its_replica_serves_no_longer() -> None:
    long = XdsResource("long", "1", bytes(3_000_000))  # more than gRPC sends to somebody who does not read
    async with AdsServer() as ads, grpc.aio.insecure_channel(ads.address) as channel:
        with ads.serving():
            ads.publish(NAME, {LISTENER: {long.name: long}})
            call = await asked(channel)
            await until(lambda: ads.connected == {NAME: 1})
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE


async def test_an_envoy_that_goes_away_is_forgotten() -> None:
    async with serving() as ads:
        async with grpc.aio.insecure_channel(ads.address) as channel:
            await asked(channel)
            await until(lambda: ads.connected == {NAME: 1})
        await until(lambda: not ads.connected)


async def test_an_envoy_whose_node_vanished_is_soon_forgotten_and_an_idle_one_is_not(tmp_path: Path) -> None:
    async with serving() as ads, AsyncExitStack() as stack:
        for name in ("idle", "vanished"):
            ads.publish(name, {})
            config = bootstrap(name, ads.address)
            envoy = await EnvoyProcess.start(envoy_binary(), tmp_path, name, config, env={"PATH": os.defpath})
            stack.push_async_callback(envoy.stop)
        await until(lambda: ads.connected == {"idle": 1, "vanished": 1})
        os.kill(envoy.pid, signal.SIGSTOP)  # its kernel goes on answering, and nobody else
        await until(lambda: ads.connected == {"idle": 1})
        admin = (tmp_path / "idle.admin").read_text()
        url = f"http://{admin}/stats?filter=greenroom.*cx_total"
        async with ClientSession() as session, session.get(url) as answer:
            assert "cluster.greenroom.upstream_cx_total: 1\n" in await answer.text()


async def test_an_envoy_whose_control_plane_vanished_soon_finds_the_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(AdsServer()) for _ in range(2)]
        relay = await stack.enter_async_context(Relay(first.address))
        config = with_replica(bootstrap(NAME, relay.address), second)
        with first.serving():
            await stack.enter_async_context(gateway(tmp_path, first, free_port(), config=config))
            await until(lambda: first.connected == {NAME: 1})
            relay.vanish()
            with second.serving():
                await until(lambda: second.connected == {NAME: 1})


class Relay:
    """Stands for the server at ``to``, and can fall silent with all its connections open."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._pipes: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()
        for writer in self._writers:
            writer.close()

    def vanish(self) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._to.rpartition(":")
        onward, outward = await asyncio.open_connection(host, int(port))
        self._writers += [writer, outward]
        self._pipes += [asyncio.create_task(pipe(*each)) for each in ((reader, outward), (onward, writer))]


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_a_replica_that_serves_again_has_forgotten_what_it_published() -> None:
    async with AdsServer() as ads, grpc.aio.insecure_channel(ads.address) as channel:
        with ads.serving():
            ads.publish(NAME, {LISTENER: {"old": XdsResource("old", "1", b"")}})
        with ads.serving():
            call = await asked(channel)
            await until(lambda: bool(ads.standings(NAME)))
            ads.publish(NAME, {LISTENER: {"new": XdsResource("new", "1", b"")}})
            message = discovery_pb2.DeltaDiscoveryResponse.FromString(await call.read())
            assert [resource.name for resource in message.resources] == ["new"]


async def test_another_replica_takes_over_without_a_lost_request(tmp_path: Path, backends: Backends) -> None:
    port = free_port()
    world = World(*stage(port=port), *environment(1, A, await backends.start(A)))
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(AdsServer()) for _ in range(2)]
        config = with_replica(bootstrap(NAME, first.address), second)
        envoy = await stack.enter_async_context(gateway(tmp_path, first, port, config=config))
        with first.serving():
            await envoy.show(world)
            counts = await stack.enter_async_context(envoy.polled(host(1)))
            await until(lambda: counts[200] > 10)
        for leader in (second, first, second):
            with leader.serving():
                envoy.ads = leader
                world.put(*environment(2, A, await backends.start(A)))
                await envoy.show(world)
                assert (await envoy.get(host(2)))[0] == 200
        assert set(counts) == {200}


def with_replica(config: Any, other: AdsServer) -> Any:
    """A bootstrap that knows two control planes."""
    endpoints = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoints.append(deepcopy(endpoints[0]))
    endpoints[1]["endpoint"]["address"]["socket_address"]["port_value"] = int(other.address.rpartition(":")[2])
    return config


class Authority:
    """Signs for a control plane called ``localhost`` and for gateways."""

    def __init__(self) -> None:
        self.pair = MINT.authority(datetime.now(UTC))

    def server(self) -> Pair:
        return MINT.issue(self.pair, ["localhost"], datetime.now(UTC), server=True)

    def client(self, gateway: str) -> Pair:
        identity = gateway_identity(Ref(VIRTUAL_GATEWAY, *gateway.split("/")))
        return MINT.issue(self.pair, [identity], datetime.now(UTC), server=False)


def channel_to(ads: AdsServer, trusted: Authority, pair: Pair | None) -> grpc.aio.Channel:
    key, chain = (pair.key, pair.certificate) if pair is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(trusted.pair.certificate, key, chain)
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(ads.address, credentials, options=options)


async def first_answer(ads: AdsServer, trusted: Authority, pair: Pair | None, name: str = NAME) -> grpc.StatusCode:
    """OK when it got a configuration."""
    async with channel_to(ads, trusted, pair) as channel:
        try:
            call = await asked(channel, name)
            if await call.read() is not grpc.aio.EOF:
                return grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await code_of(call)


async def test_an_envoy_gets_the_configuration_that_its_certificate_names_and_no_other() -> None:
    ours, theirs = Authority(), Authority()
    async with AdsServer(tls=AdsTls(ours.server(), ours.pair.certificate)) as ads:
        with ads.serving():
            for each in (NAME, "other/ingress-gw"):
                ads.publish(each, {})
            own = ours.client(NAME)
            assert await first_answer(ads, ours, own) is grpc.StatusCode.OK
            assert await first_answer(ads, ours, own, "other/ingress-gw") is grpc.StatusCode.PERMISSION_DENIED
            assert await first_answer(ads, ours, own, "") is grpc.StatusCode.PERMISSION_DENIED
            assert await first_answer(ads, ours, ours.server()) is grpc.StatusCode.UNAVAILABLE
            assert await first_answer(ads, ours, None) is grpc.StatusCode.UNAVAILABLE
            assert await first_answer(ads, ours, theirs.client(NAME)) is grpc.StatusCode.UNAVAILABLE


async def test_certificates_are_renewed_while_an_envoy_is_connected(tmp_path: Path, backends: Backends) -> None:
    old, new = Authority(), Authority()
    tls = AdsTls(old.server(), old.pair.certificate)
    async with AdsServer(tls=tls) as ads:
        port = free_port()
        config = with_tls(bootstrap(NAME, ads.address), old.client(NAME), old)
        with ads.serving():
            async with gateway(tmp_path, ads, port, config=config) as envoy:
                world = World(*stage(port=port), *environment(1, A, await backends.start(A)))
                await envoy.show(world)
                tls.show(new.server(), new.pair.certificate)
                assert await first_answer(ads, new, new.client(NAME)) is grpc.StatusCode.OK
                assert await first_answer(ads, new, old.client(NAME)) is grpc.StatusCode.UNAVAILABLE
                await envoy.show(world.put(*environment(2, A, await backends.start(A))))
                assert (await envoy.get(host(2)))[0] == 200


def with_tls(config: Any, pair: Pair, trusted: Authority) -> Any:
    certificate = {
        "certificate_chain": {"inline_string": pair.certificate.decode()},
        "private_key": {"inline_string": pair.key.decode()},
    }
    trust = {"trusted_ca": {"inline_string": trusted.pair.certificate.decode()}}
    config["static_resources"]["clusters"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {"tls_certificates": [certificate], "validation_context": trust},
        },
    }
    return config

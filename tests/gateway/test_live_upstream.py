"""VirtualNodes and VirtualGateways at work, with a real Envoy: TLS on both sides, limits, checks, hosts elsewhere."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector, web
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict
from tests.gateway.certificates import Authority
from tests.gateway.live import NAME, Backends, Gateway, free_port, gateway, serving, until
from tests.gateway.upstream import COMMIT, HEALTH_CHECK, file_tls, named, policy
from tests.gateway.world import World, environment, find, running, stage

from greenroom.core.xds import CLUSTER, XdsResource
from greenroom.model.manifest import DEPLOYMENT
from greenroom.model.manifest import SERVICE as SERVICE_KIND
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE

A, B = COMMIT, "b" * 40
LATER = "2026-11-23T11:00:00Z"
HOST = "pr1.pr-env.example.com"
SERVICE = "pr1.pr-env.svc.cluster.local"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "certs"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    async with serving() as ads, gateway(tmp_path, ads, port) as started:
        yield started


@asynccontextmanager
async def secure_backend(authority: Authority, name: str, *, client: bool = False) -> AsyncIterator[int]:
    """An application that ends TLS itself, with a certificate for ``name``; the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("backend", name))
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.trust)

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert") or {}
        return web.json_response(
            {"scheme": request.scheme, "client": [name for _, name in peer.get("subjectAltName", ())]}
        )

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def world(envoy: Gateway, *pods: int, node: dict[str, Any] | None = None, **spec: Any) -> World:
    """One environment, whose VirtualNode's listener and whose VirtualGateway's spec have something more."""
    made = [*stage(port=envoy.port), *environment(1, A, *pods)]
    find(made, VIRTUAL_NODE, "pr1")["spec"]["listeners"][0] |= node or {}
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"] |= spec
    return World(*made)


async def test_a_node_that_offers_tls_is_spoken_to_in_tls(envoy: Gateway, authority: Authority) -> None:
    async with secure_backend(authority, "whatever.example.com") as port:
        await envoy.show(world(envoy, port, node=file_tls()))
        status, _, body = await envoy.get(HOST)
    assert (status, json.loads(body)["scheme"]) == (200, "https")


@pytest.mark.parametrize(
    ("certified", "names", "status"),
    [
        (SERVICE, (), 200),
        ("other.example.com", (), 503),
        ("other.example.com", ("more.example.com", "other.example.com"), 200),
        (SERVICE, ("other.example.com",), 503),
    ],
)
async def test_the_gateways_policy_decides_which_certificate_is_taken(
    envoy: Gateway, authority: Authority, certified: str, names: tuple[str, ...], status: int
) -> None:
    async with secure_backend(authority, certified) as port:
        await envoy.show(world(envoy, port, **policy(str(authority.trust), *names)))
        assert (await envoy.get(HOST))[0] == status


async def test_a_certificate_of_another_authority_is_not_taken(
    envoy: Gateway, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    async with secure_backend(authority, SERVICE) as port:
        await envoy.show(world(envoy, port, **policy(str(other.trust))))
        assert (await envoy.get(HOST))[0] == 503


async def test_the_gateway_shows_its_own_certificate(envoy: Gateway, authority: Authority) -> None:
    chain, key = authority.issue("gateway", "gateway.example.com")
    own = {"certificate": {"file": {"certificateChain": str(chain), "privateKey": str(key)}}}
    async with secure_backend(authority, SERVICE, client=True) as port:
        await envoy.show(world(envoy, port, **policy(str(authority.trust), **own)))
        status, _, body = await envoy.get(HOST)
    assert (status, json.loads(body)["client"]) == (200, ["gateway.example.com"])


async def test_a_policy_for_other_ports_leaves_this_one_alone(
    envoy: Gateway, authority: Authority, backends: Backends
) -> None:
    port = await backends.start(A)
    await envoy.show(world(envoy, port, **policy(str(authority.trust), ports=[443])))
    assert (await envoy.get(HOST))[0] == 200


def _trusting(authority: Authority, *own: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.trust))
    if own:
        context.load_cert_chain(own[0], own[1])
    return context


async def _visit(envoy: Gateway, scheme: str, context: ssl.SSLContext | bool) -> int:
    """The status, 0 when there is no answer."""
    url = f"{scheme}://127.0.0.1:{envoy.port}/"
    connector = TCPConnector(ssl=context, force_close=True)

    async with ClientSession(connector=connector) as session:
        try:
            async with session.get(url, headers={"host": HOST}, server_hostname="gateway.example.com") as response:
                return response.status
        except ClientError:
            return 0


@pytest.mark.parametrize(("mode", "plain"), [("STRICT", 0), ("PERMISSIVE", 200)])
async def test_a_listener_ends_tls_and_serves_plain_text_only_if_it_is_permissive(
    envoy: Gateway, authority: Authority, backends: Backends, mode: str, plain: int
) -> None:
    chain, key = authority.issue("server", "gateway.example.com")
    made = world(envoy, await backends.start(A))
    file = {"certificateChain": str(chain), "privateKey": str(key)}
    listener = {
        "portMapping": {"port": envoy.port, "protocol": "http"},
        "tls": {"mode": mode, "certificate": {"file": file}},
    }
    _spec(made)["listeners"] = [listener]
    await envoy.show(made)
    assert await _visit(envoy, "https", _trusting(authority)) == 200
    assert await _visit(envoy, "http", True) == plain


@pytest.mark.parametrize(("names", "stranger"), [([], 200), (["load-balancer.example.com"], 0)])
async def test_a_listener_that_asks_for_certificates_turns_others_away(
    envoy: Gateway, authority: Authority, backends: Backends, names: list[str], stranger: int
) -> None:
    chain, key = authority.issue("server", "gateway.example.com")
    made = world(envoy, await backends.start(A))
    file = {"certificateChain": str(chain), "privateKey": str(key)}
    trust: dict[str, Any] = {"trust": {"file": {"certificateChain": str(authority.trust)}}}
    if names:
        trust["subjectAlternativeNames"] = {"match": {"exact": names}}
    tls = {"mode": "STRICT", "certificate": {"file": file}, "validation": trust}
    _spec(made)["listeners"] = [{"portMapping": {"port": envoy.port, "protocol": "http"}, "tls": tls}]
    await envoy.show(made)
    known, other = (authority.issue(name, f"{name}.example.com") for name in ("load-balancer", "stranger"))
    assert await _visit(envoy, "https", _trusting(authority, *known)) == 200
    assert await _visit(envoy, "https", _trusting(authority, *other)) == stranger
    assert await _visit(envoy, "https", _trusting(authority)) == 0


def _spec(made: World) -> Any:
    return find(made.list(VIRTUAL_GATEWAY), VIRTUAL_GATEWAY, "ingress-gw")["spec"]


@pytest.mark.parametrize("response_type", ["LOADBALANCER", "ENDPOINTS"])
async def test_a_host_elsewhere_is_looked_up_by_envoy(envoy: Gateway, backends: Backends, response_type: str) -> None:
    await envoy.show(_elsewhere(envoy, "a.localhost", await backends.start(B), response_type))
    await until(lambda: _answers(envoy, HOST))


def _elsewhere(envoy: Gateway, hostname: str, port: int, response_type: str) -> World:
    made = [*stage(port=envoy.port), *environment(1, A)]
    spec = find(made, VIRTUAL_NODE, "pr1")["spec"]
    spec["serviceDiscovery"] = named(hostname, response_type)
    spec["listeners"][0]["portMapping"]["port"] = port
    return World(*made)


async def _answers(envoy: Gateway, host: str) -> bool:
    return (await envoy.get(host))[0] == 200


async def test_a_service_that_stands_for_a_host_elsewhere_is_looked_up(envoy: Gateway, backends: Backends) -> None:
    made = _elsewhere(envoy, SERVICE, await backends.start(B), "LOADBALANCER")
    service = find(made.list(SERVICE_KIND), SERVICE_KIND, "pr1")
    service["spec"] = {"type": "ExternalName", "externalName": "localhost"}
    await envoy.show(made)
    await until(lambda: _answers(envoy, HOST))


@pytest.fixture
def silent_dns() -> Iterator[int]:
    """A DNS server that never answers; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


@pytest.mark.parametrize("response_type", ["LOADBALANCER", "ENDPOINTS"])
async def test_a_host_that_no_dns_server_answers_for_holds_nobody_up(
    envoy: Gateway, backends: Backends, silent_dns: int, response_type: str
) -> None:
    """Envoy takes it at once; waiting for the answer, as it does by default, would last 48 s."""
    made = _elsewhere(envoy, "nobody.example.com", 80, response_type)
    made.put(*environment(2, A, await backends.start(A)))
    configuration = envoy.configuration(made)
    asking = {name: _asking(resource, silent_dns) for name, resource in configuration[CLUSTER].items()}
    envoy.ads.publish(NAME, {**configuration, CLUSTER: asking})
    await until(envoy.is_taken)
    assert await _answers(envoy, "pr2.pr-env.example.com")
    status, _, page = await envoy.get(HOST)
    assert (status, "This environment does not answer" in page) == (503, True)


def _asking(resource: XdsResource, port: int) -> XdsResource:
    """A cluster whose host is looked up at another DNS server."""
    cluster = cluster_pb2.Cluster.FromString(resource.body)
    cares = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    server = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    config = {"@type": f"type.googleapis.com/{cares}", "resolvers": [server]}
    ParseDict({"typed_dns_resolver_config": {"name": "cares", "typed_config": config}}, cluster)
    return XdsResource(resource.name, resource.version, cluster.SerializeToString())


async def test_the_old_commit_gets_nothing_after_a_rollout_though_it_still_passes_its_health_checks(
    envoy: Gateway, backends: Backends
) -> None:
    old, new = await backends.start(A), await backends.start(B)
    check = {"healthCheck": {**HEALTH_CHECK, "path": "/"}}
    made = world(envoy, old, node=check)
    await envoy.show(made)
    assert (await envoy.get(HOST))[1]["x-greenroom-commit"] == A
    find(made.list(DEPLOYMENT), DEPLOYMENT, "pr1")["metadata"]["annotations"]["greenroom.dev/commit"] = B
    await envoy.show(made.put(*running("pr1", B, new, created=LATER)))
    answers = [await envoy.get(HOST) for _ in range(20)]
    assert {(status, headers["x-greenroom-commit"]) for status, headers, _ in answers} == {(200, B)}


async def test_a_connection_pool_of_one_lets_one_request_through_at_a_time(envoy: Gateway) -> None:
    """For each of Envoy's two threads: it always lets a thread have one connection."""
    inside, most = 0, 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        inside -= 1
        return web.Response()

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pool = {"connectionPool": {"http": {"maxConnections": 1}}}
    await envoy.show(world(envoy, int(runner.addresses[0][1]), node=pool))
    statuses = await asyncio.gather(*(envoy.get(HOST) for _ in range(8)))
    await runner.cleanup()
    assert [status for status, _, _ in statuses] == [200] * 8
    assert most <= 2


async def test_an_access_log_has_a_line_for_each_request(envoy: Gateway, backends: Backends, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    form = {"text": "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)% %RESPONSE_CODE% 100%%"}
    log = {"accessLog": {"file": {"path": str(file), "format": form}}}
    await envoy.show(world(envoy, await backends.start(A), logging=log))
    for _ in range(2):
        await envoy.get(HOST)
    await until(lambda: file.read_text().count("\n") == 2)
    assert file.read_text() == f"GET {HOST} 200 100%\n" * 2


async def test_several_listeners_serve_at_once(envoy: Gateway, backends: Backends) -> None:
    second = free_port()
    made = world(envoy, await backends.start(A))
    mappings = [{"port": envoy.port, "protocol": "http"}, {"port": second, "protocol": "http"}]
    _spec(made)["listeners"] = [{"portMapping": mapping} for mapping in mappings]
    await envoy.show(made)
    for port in (envoy.port, second):
        async with envoy.session.get(f"http://127.0.0.1:{port}/", headers={"host": HOST}) as response:
            assert response.status == 200

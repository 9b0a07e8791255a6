"""Control planes that are killed, Envoys that start anew, refused configuration: what visitors notice of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.cluster.failing import applied, made
from tests.cluster.gateways import (
    GATEWAY,
    NOBODY,
    NOT_FOUND,
    RELEASE,
    Answer,
    Condition,
    Envoy,
    Stage,
    backends,
    envoy,
    own_address,
)
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import Installation, Replica, free_ports
from tests.contract.suite import eventually

from greenroom.adapters.certificates import X509Mint
from greenroom.adapters.kube import KubeCluster
from greenroom.core.certificates import Pair
from greenroom.core.gateway_names import gateway_identity
from greenroom.model.manifest import Json, Kind, Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE
from greenroom.runtime.leader import LEASE

NAMES = ("one", "two", "three")
STARTING = Answer(503)
"""The page of an environment of which no endpoint is ready."""
CLUSTER_ROLE, CLUSTER_ROLE_BINDING = (
    Kind("rbac.authorization.k8s.io", "v1", name) for name in ("ClusterRole", "ClusterRoleBinding")
)
WITHOUT_ROUTES = """
- apiGroups: ["", apps, discovery.k8s.io, coordination.k8s.io, kubetempura.mercari.com]
  resources: ["*"]
  verbs: ["*"]
- apiGroups: [gateway.networking.k8s.io, admissionregistration.k8s.io]
  resources: ["*"]
  verbs: ["*"]
- apiGroups: [appmesh.k8s.aws]
  resources: [meshes, virtualgateways, virtualservices, virtualrouters, virtualnodes]
  verbs: ["*"]
"""


@pytest.fixture
async def stage(cluster: KubeCluster, namespace: str) -> AsyncIterator[Stage]:
    async with Stage(cluster, namespace, free_ports(1)[0]).set() as stage:
        yield stage


@pytest.fixture
async def ports() -> AsyncIterator[list[int]]:
    async with backends(8) as ports:
        yield ports


@pytest.fixture
def installed(stage: Stage, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(stage.cluster, stage.namespace, tmp_path, kubernetes, release=RELEASE)


@pytest.fixture
async def partly_blind(stage: Stage, tmp_path: Path, kubernetes: Kubernetes) -> AsyncIterator[Installation]:
    """The same, whose replicas may see everything but GatewayRoutes."""
    (tmp_path / "blind").mkdir()
    name, account = f"blind-{stage.namespace}", "blind"
    role = made(CLUSTER_ROLE, name, rules=yaml.safe_load(WITHOUT_ROUTES))
    async with applied(stage.cluster, role), granted(stage, name, account):
        yield Installation(
            stage.cluster, stage.namespace, tmp_path / "blind", kubernetes, account=account, release=RELEASE
        )


def granted(stage: Stage, role: str, account: str) -> AbstractAsyncContextManager[None]:
    """A block in which the account has this ClusterRole."""
    subject: Json = {"kind": "ServiceAccount", "namespace": stage.namespace, "name": account}
    reference: Json = {"apiGroup": CLUSTER_ROLE.group, "kind": CLUSTER_ROLE.name, "name": role}
    name = f"{role}-{stage.namespace}"
    return applied(stage.cluster, made(CLUSTER_ROLE_BINDING, name, subjects=[subject], roleRef=reference))


@asynccontextmanager
async def certified(stage: Stage, folder: Path, *ads_ports: int) -> AsyncIterator[Envoy]:
    """An Envoy with its certificate; not started yet."""
    async with envoy(stage, folder, *ads_ports) as found:
        found.mount(*await stage.certificate())
        yield found


@asynccontextmanager
async def serving(stage: Stage, folder: Path, *ads_ports: int) -> AsyncIterator[Envoy]:
    """An Envoy that has its configuration."""
    async with certified(stage, folder, *ads_ports) as found, found.running():
        await eventually("Envoy is ready", found.is_ready)
        yield found


async def shown(stage: Stage, envoy: Envoy, hosts: Mapping[str, int]) -> None:
    """Put them there; wait until they are served, and are said to be."""
    await stage.show(hosts)
    await served(stage, envoy, hosts)


async def served(stage: Stage, envoy: Envoy, hosts: Mapping[str, int]) -> None:
    await eventually("all are served", lambda: envoy.answers(hosts))
    for name in hosts:
        await eventually(f"{name} is active", partial(stage.is_active, name))


async def killed(installed: Installation, replica: Replica) -> None:
    """Nobody is left to wait for its lease to run out."""
    await replica.end(signal.SIGKILL)
    await installed.cluster.delete(Ref(LEASE, installed.namespace, "greenroom"))


async def test_a_gateway_serves_while_its_control_plane_is_gone_and_loses_nothing_when_one_is_back(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    (ads,) = free_ports(1)
    hosts, late = dict(zip(NAMES, ports, strict=False)), {"late": ports[-1]}
    async with AsyncExitStack() as stack:
        replica = await stack.enter_async_context(installed.replica(ads_port=ads))
        envoy = await stack.enter_async_context(serving(stage, tmp_path / "envoy", ads))
        await shown(stage, envoy, hosts)
        visits = await stack.enter_async_context(envoy.visited(*hosts))
        await killed(installed, replica)
        await stage.show(late)
        await visits.go_on()
        assert await envoy.get("late") == NOT_FOUND
        await stack.enter_async_context(installed.replica(ads_port=ads))
        await served(stage, envoy, late)
        await visits.go_on()
        assert visits.seen.keys() == {(name, Answer(200, port)) for name, port in hosts.items()}


async def test_a_control_plane_that_does_not_know_every_route_yet_wipes_none(
    stage: Stage, installed: Installation, partly_blind: Installation, tmp_path: Path, ports: list[int]
) -> None:
    (ads,) = free_ports(1)
    hosts = dict(zip(NAMES, ports, strict=False))
    async with AsyncExitStack() as stack:
        replica = await stack.enter_async_context(installed.replica(ads_port=ads))
        envoy = await stack.enter_async_context(serving(stage, tmp_path / "envoy", ads))
        await shown(stage, envoy, hosts)
        visits = await stack.enter_async_context(envoy.visited(*hosts))
        await killed(installed, replica)
        blind = await stack.enter_async_context(partly_blind.replica(ads_port=ads))
        await eventually("the blind one leads", blind.leads)
        before = await envoy.asked_in_vain()
        await eventually("Envoy asked it", partial(envoy.asks_in_vain, after=before))
        await visits.go_on()
        async with granted(stage, "cluster-admin", "blind"):
            await shown(stage, envoy, {"new": ports[-1]})
        assert visits.seen.keys() == {(name, Answer(200, port)) for name, port in hosts.items()}


async def test_a_gateway_finds_the_replica_that_leads_and_the_one_that_takes_over(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    """Envoy is told of the other one first."""
    ads, hosts = free_ports(2), dict(zip(NAMES, ports, strict=False))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(installed.replica(ads_port=ads[0]))
        await eventually("the first leads", first.leads)
        second = await stack.enter_async_context(installed.replica(ads_port=ads[1]))
        envoy = await stack.enter_async_context(serving(stage, tmp_path / "envoy", ads[1], ads[0]))
        await shown(stage, envoy, hosts)
        visits = await stack.enter_async_context(envoy.visited(*hosts))
        await first.end(signal.SIGKILL)
        await eventually("the second leads", second.leads)
        await shown(stage, envoy, {"new": ports[-1]})
        await visits.go_on()
        assert visits.seen.keys() == {(name, Answer(200, port)) for name, port in hosts.items()}


async def test_an_envoy_that_starts_serves_nobody_before_it_knows_every_route(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    """With a control plane, without one, and when that comes back."""
    (ads,) = free_ports(1)
    hosts = dict(zip(NAMES, ports, strict=False))
    right = {(name, Answer(200, port)) for name, port in hosts.items()}
    async with AsyncExitStack() as stack:
        replica = await stack.enter_async_context(installed.replica(ads_port=ads))
        envoy = await stack.enter_async_context(certified(stage, tmp_path / "envoy", ads))
        async with envoy.running():
            await shown(stage, envoy, hosts)
        visits = await stack.enter_async_context(envoy.visited(*hosts))
        async with envoy.running():
            await eventually("Envoy is ready", envoy.is_ready)
            assert await envoy.answers(hosts)
        await killed(installed, replica)
        async with envoy.running():
            await eventually("it looked for a control plane", envoy.asks_in_vain)
            await visits.go_on()
            assert not await envoy.is_ready()
            assert [await envoy.get(name) for name in hosts] == [NOBODY] * len(hosts)
            await stack.enter_async_context(installed.replica(ads_port=ads))
            await eventually("Envoy is ready", envoy.is_ready)
            assert await envoy.answers(hosts)
        assert visits.seen.keys() == right | {(name, NOBODY) for name in hosts}


async def test_what_envoy_refuses_is_said_of_the_route_behind_which_it_is_and_the_last_good_is_served(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    """The gateway's policy for one port trusts a file that is not there."""
    (ads,) = free_ports(1)
    hosts = dict(zip(NAMES, ports, strict=False))
    missing = str(tmp_path / "missing.crt")
    async with installed.replica(ads_port=ads), serving(stage, tmp_path / "envoy", ads) as envoy:
        await shown(stage, envoy, hosts)
        trust: Json = {"trust": {"file": {"certificateChain": missing}}}
        policy: Json = {"clientPolicy": {"tls": {"ports": [hosts["one"]], "validation": trust}}}
        async with envoy.visited(*hosts) as visits:
            await stage.put(stage.gateway(backendDefaults=policy))

            async def is_refused() -> bool:
                return (await stage.condition("one")).reason == "Rejected"

            await eventually("the refusal is said", is_refused)
            refused = await stage.condition("one")
            assert (refused.status, missing in refused.message) == ("False", True)
            await shown(stage, envoy, {"new": ports[-1]})
            assert [await stage.is_active(name) for name in hosts] == [False, True, True]
            await visits.go_on()
            await stage.put(stage.gateway())
            await eventually("it is active again", lambda: stage.is_active("one"))
        assert visits.seen.keys() == {(name, Answer(200, port)) for name, port in hosts.items()}


async def test_a_route_that_is_wrong_is_told_so_and_all_others_are_served(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    (ads,) = free_ports(1)
    hosts = dict(zip(NAMES, ports, strict=False))
    async with installed.replica(ads_port=ads), serving(stage, tmp_path / "envoy", ads) as envoy:
        await stage.put(stage.route("dangling", to="nobody"), stage.route("broken", to="one", path={"regex": "("}))
        await shown(stage, envoy, hosts)
        dangling, broken = [await said(stage, name) for name in ("dangling", "broken")]
        assert (dangling.status, dangling.reason) == ("False", "VirtualServiceNotFound")
        assert f"{stage.namespace}/nobody does not exist" in dangling.message
        assert (broken.status, "spec.httpRoute.match.path.regex" in broken.message) == ("False", True)
        assert [await envoy.get(name) for name in ("dangling", "broken")] == [NOT_FOUND] * 2


async def said(stage: Stage, name: str) -> Condition:
    """What is said of a route, once there is something."""

    async def is_said() -> bool:
        return bool((await stage.condition(name)).reason)

    await eventually(f"something is said of {name}", is_said)
    return await stage.condition(name)


async def test_hundreds_of_hosts_come_and_go_and_nobody_gets_anothers_content(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    """Each with a Service, whose endpoints are known from EndpointSlices, as those of environments."""
    (ads,) = free_ports(1)
    hosts, address = dict(zip(NAMES, ports, strict=False)), own_address()
    async with (
        backends(200, address) as many,
        installed.replica(ads_port=ads),
        serving(stage, tmp_path / "envoy", ads) as envoy,
    ):
        passing = {f"pr{number}": port for number, port in enumerate(many)}
        await shown(stage, envoy, hosts)
        async with envoy.visited(*hosts, by=3) as stay, envoy.visited(*passing, by=5) as pass_by:
            await at_once(*(stage.show_services({name: port}, address=address) for name, port in passing.items()))
            await eventually("all are served", lambda: envoy.answers(passing))
            await at_once(*(stage.hide([name], services=True) for name in passing))
            await eventually("none is left", lambda: are_gone(envoy, passing))
            await pass_by.go_on()
            await stay.go_on()
        assert stay.seen.keys() == {(name, Answer(200, port)) for name, port in hosts.items()}
        own = {(name, Answer(200, port)) for name, port in passing.items()}
        # One that goes away may lose its endpoints before its route; none has another's, or an error of Envoy's own.
        assert pass_by.seen.keys() <= own | {(name, gone) for name in passing for gone in (NOT_FOUND, STARTING)}


async def at_once(*tasks: Awaitable[None]) -> None:
    await asyncio.gather(*tasks)


async def are_gone(envoy: Envoy, names: Iterable[str]) -> bool:
    return all([await envoy.get(name) == NOT_FOUND for name in names])


async def test_an_envoy_with_another_certificate_than_its_gateways_gets_nothing(
    stage: Stage, installed: Installation, tmp_path: Path, ports: list[int]
) -> None:
    """That of another gateway, and one that nobody trusts; with the right one it gets everything."""
    (ads,) = free_ports(1)
    hosts = {"one": ports[0]}
    other: Json = {"podSelector": {"matchLabels": {"app": "other"}}, "listeners": []}
    await stage.put(made(VIRTUAL_GATEWAY, "other", stage.namespace, spec=other))
    async with installed.replica(ads_port=ads), envoy(stage, tmp_path / "envoy", ads) as stranger:
        await stage.show(hosts)
        await eventually("gateways are served", lambda: stage.is_active("one", VIRTUAL_NODE))
        own, trust = await stage.certificate()
        others, _ = await stage.certificate("other")
        for pair in (others, self_made(stage.namespace)):
            stranger.mount(pair, trust)
            async with stranger.running():
                await eventually("it asked for its configuration", stranger.asks_in_vain)
                assert (await stranger.is_ready(), await stranger.get("one")) == (False, NOBODY)
                assert (await stage.condition("one")).status != "True"
        stranger.mount(own, trust)
        async with stranger.running():
            await eventually("it is served", lambda: stranger.answers(hosts))


def self_made(namespace: str) -> Pair:
    """A certificate with the gateway's name, by an authority that somebody made up."""
    mint, now = X509Mint(), datetime.now(UTC)
    names = [gateway_identity(Ref(VIRTUAL_GATEWAY, namespace, GATEWAY))]
    return mint.issue(mint.authority(now), names, now, server=False)

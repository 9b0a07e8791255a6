"""The operator: Greenroom in a Kubernetes cluster, as one of several equal replicas.

Each replica takes webhooks in, for that only writes PR objects, which is safe however many do. Only the one that holds
the lease keeps environments, and serves gateways (``app.gateways``). Where it is told to serve none, environments wait
for none: whether a GatewayRoute is served counts only if somebody else, such as App Mesh's controller, says so.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Literal

import structlog

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.writes import Counted, Fenced
from greenroom.app.forging import ForgeSettings, forging
from greenroom.app.gateways import GatewayService, GatewaySettings
from greenroom.app.lifecycle import SystemClock, background, collect_seldom, ended_by, serving
from greenroom.app.log_tail import last_lines
from greenroom.app.logs import log_to_stdout
from greenroom.app.metrics import Latency, Metrics
from greenroom.flows.builds import Builds
from greenroom.flows.commands import Commands
from greenroom.flows.gatekeeper import Gatekeeper
from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.model.manifest import PR, REVIEW_APP, Ref
from greenroom.model.watch import Scope
from greenroom.ports import Clock
from greenroom.runtime.informer import Informers
from greenroom.runtime.leader import LEASE, Leader
from greenroom.web import health
from greenroom.web import metrics as metrics_page
from greenroom.web.app import make_app

LEASE_NAME = "greenroom"
NEEDED = (PR, REVIEW_APP)
"""The kinds that every replica has to know before it is ready."""
LEASE_IN_FLIGHT = 2
DELIVERIES_IN_FLIGHT = 32
"""Requests at once, beside those of ``adapters.kube_http``."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What ``greenroom serve`` was asked for.

    Webhooks signed with any of ``secrets`` are taken. ``namespace`` is the only one to look at, ``""`` for all.
    ``host`` is the address to listen on, None for every one; a port may be 0: the system chooses. Without ``gateways``
    none is served; without ``forge`` deliveries are all that is known of pull requests.
    """

    secrets: tuple[bytes, ...] = field(repr=False)
    namespace: str = ""
    url_scheme: Literal["http", "https"] = "https"
    host: str | None = None
    webhook_port: int = 3000
    metrics_port: int = 8080
    health_port: int = 8081
    gateways: GatewaySettings | None = None
    forge: ForgeSettings | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running operator listens."""

    webhook: int
    metrics: int
    health: int


@asynccontextmanager
async def operator(settings: ServeSettings, connection: Connection) -> AsyncIterator[Ports]:
    """Start a replica, and stop it at the end or when SIGTERM comes: the lease is given back, deliveries are finished.

    The lease is in the namespace of ``connection``, which in a cluster is the pod's. An API server that cannot be
    reached is waited for. Raises InvalidInput when there is no secret, or a port is taken.
    """
    collect_seldom()
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        stack.enter_context(ended_by(signal.SIGTERM, signal.SIGHUP))
        stack.enter_context(log_to_stdout())
        api = await stack.enter_async_context(KubeCluster(connection))
        cluster = Counted(api, metrics.wrote)
        informers = Informers(cluster)
        needed = [Scope(kind, settings.namespace) for kind in NEEDED]
        for scope in needed:
            informers.start(scope)
        # Whatever hangs, the lease is renewed and webhooks are taken in.
        leases = Counted(api.apart(LEASE_IN_FLIGHT), metrics.wrote)
        lease = Ref(LEASE, connection.namespace, LEASE_NAME)
        leader = Leader(leases, clock, lease, _identity(), monitor=metrics.monitor("lease"))
        fenced = Fenced(cluster, leader.leads)
        gateways: GatewayService | None = None
        if settings.gateways is not None:
            gateways = GatewayService(
                settings.gateways,
                cluster,
                informers,
                clock,
                metrics,
                namespace=connection.namespace,
                host=settings.host,
            )
        environments = partial(
            Reconcile,
            fenced,
            informers,
            clock,
            url_of=lambda host: f"{settings.url_scheme}://{host}",
            namespace=settings.namespace,
            routed=gateways is not None,
            impersonating=lambda user: Fenced(Counted(api.impersonating(user), metrics.wrote), leader.leads),
            monitors=metrics.monitor,
        )
        forge = await stack.enter_async_context(forging(settings.forge, clock))
        deliveries = Counted(api.apart(DELIVERIES_IN_FLIGHT), metrics.wrote)
        intake = Intake(
            deliveries, informers, clock, namespace=settings.namespace, forge=forge.forge if forge is not None else None
        )
        _measure(metrics, informers, leader, clock, namespace=settings.namespace)

        commands = Commands(deliveries, informers, intake, forge.forge if forge is not None else None)
        builds = Builds(deliveries, informers, clock, namespace=settings.namespace)
        webhook = make_app(intake, commands, builds, secrets=settings.secrets)
        probes = health.make_app(
            alive=lambda: _what_is_stuck(informers, metrics),
            ready=lambda: chain(_what_is_missing(informers, needed), gateways.missing() if gateways else ()),
        )
        ports = Ports(
            webhook=await stack.enter_async_context(
                serving(webhook, settings.webhook_port, option="--webhook-port", host=settings.host)
            ),
            metrics=await stack.enter_async_context(
                serving(
                    metrics_page.make_app(metrics.registry),
                    settings.metrics_port,
                    option="--metrics-port",
                    host=settings.host,
                )
            ),
            health=await stack.enter_async_context(
                serving(probes, settings.health_port, option="--health-port", host=settings.host)
            ),
        )

        async def lead() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(environments().run())  # a new one each time that this replica leads
                group.create_task(Gatekeeper(intake, informers, namespace=settings.namespace).run())
                if gateways is not None:
                    group.create_task(gateways.keep(fenced))
                if forge is not None:
                    group.create_task(
                        forge.keep(
                            fenced,
                            informers,
                            intake,
                            clock,
                            namespace=settings.namespace,
                            logs=last_lines(api.logs),
                            visits=gateways is not None,
                            leads=leader.leads,
                        )
                    )

        async def follow() -> None:
            await leader.run(lead)

        parts = [informers.run, follow]
        if gateways is not None:
            await stack.enter_async_context(gateways.admitting())
            parts.append(gateways.run)
        await stack.enter_async_context(background(*parts))
        log.info("Greenroom serves", server=connection.server, ports=[ports.webhook, ports.metrics, ports.health])
        yield ports


def _measure(metrics: Metrics, informers: Informers, leader: Leader, clock: Clock, *, namespace: str) -> None:
    latency = Latency(metrics, clock)
    prs = Scope(PR, namespace)
    informers.subscribe(prs, lambda old, new: latency.changed(old, new) if leader.leads() else None)
    metrics.watch_environments(lambda: informers.list(PR), leader.leads)


def _what_is_missing(informers: Informers, needed: Iterable[Scope]) -> Iterator[str]:
    for scope in needed:
        if not informers.has_listed(scope):
            failure = informers.failure(scope)
            yield f"{scope}: {failure or 'not listed yet'}"


def _what_is_stuck(informers: Informers, metrics: Metrics) -> Iterator[str]:
    for scope in informers.stuck():
        yield f"the watch of {scope} does not go on"
    for name in metrics.stuck():
        yield f"{name}: does not go on"


def _identity() -> str:
    """This process in the lease: the pod's name, for people, and what makes it the only one."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"

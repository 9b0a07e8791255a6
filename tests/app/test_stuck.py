"""Whether the operator is alive: each of its loops is watched, and one that does not go on is named."""

from __future__ import annotations

import asyncio
import math
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.gateway.desk import Clock, Envoys
from tests.virtual import virtual_time

from greenroom.adapters.certificates import X509Mint
from greenroom.app.metrics import Metrics
from greenroom.flows.certificates import Certificates
from greenroom.flows.finalizers import Finalizers
from greenroom.flows.gateway_certificates import GatewayCertificates
from greenroom.flows.reconcile import Reconcile
from greenroom.flows.route import Routes
from greenroom.local.storage.store import Store
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import Ref
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.leader import LEASE, Leader
from greenroom.runtime.monitor import UNWATCHED, Monitor


class Deaf:
    """What does not end, whoever cancels it, until it is woken."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    async def wait(self, *_: object, **__: object) -> NoReturn:
        while not self.woken.is_set():
            with suppress(asyncio.CancelledError):
                await self.woken.wait()
        raise Unavailable("woken")


@virtual_time
async def test_a_controller_that_is_stuck_is_named_while_it_runs() -> None:
    found, deaf = Metrics(), Deaf()
    slow: Controller[str] = Controller("routes", lambda _: asyncio.sleep(3600), monitor=found.monitor("routes"))
    stuck: Controller[str] = Controller("pages", deaf.wait, monitor=found.monitor("pages"))
    running = [asyncio.create_task(each.run()) for each in (slow, stuck)]
    for each in (slow, stuck):
        each.add("key")
    await asyncio.sleep(200)
    assert [*found.stuck()] == []
    await asyncio.sleep(100)
    assert [*found.stuck()] == ["pages"]
    await ended(deaf, *running)
    assert [*found.stuck()] == []


@virtual_time
async def test_a_lease_that_is_not_renewed_is_named_and_one_that_cannot_be_had_is_not() -> None:
    found, deaf, leases = Metrics(), Deaf(), Away()
    leader = Leader(leases, Clock(), Ref(LEASE, "default", "greenroom"), "this", monitor=found.monitor("lease"))
    running = asyncio.create_task(leader.run(lambda: asyncio.sleep(math.inf)))
    await asyncio.sleep(1000)
    assert [*found.stuck()] == []
    leases.get = deaf.wait
    await asyncio.sleep(70)
    assert [*found.stuck()] == ["lease"]
    await ended(deaf, running)


@virtual_time
async def test_certificates_that_are_not_looked_at_are_named_and_those_that_cannot_be_had_are_not() -> None:
    found, deaf, secrets = Metrics(), Deaf(), Away()
    monitor = found.monitor("certificates")
    certificates = Certificates(secrets, Clock(), X509Mint(), namespace="default", names=["a"], monitor=monitor)
    running = asyncio.create_task(certificates.run())
    await asyncio.sleep(1000)
    assert [*found.stuck()] == []
    secrets.get = deaf.wait
    await asyncio.sleep(300)
    assert [*found.stuck()] == ["certificates"]
    await ended(deaf, running)


class Away:
    """A cluster that cannot be reached."""

    def __init__(self) -> None:
        self.get: Any = self.apply

    async def apply(self, *_: object, **__: object) -> NoReturn:
        raise Unavailable("away")

    def __getattr__(self, name: str) -> Any:
        return self.apply


async def ended(deaf: Deaf, *tasks: asyncio.Task[None]) -> None:
    deaf.woken.set()
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_every_loop_of_an_operator_is_watched(tmp_path: Path) -> None:
    watched = set[str]()

    def monitors(name: str) -> Monitor:
        watched.add(name)
        return UNWATCHED

    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        informers = Informers(store)
        certificates = Certificates(store, Clock(), X509Mint(), namespace="default", names=["a"])
        Reconcile(store, informers, Clock(), url_of=str, monitors=monitors)
        Routes(store, informers, Envoys(), Clock(), monitors=monitors)
        Finalizers(store, informers, monitors)
        GatewayCertificates(store, informers, Clock(), X509Mint(), certificates, monitors)
    assert watched == {
        *("environments", "scopes", "routes", "pages", "gateway-answers", "route-status"),
        *("finalizers", "gateway-certificates"),
    }

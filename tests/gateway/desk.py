"""The flow of routes over a store, and Envoys that say what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext, suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.gateway.world import GATEWAY, NAMESPACE, applied, environment, find

from greenroom.core.envoy_listener import listener_name, routes_name
from greenroom.core.xds import LISTENER, ROUTES, Named, Snapshot, Standing
from greenroom.flows.route import Routes
from greenroom.local.storage.store import Store
from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import Kind, Manifest, Ref, condition_of, text
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.model.routes import Listener
from greenroom.model.watch import Listing
from greenroom.runtime.informer import Informers

A = "a" * 40
NAME = f"{GATEWAY.namespace}/{GATEWAY.name}"
PR1, PR2 = (Ref(GATEWAY_ROUTE, NAMESPACE, f"pr{number}") for number in (1, 2))
THE_ROUTES: Named = (ROUTES, routes_name(Listener(8080)))
THE_LISTENER: Named = (LISTENER, listener_name(Listener(8080), "127.0.0.1"))
TAKEN = Standing(frozenset(), {})


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())


class Envoys:
    """A ``ports.Gateway`` whose Envoys say what the test tells them to."""

    def __init__(self) -> None:
        self.published: dict[str, Snapshot] = {}
        self.shown: list[bytes] = []
        self.said: list[Standing] = []
        self._handler: Callable[[str], None] = lambda _: None
        self._refused: Mapping[str, str] = {}

    def serving(self, changed: Callable[[str], None]) -> AbstractContextManager[None]:
        self._handler = changed
        return nullcontext()

    def publish(self, gateway: str, snapshot: Snapshot) -> None:
        self.published[gateway] = snapshot
        self.shown.append(self.served())
        if self._refused:
            self._answer()

    def withdraw(self, gateway: str) -> None:
        del self.published[gateway]

    def standings(self, gateway: str) -> Sequence[Standing]:
        return self.said

    def refuse(self, refused: Mapping[str, str]) -> None:
        """From now on take all routes but those with such a text in them; the values tell why."""
        self._refused = refused
        self._answer()

    def served(self) -> bytes:
        """The routes that were published last."""
        return self.published[NAME][ROUTES][THE_ROUTES[1]].body

    def _answer(self) -> None:
        why = next((why for text, why in self._refused.items() if text.encode() in self.served()), "")
        self.say(refusing(THE_ROUTES, why) if why else TAKEN)

    def say(self, *standings: Standing) -> None:
        self.said = list(standings)
        self._handler(NAME)


class Desk:
    """A store with objects in it, and the flow over it."""

    def __init__(self, store: Store, envoys: Envoys) -> None:
        self.store, self.envoys = store, envoys

    async def put(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            await self.store.apply(manifest, manager="test")

    async def condition(self, ref: Ref) -> tuple[str, str, str]:
        """Status, reason and message, empty while nothing is said."""
        found = condition_of(await self.store.get(ref), f"{ref.kind.name}Active")
        return text(found, "status"), text(found, "reason"), text(found, "message")

    async def version(self) -> str:
        return (await self.store.list(GATEWAY_ROUTE)).resource_version


def refusing(named: Named, why: str) -> Standing:
    return Standing(frozenset({named}), {named: why})


@asynccontextmanager
async def flow(folder: Path, *manifests: Manifest) -> AsyncIterator[Desk]:
    with closing(Store.open(folder / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(manifest) for manifest in manifests))
        async with running(desk):
            yield desk


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[None]:
    informers = Informers(desk.store)
    routes = Routes(desk.store, informers, desk.envoys, Clock())
    tasks = [asyncio.create_task(each()) for each in (informers.run, routes.run)]
    try:
        await settle()
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


class Starting(Store):
    """Of a cluster that serves GatewayRoutes a while later than the others, as when its API server has just started."""

    serves_after = 20.0

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        if kind == GATEWAY_ROUTE and asyncio.get_running_loop().time() < self.serves_after:
            raise UnknownKind(f"{kind} is not served")
        return await super().list(kind, namespace=namespace, labels=labels)


async def settle() -> None:
    """Virtual time in which everything that is due happens; much less than anybody's patience."""
    await asyncio.sleep(1)


def route_of(number: int) -> Ref:
    return Ref(GATEWAY_ROUTE, NAMESPACE, f"pr{number}")


def with_prefix(ref: Ref, prefix: str) -> Manifest:
    """The route of an environment with another path."""
    changed = deepcopy(find(one_environment(int(ref.name.removeprefix("pr"))), ref.kind, ref.name))
    changed["spec"]["httpRoute"]["match"]["prefix"] = prefix
    return changed


def one_environment(number: int = 1) -> list[Manifest]:
    return [each for each in environment(number, A) if each["kind"] != "ReplicaSet"]

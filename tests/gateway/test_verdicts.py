"""What is written about routes: when an Envoy serves them, when it does not, and nothing when nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext, suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.gateway.world import GATEWAY, NAMESPACE, applied, environment, find, route, stage, web
from tests.virtual import virtual_time

from greenroom.core.envoy_listener import listener_name, routes_name
from greenroom.core.xds import CLUSTER, LISTENER, ROUTES, Named, Snapshot, Standing
from greenroom.flows.route import Routes
from greenroom.local.storage.store import Store
from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import Kind, Manifest, Ref, condition_of, get, text
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE
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


@virtual_time
async def test_a_route_is_active_when_every_envoy_has_all_that_it_needs(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        assert await desk.condition(PR1) == ("", "", "")
        desk.envoys.say(TAKEN, Standing(frozenset({THE_ROUTES}), {}))
        await settle()
        assert await desk.condition(PR1) == ("", "", "")
        desk.envoys.say(TAKEN, TAKEN)
        await settle()
        assert (await desk.condition(PR1))[:2] == ("True", "Programmed")
        assert (await desk.condition(GATEWAY))[:2] == ("True", "Programmed")
        assert get(await desk.store.get(PR1), "status", "observedGeneration") == 1


@virtual_time
async def test_objects_behind_a_route_are_active_when_they_are_right(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        for kind in (VIRTUAL_SERVICE, VIRTUAL_NODE):
            assert (await desk.condition(Ref(kind, NAMESPACE, "pr1")))[0] == "True"
        assert (await desk.condition(Ref(MESH, "", "pr-env")))[0] == "True"


@virtual_time
async def test_a_bad_object_says_what_is_wrong_with_it_and_others_are_active(tmp_path: Path) -> None:
    bad = route("bad", {"path": {"regex": "("}}, to="pr1")
    async with flow(tmp_path, *stage(), *one_environment(), bad) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        status, reason, message = await desk.condition(Ref(GATEWAY_ROUTE, NAMESPACE, "bad"))
        assert (status, reason) == ("False", "InvalidRegex")
        assert message.startswith("spec.httpRoute.match.path.regex: ")
        assert (await desk.condition(PR1))[0] == "True"


@virtual_time
async def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    bad = route("bad", {"path": {"regex": "("}}, to="pr1")
    async with flow(tmp_path, *stage(), *one_environment(), bad) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        before = await desk.version()
        async with running(desk):
            desk.envoys.say(TAKEN)
            await settle()
        assert await desk.version() == before


@virtual_time
async def test_a_route_stays_active_while_another_one_is_under_way(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        desk.envoys.say(Standing(frozenset({THE_ROUTES}), {}))
        await desk.put(*(applied(each) for each in one_environment(2)))
        await settle()
        assert (await desk.condition(PR1))[0] == "True"
        assert await desk.condition(PR2) == ("", "", "")


@virtual_time
async def test_an_envoy_that_starts_again_does_not_make_routes_flicker(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        before = await desk.version()
        desk.envoys.say()
        await settle()
        desk.envoys.say(TAKEN)
        await asyncio.sleep(60)
        assert await desk.version() == before


@virtual_time
async def test_without_an_envoy_for_long_routes_are_not_active(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        desk.envoys.say()
        await asyncio.sleep(11)
        assert (await desk.condition(PR1))[:2] == ("False", "NoEnvoy")
        desk.envoys.say(Standing(frozenset({THE_ROUTES}), {}))
        await asyncio.sleep(11)
        assert (await desk.condition(PR1))[:2] == ("False", "NotAcknowledged")
        desk.envoys.say(TAKEN)
        await settle()
        assert (await desk.condition(PR1))[:2] == ("True", "Programmed")


@virtual_time
async def test_a_refused_cluster_is_told_to_its_route_only(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment(1), *one_environment(2)) as desk:
        cluster = (CLUSTER, "cds_egress_pr-env_pr1_pr-env_http_80")
        desk.envoys.say(refusing(cluster, "because"))
        await settle()
        status, reason, message = await desk.condition(PR1)
        assert (status, reason) == ("False", "Rejected")
        assert message == f"Envoy refused {cluster[1]}: because"
        assert (await desk.condition(PR2))[0] == "True"


@virtual_time
@pytest.mark.parametrize(
    "why", ["route 'pr-env/pr3': wrong", "domain pr3.pr-env.example.com: wrong", "something is wrong"]
)
async def test_of_many_new_routes_only_the_one_that_envoy_refuses_is_left_out(tmp_path: Path, why: str) -> None:
    objects = [each for number in range(1, 8) for each in one_environment(number)]
    async with flow(tmp_path, *stage(), *objects) as desk:
        desk.envoys.refuse({"pr-env/pr3": why})
        await asyncio.sleep(5)
        assert (await desk.condition(route_of(3)))[:2] == ("False", "Quarantined")
        assert (await desk.condition(route_of(3)))[2].endswith(why)
        others = [GATEWAY, *(route_of(number) for number in range(1, 8) if number != 3)]
        assert {(await desk.condition(ref))[:2] for ref in others} == {("True", "Programmed")}
        assert all(f"pr{number}.pr-env".encode() in desk.envoys.served() for number in range(1, 8) if number != 3)


@virtual_time
async def test_a_route_that_envoy_names_is_found_at_once(tmp_path: Path) -> None:
    objects = [each for number in range(1, 8) for each in one_environment(number)]
    async with flow(tmp_path, *stage(), *objects) as desk:
        desk.envoys.shown.clear()
        desk.envoys.refuse({"pr-env/pr3": "route 'pr-env/pr3': wrong"})
        await settle()
        assert [b"pr3.pr-env" in body for body in desk.envoys.shown] == [False]


@virtual_time
async def test_changes_wait_together_while_an_envoy_is_busy_with_earlier_ones(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment(1)) as desk:
        desk.envoys.say(Standing(frozenset({THE_ROUTES}), {}))
        await desk.put(*(applied(each) for each in one_environment(2)))
        await asyncio.sleep(0.1)
        desk.envoys.shown.clear()
        for number in (3, 4):
            await desk.put(*(applied(each) for each in one_environment(number)))
            await asyncio.sleep(0.1)
        assert desk.envoys.shown == []
        desk.envoys.say(TAKEN)
        await asyncio.sleep(0.1)
        assert len(desk.envoys.shown) == 1
        assert b"pr4.pr-env" in desk.envoys.served()


@virtual_time
async def test_an_envoy_that_does_not_answer_does_not_keep_changes_from_the_others(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment(1)) as desk:
        desk.envoys.say(Standing(frozenset({THE_ROUTES}), {}))
        for number in (2, 3):
            await desk.put(*(applied(each) for each in one_environment(number)))
            await settle()
            assert f"pr{number}.pr-env".encode() in desk.envoys.served()


@virtual_time
async def test_each_of_several_refused_routes_is_found(tmp_path: Path) -> None:
    objects = [each for number in range(1, 8) for each in one_environment(number)]
    async with flow(tmp_path, *stage(), *objects) as desk:
        desk.envoys.refuse({f"pr-env/pr{number}": "something is wrong" for number in (1, 4, 7)})
        await asyncio.sleep(10)
        reasons = {number: (await desk.condition(route_of(number)))[1] for number in range(1, 8)}
        assert {number for number, reason in reasons.items() if reason == "Quarantined"} == {1, 4, 7}
        assert {number for number, reason in reasons.items() if reason == "Programmed"} == {2, 3, 5, 6}


@virtual_time
async def test_a_refused_route_gets_another_chance_when_it_changes(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment(1), *one_environment(2)) as desk:
        desk.envoys.refuse({"/spoiled": "something is wrong"})
        await settle()
        assert (await desk.condition(PR1))[0] == "True"
        served = desk.envoys.served()
        await desk.put(applied(with_prefix(PR1, "/spoiled")))
        await settle()
        assert (await desk.condition(PR1))[1] == "Quarantined"
        assert (await desk.condition(PR2))[0] == "True"
        assert desk.envoys.served() == served, "it is served as it was before"
        await desk.put(applied(with_prefix(PR1, "/right")))
        await settle()
        assert (await desk.condition(PR1))[0] == "True"
        assert b"/right" in desk.envoys.served()


@virtual_time
async def test_what_was_served_before_a_restart_is_not_taken_away_to_find_the_refused_one(tmp_path: Path) -> None:
    objects = [each for number in range(1, 5) for each in one_environment(number)]
    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(each) for each in [*stage(), *objects]))
        async with running(desk):
            desk.envoys.say(TAKEN)
            await settle()
        await desk.put(*(applied(each) for each in one_environment(5)))
        desk.envoys.refuse({"pr-env/pr5": "something is wrong"})
        desk.envoys.shown.clear()
        async with running(desk):
            await settle()
        assert desk.envoys.shown
        kept = [f"pr{number}.pr-env".encode() for number in range(1, 5)]
        assert all(name in body for body in desk.envoys.shown for name in kept)
        assert (await desk.condition(route_of(5)))[1] == "Quarantined"


@virtual_time
async def test_routes_that_envoy_refuses_for_what_is_in_none_of_them_are_said_to_be_refused(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment(1), *one_environment(2)) as desk:
        desk.envoys.say(TAKEN)
        await settle()
        desk.envoys.say(refusing(THE_ROUTES, "something is wrong"))
        await settle()
        assert {(await desk.condition(ref))[1] for ref in (PR1, PR2, GATEWAY)} == {"Rejected"}


@virtual_time
async def test_a_port_that_is_taken_is_told_as_such(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage()) as desk:
        why = "cannot bind '127.0.0.1:8080': Address already in use"
        desk.envoys.say(refusing(THE_LISTENER, why))
        await settle()
        status, reason, message = await desk.condition(GATEWAY)
        assert (status, reason) == ("False", "PortInUse")
        assert message.startswith("port 8080 is in use")


@virtual_time
async def test_a_gateway_that_becomes_unusable_keeps_its_envoys_as_they_are(tmp_path: Path) -> None:
    async with flow(tmp_path, *stage(), *one_environment()) as desk:
        desk.envoys.say(TAKEN)
        spoiled = stage()
        find(spoiled, VIRTUAL_GATEWAY, "ingress-gw")["spec"]["backendDefaults"] = {"clientPolicy": {"other": 1}}
        await desk.put(*(applied(each) for each in spoiled))
        await settle()
        assert desk.envoys.published == {}
        assert (await desk.condition(GATEWAY))[1] == "NotSupportedYet"
        assert (await desk.condition(PR1))[1] == "NoVirtualGateway"


@virtual_time
async def test_nothing_is_published_before_everything_is_known(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(each) for each in [*stage(), *web(), route("r", {"prefix": "/"})]))
        informers = Informers(store)
        task = asyncio.create_task(Routes(store, informers, desk.envoys, Clock()).run())
        await settle()
        assert desk.envoys.published == {}
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@virtual_time
async def test_a_gateway_keeps_its_routes_while_their_kind_is_not_served_yet(tmp_path: Path) -> None:
    with closing(Starting.open(tmp_path / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(each) for each in [*stage(), *web(), route("r", {"prefix": "/"})]))
        async with running(desk):
            assert desk.envoys.published == {}
            await asyncio.sleep(Starting.serves_after)
            assert b"pr-env/r" in desk.envoys.served()


@virtual_time
async def test_where_a_kind_is_never_served_the_others_are(tmp_path: Path) -> None:
    class Never(Starting):
        serves_after = float("inf")

    with closing(Never.open(tmp_path / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(each) for each in [*stage(), *web()]))
        async with running(desk):
            await asyncio.sleep(60)
            assert NAME in desk.envoys.published

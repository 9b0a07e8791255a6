"""What is written about routes: when an Envoy serves them, when it does not, and nothing when nothing changed."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from copy import deepcopy
from pathlib import Path

import pytest
from tests.gateway.desk import (
    NAME,
    PR1,
    PR2,
    TAKEN,
    THE_LISTENER,
    THE_ROUTES,
    Clock,
    Desk,
    Envoys,
    Starting,
    flow,
    one_environment,
    refusing,
    route_of,
    running,
    settle,
    with_prefix,
)
from tests.gateway.world import GATEWAY, NAMESPACE, applied, find, route, stage, web
from tests.virtual import virtual_time

from greenroom.core.xds import CLUSTER, Standing
from greenroom.flows.route import Routes
from greenroom.local.storage.store import Store
from greenroom.model.manifest import Kind, Manifest, Ref, get
from greenroom.model.mesh import GATEWAY_ROUTE, MESH, VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE
from greenroom.model.watch import Listing
from greenroom.runtime.informer import Informers


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


class Slow(Store):
    """Of a cluster that takes its time to tell what is in the namespace ``slow``."""

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        if namespace == "slow":
            await asyncio.sleep(5)
        return await super().list(kind, namespace=namespace, labels=labels)


@virtual_time
async def test_an_edited_route_is_not_told_to_be_served_for_what_it_was(tmp_path: Path) -> None:
    with closing(Slow.open(tmp_path / "cluster.db", clock=Clock())) as store:
        desk = Desk(store, Envoys())
        await desk.put(*(applied(each) for each in [*stage(), *one_environment()]))
        async with running(desk):
            desk.envoys.say(TAKEN)
            await settle()
            elsewhere = deepcopy(find(one_environment(), VIRTUAL_NODE, "pr1"))
            elsewhere["metadata"]["name"] = "elsewhere"
            elsewhere["spec"]["serviceDiscovery"]["dns"]["hostname"] = "web.slow.svc.cluster.local"
            namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "slow"}}
            await desk.put(namespace, applied(elsewhere))
            await settle()
            await desk.put(applied(with_prefix(PR1, "/edited")))
            desk.envoys.say(TAKEN)
            await settle()
            assert b"/edited" not in desk.envoys.served()
            assert get(await desk.store.get(PR1), "status", "observedGeneration") == 1
            await asyncio.sleep(10)
            assert b"/edited" in desk.envoys.served()
            assert get(await desk.store.get(PR1), "status", "observedGeneration") == 2
            assert (await desk.condition(PR1))[:2] == ("True", "Programmed")

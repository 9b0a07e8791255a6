"""Control plane and Envoys together on one machine, and what happens when one of them is not there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from aiohttp import ClientError, ClientSession
from structlog.testing import capture_logs
from tests.gateway.live import NAME, Backends, free_port, gateway, serving, until
from tests.gateway.world import GATEWAY, NAMESPACE, World, applied, endpoint_slice, environment, stage

from greenroom.adapters.ads import AdsServer
from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router
from greenroom.core.xds import ROUTES, Snapshot, XdsResource
from greenroom.flows.route import Routes
from greenroom.local.gateway import Gateways
from greenroom.local.instance import INSTANCE, marked
from greenroom.local.storage.store import Store
from greenroom.model.manifest import Manifest, Ref, condition_of, get, ref_of, text
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.runtime.informer import Informers

A, B = "a" * 40, "b" * 40
PR1 = Ref(GATEWAY_ROUTE, NAMESPACE, "pr1")


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


def configuration(port: int, *objects: Manifest) -> Snapshot:
    routing = Router().route(World(*stage(port=port), *objects))
    return snapshot(routing.tables[GATEWAY], bind="127.0.0.1")


def host(number: int) -> str:
    return f"pr{number}.pr-env.example.com"


async def test_what_envoy_refuses_leaves_the_last_good_configuration(tmp_path: Path, backends: Backends) -> None:
    async with serving() as ads, gateway(tmp_path, ads, free_port()) as envoy:
        objects = environment(1, A, await backends.start(A))
        good = configuration(envoy.port, *objects)
        ads.publish(NAME, good)
        await until(envoy.is_taken)
        (routes,) = good[ROUTES].values()
        twice = XdsResource(routes.name, "bad", routes.body + routes.body)  # every domain twice, which Envoy refuses
        ads.publish(NAME, {**good, ROUTES: {routes.name: twice}})
        await until(lambda: bool(ads.standings(NAME)[0].refused))
        assert "Only unique" in ads.standings(NAME)[0].refused[ROUTES, routes.name]
        assert (await envoy.get(host(1)))[0] == 200
        ads.publish(NAME, configuration(envoy.port, *objects, *environment(2, B, await backends.start(B))))
        await until(envoy.is_taken)
        assert (await envoy.get(host(2)))[0] == 200


async def test_a_control_plane_that_comes_back_empty_does_not_wipe_a_running_envoy(
    tmp_path: Path, backends: Backends
) -> None:
    port = free_port()
    async with serving() as ads, gateway(tmp_path, ads, port) as envoy:
        objects = environment(1, A, await backends.start(A))
        ads.publish(NAME, configuration(port, *objects))
        await until(envoy.is_taken)
        async with envoy.polled(host(1)) as counts:
            await ads.__aexit__(None, None, None)
            async with serving(port=int(ads.address.rpartition(":")[2])) as restarted:
                envoy.ads = restarted
                await until(lambda: bool(restarted.standings(NAME)))
                asked = counts[200]
                await until(lambda: counts[200] > asked + 20)
                restarted.publish(NAME, configuration(port, *objects, *environment(2, B, await backends.start(B))))
                await until(envoy.is_taken)
                assert (await envoy.get(host(2)))[0] == 200
        assert set(counts) == {200}


@dataclass
class Machine:
    """A store, the flow and the Envoys that belong to its gateways."""

    store: Store
    session: ClientSession
    port: int
    instance: str

    async def put(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            if manifest["kind"] not in {"ReplicaSet", "Pod"}:
                await self.store.apply(applied(manifest), manager="test")

    async def status(self, name: str) -> int:
        """0 when nothing listens."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}", headers={"host": name}) as response:
                return response.status
        except ClientError:
            return 0

    async def answers(self, name: str, status: int) -> None:
        async def does() -> bool:
            return await self.status(name) == status

        await until(does)

    async def becomes(self, ref: Ref, status: str, reason: str) -> str:
        """Wait for the condition, and answer its message."""

        async def has() -> bool:
            found = condition_of(await self.store.get(ref), f"{ref.kind.name}Active")
            return (text(found, "status"), text(found, "reason")) == (status, reason)

        await until(has)
        return text(condition_of(await self.store.get(ref), f"{ref.kind.name}Active"), "message")

    def envoys(self) -> list[psutil.Process]:
        return marked({INSTANCE: self.instance})


@asynccontextmanager
async def machine(folder: Path, port: int, *, opened: Callable[..., Store] = Store.open) -> AsyncIterator[Machine]:
    instance = str(uuid4())
    with closing(opened(folder / "cluster.db", clock=Clock())) as store:
        informers = Informers(store)
        async with AdsServer() as ads, ClientSession() as session:
            made = Machine(store, session, port, instance)
            await made.put(*stage(port=port))
            gateways = Gateways(informers, ads.address, state=folder, instance=instance)
            flows = (informers.run, Routes(store, informers, ads, Clock()).run, gateways.run)
            tasks = [asyncio.create_task(flow()) for flow in flows]
            try:
                yield made
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        await task
    assert made.envoys() == []


def on_port(number: int, commit: str, port: int) -> list[Manifest]:
    """An environment whose Service leads to ``port`` with no pod in between."""
    made = endpoint_slice(f"pr{number}", "direct", port)
    del made["endpoints"][0]["targetRef"]
    return [*environment(number, commit), made]


async def test_a_gateway_has_an_envoy_that_serves_and_goes_with_it(tmp_path: Path, backends: Backends) -> None:
    async with machine(tmp_path, free_port()) as here:
        await here.put(*on_port(1, A, await backends.start(A)))
        await here.answers(host(1), 200)
        await here.becomes(PR1, "True", "Programmed")
        await here.store.delete(GATEWAY)
        await until(lambda: here.envoys() == [])
        await here.put(*stage(port=here.port))
        await here.answers(host(1), 200)


async def test_a_gateway_that_changes_while_its_envoy_stops_is_no_error(tmp_path: Path) -> None:
    with capture_logs() as logs:
        for attempt in range(5):
            folder = tmp_path / str(attempt)
            folder.mkdir()
            if await changed_while_it_stopped(folder):
                break
        else:
            pytest.fail("the Envoy was always gone before the change was heard of")
    assert logs == []


async def changed_while_it_stopped(folder: Path) -> bool:
    """Whether it did: on a machine that is busy the Envoy may be killed before."""
    instance = str(uuid4())
    with closing(Store.open(folder / "cluster.db", clock=Clock())) as store:
        staged = {ref_of(each): applied(each) for each in stage(port=free_port())}
        for each in staged.values():
            await store.apply(each, manager="test")
        informers = Informers(store)
        gateways = Gateways(informers, "127.0.0.1:1", state=folder, instance=instance)
        following, running = [asyncio.create_task(each()) for each in (informers.run, gateways.run)]
        await until(lambda: len(marked({INSTANCE: instance})) == 1)
        marked({INSTANCE: instance})[0].send_signal(signal.SIGSTOP)  # it takes its time to stop
        running.cancel()
        staged[GATEWAY]["metadata"]["labels"] = {"changed": "meanwhile"}
        await store.apply(staged[GATEWAY], manager="test")
        await until(lambda: get(informers.get(GATEWAY), "metadata", "labels", "changed") == "meanwhile")
        was_stopping = not running.done()
        await asyncio.wait([running])
        following.cancel()
        await asyncio.wait([following])
    return was_stopping


async def test_an_envoy_that_is_killed_is_started_again(tmp_path: Path, backends: Backends) -> None:
    async with machine(tmp_path, free_port()) as here:
        await here.put(*on_port(1, A, await backends.start(A)))
        await here.answers(host(1), 200)
        (before,) = here.envoys()
        os.kill(before.pid, signal.SIGKILL)
        await until(lambda: before.pid not in {each.pid for each in here.envoys()})
        await here.answers(host(1), 200)
        assert len(here.envoys()) == 1


async def test_a_port_that_is_taken_is_told_and_used_once_it_is_free(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with machine(tmp_path, port) as here:
            message = await here.becomes(GATEWAY, "False", "PortInUse")
            assert message.startswith(f"port {port} is in use")
            other.close()
            await here.becomes(GATEWAY, "True", "Programmed")
            assert await here.status("nobody.example.com") == 404


async def test_two_greenrooms_do_not_share_a_port_unnoticed(tmp_path: Path) -> None:
    port = free_port()
    async with machine(tmp_path / "one", port) as first:
        await first.becomes(GATEWAY, "True", "Programmed")
        async with machine(tmp_path / "two", port) as second:
            await second.becomes(GATEWAY, "False", "PortInUse")


async def test_nothing_of_greenrooms_own_environment_reaches_envoy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_TEST_SECRET", "swordfish")
    async with machine(tmp_path, free_port()) as here:
        await until(lambda: len(here.envoys()) == 1)
        assert "GREENROOM_TEST_SECRET" not in here.envoys()[0].environ()


async def test_envoy_tells_where_its_admin_interface_is(tmp_path: Path) -> None:
    async with machine(tmp_path, free_port()) as here:
        await here.becomes(GATEWAY, "True", "Programmed")
        address = (tmp_path / "envoy" / f"{NAMESPACE}_ingress-gw.admin").read_text()
        async with here.session.get(f"http://{address}/clusters?format=json") as response:
            assert "greenroom" in json.dumps(await response.json(content_type=None))

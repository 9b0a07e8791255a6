"""Where gateways find the pods of a Service."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest
from tests.local.machine import Machine, Repository, WallClock, deployment, machine, named, port_of, until

from greenroom.local.storage.store import Store
from greenroom.local.workloads.services import Services, endpoint_slice, selects_pod, service_ports
from greenroom.model.manifest import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    Json,
    Manifest,
    Ref,
    get,
    labels_of,
    name_of,
    table,
    text,
    uid_of,
)
from greenroom.runtime.informer import Informers

PORTS = {"greenroom.dev/ports": json.dumps({"80": 20001, "9090": 20002})}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def service(*ports: Json, selector: Json = None) -> Manifest:
    return named(SERVICE, "web", spec={"selector": selector or {"app": "web"}, "ports": ports or ({"port": 80},)})


def pod(*, ready: bool = True, annotations: dict[str, str] | None = None, **metadata: Json) -> Manifest:
    ports: Json = [{"name": "http", "containerPort": 80}, {"name": "metrics", "containerPort": 9090}]
    known: Json = PORTS if annotations is None else annotations
    return {
        "metadata": {"name": "web-1", "uid": "u", "labels": {"app": "web"}, "annotations": known, **metadata},
        "spec": {"containers": [{"name": "app", "ports": ports}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


@pytest.mark.parametrize(
    ("port", "actual"),
    [
        ({"port": 80}, [20001]),
        ({"port": 1234, "targetPort": 80}, [20001]),
        ({"port": 1234, "targetPort": "80"}, [20001]),
        ({"port": 1234, "targetPort": "metrics"}, [20002]),
        ({"port": 1234, "targetPort": "nobody"}, []),
        ({"port": 1234, "targetPort": 5555}, []),
    ],
)
def test_a_target_port_is_where_the_process_listens(port: Json, actual: list[int]) -> None:
    assert [get(found, "port") for found in service_ports(service(port), pod())] == actual


def test_a_pod_that_declares_no_port_is_reached_at_the_one_it_was_told() -> None:
    told = pod(annotations={"greenroom.dev/ports": '{"0": 20009}'})
    assert service_ports(service({"port": 80, "targetPort": 8080}), told) == [
        {"name": "", "port": 20009, "protocol": "TCP"}
    ]


@pytest.mark.parametrize("annotation", ["", "no json", "[]", '{"http": 1}', "null"])
def test_a_pod_whose_ports_are_not_known_has_none(annotation: str) -> None:
    assert service_ports(service(), pod(annotations={"greenroom.dev/ports": annotation})) == []


@pytest.mark.parametrize(
    ("given", "conditions"),
    [
        (pod(), {"ready": True, "serving": True, "terminating": False}),
        (pod(ready=False), {"ready": False, "serving": False, "terminating": False}),
        (pod(deletionTimestamp="2026-01-01"), {"ready": False, "serving": True, "terminating": True}),
    ],
    ids=["ready", "not ready", "ending"],
)
def test_a_pod_that_ends_is_not_ready_whatever_it_says(given: Manifest, conditions: Json) -> None:
    made = endpoint_slice(service(), given, [])
    assert get(made, "endpoints", 0, "conditions") == conditions
    assert get(made, "endpoints", 0, "addresses") == ["127.0.0.1"]
    assert labels_of(made) == {"kubernetes.io/service-name": "web"}


def test_only_selected_pods_that_have_not_ended_are_behind_a_service() -> None:
    assert selects_pod(service(), pod())
    assert not selects_pod(service(selector={"app": "web", "tier": "back"}), pod())
    assert not selects_pod(named(SERVICE, "web", spec={}), pod())
    assert not selects_pod(service(), {**pod(), "status": {"phase": "Failed"}})


async def test_slices_come_and_go_with_pods_and_services(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(service({"port": 80}))
        await here.apply(deployment(repository.server("one"), spec={"replicas": 2}))
        pods = await here.ready(count=2)
        found = await _ready_slices(here, 2)
        assert {(text(each, "endpoints", 0, "targetRef", "uid"), get(each, "ports", 0, "port")) for each in found} == {
            (uid_of(pod), port_of(pod)) for pod in pods
        }
        assert {name_of(each) for each in found} == {f"web-{name_of(pod)}" for pod in pods}

        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await _ready_slices(here, 0)
        await until(lambda: _has_slices(here, 0))

        await here.apply(deployment(repository.server("two")))
        await here.ready()
        await _ready_slices(here, 1)
        await here.cluster.delete(Ref(SERVICE, "default", "web"))
        await until(lambda: _has_slices(here, 0))


async def test_services_and_pods_find_each_other_among_many_that_have_a_label_in_common(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "cluster.db", clock=WallClock())) as store:
        informers = Informers(store)
        services = Services(store, informers)

        async def behind() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for each in (await store.list(ENDPOINT_SLICE)).items:
                target = text(each, "endpoints", 0, "targetRef", "name")
                found.setdefault(labels_of(each)["kubernetes.io/service-name"], set()).add(target)
            return found

        async def until_behind(wanted: dict[str, set[str]]) -> None:
            async def as_wanted() -> bool:
                return await behind() == wanted

            await until(as_wanted)

        def selecting(number: int) -> Manifest:
            selector = {"part-of": "shop", "app": f"pr{number}"}
            return named(SERVICE, f"pr{number}", spec={"selector": selector, "ports": [{"port": 80}]})

        def labelled(number: int, app: int) -> Manifest:
            metadata = {**table(named(POD, f"pod{number}"), "metadata"), "annotations": PORTS}
            labels = {"part-of": "shop", "app": f"pr{app}", "pod-template-hash": "x"}
            made = named(POD, f"pod{number}", spec={"containers": [{"name": "app", "ports": [{"containerPort": 80}]}]})
            return {**made, "metadata": {**metadata, "labels": labels}}

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(informers.run()), group.create_task(services.controller.run())]
            for number in range(3):
                await store.apply(selecting(number), manager="test")
                await store.apply(labelled(number, app=number), manager="test")
            await until_behind({"pr0": {"pod0"}, "pr1": {"pod1"}, "pr2": {"pod2"}})
            await store.apply(labelled(1, app=2), manager="test")
            await until_behind({"pr0": {"pod0"}, "pr2": {"pod1", "pod2"}})
            await store.apply(
                {**selecting(0), "spec": {"selector": {"part-of": "shop"}, "ports": [{"port": 80}]}}, manager="test"
            )
            await until_behind({"pr0": {"pod0", "pod1", "pod2"}, "pr2": {"pod1", "pod2"}})
            await store.delete(Ref(POD, "default", "pod1"), grace_seconds=0)
            await until_behind({"pr0": {"pod0", "pod2"}, "pr2": {"pod2"}})
            for task in running:
                task.cancel()


async def test_a_slice_that_somebody_deleted_comes_back(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(service())
        await here.apply(deployment(repository.server("one")))
        await here.ready()
        (before,) = await _ready_slices(here, 1)
        await here.cluster.delete(Ref(ENDPOINT_SLICE, "default", name_of(before)))

        async def replaced() -> bool:
            return uid_of(before) not in {uid_of(each) for each in await _slices(here)}

        await until(replaced)
        assert len(await _ready_slices(here, 1)) == 1


async def test_a_service_without_selector_is_left_to_its_user(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        made = named(ENDPOINT_SLICE, "own", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}])
        labels: Json = {"kubernetes.io/service-name": "external"}
        own: Manifest = {**made, "metadata": {**table(made, "metadata"), "labels": labels}}
        stored = await here.apply(own)
        await here.apply(named(SERVICE, "external", spec={"ports": [{"port": 80}]}))
        await here.apply(deployment(repository.server("one")))
        await here.ready()
        assert await here.get(ENDPOINT_SLICE, "own") == stored


async def _slices(here: Machine) -> list[Manifest]:
    return list((await here.cluster.list(ENDPOINT_SLICE, namespace="default")).items)


async def _has_slices(here: Machine, count: int) -> bool:
    return len(await _slices(here)) == count


async def _ready_slices(here: Machine, count: int) -> list[Manifest]:
    """Wait until that many slices are ready."""
    ready: list[Manifest] = []

    async def enough() -> bool:
        ready[:] = [each for each in await _slices(here) if get(each, "endpoints", 0, "conditions", "ready") is True]
        return len(ready) == count

    await until(enough)
    return ready

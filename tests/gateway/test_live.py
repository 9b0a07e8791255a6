"""What a visitor notices, with a real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import WSMsgType
from tests.gateway.live import Backends, Gateway, free_port, gateway, serving, until
from tests.gateway.world import World, environment, find, route, running, stage

from greenroom.adapters.ads import AdsServer
from greenroom.model.manifest import DEPLOYMENT

A, B = "a" * 40, "b" * 40
LATER = "2026-11-23T11:00:00Z"


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


@pytest.fixture
async def ads() -> AsyncIterator[AdsServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def envoy(tmp_path: Path, ads: AdsServer) -> AsyncIterator[Gateway]:
    port = free_port()
    async with gateway(tmp_path, ads, port) as running_gateway:
        yield running_gateway


def host(number: int) -> str:
    return f"pr{number}.pr-env.example.com"


async def test_an_environment_answers_with_its_commit(envoy: Gateway, backends: Backends) -> None:
    world = World(*stage(port=envoy.port), *environment(1, A, await backends.start(A)))
    await envoy.show(world)
    status, headers, body = await envoy.get(host(1), "/page?x=1")
    assert status == 200
    assert headers["x-greenroom-commit"] == A
    assert json.loads(body) == {"commit": A, "path": "/page?x=1", "host": "pr1.pr-env.svc.cluster.local"}


async def test_host_names_match_with_a_port_and_in_any_case(envoy: Gateway, backends: Backends) -> None:
    await envoy.show(World(*stage(port=envoy.port), *environment(1, A, await backends.start(A))))
    status, _, _ = await envoy.get(f"{host(1).upper()}:{envoy.port}")
    assert status == 200


async def test_other_hosts_get_a_page_that_says_so(envoy: Gateway) -> None:
    await envoy.show(World(*stage(port=envoy.port)))
    status, headers, body = await envoy.get("pr9.pr-env.example.com")
    assert status == 404
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-robots-tag"] == "noindex"
    assert "There is no environment here" in body
    assert "pr9.pr-env.example.com" in body
    assert "x-greenroom-commit" not in headers


async def test_programs_get_json(envoy: Gateway) -> None:
    await envoy.show(World(*stage(port=envoy.port), *environment(1, A)))
    status, headers, body = await envoy.get("pr9.pr-env.example.com", accept="application/json")
    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(body)["host"] == "pr9.pr-env.example.com"
    status, headers, body = await envoy.get(host(1), accept="application/json")
    assert (status, headers["content-type"]) == (503, "application/json")
    assert json.loads(body)["host"] == host(1)


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", 'a"b', "a<b", "a&lt;b"])
async def test_a_hostile_host_name_stays_harmless(envoy: Gateway, hostile: str) -> None:
    await envoy.show(World(*stage(port=envoy.port)))
    status, _, body = await envoy.get(hostile)
    assert status in {400, 404}
    assert "<script>alert" not in body
    assert "a<b" not in body


async def test_an_environment_without_a_ready_pod_says_so_and_looks_again(envoy: Gateway) -> None:
    await envoy.show(World(*stage(port=envoy.port), *environment(1, A)))
    status, headers, body = await envoy.get(host(1))
    assert status == 503
    assert headers["refresh"] == "3"
    assert headers["cache-control"] == "no-store"
    assert "This environment does not answer" in body


async def test_websockets_pass(envoy: Gateway, backends: Backends) -> None:
    await envoy.show(World(*stage(port=envoy.port), *environment(1, A, await backends.start(A))))
    url = f"http://127.0.0.1:{envoy.port}/socket"
    async with envoy.session.ws_connect(url, headers={"host": host(1)}) as connection:
        message = await connection.receive()
    assert (message.type, message.data) == (WSMsgType.TEXT, A)


REWRITES = [
    ({"prefix": "/chapter"}, {}, "/chapter/page?q=1", "/page?q=1"),
    ({"prefix": "/chapter"}, {}, "/chapter1", "/1"),
    ({"prefix": "/chapter"}, {}, "/chapter", "/"),
    ({"prefix": "/"}, {}, "/page", "/page"),
    ({"prefix": "/a.b(c"}, {}, "/a.b(c/page", "/page"),
    ({"prefix": "/chapter"}, {"prefix": {"defaultPrefix": "DISABLED"}}, "/chapter/page", "/chapter/page"),
    ({"prefix": "/old/"}, {"prefix": {"value": "/new/"}}, "/old/x", "/new/x"),
    ({"path": {"exact": "/x"}}, {}, "/x", "/x"),
    ({"path": {"regex": "/[a-z]+"}}, {}, "/abc", "/abc"),
    ({"path": {"exact": "/x"}}, {"path": {"exact": r"/blue\1"}}, "/x?q=1", r"/blue\1?q=1"),
]


@pytest.mark.parametrize(("match", "rewrite", "asked", "seen"), REWRITES)
async def test_the_application_sees_the_path_that_app_mesh_documents(
    envoy: Gateway, backends: Backends, match: dict[str, str], rewrite: dict[str, str], asked: str, seen: str
) -> None:
    made = environment(1, A, await backends.start(A))
    rewritten = {"rewrite": rewrite} if rewrite else {}
    await envoy.show(World(*stage(port=envoy.port), *made[1:], route("r", match, to="pr1", **rewritten)))
    status, _, body = await envoy.get("any.example.com", asked)
    assert (status, json.loads(body)["path"]) == (200, seen)


@pytest.mark.parametrize(
    ("suffix", "hosts", "others"),
    [
        ("-pr.example.com", ["7-pr.example.com", "A-PR.example.com"], ["7.pr.example.com", "pr.example.com"]),
        ("pr.example.com", ["7-pr.example.com", "pr.example.com"], ["example.com"]),
        (".pr.example.com", ["7.pr.example.com"], ["pr.example.com", "7-pr.example.com"]),
    ],
)
async def test_a_suffix_may_begin_anywhere_in_a_name(
    envoy: Gateway, backends: Backends, suffix: str, hosts: list[str], others: list[str]
) -> None:
    made = environment(1, A, await backends.start(A))
    await envoy.show(World(*stage(port=envoy.port), *made[1:], route("r", {"hostname": {"suffix": suffix}}, to="pr1")))
    assert [(await envoy.get(each))[0] for each in hosts] == [200] * len(hosts)
    assert [(await envoy.get(each))[0] for each in others] == [404] * len(others)


def _more_than(counts: Counter[int], status: int, number: int) -> bool:
    return counts[status] > number


async def test_adding_environments_never_answers_503(envoy: Gateway, backends: Backends) -> None:
    port = await backends.start(A)
    world = World(*stage(port=envoy.port))
    await envoy.show(world)
    for number in range(20):
        async with envoy.polled(host(number)) as counts:
            await until(partial(_more_than, counts, 404, 0))
            envoy.publish(world.put(*environment(number, A, port)))
            await until(partial(_more_than, counts, 200, 3))
        assert set(counts) == {404, 200}


async def test_removing_an_environment_never_answers_503(envoy: Gateway, backends: Backends) -> None:
    port = await backends.start(A)
    other = environment(2, A, port)
    await envoy.show(World(*stage(port=envoy.port), *environment(1, A, port), *other))
    async with envoy.polled(host(1)) as counts, envoy.polled(host(2)) as others:
        await until(lambda: counts[200] > 0)
        envoy.publish(World(*stage(port=envoy.port), *other))
        await until(lambda: counts[404] > 3)
        await until(envoy.is_taken)
    assert set(counts) == {200, 404}
    assert set(others) == {200}


async def test_a_new_commit_takes_over_under_load_without_a_failure_or_a_mixture(
    envoy: Gateway, backends: Backends
) -> None:
    old = [await backends.start(A) for _ in range(2)]
    new = [await backends.start(B) for _ in range(2)]
    before = environment(1, A, *old)
    deployment = find(before, DEPLOYMENT, "pr1")
    world = World(*stage(port=envoy.port), *before)
    await envoy.show(world)
    seen: list[str] = []
    stop = asyncio.Event()

    async def load() -> None:
        mine: list[str] = []
        while not stop.is_set():
            status, headers, body = await envoy.get(host(1))
            assert status == 200
            assert json.loads(body)["commit"] == headers["x-greenroom-commit"]
            mine.append(headers["x-greenroom-commit"])
            seen.append(mine[-1])
        assert mine == sorted(mine)  # whoever has seen the new commit never sees the old one again

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(load())
        await until(lambda: len(seen) > 50)
        deployment["metadata"]["annotations"]["greenroom.dev/commit"] = B
        envoy.publish(world.put(deployment, *running("pr1", B, new[0], created=LATER)))
        await until(envoy.is_taken)
        assert B not in seen
        envoy.publish(world.put(*running("pr1", B, *new, created=LATER)))
        await until(envoy.is_taken)
        await until(lambda: seen[-20:] == [B] * 20)
        stop.set()
    assert Counter(seen).keys() == {A, B}

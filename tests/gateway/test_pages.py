"""What visitors are told while an environment does not answer, by a real Envoy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.live import NAME, Backends, Gateway, free_port, gateway, serving, until
from tests.gateway.world import GATEWAY, World, environment, route, stage

from greenroom.core import pages
from greenroom.core.envoy import snapshot
from greenroom.core.notices import announced, notices
from greenroom.core.routing import Router
from greenroom.model.manifest import GROUP, Manifest
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.model.routes import Notice, State

A = "a" * 40
HOST = "pr1.pr-env.example.com"
WAITING = ("False", "WaitingForImage", "pr1: waiting for image shop:aaaaaaa: Back-off pulling image")


def pr(name: str = "shop-pr1", *, ready: tuple[str, str, str] | None, host: str = HOST) -> Manifest:
    """A PR object, with the status, the reason and the message of its condition ``Ready``."""
    condition = dict(zip(("status", "reason", "message"), ready, strict=True)) if ready else {}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "PR",
        "metadata": {"name": name, "namespace": "pr-env", "uid": f"uid-{name}"},
        "spec": {"headCommitRef": A},
        "status": {"url": f"https://{host}/", "conditions": [{"type": "Ready", **condition}] if ready else []},
    }


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    started = Backends()
    yield started
    await started.stop()


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    async with serving() as ads, gateway(tmp_path, ads, port) as running:
        yield running


async def show(envoy: Gateway, *manifests: Manifest, prs: list[Manifest]) -> None:
    world = World(*stage(port=envoy.port), *manifests)
    tables = Router().route(world).tables
    found = notices(prs, world.list(GATEWAY_ROUTE))
    envoy.ads.publish(NAME, snapshot(announced(tables, found)[GATEWAY], bind="127.0.0.1"))
    await until(envoy.is_taken)


class _Text(HTMLParser):
    """What a reader sees, and the tags that are there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.links = "", set[str](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("ready", "title", "refresh"),
    [
        (None, "This environment is being built", "3"),
        (WAITING, "This environment is being built", "3"),
        (("False", "RollingOut", "pr1: 0 of 1 new replicas are ready"), "This environment is starting", "3"),
        (("False", "CrashLoopBackOff", "pr1: container app: exit code 1"), "This environment has failed", "15"),
    ],
)
async def test_an_environment_says_what_it_waits_for(
    envoy: Gateway, ready: tuple[str, str, str] | None, title: str, refresh: str
) -> None:
    await show(envoy, *environment(1, A), prs=[pr(ready=ready)])
    status, headers, body = await envoy.get(HOST)
    assert status == 503
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert (headers["cache-control"], headers["x-robots-tag"]) == ("no-store", "noindex")
    assert headers["refresh"] == refresh
    seen = _Text(body)
    assert title in seen.text
    assert A[:7] in seen.text
    assert "greenroom logs pr/shop-pr1 -n pr-env" in seen.text
    assert ready is None or ready[2] in seen.text
    assert seen.links == []


async def test_programs_get_the_same_as_json(envoy: Gateway) -> None:
    await show(envoy, *environment(1, A), prs=[pr(ready=WAITING)])
    status, headers, body = await envoy.get(HOST, accept="application/json, text/plain")
    assert (status, headers["content-type"]) == (503, "application/json")
    assert json.loads(body) == {
        "error": "Building",
        "reason": "WaitingForImage",
        "message": WAITING[2],
        "environment": "shop-pr1",
        "commit": A,
        "logs": "greenroom logs pr/shop-pr1 -n pr-env",
        "host": HOST,
    }


async def test_grpc_clients_get_one_line(envoy: Gateway) -> None:
    await show(envoy, *environment(1, A), prs=[pr(ready=WAITING)])
    _, headers, _ = await envoy.get(HOST, content_type="application/grpc")
    assert headers["grpc-status"] == "14"
    assert headers["grpc-message"] == f"This environment is being built: {WAITING[2]}"


async def test_an_environment_without_a_route_says_why(envoy: Gateway) -> None:
    failed = ("False", "InvalidTemplate", "spec.resources[0]: is no object")
    await show(envoy, prs=[pr(ready=failed)])
    status, _, body = await envoy.get(HOST, "/any/path")
    assert status == 503
    assert "This environment has failed" in body
    assert "spec.resources[0]: is no object" in body
    assert (await envoy.get("other.example.com"))[0] == 404


async def test_a_running_environment_answers_for_itself(envoy: Gateway, backends: Backends) -> None:
    port = await backends.start(A)
    failed = ("False", "CrashLoopBackOff", "pr1: container app: exit code 1")
    await show(envoy, *environment(1, A, port), prs=[pr(ready=failed)])
    for wanted in (200, 404, 503):
        status, _, body = await envoy.get(HOST, f"/?status={wanted}")
        assert (status, json.loads(body)["commit"]) == (wanted, A)


async def test_no_page_passes_for_an_answer_of_the_commit(envoy: Gateway) -> None:
    """A test that waits for the commit must not take it from a pod that was asked and could not be reached."""
    await show(envoy, *environment(1, A, free_port()), prs=[])
    status, headers, _ = await envoy.get(HOST)
    assert (status, headers["x-greenroom-commit"]) == (503, "none")


async def test_a_ready_pod_takes_the_place_of_the_page_without_a_new_route(envoy: Gateway, backends: Backends) -> None:
    """The page is still what Envoy would show; there is nothing to show it for."""
    world = World(*stage(port=envoy.port), *environment(1, A))
    found = notices([pr(ready=WAITING)], ())
    before = announced(Router().route(world).tables, found)[GATEWAY]
    world.put(*environment(1, A, await backends.start(A)))
    after = Router().route(world).tables[GATEWAY]
    for clusters in (before.clusters, after.clusters):
        made = snapshot(type(before)(before.listeners, clusters), bind="127.0.0.1")
        envoy.ads.publish(NAME, made)
        await until(envoy.is_taken)
    assert (await envoy.get(HOST))[0] == 200


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x>',
    "%REQ(:path)% 100%",
    "{{ x }} $(x)",
    "\x00\n\ud800",
    "a" * 5000,
]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_texts_stay_texts(envoy: Gateway, hostile: str) -> None:
    await show(envoy, *environment(1, A), prs=[pr(ready=("False", "RollingOut", hostile))])
    _, _, page = await envoy.get(HOST)
    assert _Text(page).tags == _Text(pages.not_answering()).tags | {"dl", "dt", "dd"}
    assert _Text(page).links == []
    _, _, body = await envoy.get(HOST, accept="application/json")
    message: str = json.loads(body)["message"]
    assert message.isprintable()
    assert message == hostile[:600] or not hostile.isprintable()


async def test_a_path_that_no_route_takes_is_not_found_though_the_environment_is_known(envoy: Gateway) -> None:
    made = environment(1, A)
    only_api: dict[str, Any] = route("pr1", {"prefix": "/api", "hostname": {"exact": HOST}}, to="pr1")
    await show(envoy, *made[1:], only_api, prs=[pr(ready=WAITING)])
    assert (await envoy.get(HOST, "/api"))[0] == 503
    assert (await envoy.get(HOST, "/"))[0] == 404


@pytest.mark.parametrize("page", [pages.not_found(), pages.not_answering(), pages.noticed()])
def test_pages_are_small_and_whole(page: str) -> None:
    assert len(page) < 4096
    assert _Text(page).links == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(_Text(page).tags)


def test_a_notice_is_small() -> None:
    long = Notice(State.FAILED, "e" * 253, "n" * 63, "c" * 40, "r" * 100, "m" * 10_000)
    assert sum(len(str(value)) for value in pages.metadata(long).values()) < 5000

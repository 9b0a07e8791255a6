"""The life of a pull request, seen from outside: real git, webhooks over HTTP, processes, and Envoy."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.shop import NAMESPACE, eventually, settings_in, shop_in

from greenroom.app.example_repository import make_example
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    PR,
    REVIEW_APP,
    Manifest,
    Ref,
    condition_of,
    items,
    number,
    table,
    text,
    uid_of,
)
from greenroom.model.mesh import GATEWAY_ROUTE


async def test_an_environment_comes_changes_and_goes(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        first = await shop.forge.open("blue-title")
        second = await shop.forge.open("big-title")
        assert (await shop.until_shown(1, first.head)).commit == first.head
        assert (await shop.until_shown(2, second.head)).commit == second.head
        commit = await shop.change("blue-title", "The shop", "The new shop")
        await shop.forge.push(1)
        assert "The new shop" in (await shop.until_shown(1, commit)).body
        await shop.forge.close(1)
        page = await shop.until_status("pr1.localhost", 404)
        assert "There is no environment here" in page.body

        async def gone() -> bool:
            return not shop.machine.remains_of(commit) and not shop.machine.remains_of(first.head)

        await eventually(gone)
        assert (await shop.visit("pr2.localhost")).body.count(second.head) == 1
        for kind in (PR, DEPLOYMENT, POD, GATEWAY_ROUTE):
            names = [text(found, "metadata", "name") for found in (await shop.machine.cluster.list(kind)).items]
            assert len(names) == 1, f"only the other pull request's {kind} is left"
            assert "pr2" in names[0]


async def test_no_request_fails_and_none_sees_a_wrong_commit_while_commits_are_pushed_under_load(
    tmp_path: Path,
) -> None:
    async with shop_in(tmp_path) as shop:
        commits = [(await shop.forge.open("blue-title")).head]
        await shop.until_shown(1, commits[0])
        stop, seen, wrong = asyncio.Event(), 0, []

        async def visitor() -> None:
            nonlocal seen
            newest = 0
            while not stop.is_set():
                answer = await shop.visit("pr1.localhost")
                seen += 1
                if answer.status != 200 or answer.commit not in answer.body or not answer.commit:
                    wrong.append(f"{answer.status} {answer.commit} {answer.body[-60:]}")
                    continue
                position = commits.index(answer.commit)
                if position < newest:
                    wrong.append(f"went back from commit {newest} to {position}")
                newest = max(newest, position)

        visitors = [asyncio.create_task(visitor()) for _ in range(8)]
        for index in range(4):
            commits.append(await shop.change("blue-title", "<p>This", f"<i>{index}</i><p>This"))
            await shop.forge.push(1)
            await shop.until_shown(1, commits[-1])
        await asyncio.sleep(1.0)  # the last old process ends under load, too
        stop.set()
        await asyncio.gather(*visitors)
        assert wrong == []
        assert seen > 100


async def test_a_commit_that_does_not_start_leaves_the_old_one_serving_and_says_why(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        good = await shop.forge.open("blue-title")
        await shop.until_shown(1, good.head)
        await shop.change("blue-title", "import os", "import os, no_such_module")
        await shop.forge.push(1)
        message = await shop.until_waiting(1, "CrashLoopBackOff")
        assert "no_such_module" in message
        assert f"commit {good.head[:7]} keeps serving" in message
        assert (await shop.visit("pr1.localhost")).commit == good.head
        assert text(shop.pr(1), "status", "shownCommit") == good.head

        await shop.change("blue-title", "import os, no_such_module", "import os")
        pull = await shop.forge.push(1)
        assert (await shop.until_shown(1, pull.head)).commit == pull.head

        async def ready() -> bool:
            return text(condition_of(shop.pr(1), "Ready"), "status") == "True"

        await eventually(ready)
        assert text(shop.pr(1), "status", "shownCommit") == pull.head


async def test_an_edited_template_reaches_live_environments(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        pull = await shop.forge.open("blue-title")
        await shop.until_shown(1, pull.head)
        app = await shop.machine.cluster.get(Ref(REVIEW_APP, NAMESPACE, "reviewapp"))
        template = items(app, "spec", "resources")
        config: Manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings-{{PR_NUMBER}}"},
            "data": {"commit": "{{ COMMIT_REF_SHORT }}"},
        }

        async def edit(resources: list[object]) -> None:
            spec = {**table(app, "spec"), "resources": resources}
            edited = {"apiVersion": app["apiVersion"], "kind": app["kind"], "spec": spec}
            metadata = {"name": "reviewapp", "namespace": NAMESPACE}
            await shop.machine.cluster.apply({**edited, "metadata": metadata}, manager="greenroom-cli")  # type: ignore[dict-item] # plain JSON, as the file had it

        ref = Ref(CONFIG_MAP, NAMESPACE, "settings-1")

        async def made() -> Manifest | None:
            return shop.machine.informers.get(ref)

        await edit([*template, config])
        assert text(await eventually(made), "data", "commit") == pull.head[:7]
        await edit(list(template))

        async def pruned() -> bool:
            return shop.machine.informers.get(ref) is None

        await eventually(pruned)
        assert (await shop.visit("pr1.localhost")).status == 200


async def test_drift_is_repaired(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        pull = await shop.forge.open("blue-title")
        await shop.until_shown(1, pull.head)
        route, deployment = Ref(GATEWAY_ROUTE, NAMESPACE, "pr1"), Ref(DEPLOYMENT, NAMESPACE, "pr1")
        before = await shop.machine.cluster.get(route)
        await shop.machine.cluster.delete(route)

        async def made_again() -> bool:
            return uid_of(shop.machine.informers.get(route) or before) != uid_of(before)

        await eventually(made_again)
        await shop.until_shown(1, pull.head)

        meddling: Manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "pr1", "namespace": NAMESPACE},
            "spec": {"replicas": 3},
        }
        meddled = await shop.machine.cluster.apply(meddling, manager="somebody")
        assert number(meddled, "spec", "replicas") == 3

        async def as_it_was() -> bool:
            return number(shop.machine.informers.get(deployment), "spec", "replicas") == 1

        await eventually(as_it_was)


async def test_a_machine_client_is_told_of_a_missing_environment_in_json(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        answer = await shop.visit("nobody.localhost", Accept="application/json")
        assert answer.status == 404
        assert json.loads(answer.body)


@pytest.mark.parametrize(
    "title", ["$(touch /tmp/owned)", "{{COMMIT_REF}}", "../../etc", "x" * 300, "🎭" * 60, "a\r\nb: c"]
)
async def test_a_hostile_title_harms_nothing(tmp_path: Path, title: str) -> None:
    async with shop_in(tmp_path) as shop:
        pull = await shop.forge.open("blue-title", title)
        await shop.until_shown(1, pull.head)


async def test_one_that_prints_without_end_hurts_only_itself(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        endless = 'threading.Thread(target=lambda: [print("x" * 200) for _ in iter(int, 1)], daemon=True).start()'
        flood = f"{endless}\n    server.serve"
        await shop.change("big-title", "server.serve", flood)
        quiet = await shop.forge.open("blue-title")
        await shop.forge.open("big-title")
        await shop.until_shown(1, quiet.head)
        for _ in range(50):
            assert (await asyncio.wait_for(shop.visit("pr1.localhost"), 2)).status == 200
        logs = sum(file.stat().st_size for file in (tmp_path / "state" / "logs").rglob("*") if file.is_file())
        assert logs < 12 * 1024 * 1024


async def test_a_port_that_is_taken_is_named_with_the_option_to_change_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, await make_example(tmp_path / "shop"))
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        taken = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidInput, match=f"port {taken} .*another program.*--port"):
            async with shop_in(tmp_path, replace(settings, gateway_port=taken)):
                pass
        with pytest.raises(InvalidInput, match=f"port {taken} .*another program.*--webhook-port"):
            async with shop_in(tmp_path, replace(settings, webhook_port=taken)):
                pass

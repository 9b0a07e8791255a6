"""kubectl against the one-machine cluster's API server, where kubectl is installed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.local.shelf import TOKEN, Shelf, talkative

from greenroom.local.api import make_app, running, write_kubeconfig
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, POD, Ref, table

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

Kubectl: TypeAlias = Callable[..., Awaitable[tuple[int, str]]]
CREATED = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"a": "b"}}'


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.put(POD, "default", "web", spec={"containers": [{"name": "app"}]})
    shelf.put(DEPLOYMENT, "default", "web")
    return shelf


@pytest.fixture
async def kubectl(shelf: Shelf, tmp_path: Path) -> AsyncIterator[Kubectl]:
    """Run kubectl with these arguments; answers its exit code and what it printed."""
    config = tmp_path / "kubeconfig"

    async def run(*arguments: str, given: str = "") -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            f"--kubeconfig={config}",
            f"--cache-dir={tmp_path / 'cache'}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate(given.encode())
        return process.returncode or 0, printed.decode()

    async with running(make_app(shelf, token=TOKEN, logs=talkative)) as url:
        write_kubeconfig(config, server=url, token=TOKEN, namespace="default")
        yield run


async def test_get_knows_the_kinds_and_their_short_names(kubectl: Kubectl) -> None:
    assert await kubectl("get", "deploy,pods", "-o", "name") == (0, "deployment.apps/web\npod/web\n")


async def test_logs_are_shown(kubectl: Kubectl) -> None:
    assert await kubectl("logs", "web", "--tail=3") == (0, "default/web/app False 3\n")


async def test_an_object_is_applied_and_deleted(kubectl: Kubectl, shelf: Shelf) -> None:
    applied = await kubectl("apply", "--server-side", "--validate=false", "-f", "-", given=CREATED)
    assert applied == (0, "configmap/two serverside-applied\n")
    ref = Ref(CONFIG_MAP, "default", "two")
    assert table(shelf.objects[ref], "data") == {"a": "b"}
    assert (await kubectl("delete", "configmap", "two", "--wait=false"))[0] == 0
    assert [deleted for deleted, *_ in shelf.deleted] == [ref]


async def test_what_is_not_supported_says_what_to_do_instead(kubectl: Kubectl) -> None:
    code, printed = await kubectl("label", "deployment", "web", "team=shop")
    assert code == 1
    assert "kubectl apply --server-side" in printed

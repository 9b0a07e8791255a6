"""The lines in the terminal while `up` runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.cli.terminal import NAME_SPACE, made
from tests.e2e.shop import eventually

from greenroom.app.lifecycle import SystemClock
from greenroom.cli.feed import follow
from greenroom.local.storage.store import Store
from greenroom.model.manifest import PR, Json, Manifest, Ref
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers

COMMIT = "abcdef0" * 5 + "12345"
REF = Ref(PR, NAME_SPACE, "shop-pr7")


def pr(commit: str = COMMIT, **metadata: Json) -> Manifest:
    spec = {"parentReviewApp": "shop", "prNumber": "7", "headCommitRef": commit}
    place: Manifest = {"name": REF.name, "namespace": NAME_SPACE, **metadata}
    return {"apiVersion": PR.api_version, "kind": PR.name, "metadata": place, "spec": spec}


def ready(status: str, reason: str, message: str = "", **fields: Json) -> Manifest:
    condition = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {"conditions": [condition], **fields}


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[tuple[Store, list[str]]]:
    """A cluster, and what is said of it, without the time."""
    said: list[str] = []
    with closing(Store.open(folder / "cluster.db", clock=SystemClock())) as store:
        await store.apply(made(NAME_SPACE, kind="Namespace"), manager="test")
        informers = Informers(store)
        running = asyncio.create_task(informers.run())
        following = asyncio.create_task(
            follow(informers, lambda line: said.append(" ".join(re.sub(r"^\d\d:\d\d:\d\d", "", line).split())))
        )
        await informers.synced(Scope(PR))
        try:
            yield store, said
        finally:
            for task in (following, running):
                task.cancel()
            await asyncio.gather(following, running, return_exceptions=True)


async def until_said(said: Sequence[str], *lines: str) -> None:
    async def all_said() -> bool:
        return tuple(said) == lines

    try:
        await eventually(all_said, seconds=5)
    except AssertionError:
        assert tuple(said) == lines  # which shows what was said instead


async def test_the_life_of_an_environment_is_told_in_lines(tmp_path: Path) -> None:
    async with followed(tmp_path) as (store, said):
        await store.apply(pr(), manager="test")
        lines = ["shop-pr7 abcdef0 created"]
        await until_said(said, *lines)
        await store.patch_status(REF, ready("False", "WaitingForImage", "not built yet"))
        lines.append("shop-pr7 abcdef0 WaitingForImage: not built yet")
        await until_said(said, *lines)
        await store.patch_status(REF, ready("True", "Ready", url="http://pr7.localhost:8080"))
        lines.append("shop-pr7 abcdef0 ready at http://pr7.localhost:8080")
        await until_said(said, *lines)
        await store.delete(REF)
        await until_said(said, *lines, "shop-pr7 gone")


async def test_what_says_nothing_new_is_not_told(tmp_path: Path) -> None:
    async with followed(tmp_path) as (store, said):
        await store.apply(pr(), manager="test")
        await store.apply(pr(annotations={"a": "b"}), manager="test")
        await store.patch_status(REF, {"observedGeneration": 1})
        await store.delete(REF)
        await until_said(said, "shop-pr7 abcdef0 created", "shop-pr7 gone")


async def test_the_end_is_told_too(tmp_path: Path) -> None:
    async with followed(tmp_path) as (_, said):
        await asyncio.sleep(0)
    assert said[-1:] == ["Stopping every process ..."]

"""What becomes of an environment when somebody tells that its image was built, or will never be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.flows.test_progress import roll
from tests.flows.world import (
    NAMESPACE,
    REPOSITORY,
    START,
    A,
    B,
    World,
    deployment,
    event,
    review_app,
    settled,
    world,
)
from tests.virtual import now, run, virtual_time

from greenroom.core.payloads import EVENTS, IMAGE_EVENT
from greenroom.flows.intake import Result
from greenroom.local.storage.store import Store
from greenroom.model.errors import Forbidden
from greenroom.model.manifest import POD, Ref, is_deleting, ref_of
from greenroom.model.pull import Build

PAGE = f"{REPOSITORY}/actions/runs/1"


def workflow_run(
    commit: str = A, conclusion: str = "success", *, second: float = 0, repository: str = REPOSITORY
) -> Build:
    """As GitHub tells it when a workflow has ended."""
    ended = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    run_ = {
        "id": 1,
        "name": "Preview",
        "path": ".github/workflows/preview.yml",
        "event": "pull_request",
        "status": "completed",
        "head_sha": commit,
        "conclusion": conclusion,
        "updated_at": ended,
        "html_url": PAGE,
    }
    return _read("workflow_run", {"action": "completed", "workflow_run": run_, "repository": {"html_url": repository}})


def image_call(commit: str = A, conclusion: str = "success") -> Build:
    """As a workflow tells it by a signed call, which needs not say when."""
    return _read(IMAGE_EVENT, {"repository": {"html_url": REPOSITORY}, "commit": commit, "conclusion": conclusion})


def _read(name: str, content: Any) -> Build:
    found = EVENTS[name](json.dumps(content).encode())
    assert isinstance(found, Build), found
    return found


async def results(here: World, build: Build) -> list[Result]:
    outcomes = await here.builds.handle(build)
    await settled()
    return [outcome.result for outcome in outcomes]


async def reason(here: World) -> str:
    return str((await here.condition())["reason"])


async def pods(here: World) -> set[str]:
    """Those that nobody has deleted."""
    return {name for name, pod in (await here.objects("Pod")).items() if not is_deleting(pod)}


async def pod_again(here: World, commit: str = A) -> None:
    """What the ReplicaSet's controller and the kubelet do about a pod that was deleted."""
    await here.store.delete(Ref(POD, NAMESPACE, f"pr7-{commit[:4]}-x"), grace_seconds=0)
    await roll(here, commit, ready=False, reason="ImagePullBackOff")


@asynccontextmanager
async def waiting(folder: Path, **options: Any) -> AsyncIterator[World]:
    """An environment whose pod waits for the image of A, a minute old."""
    app = review_app(deployment())
    app["spec"]["buildWorkflow"] = "preview.yml"
    async with world(folder, app, running=True, **options) as here:
        await here.intake.handle(event("opened"))
        await settled()
        await roll(here, A, ready=False, reason="ImagePullBackOff")
        await asyncio.sleep(60)
        assert await reason(here) == "WaitingForImage"
        yield here


@pytest.mark.parametrize("conclusion", ["failure", "timed_out", "startup_failure"])
def test_a_failed_build_is_told_with_its_page_and_forgotten_when_another_succeeds(
    tmp_path: Path, conclusion: str
) -> None:
    async def play() -> None:
        async with waiting(tmp_path) as here:
            assert await results(here, workflow_run(A, conclusion)) == [Result.UPDATED]
            condition = await here.condition()
            assert condition["reason"] == "BuildFailed"
            assert f"the build of commit aaaaaaa failed: {PAGE}" in condition["message"]
            assert await pods(here) == {"pr7-aaaa-x"}
            assert await results(here, workflow_run(A, second=100)) == [Result.UPDATED]
            await pod_again(here)
            assert await reason(here) == "WaitingForImage"

    run(play())


@virtual_time
async def test_a_failed_build_is_forgotten_with_the_next_push(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await results(here, image_call(A, "failure"))
        assert await reason(here) == "BuildFailed"
        await here.intake.handle(event("synchronize", B, second=200, before=A))
        await settled()
        await roll(here, B, ready=False, reason="ErrImagePull")
        assert await reason(here) == "WaitingForImage"
        assert await results(here, workflow_run(A, "failure", second=300)) == []
        assert await reason(here) == "WaitingForImage"


@virtual_time
async def test_a_failed_build_says_nothing_of_pods_that_run(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await roll(here, A, ready=True)
        await results(here, workflow_run(A, "failure"))
        assert (await reason(here), await pods(here)) == ("Ready", {"pr7-aaaa-x"})


@pytest.mark.parametrize("build", [workflow_run(A), image_call(A)], ids=["workflow_run", "greenroom_image"])
def test_a_pod_that_waits_for_an_image_that_is_there_is_replaced_and_only_once(tmp_path: Path, build: Build) -> None:
    async def play() -> None:
        async with waiting(tmp_path) as here:
            assert await results(here, build) == [Result.UPDATED]
            assert await pods(here) == set()
            await pod_again(here)
            await asyncio.sleep(1000)
            await here.reconcile.reconcile(here.pr_ref())
            assert await pods(here) == {"pr7-aaaa-x"}

    run(play())


@virtual_time
async def test_a_success_that_is_delivered_again_replaces_no_pod_again(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await results(here, workflow_run(A, second=50))
        await pod_again(here)
        await asyncio.sleep(60)
        assert await results(here, workflow_run(A, second=50)) == [Result.UNCHANGED]
        assert await results(here, workflow_run(A, "failure", second=40)) == [Result.UNCHANGED]
        assert (await pods(here), await reason(here)) == ({"pr7-aaaa-x"}, "WaitingForImage")


@virtual_time
async def test_of_two_that_end_within_a_second_the_success_counts(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await results(here, workflow_run(A, "failure", second=50))
        assert await results(here, workflow_run(A, second=50)) == [Result.UPDATED]
        assert await results(here, workflow_run(A, "failure", second=50)) == [Result.UNCHANGED]


@virtual_time
async def test_pods_of_another_commit_wait_for_another_image(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await here.intake.handle(event("synchronize", B, second=200, before=A))
        await settled()
        await roll(here, B, ready=False, reason="ErrImagePull")
        await asyncio.sleep(60)
        assert await pods(here) == {"pr7-aaaa-x", "pr7-bbbb-x"}
        await results(here, workflow_run(B))
        assert await pods(here) == {"pr7-aaaa-x"}


@virtual_time
async def test_a_pod_that_runs_is_left_alone(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        await roll(here, A, ready=True)
        await results(here, workflow_run(A))
        assert await pods(here) == {"pr7-aaaa-x"}


@virtual_time
async def test_a_pod_that_begins_to_wait_only_after_the_image_was_told_of_is_replaced_too(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        starting = {"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}}
        await here.report(Ref(POD, NAMESPACE, "pr7-aaaa-x"), {"containerStatuses": [starting]})
        await results(here, workflow_run(A))
        assert await pods(here) == {"pr7-aaaa-x"}
        late = {"name": "app", "image": "shop", "state": {"waiting": {"reason": "ErrImagePull"}}}
        await here.report(Ref(POD, NAMESPACE, "pr7-aaaa-x"), {"containerStatuses": [late]})
        await settled()
        assert await pods(here) == set()


class Guarded(Store):
    """A store that lets nobody delete pods."""

    refusals = 0

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        if ref.kind == POD:
            self.refusals += 1
            raise Forbidden("pods may not be deleted")
        await super().delete(ref, uid=uid, resource_version=resource_version, grace_seconds=grace_seconds)


@virtual_time
async def test_a_pod_that_may_not_be_deleted_is_left_to_the_kubelet(tmp_path: Path) -> None:
    async with waiting(tmp_path, opened=Guarded.open) as here:
        assert isinstance(here.store, Guarded)
        await results(here, workflow_run(A))
        assert (await pods(here), await reason(here)) == ({"pr7-aaaa-x"}, "WaitingForImage")
        began = now()
        await asyncio.sleep(3600)
        assert here.store.refusals < 20, f"in {now() - began:g} s"
        await roll(here, A, ready=True)
        assert await reason(here) == "Ready"


@pytest.mark.parametrize(
    "build",
    [workflow_run(B), workflow_run(A, repository=f"{REPOSITORY}-2"), image_call(B), image_call(B, "failure")],
    ids=["another commit", "another repository", "another image", "another failure"],
)
def test_what_no_environment_wants_changes_nothing(tmp_path: Path, build: Build) -> None:
    async def play() -> None:
        async with waiting(tmp_path) as here:
            assert await here.writes(lambda: results(here, build)) == 0
            assert await here.builds.handle(build) == []

    run(play())


@virtual_time
async def test_a_build_that_ends_while_its_environment_goes_brings_nothing_back(tmp_path: Path) -> None:
    async with waiting(tmp_path) as here:
        pr = await here.pr()
        await here.store.delete(ref_of(pr))
        await here.builds.handle(workflow_run(A))
        await settled()
        assert await here.prs() == {}


@pytest.mark.parametrize(
    ("named", "is_heeded"),
    [
        ("Preview", True),
        ("preview.yml", True),
        (".github/workflows/preview.yml", True),
        ("preview", False),
        ("lint.yml", False),
        (None, False),
    ],
)
def test_a_failure_counts_of_the_workflow_that_builds_the_images(
    tmp_path: Path, named: str | None, is_heeded: bool
) -> None:
    async def play() -> None:
        async with waiting(tmp_path) as here:
            app = review_app(deployment())
            if named is not None:
                app["spec"]["buildWorkflow"] = named
            await here.apply(app)
            await settled()
            assert await results(here, workflow_run(A, "failure")) == ([Result.UPDATED] if is_heeded else [])
            assert await results(here, image_call(A, "failure")) == [Result.UPDATED]
            assert await reason(here) == "BuildFailed"

    run(play())

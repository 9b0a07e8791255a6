"""The life of a pull request on a node, with the manifests that a team runs with KubeTempura, as published.

Its images come from the tests' registry, and the kinds of App Mesh are Greenroom's. All else is as in production.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.node.images import Images
from tests.cluster.node.machine import processes
from tests.cluster.node.published import IMAGE, REPOSITORY, TEAM, Team, page, team
from tests.cluster.operators import A, B, Installation, Replica
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import PR, condition_of, text
from greenroom.ports import Change

LATE = "c" * 40
REQUESTS = 4000  # at most, of somebody who keeps looking

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def pr_env(cluster: KubeCluster, kubernetes: Kubernetes, binaries: Path) -> AsyncIterator[Team]:
    async with team(cluster, Kubectl(binaries / "kubectl", kubernetes.kubeconfig, TEAM)) as pr_env:
        yield pr_env


@pytest.fixture
async def operator(pr_env: Team, kubernetes: Kubernetes, tmp_path: Path) -> AsyncIterator[Replica]:
    """It leads."""
    async with Installation(pr_env.cluster, TEAM, tmp_path, kubernetes).replica() as operator:
        await eventually("it leads", operator.leads)
        yield operator


class Visitor:
    """Who looks at an address again and again, each time over a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.pages: list[str] = []
        self.failures: list[str] = []

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        async with background(self._look()):
            yield

    async def sees(self, content: str) -> bool:
        return content in self.pages[-1:]

    async def _look(self) -> None:
        for _ in range(REQUESTS):
            try:
                self.pages.append(await page(self._url))
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(repr(error))
            await asyncio.sleep(0.01)


async def test_from_the_first_commit_to_the_close(pr_env: Team, operator: Replica, images: Images) -> None:
    await pr_env.apply("reviewapp.yaml")
    before = await pr_env.inventory()
    for commit in (A, B):
        images.push_shop(f"pr7-{commit}", commit)

    await operator.deliver(REPOSITORY, "opened", 7, A, 0)
    await eventually("it shows the commit", lambda: pr_env.shows(A))
    visitor = Visitor(await pr_env.url())
    async with visitor.looking(), said_by(pr_env) as said:
        await eventually("the commit answers", lambda: visitor.sees(A))
        await operator.deliver(REPOSITORY, "synchronize", 7, B, 1)
        await eventually("it shows the next commit", lambda: pr_env.shows(B))
        await eventually("no pod of the other one is left", lambda: has_pods(pr_env, 1))
        assert set(visitor.pages) == {A, B}
        visitor.pages.clear()
        await eventually("the next commit answers", lambda: visitor.sees(B))
    assert (set(visitor.pages), visitor.failures) == ({B}, [])
    assert [each for each in said if each[0] == "True"] == [("True", "Ready", A), ("True", "Ready", B)]
    assert ("False", "RollingOut", A) in said
    assert [shown for _, _, shown in said] == sorted(shown for _, _, shown in said)  # never back, never none

    running = [processes(text(container, "containerID")) for container in await pr_env.containers()]
    assert [len(each) > 0 for each in running] == [True]
    await operator.deliver(REPOSITORY, "closed", 7, B, 2)
    await eventually("there is what was there before", lambda: holds(pr_env, before))
    assert not any(process.exists() for each in running for process in each)


async def test_an_image_that_is_missing_is_named_and_runs_once_it_is_pushed(
    pr_env: Team, operator: Replica, images: Images
) -> None:
    await pr_env.apply("reviewapp.yaml")
    await operator.deliver(REPOSITORY, "opened", 7, LATE, 0)
    await eventually("the kubelet did not get it", lambda: waits(pr_env, "ErrImagePull", "ImagePullBackOff"))
    await eventually("it waits for the image", lambda: is_not_ready(pr_env, "WaitingForImage"))
    assert f"{IMAGE}:pr7-{LATE}" in text(await pr_env.ready(), "message")
    images.push_shop(f"pr7-{LATE}", LATE)
    await eventually("it shows the commit", lambda: pr_env.shows(LATE))
    assert await page(await pr_env.url()) == LATE


async def test_a_template_without_a_commit_in_it_is_ready_once_it_runs(
    pr_env: Team, operator: Replica, images: Images
) -> None:
    images.push_shop("latest", "nginx", repository="library/nginx")
    await pr_env.apply("reviewapp_nginx.yaml")
    await operator.deliver(REPOSITORY, "opened", 7, A, 0)
    await eventually("it is ready", lambda: pr_env.shows(A))
    [pod] = await pr_env.pods("app=nginx")
    assert await page(f"http://{text(pod, 'status', 'podIP')}/") == "nginx"


async def test_the_job_that_deletes_old_environments_may_still_do_so(
    pr_env: Team, operator: Replica, images: Images
) -> None:
    await pr_env.apply("reviewapp.yaml", "cleanup.yaml")
    images.push_shop(f"pr7-{A}", A)
    await operator.deliver(REPOSITORY, "opened", 7, A, 0)
    await eventually("it shows the commit", lambda: pr_env.shows(A))
    account = f"--as=system:serviceaccount:{TEAM}:pr-cleanup"
    assert "reviewapp-pr7" in await pr_env.kubectl(account, "get", "prs")
    await pr_env.kubectl(account, "delete", "pr", "reviewapp-pr7")
    await eventually("its pods are gone", lambda: has_pods(pr_env, 0))


async def has_pods(pr_env: Team, count: int) -> bool:
    return len(await pr_env.pods()) == count


async def waits(pr_env: Team, *reasons: str) -> bool:
    """Whether all containers wait, and the kubelet says one of these."""
    containers = await pr_env.containers()
    return bool(containers) and all(text(each, "state", "waiting", "reason") in reasons for each in containers)


async def is_not_ready(pr_env: Team, reason: str) -> bool:
    ready = await pr_env.ready()
    return (text(ready, "status"), text(ready, "reason")) == ("False", reason)


async def holds(pr_env: Team, before: set[str]) -> bool:
    return await pr_env.inventory() == before


@asynccontextmanager
async def said_by(pr_env: Team) -> AsyncIterator[list[tuple[str, str, str]]]:
    """What the environment says of itself meanwhile: whether it is ready, why, and which commit it shows."""
    said: list[tuple[str, str, str]] = []

    async def listen() -> None:
        since = (await pr_env.cluster.list(PR, namespace=TEAM)).resource_version
        async for event in pr_env.cluster.watch(PR, since=since, namespace=TEAM):
            if event.change is not Change.BOOKMARK:
                ready = condition_of(event.object, "Ready")
                now = text(ready, "status"), text(ready, "reason"), text(event.object, "status", "shownCommit")
                if now not in said[-1:]:
                    said.append(now)

    async with background(listen()):
        yield said


@asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

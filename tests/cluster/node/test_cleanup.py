"""The hourly clean-up as a Job on a node, against a real ImagePullBackOff: as published but for its image, and ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.node.images import Images
from tests.cluster.node.published import REPOSITORY, TEAM, Team, filled, team
from tests.cluster.operators import A, Installation, Replica
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import condition_of, items, text

MISSING = "c" * 40
VAIN, RUNNING = 7, 8  # pull requests
OURS = Path(__file__).parents[3] / "deploy" / "cleanup.yaml"

pytestmark = pytest.mark.timeout(420)  # images are built meanwhile, if they are not yet


@pytest.fixture
async def pr_env(cluster: KubeCluster, kubernetes: Kubernetes, binaries: Path) -> AsyncIterator[Team]:
    async with team(cluster, Kubectl(binaries / "kubectl", kubernetes.kubeconfig, TEAM)) as pr_env:
        await pr_env.apply("reviewapp.yaml")
        yield pr_env
        await pr_env.kubectl("delete", "--ignore-not-found", "cronjob/pr-cleanup", "job/pr-cleanup-now")


@pytest.fixture
async def operator(pr_env: Team, kubernetes: Kubernetes, tmp_path: Path) -> AsyncIterator[Replica]:
    """It leads."""
    async with Installation(pr_env.cluster, TEAM, tmp_path, kubernetes).replica() as operator:
        await eventually("it leads", operator.leads)
        yield operator


async def test_the_published_job_does_its_work_with_another_image_alone(
    pr_env: Team, operator: Replica, images: Images
) -> None:
    images.push_cleanup("shop:cleanup")
    await cleans_up(pr_env, operator, images, filled("cleanup.yaml"))


async def test_our_job_does_it_with_a_role_that_is_enough(pr_env: Team, operator: Replica, images: Images) -> None:
    images.push_operator("0.1.0")
    await cleans_up(pr_env, operator, images, OURS.read_text())


async def cleans_up(pr_env: Team, operator: Replica, images: Images, manifest: str) -> None:
    images.push_shop(f"pr{RUNNING}-{A}", A)
    for number, commit in ((VAIN, MISSING), (RUNNING, A)):
        await operator.deliver(REPOSITORY, "opened", number, commit, 0)
    await eventually("the kubelet waits before it asks again", lambda: backs_off(pr_env))
    await eventually("the other one is shown", lambda: is_ready(pr_env, RUNNING))

    await pr_env.kubectl("apply", "--filename=-", given=manifest)
    early = await run(pr_env)
    assert "Deleted" not in early, early
    assert await pr_env.environment(VAIN)

    await pr_env.kubectl("set", "env", "cronjob/pr-cleanup", "AGE=0")
    said = await run(pr_env)
    assert [line for line in said.splitlines() if "eleted pr" in line] == [f"Deleted pr: reviewapp-pr{VAIN}"], said
    assert said.splitlines()[-1].endswith(", 0 errors")
    await eventually("its pods are gone", lambda: has_no_pods(pr_env))
    assert not await pr_env.environment(VAIN)
    assert await is_ready(pr_env, RUNNING)


async def run(pr_env: Team) -> str:
    """What a Job of the CronJob says. Raises KubectlFailed when it does not complete."""
    await pr_env.kubectl("delete", "--ignore-not-found", "job/pr-cleanup-now")
    await pr_env.kubectl("create", "job", "--from=cronjob/pr-cleanup", "pr-cleanup-now")
    await pr_env.kubectl("wait", "--for=condition=Complete", "job/pr-cleanup-now", "--timeout=90s")
    return await pr_env.kubectl("logs", "job/pr-cleanup-now")


async def backs_off(pr_env: Team) -> bool:
    statuses = [each for pod in await pr_env.pods() for each in items(pod, "status", "containerStatuses")]
    return "ImagePullBackOff" in [text(each, "state", "waiting", "reason") for each in statuses]


async def is_ready(pr_env: Team, number: int) -> bool:
    return text(condition_of(await pr_env.environment(number), "Ready"), "status") == "True"


async def has_no_pods(pr_env: Team) -> bool:
    return not await pr_env.pods()

"""A pull request on GitHub and its environment on a node: the label, the image that comes late, the answer, the end.

GitHub is the stand-in that is held to GitHub's published description (``tests.github``). All else is real.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
import yaml
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.node.images import Images
from tests.cluster.node.published import TEAM, Team, filled, team
from tests.cluster.operators import A, B, Installation
from tests.contract.suite import MANAGER, eventually, exists
from tests.github.client import TOKEN
from tests.github.people import LABEL, WORKFLOW, People
from tests.github.standin import StandIn
from tests.github.state import Pull

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, text

BACKED_OFF_SECONDS = 60.0
"""The kubelet's third try to pull an image is later than this after the first."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def pr_env(cluster: KubeCluster, kubernetes: Kubernetes, binaries: Path) -> AsyncIterator[Team]:
    async with team(cluster, Kubectl(binaries / "kubectl", kubernetes.kubeconfig, TEAM)) as pr_env:
        yield pr_env


@asynccontextmanager
async def people(pr_env: Team, kubernetes: Kubernetes, folder: Path) -> AsyncIterator[People]:
    """With Greenroom, which has a token, and the published ReviewApp with a gate."""
    github = StandIn()
    repository = github.repository()
    github.allow(repository, "mona", "write")
    (folder / "token").write_text(github.token(TOKEN))
    async with github.served() as server:
        app = yaml.safe_load(filled("reviewapp.yaml"))
        app["metadata"]["namespace"] = TEAM
        app["spec"] |= {"githubRepository": github.address(repository), "gate": {"labels": {"any": [LABEL]}}}
        app["spec"]["buildWorkflow"] = WORKFLOW
        await pr_env.cluster.apply(app, manager=MANAGER)
        options = (f"--github-token-file={folder / 'token'}", f"--github-url={server}")
        async with Installation(pr_env.cluster, TEAM, folder, kubernetes).replica(*options) as operator:
            await eventually("it leads", operator.leads)
            yield People(github, repository, operator.send)


async def test_the_label_the_late_image_the_push_and_the_end(
    pr_env: Team, kubernetes: Kubernetes, images: Images, tmp_path: Path
) -> None:
    async with people(pr_env, kubernetes, tmp_path) as there:
        before = await pr_env.inventory()
        pull = await there.open("feature", A)
        assert not await exists(pr_env.cluster, Ref(PR, TEAM, "reviewapp-pr1"))
        app = await pr_env.cluster.get(Ref(REVIEW_APP, TEAM, "reviewapp"))
        assert text(app, "status", "refused", "1", "reason") == "Labels"

        await there.label(pull)
        await eventually("the kubelet backs off", lambda: backs_off(pr_env))
        await eventually("that is told", lambda: told(there, pull, "waiting for its image", A[:7]))
        images.push_shop(f"pr1-{A}", A)
        pushed = monotonic()
        await there.built(A)
        await eventually("it is ready", lambda: told(there, pull, "ready", A[:7]))
        assert monotonic() - pushed < BACKED_OFF_SECONDS
        assert await shown(pr_env) == A
        await eventually("GitHub knows it", lambda: is_deployed(there, A))

        images.push_shop(f"pr1-{B}", B)
        await there.push(pull, B)
        await eventually("the push is ready", lambda: told(there, pull, "ready", B[:7]))
        assert await shown(pr_env) == B
        assert await there.say(pull, "/preview explain", author="mallory") == ["-1"]

        await there.unlabel(pull)
        await eventually("it is told that it is gone", lambda: told(there, pull, "removed", f"the label {LABEL}"))
        await eventually("there is what was there before", lambda: holds(pr_env, before))
        await eventually("GitHub knows no environment", lambda: is_cleared(there))


async def test_a_build_that_failed_is_told_with_its_page(
    pr_env: Team, kubernetes: Kubernetes, images: Images, tmp_path: Path
) -> None:
    async with people(pr_env, kubernetes, tmp_path) as there:
        pull = await there.open("feature", "d" * 40)
        await there.label(pull)
        await eventually("the kubelet backs off", lambda: backs_off(pr_env))
        await there.built(pull.head, "failure")
        await eventually("it is told", lambda: told(there, pull, "failed", "BuildFailed", "/actions/runs/1"))


async def told(there: People, pull: Pull, *words: str) -> bool:
    return bool(there.answer(pull, *words))


async def backs_off(pr_env: Team) -> bool:
    pods = await pr_env.pods("app=app-pr1")
    return bool(pods) and all(_reason(pod) == "ImagePullBackOff" for pod in pods)


def _reason(pod: Manifest) -> str:
    return text(pod, "status", "containerStatuses", 0, "state", "waiting", "reason")


async def shown(pr_env: Team) -> str:
    return text(await pr_env.environment(1), "status", "shownCommit")


async def holds(pr_env: Team, before: set[str]) -> bool:
    return await pr_env.inventory() == before


async def is_deployed(there: People, commit: str) -> bool:
    return [(each.commit, each.state) for each in there.repository.deployments] == [(commit, "success")]


async def is_cleared(there: People) -> bool:
    return {each.state for each in there.repository.deployments} == {"inactive"} and not there.repository.environments

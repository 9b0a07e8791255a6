"""From KubeTempura to Greenroom and back: whatever lives goes on living, on a real Kubernetes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.kubetempura import KubeTempura
from tests.cluster.test_environment import A, B, operator
from tests.contract.suite import environment_of, eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.model.crds import definitions
from greenroom.model.errors import Invalid
from greenroom.model.manifest import (
    DEPLOYMENT,
    ENVIRONMENT_LABEL,
    GROUP,
    POD,
    PR,
    REPLICA_SET,
    REVIEW_APP,
    SERVICE,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    get,
    is_deleting,
    items,
    labels_of,
    name_of,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.mesh import VIRTUAL_NODE
from greenroom.model.pull import Action, PullEvent, PullRequest

USER = "kubectl-client-side-apply"
NAME = "pr{{PR_NUMBER}}"
JOB = Kind("batch", "v1", "Job")
PARTS = (PR, SERVICE, DEPLOYMENT, REPLICA_SET, POD, VIRTUAL_NODE)


def service(port: int, **labels: str) -> dict[str, Any]:
    metadata = {"name": NAME, "labels": {"app": NAME, **labels}}
    spec = {"selector": {"app": NAME}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def deployment(container: str = "app", **variables: str) -> dict[str, Any]:
    env = [{"name": name, "value": value} for name, value in variables.items()]
    wanted = {"name": container, "image": "registry.invalid/shop:{{COMMIT_REF}}", "env": env}
    template = {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [wanted]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": NAME}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}


def virtual_node(**fields: Json) -> dict[str, Any]:
    listener = {"portMapping": {"port": 80, "protocol": "http"}}
    kind = {"apiVersion": VIRTUAL_NODE.api_version, "kind": VIRTUAL_NODE.name}
    return {**kind, "metadata": {"name": NAME}, "spec": {"listeners": [listener], **fields}}


def job(tag: str = "pr{{PR_NUMBER}}") -> dict[str, Any]:
    container = {"name": "migrate", "image": f"registry.invalid/shop:{tag}"}
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    return {"apiVersion": JOB.api_version, "kind": JOB.name, "metadata": {"name": NAME}, "spec": spec}


class Move:
    """A namespace with a ReviewApp, in a cluster that has KubeTempura's CRDs, or Greenroom's."""

    def __init__(self, cluster: KubeCluster, namespace: str, server: ApiServer) -> None:
        self.cluster = cluster
        self.app = Ref(REVIEW_APP, namespace, "shop")
        self.pr = Ref(PR, namespace, "shop-pr7")
        self.repository = f"https://github.com/acme/{namespace}"
        self.kubetempura = KubeTempura(server, cluster, namespace)
        self.namespace = namespace
        self._server = server

    def event(self, action: str, head: str) -> PullEvent:
        pull = PullRequest(self.repository, 7, head, open=action != "closed")
        return PullEvent(Action(action), pull, datetime(2026, 1, 31, 12, tzinfo=UTC), "")

    async def get(self, kind: Kind) -> Manifest:
        """The environment's object of a kind."""
        return await self.cluster.get(Ref(kind, self.namespace, "pr7"))

    async def template(self, *resources: Json) -> None:
        spec: Json = {"githubRepository": self.repository, "resources": resources}
        await self.write(REVIEW_APP, "shop", spec)

    async def write(self, kind: Kind, name: str, spec: Json) -> Ref:
        """As a person does."""
        metadata: Json = {"name": name, "namespace": self.namespace}
        manifest: Manifest = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}
        await self.cluster.apply(manifest, manager=USER)
        return Ref(kind, self.namespace, name)

    async def with_kubetempuras_crds(self) -> None:
        await self.kubetempura.install_crds()
        await eventually("the CRDs are KubeTempura's", lambda: self._takes_any_number(True))

    async def with_our_crds(self) -> None:
        for crd in definitions():
            if text(crd, "spec", "group") == GROUP:
                await self.cluster.apply(crd, manager=USER)
        await eventually("the CRDs are Greenroom's", lambda: self._takes_any_number(False))

    async def write_prs_anew(self) -> None:
        """As ``kubectl replace`` does, so that nothing is stored of what the CRD does not have."""
        collection = f"/apis/{PR.api_version}/namespaces/{self.namespace}/prs"
        for pr in (await self.cluster.list(PR, namespace=self.namespace)).items:
            await self._server.request("PUT", f"{collection}/{name_of(pr)}", body=pr)

    async def uids(self, *kinds: Kind) -> dict[Ref, str]:
        """What there is of environments. A rollout brings another ReplicaSet and other pods."""
        listings = [await self.cluster.list(kind, namespace=self.namespace) for kind in kinds or PARTS]
        return {ref_of(each): uid_of(each) for listing in listings for each in listing.items}

    async def says(self, reason: str, pr: Ref | None = None) -> bool:
        """Whether this is the reason of ``Ready``."""
        return text(condition_of(await self.cluster.get(pr or self.pr), "Ready"), "reason") == reason

    async def shows(self, commit: str) -> bool:
        await self.run_pods()
        return await self.says("Ready") and text(await self.cluster.get(self.pr), "status", "shownCommit") == commit

    async def run_pods(self) -> None:
        """Say of each pod what a kubelet would."""
        for pod in (await self.cluster.list(POD, namespace=self.namespace)).items:
            if not condition_of(pod, "Ready") and not is_deleting(pod):
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z"}
                await self.cluster.patch_status(ref_of(pod), {"phase": "Running", "conditions": [ready]})

    async def _takes_any_number(self, wanted: bool) -> bool:
        spec: Json = {"parentReviewApp": "shop", "prNumber": "seven", "headCommitRef": A}
        probe: Manifest = {"apiVersion": PR.api_version, "kind": PR.name, "metadata": {"name": "probe"}, "spec": spec}
        path = f"/apis/{PR.api_version}/namespaces/{self.namespace}/prs"
        try:
            await self._server.request("POST", path, params={"dryRun": "All"}, body=probe)
        except Invalid:
            return not wanted
        return wanted


@pytest.fixture
async def move(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> AsyncIterator[Move]:
    """A cluster in which KubeTempura runs."""
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        made = Move(cluster, namespace, server)
        await made.with_kubetempuras_crds()
        try:
            yield made
        finally:
            await made.with_our_crds()


# From KubeTempura


async def test_what_lives_goes_on_living(move: Move, cluster: KubeCluster) -> None:
    await move.template(service(80), deployment(LEVEL="debug"), virtual_node())
    await move.kubetempura.opened(move.app, 7, A)
    await eventually("its pods run", lambda: pods_run(move, 2))
    lived = await move.uids()
    await move.with_our_crds()
    async with operator(cluster) as intake:
        await eventually("it is shown", lambda: move.shows(A))
        assert await move.uids() == lived
        await intake.handle(move.event("synchronize", B))
        await eventually("the next commit is shown", lambda: move.shows(B))
    kept = (PR, SERVICE, DEPLOYMENT, VIRTUAL_NODE)
    assert await move.uids(*kept) == {ref: uid for ref, uid in lived.items() if ref.kind in kept}


async def test_what_leaves_the_template_leaves_what_kubetempura_made(move: Move, cluster: KubeCluster) -> None:
    """Held by KubeTempura's program, too, all of it would stay."""
    await move.template(service(80, tier="web"), deployment(LEVEL="debug", OLD="1"))
    await move.kubetempura.opened(move.app, 7, A)
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it is shown", lambda: move.shows(A))
        await move.template(service(80), deployment("web", LEVEL="debug"))
        await eventually("it follows the template", lambda: follows(move, 80, "web"))


async def test_a_template_that_was_edited_before_the_move_is_followed(move: Move, cluster: KubeCluster) -> None:
    """Two ports without names, KubeTempura's and the template's, the API server would refuse."""
    await move.template(service(80, tier="web"), deployment(LEVEL="debug", OLD="1"))
    await move.kubetempura.opened(move.app, 7, A)
    await move.template(service(8080), deployment("web", LEVEL="debug"))
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it follows the template", lambda: follows(move, 8080, "web"))
        await eventually("it is shown", lambda: move.shows(A))


async def test_a_template_with_mistakes_that_kubetempura_took_goes_on_and_they_are_told(
    move: Move, cluster: KubeCluster
) -> None:
    rollout = deployment(LEVEL="debug")
    container = rollout["spec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "LEVEL", "value": "info"})
    container["ports"] = [{"containerPort": 80, "name": name} for name in ("web", "http")]
    container["imagePullPolcy"] = "Always"
    await move.template(rollout)
    await move.kubetempura.opened(move.app, 7, A)
    lived = await move.uids(PR, DEPLOYMENT)
    await move.with_our_crds()
    async with operator(cluster) as intake:
        await eventually("it is shown", lambda: move.shows(A))
        await intake.handle(move.event("synchronize", B))
        await eventually("the next commit is shown", lambda: move.shows(B))
    assert await move.uids(PR, DEPLOYMENT) == lived
    found = get(await move.get(DEPLOYMENT), "spec", "template", "spec", "containers", 0)
    assert get(found, "env") == [{"name": "LEVEL", "value": "info"}]
    assert [text(port, "name") for port in items(found, "ports")] == ["http"]
    warning = condition_of(await cluster.get(move.pr), "TemplateWarning")
    assert all(
        part in text(warning, "message") for part in ("imagePullPolcy", 'env[name="LEVEL"]', 'ports[name="web"]')
    )


async def test_what_a_webhook_added_to_an_object_stays(move: Move, cluster: KubeCluster) -> None:
    """App Mesh's adds these when an object is created, in the name of the creator, and refuses to have them changed."""
    added: dict[str, Json] = {"meshRef": {"name": "mesh", "uid": "1"}, "awsName": "pr7_pr-env"}
    await move.template(virtual_node(**added))
    await move.kubetempura.opened(move.app, 7, A)
    await move.template(virtual_node())
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it is adopted", lambda: move.says("Ready"))
    assert (await move.get(VIRTUAL_NODE))["spec"] == virtual_node(**added)["spec"]


async def test_a_job_is_not_run_again(move: Move, cluster: KubeCluster) -> None:
    """The API server fills in fields of its own, which cannot be changed."""
    await move.template(job())
    await move.kubetempura.opened(move.app, 7, A)
    [before] = (await move.uids(JOB)).values()
    await move.with_our_crds()

    async def is_adopted() -> bool:
        return ENVIRONMENT_LABEL in labels_of(await move.get(JOB))

    async with operator(cluster):
        await eventually("it is adopted", is_adopted)
        await eventually("nothing is wanting", lambda: move.says("Ready"))
    assert await move.uids(JOB) == {Ref(JOB, move.namespace, "pr7"): before}


async def test_a_job_that_kubetempura_could_not_change_is_made_anew(move: Move, cluster: KubeCluster) -> None:
    """KubeTempura logged the refusal, and no more."""
    await move.template(job("{{COMMIT_REF}}"))
    await move.kubetempura.opened(move.app, 7, A)
    with pytest.raises(Invalid):
        await move.kubetempura.opened(move.app, 7, B)
    await move.with_our_crds()

    async def is_anew() -> bool:
        ref = Ref(JOB, move.namespace, "pr7")
        return await exists(cluster, ref) and B in str(await cluster.get(ref))

    async with operator(cluster):
        await eventually("it is made anew", is_anew)


async def test_a_pull_request_that_is_closed_after_the_move_leaves_nothing(move: Move, cluster: KubeCluster) -> None:
    """Not even what had left the template before, of which KubeTempura deleted nothing."""
    forgotten = service(9000)
    forgotten["metadata"]["name"] = "forgotten{{PR_NUMBER}}"
    await move.template(service(80), deployment(), forgotten)
    await move.kubetempura.opened(move.app, 7, A)
    await move.template(service(80), deployment())
    await move.with_our_crds()
    async with operator(cluster) as intake:
        await eventually("it is shown", lambda: move.shows(A))
        await intake.handle(move.event("closed", A))
        await eventually("nothing is left", lambda: nothing_is_left(move))


async def test_an_environment_without_a_review_app_stays_and_says_so(move: Move, cluster: KubeCluster) -> None:
    await move.template(service(80))
    by_hand: Json = {"parentReviewApp": "shop", "prNumber": "7", "headCommitRef": A}
    pr = await move.write(PR, "by-hand", by_hand)
    await move.kubetempura.settle(pr)
    await cluster.delete(move.app)
    lived = await move.uids()
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it says so", lambda: move.says("ReviewAppNotFound", pr))
    assert await move.uids() == lived


async def test_what_kubetempura_took_and_greenroom_would_not_is_told(move: Move, cluster: KubeCluster) -> None:
    """Such an object cannot be of use, and can be written all the same."""
    await move.template(service(80))
    pr = await move.write(PR, "by-hand", {"parentReviewApp": "shop", "prNumber": "", "headCommitRef": A})
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it says so", lambda: move.says("InvalidPR", pr))


async def test_objects_written_by_hand_come_to_life(move: Move, cluster: KubeCluster) -> None:
    """As KubeTempura's samples are: a namespace in the template, a named port, variables, no pull request behind it."""
    port: Json = {"name": "http", "containerPort": 9898, "protocol": "TCP"}
    container: Json = {
        "name": "echo",
        "image": "registry.invalid/echo:pr{{PR_NUMBER}}-{{COMMIT_REF_SHORT}}",
        "ports": [port],
    }
    rollout = deployment()
    rollout["metadata"]["namespace"] = "default"
    rollout["spec"] |= {"replicas": 1}
    rollout["spec"]["template"]["spec"]["containers"] = [container]
    ports: Json = [{"name": "http", "port": 9898, "protocol": "TCP", "targetPort": "http"}]
    served = service(80)
    served["spec"]["ports"] = ports
    await move.with_our_crds()
    await move.template(rollout, served)
    by_hand: Json = {
        "parentReviewApp": "shop",
        "prNumber": "7",
        "headCommitRef": A,
        "envVars": [{"name": "envA", "value": "of {{PR_NUMBER}}"}],
    }
    pr = await move.write(PR, "pr-sample", by_hand)
    async with operator(cluster):
        await eventually("its pods run", lambda: pods_run(move, 1))
        await eventually("it is ready", lambda: move.says("Ready", pr))
    assert environment_of(await move.get(DEPLOYMENT)) == {"envA": "of 7"}
    assert items(await move.get(SERVICE), "spec", "ports") == ports


# Back to KubeTempura


async def test_kubetempura_goes_on_with_what_greenroom_made(move: Move, cluster: KubeCluster) -> None:
    await move.with_our_crds()
    await move.template(service(80, tier="web"), deployment(LEVEL="debug"), virtual_node())
    async with operator(cluster) as intake:
        await intake.handle(move.event("opened", A))
        await eventually("it is shown", lambda: move.shows(A))
    lived = await move.uids()
    await move.with_kubetempuras_crds()
    await move.kubetempura.settle(move.pr)
    assert await move.uids() == lived

    await move.kubetempura.opened(move.app, 7, B)
    pushed = await move.get(DEPLOYMENT)
    assert text(pushed, "spec", "template", "spec", "containers", 0, "image").endswith(B)
    assert not table(await cluster.get(move.pr), "status"), "KubeTempura's CRDs keep none"
    await cluster.delete(move.pr)
    await eventually("nothing is left", lambda: nothing_is_left(move))


async def test_greenroom_can_be_had_again(move: Move, cluster: KubeCluster) -> None:
    """What KubeTempura changed meanwhile is taken over as it was the first time."""
    await move.with_our_crds()
    await move.template(service(80), deployment(LEVEL="debug"))
    async with operator(cluster) as intake:
        await intake.handle(move.event("opened", A))
        await eventually("it is shown", lambda: move.shows(A))
    await move.with_kubetempuras_crds()
    await move.write_prs_anew()
    await move.template(service(80, tier="web"), deployment(LEVEL="debug", OLD="1"))
    await move.kubetempura.settle(move.pr)
    lived = await move.uids(PR, SERVICE, DEPLOYMENT)
    await move.with_our_crds()
    async with operator(cluster):
        await eventually("it is shown", lambda: move.shows(A))
        await move.template(service(80), deployment("web", LEVEL="debug"))
        await eventually("it follows the template", lambda: follows(move, 80, "web"))
    assert await move.uids(PR, SERVICE, DEPLOYMENT) == lived


async def pods_run(move: Move, count: int) -> bool:
    await move.run_pods()
    rollout = Ref(DEPLOYMENT, move.namespace, "pr7")
    return (
        await exists(move.cluster, rollout) and get(await move.get(DEPLOYMENT), "status", "availableReplicas") == count
    )


async def follows(move: Move, port: int, container: str) -> bool:
    """Whether the environment holds what the template asks for, and no port, label, variable or container beside it."""
    found, rollout = [await move.get(kind) for kind in (SERVICE, DEPLOYMENT)]
    return (
        [get(each, "port") for each in items(found, "spec", "ports")] == [port]
        and labels_of(found).keys() == {"app", ENVIRONMENT_LABEL}
        and [text(each, "name") for each in items(rollout, "spec", "template", "spec", "containers")] == [container]
        and environment_of(rollout) == {"LEVEL": "debug"}
    )


async def nothing_is_left(move: Move) -> bool:
    return not await move.uids()

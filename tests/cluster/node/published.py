"""The manifests that one team runs, as published, and the team's namespace with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.cluster.kubectl import Kubectl
from tests.contract.suite import exists

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import (
    POD,
    PR,
    SERVICE,
    Json,
    Manifest,
    Ref,
    condition_of,
    items,
    text,
)

PUBLISHED = Path(__file__).parents[2] / "data" / "published"
REPOSITORY = "https://github.com/acme/shop"
TEAM = "pr-env"
HOST = "pr7.pr-env.example.com"
GATEWAY = "ingress-gw"
IMAGE = "123456789012.dkr.ecr.ap-northeast-1.amazonaws.com/shop"

# What stands in angle brackets is for the reader to fill in.
_BLANKS = {
    "<AWS ACCOUNT ID>": "123456789012",
    "<Region>": "ap-northeast-1",
    "<ECR Repository>": "shop",
    "<Tag>": "cleanup",
    "<Owner>": "acme",
    "<Repository>": "shop",
    "<Target Group ARN>": "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/pr-env/0123",
    "<Security Group ID>": "sg-0123456789abcdef0",
}

# AWS' own describes each field. This one takes them all.
_TARGET_GROUP_BINDINGS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: targetgroupbindings.elbv2.k8s.aws}
spec:
  group: elbv2.k8s.aws
  scope: Namespaced
  names: {kind: TargetGroupBinding, plural: targetgroupbindings}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def filled(name: str) -> str:
    """A file of the published ones."""
    content = (PUBLISHED / name).read_text()
    for blank, value in _BLANKS.items():
        content = content.replace(blank, value)
    return content


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    commit: str
    """What the gateway says that it came from."""
    page: str


@dataclass(frozen=True, slots=True)
class Team:
    """The team's namespace."""

    cluster: KubeCluster
    kubectl: Kubectl

    async def apply(self, *names: str) -> None:
        for name in names:
            await self.kubectl("apply", "--filename=-", given=filled(name))

    async def environment(self, number: int = 7) -> Manifest:
        """The PR object; empty when there is none."""
        ref = Ref(PR, TEAM, f"reviewapp-pr{number}")
        return await self.cluster.get(ref) if await exists(self.cluster, ref) else {}

    async def ready(self) -> Mapping[str, Json]:
        return condition_of(await self.environment(), "Ready")

    async def shows(self, commit: str) -> bool:
        """Whether it says that it is ready, with this commit."""
        environment = await self.environment()
        told = text(condition_of(environment, "Ready"), "status"), text(environment, "status", "shownCommit")
        return told == ("True", commit)

    async def pods(self, labels: str = "app=app-pr7") -> list[Manifest]:
        """Those of the pull request."""
        return list((await self.cluster.list(POD, namespace=TEAM, labels=labels)).items)

    async def containers(self) -> list[Json]:
        """What those say of their containers."""
        return [status for pod in await self.pods() for status in items(pod, "status", "containerStatuses")]

    async def url(self) -> str:
        """Where the Service answers."""
        service = await self.cluster.get(Ref(SERVICE, TEAM, "pr7"))
        return f"http://{text(service, 'spec', 'clusterIP')}/"

    async def visit(self, host: str = HOST, *, accept: str = "text/html") -> Answer:
        """What somebody gets who asks the gateway for ``host``, over a connection of its own.

        Raises ClientError or TimeoutError."""
        service = await self.cluster.get(Ref(SERVICE, TEAM, GATEWAY))
        url = f"http://{text(service, 'spec', 'clusterIP')}/"
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Host": host, "Accept": accept}) as answer,
        ):
            return Answer(answer.status, answer.headers.get("x-greenroom-commit", ""), await answer.text())

    async def inventory(self) -> set[str]:
        """Every object of every namespace, but Events and the node's heartbeat."""
        kinds = (await self.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name")).split()
        kept = [kind for kind in kinds if not kind.startswith("events")]
        columns = "kind:.kind,namespace:.metadata.namespace,name:.metadata.name"
        listed = await self.kubectl("get", ",".join(kept), "--all-namespaces", f"--output=custom-columns={columns}")
        return {line for line in listed.splitlines() if " kube-node-lease " not in line}


async def page(url: str) -> str:
    """What is answered, over a connection of its own. Raises ClientError or TimeoutError."""
    async with (
        aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=5)) as session,
        session.get(url) as answer,
    ):
        return await answer.text()


@asynccontextmanager
async def team(cluster: KubeCluster, kubectl: Kubectl) -> AsyncIterator[Team]:
    """Its namespace with what all environments need. Those that were made are gone afterwards."""
    await kubectl("apply", "--filename=-", given=_TARGET_GROUP_BINDINGS)
    await kubectl("wait", "--for=condition=Established", "crd/targetgroupbindings.elbv2.k8s.aws")
    team = Team(cluster, kubectl)
    await team.apply("namespace.yaml", "mesh.yaml", "gateway.yaml", "serviceaccount.yaml", "tgb.yaml")
    try:
        yield team
    finally:
        # The operator has been killed, and its lease would count for a while.
        await kubectl("delete", "--all", "--cascade=foreground", "prs,reviewapps,leases")

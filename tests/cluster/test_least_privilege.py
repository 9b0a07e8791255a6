"""An operator that may do no more than is documented, against kube-apiserver's RBAC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import Installation
from tests.cluster.test_permissions import OPERATOR, RBAC, account, grant, user
from tests.contract.suite import MANAGER, eventually, exists

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_http import ApiServer
from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    PR,
    REVIEW_APP,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    get,
    text,
)
from greenroom.model.pull import Action, PullEvent, PullRequest
from greenroom.runtime.informer import Informers

A, B = "a" * 40, "b" * 40
NAME = "pr{{PR_NUMBER}}"
PREVIEWS = "previews"
CLUSTER_ROLE, CLUSTER_ROLE_BINDING = (Kind(RBAC, "v1", name) for name in ("ClusterRole", "ClusterRoleBinding"))

EVERYWHERE = (
    "{apiGroups: [kubetempura.mercari.com], resources: [reviewapps], verbs: [get, list, watch]}",
    "{apiGroups: [kubetempura.mercari.com], resources: [prs], verbs: [get, list, watch, create, patch, delete]}",
    "{apiGroups: [kubetempura.mercari.com], resources: [reviewapps/status, prs/status], verbs: [patch]}",
    '{apiGroups: [""], resources: [events], verbs: [create, patch]}',
)
"""What the operator has to be granted in all namespaces, or in the only one that it looks at."""
LEAD = "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, patch]}"
"""And in its own namespace."""
CONFIG_MAPS = '{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create, patch, delete]}'
DEPLOYMENTS = "{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch, delete]}"
PARTS = (
    "{apiGroups: [apps], resources: [replicasets], verbs: [list, watch]}",
    '{apiGroups: [""], resources: [pods], verbs: [list, watch]}',
)
"""And in a namespace with environments, for ConfigMaps, Deployments, and to tell of the latter's health."""
LOOK = (
    '{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}',
    "{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}",
    *PARTS,
)
BE_PREVIEWS = f'{{apiGroups: [""], resources: [serviceaccounts], resourceNames: [{PREVIEWS}], verbs: [impersonate]}}'
WRITE_CONFIG_MAPS = '{apiGroups: [""], resources: [configmaps], verbs: [create, patch, delete]}'
WRITE_DEPLOYMENTS = "{apiGroups: [apps], resources: [deployments], verbs: [create, patch, delete]}"
"""Where an account writes for the operator: what either of them needs."""


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Place:
    """A namespace with the environment of pull request 7."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.pr = Ref(PR, namespace, "shop-pr7")
        self.config_map, self.deployment = (Ref(kind, namespace, "pr7") for kind in (CONFIG_MAP, DEPLOYMENT))

    async def ready(self) -> Mapping[str, Json]:
        return condition_of(await self.cluster.get(self.pr), "Ready")

    async def shows(self, commit: str = A) -> bool:
        status = await self.cluster.get(self.pr)
        ready = text(await self.ready(), "status") == "True"
        return ready and text(status, "status", "commit") == commit

    async def lacks(self, *parts: str) -> bool:
        """Whether the condition tells of a permission that is missing, and its message has all of this."""
        ready = await self.ready()
        told = text(ready, "message")
        return text(ready, "reason") == "MissingPermission" and all(part in told for part in parts)

    async def advice(self) -> Sequence[str]:
        """The rules that the condition says to add, to a single account."""
        rules = text(await self.ready(), "message").partition(": {")[2]
        return [json.dumps(rule) for rule in yaml.safe_load(f"[{{{rules}]")]

    async def lacks_only(self, name: str) -> bool:
        """Whether the condition tells of this account of the namespace, and of no other."""
        told = text(await self.ready(), "message")
        return told.count(" may not ") == 1 and told.startswith(f"{user(self.namespace, name)} may not ")

    async def is_gone(self) -> bool:
        return not any([await exists(self.cluster, ref) for ref in (self.pr, self.config_map, self.deployment)])


class Operated(Place):
    """One where an operator that looks at all namespaces may do what it is granted."""

    def __init__(self, cluster: KubeCluster, namespace: str, intake: Intake) -> None:
        super().__init__(cluster, namespace)
        self._intake = intake
        self._minute = 0

    async def grant(self, *rules: str, to: str = OPERATOR) -> None:
        await grant(self.cluster, self.namespace, to, *rules)

    async def template(self, **spec: Json) -> None:
        await self.cluster.apply(review_app(self.namespace, **spec), manager=MANAGER)

    async def deliver(self, action: str, head: str = A) -> None:
        self._minute += 1
        pull = PullRequest(repository(self.namespace), 7, head, open=action != "closed")
        when = datetime(2026, 1, 31, 12, self._minute, tzinfo=UTC)
        await eventually("the ReviewApp is known", lambda: self._delivered(PullEvent(Action(action), pull, when, "")))

    async def _delivered(self, event: PullEvent) -> bool:
        return bool(await self._intake.handle(event))


def review_app(namespace: str, **spec: Json) -> Manifest:
    labels: Manifest = {"app": NAME}
    container: Manifest = {"name": "app", "image": "registry.invalid/shop:{{COMMIT_REF}}"}
    pods: Manifest = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    # Of no replicas: without a node, it is ready only so.
    rollout: Manifest = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pods}
    resources: list[Json] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"commit": "{{COMMIT_REF}}"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": rollout},
    ]
    return {
        "apiVersion": REVIEW_APP.api_version,
        "kind": REVIEW_APP.name,
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"githubRepository": repository(namespace), "resources": resources, **spec},
    }


def repository(namespace: str) -> str:
    return f"https://github.com/acme/{namespace}"


@pytest.fixture
async def place(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> AsyncIterator[Operated]:
    token = await _token(kubernetes, cluster, namespace)
    async with (
        _everywhere(cluster, namespace),
        KubeCluster(replace(kubernetes.admin, credentials=token)) as own,
        _running(own) as intake,
    ):
        yield Operated(cluster, namespace, intake)


async def _token(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> Credential:
    """Of a new account."""
    await cluster.apply(account(namespace, OPERATOR), manager=MANAGER)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{OPERATOR}/token"
    request: Manifest = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        return Credential(text(await server.request("POST", path, body=request), "status", "token"))


@asynccontextmanager
async def _everywhere(cluster: KubeCluster, namespace: str) -> AsyncIterator[None]:
    """The operator's rights in all namespaces, for the length of the block."""
    name = f"greenroom-{namespace}"
    role = Ref(CLUSTER_ROLE, "", name)
    subject: Json = {"kind": "ServiceAccount", "namespace": namespace, "name": OPERATOR}
    reference: Json = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    await cluster.apply(_named(role, rules=[yaml.safe_load(rule) for rule in EVERYWHERE]), manager=MANAGER)
    binding = Ref(CLUSTER_ROLE_BINDING, "", name)
    await cluster.apply(_named(binding, subjects=[subject], roleRef=reference), manager=MANAGER)
    try:
        yield
    finally:
        for ref in (binding, role):
            await cluster.delete(ref)


def _named(ref: Ref, **fields: Json) -> Manifest:
    return {"apiVersion": ref.kind.api_version, "kind": ref.kind.name, "metadata": {"name": ref.name}, **fields}


@asynccontextmanager
async def _running(own: KubeCluster) -> AsyncIterator[Intake]:
    informers = Informers(own)
    reconcile = Reconcile(
        own, informers, WallClock(), url_of=lambda host: f"http://{host}", impersonating=own.impersonating
    )
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(reconcile.run())]
    try:
        yield Intake(own, informers, WallClock())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_environment_lives_and_ends_with_the_rights_that_are_documented(place: Operated) -> None:
    await place.grant(CONFIG_MAPS, DEPLOYMENTS, *PARTS)
    await place.template()
    await place.deliver("opened")
    await eventually("it is ready", place.shows)
    await place.deliver("synchronize", B)
    await eventually("it is ready again", lambda: place.shows(B))
    assert get(await place.cluster.get(place.config_map), "data", "commit") == B
    await place.cluster.delete(place.config_map)
    await eventually("what was lost is back", lambda: exists(place.cluster, place.config_map))
    await place.deliver("closed", B)
    await eventually("everything is gone", place.is_gone)


async def test_a_namespace_without_a_role_is_told_what_to_add_and_heals_when_that_is_done(place: Operated) -> None:
    await place.template()
    await place.deliver("opened")
    told = (
        f"{user(place.namespace, OPERATOR)} may not list",
        f"in namespace {place.namespace}",
        "configmaps",
        "deployments.apps",
        "replicasets.apps",
        "pods",
    )
    await eventually("the condition tells", lambda: place.lacks(*told))
    assert not await exists(place.cluster, place.config_map)
    await place.grant(*await place.advice())
    await eventually("it is ready", place.shows)


async def test_pods_that_cannot_be_seen_are_told_and_keep_nothing_from_being_made(place: Operated) -> None:
    await place.grant(CONFIG_MAPS, DEPLOYMENTS)
    await place.template()
    await place.deliver("opened")
    await eventually("what cannot be seen is told", lambda: place.lacks("replicasets.apps", "pods"))
    await eventually("it is made", lambda: exists(place.cluster, place.deployment))
    applied = condition_of(await place.cluster.get(place.pr), "Applied")
    assert text(applied, "status") == "True"


async def test_a_right_to_write_that_is_missing_is_named(place: Operated) -> None:
    await place.grant(*LOOK, WRITE_CONFIG_MAPS)
    await place.template()
    await place.deliver("opened")
    told = (f"may not create deployments.apps in namespace {place.namespace}", "apiGroups: [apps]")
    await eventually("the condition tells", lambda: place.lacks(*told))
    await eventually("the other object is there", lambda: exists(place.cluster, place.config_map))


async def test_a_review_app_with_an_account_gets_no_more_than_that_may(place: Operated) -> None:
    await place.cluster.apply(account(place.namespace, PREVIEWS), manager=MANAGER)
    await place.grant(CONFIG_MAPS, DEPLOYMENTS, *PARTS, BE_PREVIEWS)
    await place.grant(WRITE_CONFIG_MAPS, to=PREVIEWS)
    await place.template(serviceAccountName=PREVIEWS)
    await place.deliver("opened")
    told = (f"{user(place.namespace, PREVIEWS)} may not create deployments.apps in namespace {place.namespace}",)
    await eventually("the condition tells", lambda: place.lacks(*told))
    assert await exists(place.cluster, place.config_map)
    assert not await exists(place.cluster, place.deployment)


async def test_the_account_writes_and_deletes_where_the_operator_may_only_look(place: Operated) -> None:
    await place.cluster.apply(account(place.namespace, PREVIEWS), manager=MANAGER)
    await place.grant(*LOOK, BE_PREVIEWS)
    await place.grant(WRITE_CONFIG_MAPS, WRITE_DEPLOYMENTS, to=PREVIEWS)
    await place.template(serviceAccountName=PREVIEWS)
    await place.deliver("opened")
    await eventually("it is ready", place.shows)
    await place.deliver("closed")
    await eventually("everything is gone", place.is_gone)


async def test_who_follows_the_advice_gives_greenroom_no_right_to_write_where_an_account_does(place: Operated) -> None:
    await place.cluster.apply(account(place.namespace, PREVIEWS), manager=MANAGER)
    await place.grant(BE_PREVIEWS)
    await place.template(serviceAccountName=PREVIEWS)
    await place.deliver("opened")
    told = (f"{user(place.namespace, OPERATOR)} may not list", "configmaps", "deployments.apps", "replicasets", "pods")
    await eventually("the condition tells", lambda: place.lacks(*told))
    advice = await place.advice()
    assert {verb for rule in advice for verb in yaml.safe_load(rule)["verbs"]} == {"get", "list", "watch"}
    await place.grant(BE_PREVIEWS, *advice)
    await eventually("the account's rights are all that is missing", lambda: place.lacks_only(PREVIEWS))
    await place.grant(*await place.advice(), to=PREVIEWS)
    await place.deliver("synchronize", B)
    await eventually("it is ready", lambda: place.shows(B))


async def test_an_account_that_greenroom_may_not_be_is_told(place: Operated) -> None:
    await place.grant(CONFIG_MAPS, DEPLOYMENTS, *PARTS)
    await place.template(serviceAccountName=PREVIEWS)
    await place.deliver("opened")
    told = (f'may not impersonate serviceaccounts "{PREVIEWS}" in namespace {place.namespace}',)
    await eventually("the condition tells", lambda: place.lacks(*told))
    assert not await exists(place.cluster, place.config_map)


async def test_a_replica_for_one_namespace_needs_nothing_outside_of_it(
    kubernetes: Kubernetes, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    await grant(cluster, namespace, OPERATOR, *EVERYWHERE, LEAD, *LOOK)
    await cluster.apply(account(namespace, PREVIEWS), manager=MANAGER)
    await grant(cluster, namespace, PREVIEWS, WRITE_CONFIG_MAPS)
    await cluster.apply(review_app(namespace, serviceAccountName=PREVIEWS), manager=MANAGER)
    installed = Installation(cluster, namespace, tmp_path, kubernetes, account=OPERATOR)
    place = Place(cluster, namespace)
    async with installed.replica() as replica:
        await replica.deliver(repository(namespace), "opened", 7, A, 0)
        told = f"{user(namespace, PREVIEWS)} may not create deployments.apps in namespace {namespace}"
        await eventually("the condition tells", lambda: place.lacks(told))
        assert await exists(cluster, place.config_map)
        await grant(cluster, namespace, PREVIEWS, WRITE_CONFIG_MAPS, WRITE_DEPLOYMENTS)
        await replica.deliver(repository(namespace), "synchronize", 7, B, 1)
        await eventually("it is ready", lambda: place.shows(B))
        await replica.deliver(repository(namespace), "closed", 7, B, 2)
        await eventually("everything is gone", place.is_gone)

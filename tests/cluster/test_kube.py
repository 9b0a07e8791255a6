"""``adapters.kube`` and the informers over it, where only a real Kubernetes can tell whether they are right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.cluster.kubernetes import Kubernetes
from tests.contract.suite import (
    MANAGER,
    config_map,
    container,
    deployment,
    eventually,
    secret,
    seen,
    watching,
    with_metadata,
)

from greenroom.adapters.kube import PAGE, KubeCluster
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import Expired, Forbidden, Immutable, Invalid, Unavailable, UnknownKind
from greenroom.model.manifest import (
    CONFIG_MAP,
    POD,
    SECRET,
    Json,
    Kind,
    Manifest,
    get,
    name_of,
    ref_of,
    table,
    text,
    uid_of,
    version_of,
)
from greenroom.model.mesh import VIRTUAL_NODE
from greenroom.model.watch import Change, Scope
from greenroom.runtime.informer import Informers

CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
JOB = Kind("batch", "v1", "Job")
LEASE = Kind("coordination.k8s.io", "v1", "Lease")
WIDGET = Kind("example.org", "v1", "Widget")
WIDGET_CRD: Manifest = {
    "apiVersion": CRD.api_version,
    "kind": CRD.name,
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def named(kind: Kind, namespace: str, name: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


@asynccontextmanager
async def following(cluster: KubeCluster, kind: Kind) -> AsyncIterator[Informers]:
    informers = Informers(cluster)
    informers.start(Scope(kind))
    running = asyncio.create_task(informers.run())
    try:
        await informers.synced()
        yield informers
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# Who may come in


async def test_a_wrong_token_is_forbidden_and_not_repeated(kubernetes: Kubernetes, namespace: str) -> None:
    async with KubeCluster(replace(kubernetes.admin, credentials=Credential("not-the-token"))) as cluster:
        with pytest.raises(Forbidden) as caught:
            await cluster.list(SECRET, namespace=namespace)
    assert "not-the-token" not in str(caught.value)


async def test_what_rbac_does_not_allow_is_forbidden(kubernetes: Kubernetes, namespace: str) -> None:
    async with KubeCluster(kubernetes.nobody) as cluster:
        await cluster.resources()
        with pytest.raises(Forbidden, match='"nobody" cannot list resource "secrets"'):
            await cluster.list(SECRET, namespace=namespace)
        with pytest.raises(Forbidden):
            await cluster.apply(config_map(namespace), manager=MANAGER)
        with pytest.raises(Forbidden):
            await anext(aiter(cluster.watch(SECRET, since="1", namespace=namespace)))


async def test_a_server_that_another_authority_vouches_for_is_not_spoken_to(kubernetes: Kubernetes) -> None:
    async with KubeCluster(replace(kubernetes.admin, authority="")) as cluster:
        with pytest.raises(Unavailable, match="certificate"):
            await cluster.resources()


# What is refused, and what is not


SECRET_WORD = "hunter2hunter2"


def with_variables(kind: Kind, namespace: str, image: str) -> Manifest:
    variables: Json = [{"name": "PASSWORD", "value": f'{SECRET_WORD} }}]: "x"'}]
    container: Json = {"name": "app", "image": image, "env": variables}
    pod_spec: Json = {"restartPolicy": "Never", "containers": [container]}
    wanted: Json = pod_spec if kind == POD else {"template": {"spec": pod_spec}}
    return {**named(kind, namespace, "one"), "spec": wanted}


@pytest.mark.parametrize("kind", [JOB, POD], ids=str)
async def test_of_a_field_that_cannot_be_changed_the_cause_is_told_and_no_value(
    cluster: KubeCluster, namespace: str, kind: Kind
) -> None:
    await cluster.apply(with_variables(kind, namespace, "registry.invalid/shop:1"), manager=MANAGER)
    changed = with_variables(kind, namespace, "registry.invalid/shop:2")
    if kind == POD:
        changed = json.loads(json.dumps(changed).replace("PASSWORD", "PASSPHRASE"))
    with pytest.raises(Immutable, match=r"field is immutable|pod updates may not change fields") as caught:
        await cluster.apply(changed, manager=MANAGER)
    assert SECRET_WORD not in str(caught.value)


@pytest.mark.parametrize("value", [8675309, ["8675309"], {"a": "8675309"}], ids=["number", "list", "object"])
async def test_a_secrets_value_of_the_wrong_type_is_not_told(cluster: KubeCluster, namespace: str, value: Json) -> None:
    wrong: Manifest = {**named(SECRET, namespace, "one"), "stringData": {"password": value}}
    with pytest.raises(Invalid, match=r"stringData\.password: expected string") as caught:
        await cluster.apply(wrong, manager=MANAGER)
    assert "8675309" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"metadata": {"labels": {"a": SECRET_WORD + " b"}}}, "metadata.labels"),
        ({"type": SECRET_WORD + " b", "data": {SECRET_WORD: "!"}}, "base64"),
    ],
    ids=["label", "data"],
)
async def test_a_wrong_value_is_not_told(
    cluster: KubeCluster, namespace: str, fields: Mapping[str, Json], path: str
) -> None:
    wrong = named(SECRET, namespace, "one")
    metadata = {**table(wrong, "metadata"), **table(fields, "metadata")}
    with pytest.raises(Invalid, match=path) as caught:
        await cluster.apply({**wrong, **fields, "metadata": metadata}, manager=MANAGER)
    assert SECRET_WORD not in str(caught.value)


async def test_a_field_that_kubernetes_does_not_know_is_left_out(cluster: KubeCluster, namespace: str) -> None:
    known: Json = {**container("app"), "ports": [{"containerPort": 80}]}
    typos: Json = {
        **container("app"),
        "imagePullPolcy": "Always",
        "ports": [{"containerPort": 80, "protcol": "TCP"}],
        "readinessProbe": {"exec": {"command": ["true"], "bad": 1}},
    }
    misspelled: list[Manifest] = [
        deployment(namespace, typos),
        {**deployment(namespace, known), "spce": {}},
        with_metadata(deployment(namespace, known), labls={"a": "b"}),
        {**named(VIRTUAL_NODE, namespace, "one"), "spec": {"listeners": [], "foo": {"bar": 1}}},
    ]
    for manifest in misspelled:
        for _ in range(2):
            assert uid_of(await cluster.apply(manifest, manager=MANAGER))
            assert uid_of(await cluster.adopt(manifest, manager=MANAGER, former="manager"))
    stored = await cluster.get(ref_of(deployment(namespace)))
    assert get(stored, "spec", "template", "spec", "containers", 0, "ports", 0, "containerPort") == 80


async def test_what_a_container_is_given_twice_goes_once_the_template_gives_it_no_more(
    kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    """As an object that was created with it, by another program."""
    twice: Json = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    given = deployment(namespace, {**container("app"), "env": twice})
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        created = await server.request("POST", path, params={"fieldManager": "manager"}, body=given)
    assert get(created, "spec", "template", "spec", "containers", 0, "env") == twice
    adopted = await cluster.adopt(given, manager=MANAGER, former="manager")
    assert get(adopted, "spec", "template", "spec", "containers", 0, "env") == [{"name": "A", "value": "2"}]
    without = await cluster.apply(deployment(namespace, container("app")), manager=MANAGER)
    assert get(without, "spec", "template", "spec", "containers", 0, "env") is None


# Large things


async def test_an_object_of_700_kb_comes_through_a_watch(cluster: KubeCluster, namespace: str) -> None:
    since = (await cluster.list(CONFIG_MAP, namespace=namespace)).resource_version
    large = "x" * 700_000
    await cluster.apply(config_map(namespace, "large", data=large), manager=MANAGER)
    async with watching(cluster, CONFIG_MAP, since=since, namespace=namespace) as following:
        while name_of((event := await following()).object) != "large":
            pass  # Kubernetes puts a ConfigMap of its own into each namespace
    assert get(event.object, "data", "data") == large


async def test_a_list_of_many_pages_is_whole(cluster: KubeCluster, namespace: str) -> None:
    wanted = {f"many-{number}" for number in range(PAGE + 1)}
    await asyncio.gather(*(cluster.apply(secret(namespace, name), manager=MANAGER) for name in wanted))
    listing = await cluster.list(SECRET, namespace=namespace)
    assert len(listing.items) == len(wanted)
    assert {name_of(item) for item in listing.items} == wanted


# History


async def test_a_watch_from_before_a_compaction_is_expired(
    kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    since = (await cluster.list(LEASE, namespace=namespace)).resource_version
    await cluster.apply(named(LEASE, namespace, "forgotten"), manager=MANAGER)
    kubernetes.compact(version_of(await cluster.apply(named(LEASE, namespace, "known"), manager=MANAGER)))
    async with watching(cluster, LEASE, since=since, namespace=namespace) as following:
        with pytest.raises(Expired):
            await following()


async def test_a_watch_that_is_cut_off_says_so(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> None:
    since = (await cluster.list(SECRET, namespace=namespace)).resource_version
    async with watching(cluster, SECRET, since=since, namespace=namespace) as following:
        await cluster.apply(secret(namespace, "one"), manager=MANAGER)
        assert seen(await following()) == (Change.ADDED, "one")
        async with kubernetes.without_api_server():
            with pytest.raises(Unavailable):
                await following()


async def test_informers_know_what_changed_while_the_server_was_away(
    kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    told: list[tuple[str, str]] = []

    def tell(old: Manifest | None, new: Manifest | None) -> None:
        if text(old or new, "metadata", "namespace") == namespace:
            told.append((name_of(old) if old else "", name_of(new) if new else ""))

    async def agreed() -> bool:
        stored = await cluster.list(SECRET)
        known = informers.list(SECRET)
        return {uid_of(one): version_of(one) for one in stored.items} == {uid_of(one): version_of(one) for one in known}

    async with following(cluster, SECRET) as informers:
        informers.subscribe(Scope(SECRET), tell)
        for name in ("kept", "lost"):
            await cluster.apply(secret(namespace, name), manager=MANAGER)
        await eventually("both are known", agreed)
        async with kubernetes.without_api_server():
            kubernetes.delete_unseen("secrets", namespace, "lost")
        await cluster.apply(secret(namespace, "kept", key="dmFsdWU="), manager=MANAGER)
        await cluster.apply(secret(namespace, "new"), manager=MANAGER)
        await eventually("the copy equals the cluster", agreed)
    assert sorted(told) == sorted([("", "kept"), ("", "lost"), ("lost", ""), ("kept", "kept"), ("", "new")])


# Kinds


async def test_a_kind_comes_and_goes_with_its_crd(cluster: KubeCluster, namespace: str) -> None:
    async def served() -> bool:
        try:
            await cluster.list(WIDGET, namespace=namespace)
        except UnknownKind:
            return False
        return True

    async def not_served() -> bool:
        return not await served()

    assert await not_served()
    await cluster.apply(WIDGET_CRD, manager=MANAGER)
    await eventually("the kind is served", served)
    assert uid_of(await cluster.apply(named(WIDGET, namespace, "one"), manager=MANAGER))
    await cluster.delete(ref_of(WIDGET_CRD))
    await eventually("the kind is not served any more", not_served)

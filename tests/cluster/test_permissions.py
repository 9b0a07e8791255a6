"""Permissions as kube-apiserver's RBAC denies them: each is named exactly, and the rule that we tell cures it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.contract.suite import MANAGER, config_map, eventually, pull_request, secret, with_metadata

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import Forbidden, NotFound
from greenroom.model.manifest import GROUP, NAMESPACE, POD, PR, SECRET, Json, Kind, Manifest, Ref, name_of, ref_of, text
from greenroom.model.permission import Permission, rules
from greenroom.model.watch import Change
from greenroom.ports import Cluster

RBAC = "rbac.authorization.k8s.io"
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
OPERATOR, PREVIEWS = "operator", "previews"
READ_SECRETS = '{apiGroups: [""], resources: [secrets], verbs: [get]}'


@pytest.fixture
async def server(kubernetes: Kubernetes) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        yield server


@pytest.fixture
async def credential(cluster: KubeCluster, server: ApiServer, namespace: str) -> Credential:
    """The token of a new account that may do nothing yet."""
    await cluster.apply(account(namespace, OPERATOR), manager=MANAGER)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{OPERATOR}/token"
    request: Manifest = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return Credential(text(await server.request("POST", path, body=request), "status", "token"))


@pytest.fixture
async def operator(kubernetes: Kubernetes, credential: Credential) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(replace(kubernetes.admin, credentials=credential)) as operator:
        yield operator


def account(namespace: str, name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def user(namespace: str, account: str) -> str:
    return f"system:serviceaccount:{namespace}:{account}"


def role(namespace: str, name: str, *rules: str) -> Manifest:
    metadata: Json = {"name": name, "namespace": namespace}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [yaml.safe_load(rule) for rule in rules],
    }


async def grant(cluster: Cluster, namespace: str, account: str, *rules: str) -> None:
    """Let an account of the namespace do this there, and nothing else."""
    granted = role(namespace, account, *rules)
    await cluster.apply(granted, manager=MANAGER)
    subject: Json = {"kind": "ServiceAccount", "namespace": namespace, "name": account}
    reference: Json = {"apiGroup": RBAC, "kind": "Role", "name": account}
    binding = {**granted, "kind": "RoleBinding", "subjects": [subject], "roleRef": reference}
    del binding["rules"]
    await cluster.apply(binding, manager=MANAGER)


async def denial(request: Awaitable[object]) -> Permission | None:
    """The permission for want of which a request is denied."""
    with pytest.raises(Forbidden) as caught:
        await request
    return caught.value.permission


async def allowed(request: Callable[[], Awaitable[object]]) -> None:
    """Wait until it is: the authorizer hears of a new rule a moment after it was stored."""

    async def succeeds() -> bool:
        try:
            await request()
        except Forbidden:
            return False
        return True

    await eventually("the request is allowed", succeeds)


# What is missing


async def test_what_is_denied_in_a_namespace_is_named(operator: KubeCluster, namespace: str) -> None:
    def missing(verb: str, group: str, resource: str, name: str = "") -> Permission:
        return Permission(user(namespace, OPERATOR), verb, group, resource, namespace, name)

    pr, one = pull_request(namespace), Ref(PR, namespace, "one")
    watch = operator.watch(SECRET, since="1", namespace=namespace)
    assert await denial(operator.get(Ref(SECRET, namespace, "one"))) == missing("get", "", "secrets", "one")
    assert await denial(operator.list(SECRET, namespace=namespace)) == missing("list", "", "secrets")
    assert await denial(anext(watch)) == missing("watch", "", "secrets")
    assert await denial(operator.apply(pr, manager=MANAGER)) == missing("patch", GROUP, "prs", name_of(pr))
    assert await denial(operator.patch_status(one, {})) == missing("patch", GROUP, "prs/status", "one")
    assert await denial(operator.delete(one)) == missing("delete", GROUP, "prs", "one")
    log = operator.logs(namespace, "one", "", follow=False, tail=None)
    assert await denial(anext(log)) == missing("get", "", "pods/log", "one")


async def test_what_is_denied_at_cluster_scope_is_named(operator: KubeCluster, namespace: str) -> None:
    def missing(verb: str, group: str, resource: str, name: str = "") -> Permission:
        return Permission(user(namespace, OPERATOR), verb, group, resource, "", name)

    crd = missing("get", "apiextensions.k8s.io", "customresourcedefinitions", "x")
    assert await denial(operator.get(Ref(CRD, "", "x"))) == crd
    assert await denial(operator.list(POD)) == missing("list", "", "pods")
    assert await denial(anext(operator.watch(POD, since="1"))) == missing("watch", "", "pods")


async def test_an_object_that_is_not_there_yet_takes_create_as_well(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    await grant(cluster, namespace, OPERATOR, '{apiGroups: [""], resources: [secrets], verbs: [patch]}')
    await cluster.apply(secret(namespace, "old"), manager=MANAGER)
    await allowed(lambda: operator.apply(secret(namespace, "old"), manager=MANAGER))
    missing = await denial(operator.apply(secret(namespace, "new"), manager=MANAGER))
    assert missing == Permission(user(namespace, OPERATOR), "create", "", "secrets", namespace, "new")


async def test_a_binding_without_its_role_is_still_a_missing_permission(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    """The authorizer then adds why it denies."""
    await grant(cluster, namespace, OPERATOR, READ_SECRETS)
    await cluster.delete(ref_of(role(namespace, OPERATOR)))

    async def reason_is_given() -> bool:
        with pytest.raises(Forbidden) as caught:
            await operator.list(SECRET, namespace=namespace)
        assert caught.value.permission == Permission(user(namespace, OPERATOR), "list", "", "secrets", namespace)
        return "not found" in str(caught.value)

    await eventually("the reason is given", reason_is_given)


async def test_the_rule_that_is_told_is_all_that_is_needed(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    one = secret(namespace, "one")
    missing = await denial(operator.apply(one, manager=MANAGER))
    assert missing is not None
    await grant(cluster, namespace, OPERATOR, *rules([missing]))
    await allowed(lambda: operator.apply(one, manager=MANAGER))
    listing = await operator.list(SECRET, namespace=namespace)
    assert [name_of(each) for each in listing.items] == ["one"]
    await operator.delete(ref_of(one))
    async for event in operator.watch(SECRET, since=listing.resource_version, namespace=namespace):
        assert event.change is Change.DELETED
        break


# What is forbidden for another cause


async def test_a_path_that_is_no_resource_is_no_missing_permission(
    kubernetes: Kubernetes, credential: Credential
) -> None:
    async with ApiServer(replace(kubernetes.admin, credentials=credential), timeout=30) as server:
        assert await denial(server.request("GET", "/metrics")) is None


async def test_a_quota_is_no_missing_permission(cluster: KubeCluster, namespace: str) -> None:
    metadata: Json = {"name": "none", "namespace": namespace}
    spec: Json = {"hard": {"count/secrets": "0"}}
    quota: Manifest = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    await cluster.apply(quota, manager=MANAGER)
    await refused(cluster, secret(namespace, "one"), "quota")


async def test_a_security_standard_is_no_missing_permission(cluster: KubeCluster, namespace: str) -> None:
    labels: Json = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata: Json = {"name": namespace, "labels": labels}
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, manager=MANAGER)
    spec: Json = {"containers": [{"name": "web", "image": "web"}]}
    pod: Manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": namespace}, "spec": spec}
    await refused(cluster, pod, "violates PodSecurity")


async def test_an_admission_policy_is_no_missing_permission(cluster: KubeCluster, namespace: str) -> None:
    """Not even one that speaks as an authorizer does."""
    told = 'secrets is forbidden: User "a" cannot list resource "secrets" in API group "" at the cluster scope'
    here: Json = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    operations: Json = ["CREATE", "UPDATE"]  # what was taken before the policy was known can be deleted again
    rules: Json = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": ["secrets"]}]
    head: Manifest = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": namespace}}
    policy: Manifest = {
        **head,
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": {"namespaceSelector": here, "resourceRules": rules},
            "validations": [{"expression": "false", "message": told, "reason": "Forbidden"}],
        },
    }
    binding: Manifest = {
        **head,
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    for manifest in (policy, binding):
        await cluster.apply(manifest, manager=MANAGER)
    await refused(cluster, secret(namespace, "one"), told)
    for manifest in (binding, policy):
        await cluster.delete(ref_of(manifest))


async def test_a_role_beyond_ones_own_rights_is_no_missing_permission(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    manage_roles = f"{{apiGroups: [{RBAC}], resources: [roles], verbs: [create, patch]}}"
    await grant(cluster, namespace, OPERATOR, manage_roles)
    await allowed(lambda: operator.apply(role(namespace, "nothing"), manager=MANAGER))
    with pytest.raises(Forbidden, match="attempting to grant RBAC permissions") as caught:
        await operator.apply(role(namespace, "more", READ_SECRETS), manager=MANAGER)
    assert caught.value.permission is None


async def test_a_namespace_that_is_being_deleted_is_as_good_as_gone(cluster: KubeCluster, namespace: str) -> None:
    going = f"{namespace}-going"
    kept = with_metadata(config_map(going, "kept"), finalizers=["example.com/kept"])
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": going}}, manager=MANAGER)
    await cluster.apply(kept, manager=MANAGER)
    await cluster.delete(Ref(NAMESPACE, "", going))

    async def takes_nothing_new() -> bool:
        try:
            await cluster.apply(secret(going, "one"), manager=MANAGER)
        except NotFound as error:
            return "because it is being terminated" in str(error)
        return False

    await eventually("it takes nothing new", takes_nothing_new)
    await cluster.apply(config_map(going, "kept"), manager=MANAGER)


async def refused(cluster: Cluster, manifest: Manifest, cause: str) -> None:
    """Wait until it is: admission, too, hears of changes a moment later."""

    async def is_refused() -> bool:
        try:
            await cluster.apply(manifest, manager=MANAGER)
        except Forbidden as error:
            return cause in str(error) and error.permission is None
        await cluster.delete(ref_of(manifest))
        return False

    await eventually(f"it is refused: {cause}", is_refused)


# In the name of another account


async def test_a_write_in_the_name_of_an_account_is_denied_until_that_may_be_impersonated(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    await cluster.apply(account(namespace, PREVIEWS), manager=MANAGER)
    previews = operator.impersonating(user(namespace, PREVIEWS))
    one = secret(namespace, "one")
    missing = await denial(previews.apply(one, manager=MANAGER))
    expected = Permission(user(namespace, OPERATOR), "impersonate", "", "serviceaccounts", namespace, name=PREVIEWS)
    assert missing == expected
    await grant(cluster, namespace, OPERATOR, *rules([expected]))

    async def is_impersonated() -> bool:
        missing = await denial(previews.apply(one, manager=MANAGER))
        return missing == Permission(user(namespace, PREVIEWS), "patch", "", "secrets", namespace, "one")

    await eventually("it is the account's own rights that count", is_impersonated)
    assert await denial(operator.impersonating(user(namespace, "other")).get(ref_of(one))) == replace(
        expected, name="other"
    )


async def test_in_the_name_of_an_account_its_rights_count_and_no_others(
    cluster: KubeCluster, operator: KubeCluster, namespace: str
) -> None:
    me, them = user(namespace, OPERATOR), user(namespace, PREVIEWS)
    await cluster.apply(account(namespace, PREVIEWS), manager=MANAGER)
    manage_secrets = rules([Permission(them, "patch", "", "secrets", namespace)])
    be_previews = rules([Permission(me, "impersonate", "", "serviceaccounts", namespace, PREVIEWS)])
    await grant(cluster, namespace, PREVIEWS, *manage_secrets)
    await grant(cluster, namespace, OPERATOR, *be_previews)
    previews = operator.impersonating(them)
    one, settings = secret(namespace, "one"), config_map(namespace)
    await allowed(lambda: previews.apply(one, manager=MANAGER))
    assert await denial(operator.get(ref_of(one))) == Permission(me, "get", "", "secrets", namespace, "one")
    missing = await denial(previews.apply(settings, manager=MANAGER))
    assert missing == Permission(them, "patch", "", "configmaps", namespace, name_of(settings))
    assert await denial(previews.list(SECRET)) == Permission(them, "list", "", "secrets")
    await previews.delete(ref_of(one))

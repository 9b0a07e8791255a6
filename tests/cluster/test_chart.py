"""The Helm chart, rendered by Helm itself and judged by a real API server: its validation, its admission, its RBAC."""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from tests.cluster.helm import CHART, Helm, Refused
from tests.cluster.kubernetes import MANAGER, Kubernetes
from tests.cluster.operators import A, B, Installation
from tests.contract.suite import container, deployment, eventually, gone, pull_request, with_metadata

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.app.serve import LEASE_NAME
from greenroom.model.errors import Forbidden, NotFound
from greenroom.model.gateway import CONTROLLER, GATEWAY_CLASS
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    GROUP,
    NAMESPACE,
    PR,
    REVIEW_APP,
    SECRET,
    SERVICE,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    items,
    kind_of,
    labels_of,
    name_of,
    ref_of,
    table,
    text,
)
from greenroom.model.mesh import GATEWAY_ROUTE

ROOT = Path(__file__).parents[2]
DOCUMENTATION = "".join((ROOT / page).read_text() for page in ("README.md", "docs/install.md", "docs/github.md"))
DOCUMENTED = re.findall(
    r"(?:^```yaml|values\.yaml <<'END')\n(.*?)^(?:```|END)$", DOCUMENTATION, re.DOTALL | re.MULTILINE
)
RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLE, CLUSTER_BINDING = Kind(RBAC, "v1", "ClusterRole"), Kind(RBAC, "v1", "ClusterRoleBinding")
ROLE = Kind(RBAC, "v1", "Role")
SERVICE_MONITOR = Kind("monitoring.coreos.com", "v1", "ServiceMonitor")
SERVICES = {"webhook", "metrics", "ads", "admission"}
VALUES: dict[str, Manifest] = {
    "the defaults": {},
    "one namespace": {"watchNamespace": "default", "replicas": 1, "podDisruptionBudget": False, "userRoles": False},
    "everything": {
        "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
        "urlScheme": "http",
        "webhook": {
            "secrets": [{"name": "github-webhook", "key": "secret"}, {"name": "github-webhook", "key": "next"}],
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "host": "greenroom.example.com",
                "tlsSecret": "certificate",
                "annotations": {"example.com/scheme": "internet-facing"},
            },
        },
        "environments": {
            "namespaces": ["default"],
            "extraRules": [
                {"apiGroups": ["monitoring.coreos.com"], "resources": ["servicemonitors"], "verbs": ["get"]}
            ],
            "serviceAccounts": [{"namespace": "default", "names": ["previews"]}],
        },
        "networkPolicy": {"enabled": True},
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/mesh": "disabled"},
        "github": {
            "token": {"secret": "github", "key": "token"},
            "webhookURL": "https://greenroom.example.com/webhooks",
        },
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
    },
}


@pytest.fixture
def helm(binaries: Path, tmp_path: Path) -> Helm:
    return Helm(binaries / "helm", tmp_path)


@pytest.fixture
async def server(kubernetes: Kubernetes) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        yield server


@pytest.fixture
async def restricted(cluster: KubeCluster, namespace: str) -> str:
    """A namespace whose pods may do nothing that Pod Security's strictest level forbids."""
    labels: Manifest = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.apply(with_metadata(head(NAMESPACE, "", namespace), labels=labels), manager="pod-security")
    return namespace


def of_kind(kind: Kind, manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if kind_of(manifest) == kind]


def rules(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Json]]:
    """Every rule, with its role."""
    for role in of_kind(ROLE, manifests) + of_kind(CLUSTER_ROLE, manifests):
        for rule in items(role, "rules"):
            yield role, rule


def pod_labels(manifests: list[Manifest]) -> dict[str, Json]:
    (deployment,) = of_kind(DEPLOYMENT, manifests)
    return dict(table(deployment, "spec", "template", "metadata", "labels"))


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_has_nothing_to_complain_of(helm: Helm, values: Manifest) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.lint(values)


def test_helm_takes_the_values_that_the_documentation_shows(helm: Helm) -> None:
    assert len(DOCUMENTED) > 3
    for values in DOCUMENTED:
        assert helm.render(yaml.safe_load(values))


def test_the_plain_manifests_are_what_the_chart_says(helm: Helm) -> None:
    _, _, manifests = (ROOT / "deploy" / "greenroom.yaml").read_text().partition("\n")
    assert manifests == helm.template({}), "run `make manifests`"


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert chart["version"] == chart["appVersion"] == project["project"]["version"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"image": {"repository": ""}}, "image.repository: say where the image is"),
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"webhook": {"secret": "s3cret"}}, "additional properties 'secret' not allowed"),
        ({"webhook": {"secrets": []}}, "/webhook/secrets"),
        ({"webhook": {"ingress": {"enabled": True}}}, "webhook.ingress.host: say under which name"),
        ({"environments": {"namespaces": ["*"]}}, "/environments/namespaces/0"),
        (
            {"environments": {"extraRules": [{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}]}},
            "/environments/extraRules/0/resources/0': '*' does not match",
        ),
        ({"urlScheme": "ftp"}, "/urlScheme"),
        ({"github": {"token": {"secret": "a"}, "app": {"secret": "b", "id": "1"}}}, "name either token.secret or app"),
        ({"github": {"app": {"secret": "b"}}}, "github.app.id: say the App's id"),
        ({"github": {"url": "https://github.com/acme"}}, "/github/url"),
    ],
)
def test_wrong_values_are_refused_by_name(helm: Helm, values: Manifest, told: str) -> None:
    with pytest.raises(Refused) as refused:
        helm.render(values)
    assert told in str(refused.value)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_role_says_everything(helm: Helm, values: Manifest) -> None:
    said = [rule for _, rule in rules(helm.render(values))]
    assert said
    assert not [rule for rule in said for field in table(rule) for word in items(rule, field) if "*" in str(word)]


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_secrets_and_workloads_may_be_touched_in_named_namespaces_only(helm: Helm, values: Manifest) -> None:
    manifests = helm.render(values)
    powerful = {
        name_of(role)
        for role, rule in rules(manifests)
        if {"secrets", "deployments", "serviceaccounts"} & {str(resource) for resource in items(rule, "resources")}
    }
    assert powerful
    assert not powerful & {text(binding, "roleRef", "name") for binding in of_kind(CLUSTER_BINDING, manifests)}


def test_an_account_of_a_review_app_may_let_a_pr_own_what_it_makes(helm: Helm) -> None:
    """Which OpenShift asks for: the admission plugin OwnerReferencesPermissionEnforcement."""
    granted = [rule for role, rule in rules(helm.render({})) if name_of(role) == "greenroom-environment"]
    assert {"apiGroups": [GROUP], "resources": ["prs/finalizers"], "verbs": ["update"]} in granted


def test_accounts_that_are_listed_in_two_places_may_both_be_acted_for(helm: Helm) -> None:
    accounts: Json = [{"namespace": "team", "names": ["a", "b"]}, {"namespace": "team", "names": ["b", "c"]}]
    manifests = helm.render({"environments": {"serviceAccounts": accounts}})
    allowed = {
        ref_of(role).namespace: items(rule, "resourceNames")
        for role, rule in rules(manifests)
        if "impersonate" in items(rule, "verbs")
    }
    assert allowed == {"team": ["a", "b", "c"]}
    refs = [ref_of(manifest) for manifest in manifests]
    assert len(set(refs)) == len(refs)


def test_a_service_of_kubetempura_leads_to_greenroom_in_its_namespace(binaries: Path, tmp_path: Path) -> None:
    selector = {"control-plane": "controller-manager"}  # of config/samples/github_service.yaml
    here = Helm(binaries / "helm", tmp_path, namespace="kubetempura-system").render({})
    elsewhere = Helm(binaries / "helm", tmp_path, namespace="operators").render({})
    assert selector.items() <= pod_labels(here).items()
    assert not selector.items() <= pod_labels(elsewhere).items()


def test_every_service_leads_to_a_port_of_the_pods(helm: Helm) -> None:
    manifests = helm.render({})
    (deployment,) = of_kind(DEPLOYMENT, manifests)
    open_ports = {
        text(port, "name") for port in items(deployment, "spec", "template", "spec", "containers", 0, "ports")
    }
    services = of_kind(SERVICE, manifests)
    assert {name_of(service).removeprefix("greenroom-") for service in services} == SERVICES
    for service in services:
        assert table(service, "spec", "selector").items() <= pod_labels(manifests).items()
        assert text(service, "spec", "ports", 0, "targetPort") in open_ports


@pytest.mark.parametrize("values", [{"gateways": {"enabled": False}}, {"watchNamespace": "team"}])
def test_where_no_gateway_is_served_no_pod_and_no_write_is_asked_about(helm: Helm, values: Manifest) -> None:
    manifests = helm.render(values)
    assert not [ref_of(each) for each in manifests if kind_of(each).group == "admissionregistration.k8s.io"]
    (deployment,) = of_kind(DEPLOYMENT, manifests)
    assert "gateways" not in str(deployment)
    assert len(of_kind(SERVICE, manifests)) == 2


def test_the_class_of_gateways_is_there_where_the_cluster_knows_such(helm: Helm) -> None:
    assert not of_kind(GATEWAY_CLASS, helm.render({}))
    (made,) = of_kind(GATEWAY_CLASS, helm.render({}, kinds=[GATEWAY_CLASS]))
    assert text(made, "spec", "controllerName") == CONTROLLER
    assert not of_kind(GATEWAY_CLASS, helm.render({"gateways": {"enabled": False}}, kinds=[GATEWAY_CLASS]))


def test_prometheus_finds_the_metrics_and_nothing_else(helm: Helm) -> None:
    manifests = helm.render({"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    (monitor,) = of_kind(SERVICE_MONITOR, manifests)
    wanted = table(monitor, "spec", "selector", "matchLabels").items()
    (found,) = (service for service in of_kind(SERVICE, manifests) if wanted <= labels_of(service).items())
    assert text(found, "spec", "ports", 0, "name") == text(monitor, "spec", "endpoints", 0, "port") == "metrics"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
async def test_the_api_server_takes_every_object(
    binaries: Path, tmp_path: Path, namespace: str, cluster: KubeCluster, server: ApiServer, values: Manifest
) -> None:
    helm = Helm(binaries / "helm", tmp_path, namespace=namespace)
    for manifest in helm.render(values):
        ref = ref_of(manifest)
        resource = await cluster.resource(ref.kind)
        root = f"/apis/{ref.kind.group}" if ref.kind.group else "/api"
        place = f"/namespaces/{ref.namespace}" if resource.namespaced else ""
        await server.request(
            "PATCH",
            f"{root}/{ref.kind.version}{place}/{resource.plural}/{ref.name}",
            params={"dryRun": "All", "fieldManager": MANAGER, "fieldValidation": "Strict"},
            body=manifest,
            headers={"Content-Type": "application/apply-patch+yaml"},
        )


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
async def test_pod_security_of_the_strictest_level_takes_the_pods(
    helm: Helm, restricted: str, server: ApiServer, values: Manifest
) -> None:
    (deployment,) = of_kind(DEPLOYMENT, helm.render(values))
    spec = {**table(deployment, "spec", "template", "spec"), "serviceAccountName": "default"}
    await create_pod(server, restricted, spec)
    with pytest.raises(Forbidden):
        await create_pod(server, restricted, {**spec, "hostNetwork": True})


@asynccontextmanager
async def made(cluster: KubeCluster, name: str) -> AsyncIterator[str]:
    """A namespace of this name, and something that makes it the only one."""
    namespace = f"{name}-{secrets.token_hex(3)}"
    await cluster.apply(head(NAMESPACE, "", namespace), manager=MANAGER)
    try:
        yield namespace
    finally:
        await cluster.delete(Ref(NAMESPACE, "", namespace))


def head(kind: Kind, namespace: str, name: str) -> Manifest:
    where: Manifest = {"namespace": namespace} if namespace else {}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name, **where}}


async def create_pod(server: ApiServer, namespace: str, spec: Manifest) -> None:
    pod: Manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greenroom"}, "spec": spec}
    await server.request("POST", f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, body=pod)


class Authorizer:
    """What the API server lets an account do."""

    def __init__(self, server: ApiServer, namespace: str, account: str) -> None:
        self._server = server
        self._user = f"system:serviceaccount:{namespace}:{account}"

    async def allows(self, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> bool:
        attributes: Manifest = {
            "verb": verb,
            "group": group,
            "resource": resource.partition("/")[0],
            "subresource": resource.partition("/")[2],
            "namespace": namespace,
            "name": name,
        }
        review: Manifest = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self._user, "resourceAttributes": attributes},
        }
        answer = await self._server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
        return table(answer, "status").get("allowed") is True


async def test_an_installed_operator_may_do_what_it_needs_and_no_more(
    binaries: Path, tmp_path: Path, kubernetes: Kubernetes, cluster: KubeCluster, namespace: str, server: ApiServer
) -> None:
    async with made(cluster, "pr-env") as environments, made(cluster, "team-a") as team:
        helm = Helm(binaries / "helm", tmp_path, f"greenroom-{secrets.token_hex(3)}", namespace)
        accounts: Json = [{"namespace": team, "names": ["previews"]}]
        told = helm.install({"environments": {"namespaces": [environments], "serviceAccounts": accounts}}, kubernetes)
        assert f"kubectl -n {namespace} create secret generic github-webhook" in told
        try:
            operator = Authorizer(server, namespace, helm.release)
            await eventually("the rights are given", lambda: operator.allows("patch", GROUP, "prs", environments))
            for verb, group, resource in (
                ("create", GROUP, "prs"),
                ("patch", GROUP, "prs/status"),
                ("patch", GROUP, "reviewapps/status"),
                ("update", GROUP, "reviewapps/finalizers"),
                ("update", GROUP, "prs/finalizers"),
                ("watch", GROUP, "reviewapps"),
                ("create", "", "events"),
            ):
                assert await operator.allows(verb, group, resource), (verb, resource)
            assert await operator.allows("patch", "coordination.k8s.io", "leases", namespace, LEASE_NAME)
            assert not await operator.allows("patch", "coordination.k8s.io", "leases", namespace, "another")
            assert not await operator.allows("patch", GROUP, "reviewapps")

            assert await operator.allows("patch", "apps", "deployments", environments)
            assert await operator.allows("delete", "appmesh.k8s.aws", "gatewayroutes", environments)
            assert await operator.allows("watch", "", "secrets", environments)
            assert await operator.allows("delete", "", "pods", environments)
            assert await operator.allows("get", "", "pods/log", environments)
            assert not await operator.allows("create", "", "pods", environments)
            assert not await operator.allows("watch", "", "secrets")
            assert not await operator.allows("get", "", "secrets", namespace)

            assert await operator.allows("watch", "apps", "deployments", team)
            assert not await operator.allows("patch", "apps", "deployments", team)
            assert not await operator.allows("delete", "", "pods", team)
            assert await operator.allows("impersonate", "", "serviceaccounts", team, "previews")
            assert not await operator.allows("impersonate", "", "serviceaccounts", team, "default")
            assert not await operator.allows("impersonate", "", "serviceaccounts", environments, "default")
            assert not await operator.allows("impersonate", "", "users")
        finally:
            helm.uninstall(kubernetes)


async def test_the_operator_keeps_an_environment_with_the_rights_of_the_chart(
    binaries: Path, tmp_path: Path, kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    helm = Helm(binaries / "helm", tmp_path, f"greenroom-{secrets.token_hex(3)}", namespace)
    helm.install({"watchNamespace": namespace, "environments": {"namespaces": [namespace]}}, kubernetes)
    installed = Installation(cluster, namespace, tmp_path, kubernetes, account=helm.release)
    await installed.template(
        {**head(CONFIG_MAP, "", "pr{{PR_NUMBER}}"), "data": {"commit": "{{COMMIT_REF}}"}},
        {**head(SECRET, "", "pr{{PR_NUMBER}}"), "stringData": {"commit": "{{COMMIT_REF}}"}},
        with_metadata(deployment("", container("web")), name="pr{{PR_NUMBER}}"),
    )
    async with installed.replica() as operator:
        await operator.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1, A))
        await operator.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the push is shown", lambda: installed.shows(1, B))
        assert (await cluster.list(EVENT, namespace=namespace)).items
        await operator.deliver(installed.repository, "closed", 1, B, 2)
        for kind in (PR, CONFIG_MAP, SECRET, DEPLOYMENT):
            await gone(cluster, Ref(kind, namespace, "shop-pr1" if kind == PR else "pr1"))
        assert not [line for line in operator.said() if "may not" in str(line)]
    helm.uninstall(kubernetes)


async def test_where_the_operator_may_make_nothing_no_review_app_takes_over_what_is_there(
    binaries: Path, tmp_path: Path, kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    """It may patch App Mesh's objects everywhere, to let go of those that App Mesh's controller holds."""
    helm = Helm(binaries / "helm", tmp_path, f"greenroom-{secrets.token_hex(3)}", namespace)
    helm.install({}, kubernetes)
    installed = Installation(cluster, namespace, tmp_path, kubernetes, account=helm.release)
    action: Json = {"target": {"virtualService": {"virtualServiceRef": {"name": "shop"}}}}
    route: Json = {"httpRoute": {"action": action, "match": {"prefix": "/theirs"}}}
    theirs = {**head(GATEWAY_ROUTE, namespace, "pr1"), "spec": route}
    before = await cluster.apply(theirs, manager="another team")
    ours: Json = {"httpRoute": {"action": action, "match": {"hostname": {"exact": "pr1.example.com"}}}}
    await installed.template({**head(GATEWAY_ROUTE, "", "pr{{PR_NUMBER}}"), "spec": ours})
    told = f"{namespace}:{helm.release} may not create gatewayroutes.appmesh.k8s.aws in namespace {namespace}"

    async def is_told() -> bool:
        ready = condition_of(await cluster.get(Ref(PR, namespace, "shop-pr1")), "Ready")
        return text(ready, "reason") == "MissingPermission" and told in text(ready, "message")

    async with installed.replica() as operator:
        await operator.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("what is missing is told", is_told)
        await operator.deliver(installed.repository, "closed", 1, A, 1)
        await gone(cluster, Ref(PR, namespace, "shop-pr1"))
    assert await cluster.get(ref_of(before)) == before
    helm.uninstall(kubernetes)


async def test_uninstalling_leaves_every_environment_and_the_secret(
    binaries: Path, tmp_path: Path, kubernetes: Kubernetes, cluster: KubeCluster, namespace: str
) -> None:
    helm = Helm(binaries / "helm", tmp_path, f"greenroom-{secrets.token_hex(3)}", namespace)
    helm.install({}, kubernetes)
    there = Ref(SERVICE, namespace, f"{helm.release}-webhook")
    await cluster.get(there)
    template: Manifest = {"githubRepository": "https://github.com/acme/shop", "resources": []}
    kept = [
        {**head(REVIEW_APP, namespace, "shop"), "spec": template},
        pull_request(namespace),
        {**head(CONFIG_MAP, namespace, "pr1"), "data": {"commit": "abc"}},
        {**head(SECRET, namespace, "github-webhook"), "stringData": {"secret": "s3cret"}},
    ]
    for manifest in kept:
        await cluster.apply(manifest, manager=MANAGER)

    helm.uninstall(kubernetes)
    with pytest.raises(NotFound):
        await cluster.get(there)
    for manifest in kept:
        await cluster.get(ref_of(manifest))
    assert "github-webhook (is there)" in helm.install({}, kubernetes)
    helm.uninstall(kubernetes)

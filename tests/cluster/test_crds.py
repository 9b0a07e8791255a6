"""The CRDs as a real API server takes them: what it accepts, what it refuses and says, and what it shows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.node.published import PUBLISHED, filled
from tests.cluster.served import custom, schemas, shown, undescribed
from tests.contract.suite import MANAGER, eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.core import status
from greenroom.core.plan import Record
from greenroom.core.status import Findings
from greenroom.model.crds import definitions
from greenroom.model.crds.schema import OPEN
from greenroom.model.errors import Invalid, UnknownKind
from greenroom.model.manifest import (
    DEPLOYMENT,
    GROUP,
    PR,
    REVIEW_APP,
    Json,
    Kind,
    Manifest,
    Ref,
    items,
    kind_of,
    name_of,
    ref_of,
    table,
    text,
)
from greenroom.model.mesh import GROUP as MESH_GROUP

CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
COMMIT = "b97738ff24a893820cdf9ff7eb033fb40fadc7d9"
NOWHERE = "default"  # a namespace for objects that are refused
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
async def server(kubernetes: Kubernetes) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        yield server


def published() -> list[Manifest]:
    """The manifests that one team runs, and what its ReviewApp's mesh objects are for pull request 7."""
    files = [filled(file.name) for file in sorted(PUBLISHED.glob("*.yaml"))]
    objects: list[Manifest] = [each for file in files for each in yaml.safe_load_all(file)]
    app = next(each for each in objects if kind_of(each) == REVIEW_APP)
    rendered = json.loads(json.dumps(items(app, "spec", "resources")).replace("{{PR_NUMBER}}", "7"))
    return [each for each in (*objects, *rendered) if kind_of(each).group in (GROUP, MESH_GROUP)]


def resource(**changes: Json) -> dict[str, Json]:
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pr{{ PR_NUMBER }}"}, **changes}
    return {field: value for field, value in whole.items() if value is not None}


def review_app(namespace: str, *resources: Json, **changes: Json) -> Manifest:
    spec = {"githubRepository": "https://github.com/acme/templates", "resources": resources, **changes}
    return custom(REVIEW_APP, namespace, "shop", spec)


def pr(namespace: str, **changes: Json) -> Manifest:
    """As little as people write by hand. A change to None leaves the field out, as in ``resource``."""
    whole = {"parentReviewApp": "shop", "prNumber": "7", **changes}
    return custom(PR, namespace, "shop-pr7", {field: value for field, value in whole.items() if value is not None})


def stamped(manifest: Manifest, namespace: str) -> Manifest:
    return {**manifest, "metadata": {**table(manifest, "metadata"), "namespace": namespace}}


# What is accepted


@pytest.mark.parametrize("name", [name_of(crd) for crd in definitions()])
async def test_the_api_server_has_nothing_to_object(cluster: KubeCluster, name: str) -> None:
    crd = await cluster.get(Ref(CRD, "", name))
    said = {text(each, "type"): text(each, "status") for each in items(crd, "status", "conditions")}
    assert said == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("manifest", published(), ids=lambda manifest: f"{manifest['kind']}-{name_of(manifest)}")
async def test_what_is_published_is_taken_as_it_is(cluster: KubeCluster, namespace: str, manifest: Manifest) -> None:
    stored = await cluster.apply(stamped(manifest, namespace), manager=MANAGER)
    assert stored["spec"] == manifest["spec"]


async def test_a_template_keeps_fields_that_nobody_knows(cluster: KubeCluster, namespace: str) -> None:
    exported: Json = {
        "name": "a_B:{{PR_NUMBER}}",
        "namespace": "{{X}}",
        "creationTimestamp": None,
        "labels": {"x": "{{"},
    }
    resources = [
        resource(metadata=exported, data={"{{KEY}}": "1"}),
        resource(kind="Whatever", spec=[1, {"deep": None}]),
    ]
    stored = await cluster.apply(review_app(namespace, *resources), manager=MANAGER)
    assert items(stored, "spec", "resources") == resources


@pytest.mark.parametrize("name", ["previews", "7", "a.b-c", "a" * 253])
async def test_every_name_that_an_account_can_have_is_taken(cluster: KubeCluster, namespace: str, name: str) -> None:
    metadata: Manifest = {"name": name, "namespace": namespace}
    account: Manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    await cluster.apply(account, manager=MANAGER)
    stored = await cluster.apply(review_app(namespace, serviceAccountName=name), manager=MANAGER)
    assert text(stored, "spec", "serviceAccountName") == name


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"headCommitRef": COMMIT},
        {"headCommitRef": ""},
        {"headCommitRef": "abc", "envVars": [{"name": "envA", "value": "of {{PR_NUMBER}}"}, {"name": "EMPTY"}]},
        {"envVars": []},
    ],
)
async def test_a_pr_written_by_hand_is_taken(cluster: KubeCluster, namespace: str, spec: Mapping[str, Json]) -> None:
    manifest = pr(namespace, **spec)
    assert (await cluster.apply(manifest, manager=MANAGER))["spec"] == manifest["spec"]


# What is refused

REPOSITORY = "write it as in the browser, without < and >: https://github.com/OWNER/REPOSITORY"
API_VERSION = "every resource needs an apiVersion, such as apiVersion: apps/v1"
KIND = "every resource needs a kind, such as kind: Deployment"
NAME = "every resource needs a name, such as metadata: {name: 'pr{{PR_NUMBER}}'}"
OUR_OWN = "a ReviewApp cannot make ReviewApps and PRs: take it out of the template"
ACCOUNT = "name a ServiceAccount of the same namespace: lower case letters, digits, '-' and '.'"
NUMBER = 'write the number of the pull request, in quotes: "7"'
VARIABLE = "use letters, digits, '_', '-' and '.', and begin with no digit"

APPROVAL = "approvalLabel has a meaning with forks: approved only"

REFUSED = [
    (review_app(NOWHERE, githubRepository="acme/shop"), "spec.githubRepository", REPOSITORY),
    (review_app(NOWHERE, githubRepository="git@github.com:acme/shop.git"), "spec.githubRepository", REPOSITORY),
    (review_app(NOWHERE, githubRepository="https://github.com/<Owner>/shop"), "spec.githubRepository", REPOSITORY),
    (review_app(NOWHERE, resource(), resource(apiVersion=None)), "spec.resources[1].apiVersion", API_VERSION),
    (review_app(NOWHERE, resource(apiVersion="")), "spec.resources[0].apiVersion", API_VERSION),
    (review_app(NOWHERE, resource(kind=None)), "spec.resources[0].kind", KIND),
    (review_app(NOWHERE, resource(metadata=None)), "spec.resources[0].metadata.name", NAME),
    (review_app(NOWHERE, resource(metadata={"labels": {}})), "spec.resources[0].metadata.name", NAME),
    (review_app(NOWHERE, resource(apiVersion=PR.api_version, kind="PR")), "spec.resources[0].apiVersion", OUR_OWN),
    (review_app(NOWHERE, serviceAccountName=""), "spec.serviceAccountName", ACCOUNT),
    (review_app(NOWHERE, serviceAccountName="pr-env:previews"), "spec.serviceAccountName", ACCOUNT),
    (review_app(NOWHERE, serviceAccountName="previews\n"), "spec.serviceAccountName", ACCOUNT),
    (review_app(NOWHERE, serviceAccountName="a" * 254), "spec.serviceAccountName", "253"),
    (review_app(NOWHERE, gate={"approvalLabel": "ok"}), "spec.gate.approvalLabel", APPROVAL),
    (review_app(NOWHERE, gate={}), "spec.gate", "should have at least 1 properties"),
    (review_app(NOWHERE, gate={"forks": "some"}), "spec.gate.forks", "Unsupported value"),
    (pr(NOWHERE, prNumber=""), "spec.prNumber", NUMBER),
    (pr(NOWHERE, prNumber="0"), "spec.prNumber", NUMBER),
    (pr(NOWHERE, prNumber="-7"), "spec.prNumber", NUMBER),
    (pr(NOWHERE, prNumber="pr7"), "spec.prNumber", NUMBER),
    (pr(NOWHERE, prNumber="7\n"), "spec.prNumber", NUMBER),
    (pr(NOWHERE, envVars=[{"name": "1ST", "value": ""}]), "spec.envVars[0].name", VARIABLE),
    (pr(NOWHERE, parentReviewApp=None), "spec.parentReviewApp", "Required value"),
    (pr(NOWHERE, parentReviewApp=""), "spec.parentReviewApp", "at least 1 chars long"),
    (pr(NOWHERE, prNumber=7), ".spec.prNumber", "expected string"),
]


@pytest.mark.parametrize(("manifest", "path", "message"), REFUSED)
async def test_what_is_refused_names_the_field_and_the_cure(
    cluster: KubeCluster, manifest: Manifest, path: str, message: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        await cluster.apply(manifest, manager=MANAGER)
    assert f"{path}: " in str(refusal.value)
    assert message in str(refusal.value)


async def test_whoever_misspells_a_field_is_told(binaries: Path, kubernetes: Kubernetes, namespace: str) -> None:
    kubectl = Kubectl(binaries / "kubectl", kubernetes.kubeconfig, namespace)
    with pytest.raises(KubectlFailed, match=r'unknown field "spec.prNumbr"'):
        await kubectl("apply", "--filename=-", given=json.dumps(pr(namespace, prNumbr="7")))


def test_every_rule_is_among_those() -> None:
    rules = {text(rule, "message") for crd in definitions() for rule in rules_in(crd)}
    assert rules <= {message for _, _, message in REFUSED}


def rules_in(node: Json) -> Iterator[Json]:
    if isinstance(node, Mapping):
        yield from items(node, "x-kubernetes-validations")
    for below in node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ():
        yield from rules_in(below)


async def test_what_kubetempura_let_through_lives_on(cluster: KubeCluster, namespace: str) -> None:
    """In a group of its own: a CRD that changes would disturb other tests."""
    group = f"{namespace}.example.com"
    ours = next(crd for crd in definitions() if text(crd, "spec", "names", "kind") == "PR")
    crd = json.loads(json.dumps(ours).replace(GROUP, group))
    before = json.loads(json.dumps(crd))
    before["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": {"type": "object", OPEN: True}}
    staging = {**pr(namespace, prNumber="staging"), "apiVersion": f"{group}/v1"}
    other = {**staging, "metadata": {"name": "other", "namespace": namespace}}

    async def taken() -> bool:
        try:
            await cluster.apply(staging, manager=MANAGER)
        except UnknownKind:
            return False
        return True

    async def refused() -> bool:
        try:
            await cluster.apply(other, manager=MANAGER)
        except Invalid:
            return True
        await cluster.delete(ref_of(other))
        return False

    await cluster.apply(before, manager=MANAGER)
    await eventually("KubeTempura's kind is served", taken)
    await cluster.apply(crd, manager=MANAGER)
    await eventually("new ones are refused", refused)
    pushed = await cluster.apply(
        {**staging, "spec": {**table(staging, "spec"), "headCommitRef": COMMIT}}, manager=MANAGER
    )
    assert text(pushed, "spec", "headCommitRef") == COMMIT
    assert text(await cluster.patch_status(ref_of(staging), {"commit": COMMIT}), "status", "commit") == COMMIT
    await cluster.delete(ref_of(crd))


# What is shown


async def test_kubectl_explain_has_something_to_say_of_every_field(server: ApiServer) -> None:
    async def spoken() -> bool:
        try:
            return {"PR", "ReviewApp"} <= (await schemas(server)).keys()
        except UnknownKind:
            return False

    await eventually("the API server tells of the kinds", spoken)
    found = await schemas(server)
    assert "quotes" in text(found["PR"], "properties", "spec", "properties", "prNumber", "description")
    for kind in ("PR", "ReviewApp"):
        assert not [path for path in undescribed(found[kind], kind) if not path.startswith(f"{kind}.metadata")]


async def test_short_names_and_categories(server: ApiServer) -> None:
    answer = await server.request("GET", f"/apis/{GROUP}/v1")
    served = {text(each, "name"): table(each) for each in items(answer, "resources")}
    assert (served["reviewapps"]["shortNames"], served["prs"]["singularName"]) == (["ra"], "pr")
    assert all(served[plural]["categories"] == ["greenroom"] for plural in ("reviewapps", "prs"))


async def test_get_prs_tells_of_one_that_waits(cluster: KubeCluster, server: ApiServer, namespace: str) -> None:
    await cluster.apply(pr(namespace, headCommitRef=COMMIT), manager=MANAGER)
    assert await shown(server, namespace, "prs") == [["shop-pr7", "7", COMMIT, None, None, None]]
    waiting = Findings(1, COMMIT, problems=(status.Problem(status.APPLY_FAILED, "Service/pr7: no"),), url="http://pr7/")
    await write_status(cluster, Ref(PR, namespace, "shop-pr7"), waiting)
    row = ["shop-pr7", "7", COMMIT, "False", "ApplyFailed", "http://pr7/"]
    assert await shown(server, namespace, "prs") == [row]
    assert await shown(server, namespace, "prs", wide=True) == [[*row[:3], None, *row[3:], "Service/pr7: no"]]


async def test_get_prs_tells_of_one_that_is_ready(cluster: KubeCluster, server: ApiServer, namespace: str) -> None:
    await cluster.apply(pr(namespace, headCommitRef=COMMIT), manager=MANAGER)
    warned = Findings(1, COMMIT, shown_commit=COMMIT, url="http://pr7/", left=("{{ .Other }}",))
    await write_status(cluster, Ref(PR, namespace, "shop-pr7"), warned)
    assert await shown(server, namespace, "prs") == [["shop-pr7", "7", COMMIT, "True", None, "http://pr7/"]]


async def test_get_reviewapps(cluster: KubeCluster, server: ApiServer, namespace: str) -> None:
    await cluster.apply(review_app(namespace), manager=MANAGER)
    assert await shown(server, namespace, "reviewapps") == [["shop", "https://github.com/acme/templates"]]


# What is written


async def test_everything_that_is_written_into_a_status_stays(cluster: KubeCluster, namespace: str) -> None:
    ref = ref_of(await cluster.apply(pr(namespace, headCommitRef=COMMIT), manager=MANAGER))
    findings = Findings(
        generation=1,
        commit=COMMIT,
        shown_commit="a" * 40,
        url="http://pr7.localhost",
        records=(Record(Ref(DEPLOYMENT, namespace, "pr7"), "0123456789abcdef", "fedcba9876543210"),),
        left=("{{ .Other }}",),
    )
    written = await write_status(cluster, ref, findings)
    assert (await cluster.get(ref))["status"] == written
    assert set(written) == set(status.FIELDS)


async def test_a_review_app_remembers_what_was_closed(cluster: KubeCluster, namespace: str) -> None:
    ref = ref_of(await cluster.apply(review_app(namespace), manager=MANAGER))
    await cluster.patch_status(ref, {"closed": {"7": "2026-01-31T12:00:00Z closed::abc", "8": "2026"}})
    await cluster.patch_status(ref, {"closed": {"8": None}})
    assert (await cluster.get(ref))["status"] == {"closed": {"7": "2026-01-31T12:00:00Z closed::abc"}}


async def write_status(cluster: KubeCluster, ref: Ref, findings: Findings) -> Mapping[str, Json]:
    wanted = status.status_of(findings, {}, NOW)
    await cluster.patch_status(ref, wanted)
    return wanted

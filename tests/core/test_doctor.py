"""What `greenroom doctor` finds in a cluster, one thing after the other, and the commands that it tells."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenroom.core.doctor import CHECKS, Report, diagnose, kinds_read
from greenroom.core.findings import Check, Finding, Known
from greenroom.core.injection import INJECT, VOLUME
from greenroom.model.manifest import NAMESPACE, POD, PR, REVIEW_APP, SECRET, Kind, Manifest, kind_of
from greenroom.model.mesh import GATEWAY_ROUTE, KINDS, MESH, VIRTUAL_GATEWAY

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
MESH_API = "appmesh.k8s.aws/v1beta2"
ADMISSION = "admissionregistration.k8s.io/v1"
DEAD = "finalizers.appmesh.k8s.aws/aws-appmesh-resources"
SPACE = "pr-env"


def made(api_version: str, kind: str, name: str, *, at: str = SPACE, **content: Any) -> Any:
    metadata = {"name": name, **({"namespace": at} if at else {}), **content.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def namespace(**labels: str) -> Any:
    usual = {"mesh": "pr-env", INJECT: "enabled"}
    return made("v1", "Namespace", SPACE, at="", metadata={"labels": usual | labels})


def published(kind: str) -> Any:
    files = [(PUBLISHED / name).read_text() for name in ("gateway.yaml", "mesh.yaml")]
    found = [each for file in files for each in yaml.safe_load_all(file)]
    return next(each for each in found if each["kind"] == kind)


def mesh() -> Any:
    return made(MESH_API, "Mesh", "pr-env", at="", spec={"namespaceSelector": {"matchLabels": {"mesh": "pr-env"}}})


def gateway(name: str = "ingress-gw", **spec: Any) -> Any:
    return made(MESH_API, "VirtualGateway", name, spec=published("VirtualGateway")["spec"] | spec)


def route(name: str = "web", *, at: str = SPACE, **metadata: Any) -> Any:
    target = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}}
    return made(MESH_API, "GatewayRoute", name, at=at, spec=spec, metadata=metadata)


def pod(*, injected: bool = True, owner: str = "ReplicaSet", image: str = "envoy", container: str = "envoy") -> Any:
    references = [{"kind": owner, "name": "ingress-gw-5d4f", "controller": True}] if owner else []
    labels = {"app": "ingress-gw", "pod-template-hash": "5d4f"}
    volumes = [{"name": VOLUME}] if injected else []
    return made(
        "v1",
        "Pod",
        "ingress-gw-5d4f-x",
        metadata={"labels": labels, "ownerReferences": references},
        spec={"containers": [{"name": container, "image": image}], "volumes": volumes},
    )


def webhook(name: str = "enabled.pods.greenroom.dev", **changes: Any) -> Any:
    service = {"name": "greenroom-admission", "namespace": "greenroom"}
    return {"name": name, "clientConfig": {"service": service, "caBundle": "eA=="}, **changes}


def configuration(*webhooks: Any, name: str = "greenroom", kind: str = "MutatingWebhookConfiguration") -> Any:
    return made(ADMISSION, kind, name, at="", webhooks=webhooks)


def answering(*, ready: bool = True) -> Any:
    labels = {"kubernetes.io/service-name": "greenroom-admission"}
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]
    return made(
        "discovery.k8s.io/v1", "EndpointSlice", "a", at="greenroom", metadata={"labels": labels}, endpoints=endpoints
    )


def healthy() -> list[Any]:
    return [namespace(), mesh(), gateway(), route(), pod(), configuration(webhook()), answering()]


def examined(objects: Sequence[Any], *, served: Sequence[Kind] = (REVIEW_APP, PR, *KINDS)) -> Report:
    found: dict[Kind, list[Manifest]] = {kind: [] for kind in kinds_read()}
    for each in objects:
        found[kind_of(each)].append(each)
    return diagnose(Known(found, served), {})


def only(objects: Sequence[Any], **options: Any) -> Finding:
    (finding,) = examined(objects, **options).findings
    return finding


def without(kind: str) -> list[Any]:
    return [each for each in healthy() if each["kind"] != kind]


def test_of_a_cluster_in_order_it_has_nothing_to_say() -> None:
    report = examined(healthy())
    assert (report.findings, report.needs_somebody) == ((), False)


def test_it_reads_no_secrets() -> None:
    assert SECRET not in kinds_read()


# What others left


@pytest.mark.parametrize("kind", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
def test_webhooks_of_app_mesh_make_writes_fail(kind: str) -> None:
    rules = [{"resources": ["gatewayroutes"]}]
    dead = configuration(webhook("mgatewayroute.appmesh.k8s.aws", rules=rules), name="appmesh-controller", kind=kind)
    finding = only([*healthy(), dead])
    assert (finding.reason, finding.objects) == ("LeftOverWebhook", (f"{kind} appmesh-controller",))
    assert finding.message.endswith("asked about gatewayroutes: without it, each write of these is refused")
    assert finding.cure == f"kubectl delete {kind.lower()}.admissionregistration.k8s.io/appmesh-controller"


def test_of_webhooks_that_only_delay_it_says_so() -> None:
    lenient = webhook("mpod.appmesh.k8s.aws", failurePolicy="Ignore", rules=[{"resources": ["pods"]}])
    assert only([*healthy(), configuration(lenient, name="old")]).message.endswith("each write of these has to wait")


def test_webhooks_of_kubetempura() -> None:
    theirs = webhook("mreviewapp.kb.io", rules=[{"resources": ["reviewapps"]}])
    finding = only([*healthy(), configuration(theirs, name="kubetempura-mutating-webhook-configuration")])
    assert finding.message.startswith("KubeTempura is to be asked about reviewapps")


def test_webhooks_of_others_are_left_alone() -> None:
    policy = webhook("validate.kyverno.svc-fail", rules=[{"apiGroups": ["appmesh.k8s.aws"], "resources": ["meshes"]}])
    assert not examined([*healthy(), configuration(policy, name="kyverno")]).findings


def deployment(name: str, image: str, *, replicas: int = 1, **metadata: Any) -> Any:
    spec = {"replicas": replicas, "template": {"spec": {"containers": [{"name": "a", "image": image}]}}}
    return made("apps/v1", "Deployment", name, at="appmesh-system", spec=spec, metadata=metadata)


def test_app_meshs_controller_goes_as_it_came() -> None:
    image = "registry.example.com:5000/amazon/appmesh-controller@sha256:abc"
    by_hand = only([*healthy(), deployment("anything", image)])
    assert by_hand.reason == "OtherController"
    assert by_hand.cure == "kubectl -n appmesh-system delete deployment.apps/anything"
    marks = {"meta.helm.sh/release-name": "mesh", "meta.helm.sh/release-namespace": "appmesh-system"}
    by_helm = only([*healthy(), deployment("anything", image, annotations=marks)])
    assert by_helm.cure == "helm uninstall mesh --namespace appmesh-system"


def test_kubetempura_stops_and_can_come_back() -> None:
    finding = only([*healthy(), deployment("kubetempura-controller-manager", "controller:latest")])
    assert finding.cure.endswith("scale deployment.apps/kubetempura-controller-manager --replicas=0")


def test_controllers_without_pods_do_no_harm() -> None:
    assert not examined([*healthy(), deployment("a", "amazon/appmesh-controller", replicas=0)]).findings


def test_what_the_dead_controller_holds_up_is_let_go_of_and_others_keep_their_finalizers() -> None:
    metadata: Any = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [DEAD, "example.com/backup"]}
    finding = only([*healthy(), route("old", **metadata)])
    assert (finding.reason, finding.objects) == ("Held", ("GatewayRoute pr-env/old",))
    words = shlex.split(finding.cure)
    assert words[:-1] == [
        *("kubectl", "-n", "pr-env", "patch", "gatewayroute.appmesh.k8s.aws/old", "--type=merge", "-p"),
    ]
    assert json.loads(words[-1]) == {"metadata": {"finalizers": ["example.com/backup"]}}


def test_finalizers_of_objects_that_live_are_no_matter() -> None:
    assert not examined([*healthy(), route("old", finalizers=[DEAD])]).findings


def test_stale_references_are_told_once_and_are_harmless() -> None:
    def referring(name: str, uid: str) -> Any:
        manifest = route(name)
        manifest["spec"]["meshRef"] = {"name": "pr-env", "uid": uid}
        return manifest

    there = [each for each in healthy() if each["kind"] != "Mesh"]
    there.append({**mesh(), "metadata": {"name": "pr-env", "uid": "new"}})
    report = examined([*there, referring("a", "old"), referring("b", "old"), referring("c", "new")])
    (finding,) = report.findings
    assert finding.objects == ("GatewayRoute pr-env/a", "GatewayRoute pr-env/b")
    assert (finding.reason, finding.harmless, report.needs_somebody) == ("StaleReference", True, False)
    lost = {**referring("lost", "old"), "metadata": {"name": "lost", "namespace": "elsewhere"}}
    assert [each.harmless for each in examined([*there, lost]).findings] == [False, True]  # what is harmless comes last


# Greenroom's own


def test_kinds_that_are_not_served() -> None:
    finding = only(healthy(), served=[kind for kind in (REVIEW_APP, PR, *KINDS) if kind not in (PR, MESH)])
    assert finding.cure == "greenroom crds --only pr --only mesh | kubectl apply --server-side -f -"


def test_without_a_pod_webhook_gateways_get_no_envoy() -> None:
    finding = only(without("MutatingWebhookConfiguration"))
    assert (finding.reason, finding.objects) == ("NoPodWebhook", ("VirtualGateway pr-env/ingress-gw",))


def test_a_webhook_that_nobody_trusts() -> None:
    distrusted = webhook(clientConfig={"service": {"name": "greenroom-admission", "namespace": "greenroom"}})
    finding = only([*without("MutatingWebhookConfiguration"), configuration(distrusted)])
    assert finding.reason == "NoCaBundle"
    assert finding.cure == "kubectl -n greenroom rollout restart deployment -l app.kubernetes.io/name=greenroom"


@pytest.mark.parametrize("endpoints", [[], [answering(ready=False)]])
def test_a_webhook_that_nobody_answers(endpoints: list[Any]) -> None:
    assert only([*without("EndpointSlice"), *endpoints]).reason == "WebhookNotAnswered"


@pytest.mark.parametrize("labels", [{INJECT: ""}, {INJECT: "yes"}])
def test_a_namespace_whose_gateways_get_no_envoy(labels: dict[str, str]) -> None:
    finding = only([*without("Namespace"), namespace(**labels)])
    assert (finding.reason, finding.objects) == ("NotLabelled", ("Namespace pr-env",))
    assert finding.cure == f"kubectl label namespace pr-env {INJECT}=enabled --overwrite"


def test_a_namespace_without_gateways_needs_no_label() -> None:
    apps = made("v1", "Namespace", "apps", at="", metadata={"labels": {"mesh": "pr-env"}})
    assert not examined([*healthy(), apps]).findings


# Gateways and pods


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"podSelector": None}, "NoPodSelector"),
        ({"podSelector": {"matchLabels": {"app": "other"}}}, "NoPods"),
        ({"listeners": []}, "Invalid"),
    ],
)
def test_a_gateway_that_nobody_serves(spec: dict[str, Any], reason: str) -> None:
    objects = [*without("VirtualGateway"), gateway(**spec)]
    finding = next(each for each in examined(objects).findings if each.objects == ("VirtualGateway pr-env/ingress-gw",))
    assert finding.reason == reason
    assert finding.cure.endswith("kubectl -n pr-env edit virtualgateway.appmesh.k8s.aws/ingress-gw")


def test_a_pod_without_a_container_envoy_is_no_gateway() -> None:
    assert only([*without("Pod"), pod(container="app")]).reason == "NoPods"


@pytest.mark.parametrize(
    ("owner", "named", "cure"),
    [
        ("ReplicaSet", "Deployment pr-env/ingress-gw", "kubectl -n pr-env rollout restart deployment/ingress-gw"),
        (
            "DaemonSet",
            "DaemonSet pr-env/ingress-gw-5d4f",
            "kubectl -n pr-env rollout restart daemonset/ingress-gw-5d4f",
        ),
        ("", "Pod pr-env/ingress-gw-5d4f-x", "kubectl -n pr-env delete pod/ingress-gw-5d4f-x"),
    ],
)
def test_a_gateway_from_app_meshs_time_has_to_start_anew(owner: str, named: str, cure: str) -> None:
    finding = only([*without("Pod"), pod(injected=False, owner=owner)])
    assert (finding.reason, finding.objects, finding.cure) == ("NotGreenroomsEnvoy", (named,), cure)
    assert finding.message == "is to serve VirtualGateway pr-env/ingress-gw, and was started without Greenroom's Envoy"


def test_an_application_with_app_meshs_sidecar() -> None:
    sidecar = pod(injected=False, image="registry.example.com/aws-appmesh-envoy:v1.24.1.0-prod")
    sidecar["metadata"]["labels"]["app"] = "shop"
    assert "App Mesh's sidecar" in only([*healthy(), sidecar]).message


@pytest.mark.parametrize("change", [{"status": {"phase": "Succeeded"}}, {"image": "envoy"}])
def test_pods_that_are_over_or_somebody_elses_are_left_alone(change: dict[str, Any]) -> None:
    image = change.pop("image", "aws-appmesh-envoy:v1")
    other = pod(injected=False, image=image) | change
    other["metadata"]["labels"]["app"] = "shop"
    assert not examined([*healthy(), other]).findings


# Routes


def test_a_route_that_no_gateway_selects_gets_the_label_of_one() -> None:
    apps = made("v1", "Namespace", "apps", at="", metadata={"labels": {"team": "a"}})
    everywhere = made(MESH_API, "Mesh", "pr-env", at="", spec={"namespaceSelector": {}})
    finding = only([*without("Mesh"), everywhere, apps, route("a", at="apps"), route("b", at="apps")])
    assert (finding.reason, finding.objects) == ("NoVirtualGateway", ("GatewayRoute apps/a", "GatewayRoute apps/b"))
    assert finding.cure == "kubectl label namespace apps mesh=pr-env --overwrite"


def test_of_several_gateways_a_route_gets_the_label_of_its_own_namespaces() -> None:
    apps = made("v1", "Namespace", "apps", at="", metadata={"labels": {"team": "a"}})
    spec = published("VirtualGateway")["spec"] | {"namespaceSelector": {"matchLabels": {"mesh": "own"}}}
    own = made(MESH_API, "VirtualGateway", "z", at="apps", spec=spec)
    found = examined([*healthy(), apps, own, route("a", at="apps")]).findings
    cures = {finding.reason: finding.cure for finding in found}
    assert cures["NoVirtualGateway"] == "kubectl label namespace apps mesh=own --overwrite"


def test_a_route_in_no_mesh() -> None:
    everywhere = gateway(namespaceSelector={})
    apps = made("v1", "Namespace", "apps", at="", metadata={"labels": {}})
    finding = only([*without("VirtualGateway"), everywhere, apps, route(at="apps")])
    assert (finding.reason, finding.cure) == ("NoMesh", "kubectl label namespace apps mesh=pr-env --overwrite")


def test_a_route_that_several_gateways_select() -> None:
    finding = only([*healthy(), gateway("second")])
    assert finding.reason == "SeveralVirtualGateways"
    assert finding.cure.splitlines() == [
        "kubectl -n pr-env edit virtualgateway.appmesh.k8s.aws/ingress-gw",
        "kubectl -n pr-env edit virtualgateway.appmesh.k8s.aws/second",
    ]


def test_a_route_that_is_wrong_in_itself() -> None:
    wrong = route("wrong")
    wrong["spec"]["httpRoute"]["match"] = {"prefix": "no-slash"}
    finding = only([*healthy(), wrong])
    assert finding.message == "spec.httpRoute.match.prefix: must start with /"
    assert finding.cure == "kubectl -n pr-env edit gatewayroute.appmesh.k8s.aws/wrong"


def test_a_cure_runs_nothing_that_an_object_says() -> None:
    """Whoever may write a Mesh chooses these labels, and an administrator pastes the command."""
    label = "$(touch /tmp/x); '"
    hostile = made(MESH_API, "Mesh", "pr-env", at="", spec={"namespaceSelector": {"matchLabels": {"mesh": label}}})
    finding = only([*without("Mesh"), hostile])
    assert shlex.split(finding.cure)[4] == f"mesh={label}"


# The shape


def test_a_check_that_lacks_a_right_is_skipped_and_the_others_go_on() -> None:
    found: dict[Kind, list[Manifest]] = {kind: [] for kind in kinds_read() if kind != POD}
    found[NAMESPACE] = [namespace()]
    found[GATEWAY_ROUTE] = [route()]
    report = diagnose(Known(found, (REVIEW_APP, PR, *KINDS)), {POD: "nobody may list pods"})
    assert report.skipped == ("gateways", "pods")
    assert [finding.reason for finding in report.findings] == ["NoVirtualGateway"]
    assert report.needs_somebody


def test_what_could_not_be_looked_at_needs_somebody() -> None:
    assert Report((), {POD: "nobody may list pods"}, ("pods",)).needs_somebody


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_looks_only_at_what_it_says(check: Check) -> None:
    everything = examined_by(check, healthy())
    assert everything == []


def examined_by(check: Check, objects: Sequence[Any]) -> list[Finding]:
    """A kind that is not among those that the check reads is not there at all, so that to look at it would raise."""
    found: dict[Kind, list[Manifest]] = {kind: [] for kind in check.reads}
    for each in objects:
        if kind_of(each) in found:
            found[kind_of(each)].append(each)
    return list(check.find(Known(found, (REVIEW_APP, PR, *KINDS))))


def test_another_check_is_a_function() -> None:
    def orphans(known: Known) -> Iterator[Finding]:
        yield from (
            Finding("Orphan", (str(each["kind"]),), "belongs to nobody") for each in known.list(VIRTUAL_GATEWAY)
        )

    known = Known({VIRTUAL_GATEWAY: [gateway()]}, ())
    report = diagnose(known, {}, [Check("orphans", (VIRTUAL_GATEWAY,), orphans)])
    assert [finding.reason for finding in report.findings] == ["Orphan"]

"""Which pods become gateways, and what is changed in them: the published Deployment comes up with upstream Envoy."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from greenroom.core import injection as module
from greenroom.core.admission import Answer
from greenroom.core.bootstrap import ControlPlane, sds_files
from greenroom.core.injection import GATEWAY_NAME, INJECT, KEEP_IMAGE, Injection, decide
from greenroom.local.envoy_process import envoy_binary
from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import Manifest

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
IMAGE = "registry.example.com/envoy:v1.40.0"
INJECTION = Injection(IMAGE, ControlPlane("greenroom.greenroom.svc", 18000))


def published(kind: str) -> Any:
    manifests = yaml.safe_load_all((PUBLISHED / "gateway.yaml").read_text())
    return next(manifest for manifest in manifests if manifest["kind"] == kind)


def namespace(mode: str = "enabled") -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr-env", "labels": {INJECT: mode}}}


def gateway(name: str = "ingress-gw", **spec: Any) -> Any:
    made = published("VirtualGateway")
    return {**made, "metadata": {"name": name, "namespace": "pr-env"}, "spec": {**made["spec"], **spec}}


def pod(*, annotations: Any = None, spec: Any = None, **container: Any) -> Any:
    """The pod of the published Deployment, as the API server asks about it."""
    template = published("Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"]
    envoy = {**template["spec"]["containers"][0], **container}
    metadata = {"generateName": "ingress-gw-", "labels": labels, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {**template["spec"], "containers": [envoy], **(spec or {})}}


def decided(asked: Any, *gateways: Any, mode: str = "enabled") -> Answer:
    return decide(INJECTION, asked, namespace=namespace(mode), gateways=gateways)


def patched(asked: Any, given: Any = None) -> Any:
    """The pod after its patch, of which the values are whole."""
    answer = decided(asked, given or gateway())
    assert answer.allowed
    made = msgspec.json.decode(msgspec.json.encode(asked))
    for change in answer.patch:
        *path, last = str(change["path"]).strip("/").split("/")
        place = made
        for step in path:
            place = place[step]
        place[int(last) if isinstance(place, list) else last] = change["value"]
    return made


def envoy_of(made: Any) -> Any:
    return made["spec"]["containers"][0]


def argument(made: Any, flag: str) -> str:
    arguments = envoy_of(made)["args"]
    return str(arguments[arguments.index(flag) + 1])


# Which pods


def test_the_published_gateway_gets_upstream_envoy() -> None:
    made = patched(pod())
    container = envoy_of(made)
    assert (container["image"], container["command"]) == (IMAGE, ["envoy"])
    assert argument(made, "--service-cluster") == "pr-env/ingress-gw"
    assert argument(made, "--service-node") == "$(GREENROOM_POD_NAME)"
    assert container["env"] == [
        {"name": "GREENROOM_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    ]
    assert container["ports"] == [{"containerPort": 8080}]
    assert made["spec"]["serviceAccountName"] == "pr-env-app"


@pytest.mark.parametrize("asked", [pod(name="web"), pod(name="web", image="aws-appmesh-envoy:v1")])
def test_a_pod_without_a_container_envoy_is_left_alone(asked: Any) -> None:
    assert decided(asked, gateway()) == Answer()
    assert decided(asked) == Answer()


def test_the_annotation_of_the_pod_overrides_the_label_of_the_namespace() -> None:
    assert decided(pod(annotations={INJECT: "disabled"}), gateway()) == Answer()
    assert decided(pod(annotations={INJECT: "enabled"}), gateway(), mode="disabled").patch
    assert decided(pod(), gateway(), mode="disabled") == Answer()


def test_a_pod_of_two_gateways_is_refused_by_their_names() -> None:
    answer = decided(pod(), gateway("one"), gateway("two"), gateway("three", podSelector={"matchLabels": {"app": "x"}}))
    assert not answer.allowed
    assert "(one, two)" in answer.message


def test_a_gateway_without_a_pod_selector_has_no_pods_and_one_with_an_empty_selector_all() -> None:
    assert decided(pod(), gateway(podSelector={}), gateway("other", podSelector=None)).patch


def test_app_meshs_image_without_a_gateway_is_refused_so_that_its_deployment_tries_again() -> None:
    assert not decided(pod(image="registry.example.com/envoy:1", annotations={KEEP_IMAGE: "enabled"})).allowed
    answer = decided(pod())
    assert not answer.allowed
    assert "podSelector" in answer.message
    assert INJECT in answer.message


@pytest.mark.parametrize(
    "asked",
    [
        pod(image="registry.example.com/envoy:1"),
        pod(image="registry.example.com/envoy:1", annotations={KEEP_IMAGE: "disabled"}),
    ],
)
def test_an_application_with_an_envoy_of_its_own_is_never_kept_from_starting(asked: Any) -> None:
    unknown = decide(INJECTION, asked, namespace={}, gateways=None)
    for answer in (decided(asked), decided(asked, gateway("one"), gateway("two")), unknown):
        assert answer.allowed
        assert answer.warnings
        assert not answer.patch


def test_a_gateway_waits_while_it_cannot_be_found_out_which_one_it_is() -> None:
    assert not decide(INJECTION, pod(), namespace=namespace(), gateways=None).allowed


@pytest.mark.parametrize(
    "odd", [{}, {"spec": None}, {"spec": {"containers": "x"}}, {"spec": {"containers": [None, 3]}}]
)
def test_a_pod_of_an_odd_shape_is_left_to_the_api_server(odd: Any) -> None:
    assert decided(odd, gateway()) == Answer()


# What is changed


def test_the_annotation_keeps_the_image() -> None:
    made = patched(pod(annotations={KEEP_IMAGE: "enabled"}, image="registry.example.com/mirror/envoy:1"))
    assert envoy_of(made)["image"] == "registry.example.com/mirror/envoy:1"
    assert argument(made, "--service-cluster") == "pr-env/ingress-gw"
    assert made["metadata"]["annotations"][KEEP_IMAGE] == "enabled"


def test_what_the_manifest_says_stays() -> None:
    probe = {"tcpSocket": {"port": 8080}}
    variable, mount = {"name": "A", "value": "b"}, {"name": "data", "mountPath": "/data"}
    context, lifecycle = {"runAsUser": 7}, {"preStop": {"sleep": {"seconds": 1}}}
    asked = pod(
        annotations={"team": "shop"},
        spec={"volumes": [{"name": "data", "emptyDir": {}}]},
        readinessProbe=probe,
        env=[variable],
        volumeMounts=[mount],
        securityContext=context,
        lifecycle=lifecycle,
    )
    made = patched(asked)
    container = envoy_of(made)
    assert [container[field] for field in ("readinessProbe", "securityContext", "lifecycle")] == [
        probe,
        context,
        lifecycle,
    ]
    assert (container["env"][0], container["volumeMounts"][0]) == (variable, mount)
    assert made["spec"]["volumes"][0] == {"name": "data", "emptyDir": {}}
    assert made["metadata"]["annotations"]["team"] == "shop"


def test_other_containers_are_not_touched() -> None:
    logs = {"name": "logs", "image": "logs:1"}
    asked = pod()
    asked["spec"]["containers"].insert(0, logs)
    answer = decided(asked, gateway())
    assert [change["path"] for change in answer.patch] == [
        "/metadata/annotations",
        "/spec/volumes",
        "/spec/containers/1",
    ]


def test_a_pod_that_was_changed_already_is_not_changed_again() -> None:
    once = patched(pod())
    assert patched(once) == once


def test_the_pod_waits_for_its_own_gateways_certificate() -> None:
    (volume,) = patched(pod())["spec"]["volumes"]
    secret, files = volume["projected"]["sources"]
    assert secret["secret"]["name"] == "greenroom-gateway-ingress-gw"
    assert "optional" not in secret["secret"]
    assert [item["path"] for item in files["downwardAPI"]["items"]] == ["identity.json", "trust.json"]


@pytest.mark.parametrize(("grace", "seconds"), [(None, 15), (60, 15), (10, 5)])
def test_envoy_serves_on_while_load_balancers_hear_that_it_ends(grace: int | None, seconds: int) -> None:
    made = patched(pod(spec={"terminationGracePeriodSeconds": grace} if grace is not None else {}))
    assert envoy_of(made)["lifecycle"] == {"preStop": {"sleep": {"seconds": seconds}}}


def test_a_pod_that_is_to_end_at_once_does() -> None:
    assert "lifecycle" not in envoy_of(patched(pod(spec={"terminationGracePeriodSeconds": 1})))


def test_envoy_runs_without_rights_unless_a_port_needs_them() -> None:
    assert envoy_of(patched(pod()))["securityContext"]["runAsNonRoot"] is True
    file = gateway(logging={"accessLog": {"file": {"path": "/var/log/envoy.log"}}})
    assert "securityContext" not in envoy_of(patched(pod(), file))
    low = gateway(listeners=[{"portMapping": {"port": 80, "protocol": "http"}}])
    assert "securityContext" not in envoy_of(patched(pod(), low))
    assert "securityContext" not in envoy_of(patched(pod(spec={"securityContext": {"runAsUser": 0}})))


def test_the_number_of_workers_is_that_of_the_manifest() -> None:
    assert argument(patched(pod()), "--concurrency") == "2"
    assert argument(patched(pod(env=[{"name": "ENVOY_CONCURRENCY", "value": "4"}])), "--concurrency") == "4"
    assert argument(patched(pod(env=[{"name": "ENVOY_CONCURRENCY", "value": "; id"}])), "--concurrency") == "2"


def test_the_kubelet_finds_nothing_else_to_fill_in() -> None:
    """It replaces ``$(NAME)`` in arguments."""
    assert "$(" not in argument(patched(pod()), "--config-yaml")


def test_envoy_accepts_all_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER", str(tmp_path))
    for name, file in sds_files(str(tmp_path)).items():
        (tmp_path / name).write_bytes(msgspec.json.encode(file))
    container = envoy_of(patched(pod()))
    command = [str(envoy_binary()), *container["args"], "--mode", "validate"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# Gateway API


def api_gateway(*ports: int, name: str = "web") -> Any:
    listeners = [{"name": f"http-{port}", "port": port, "protocol": "HTTP"} for port in ports or (8080,)]
    metadata = {"name": name, "namespace": "pr-env"}
    spec = {"gatewayClassName": "greenroom", "listeners": listeners}
    return {"apiVersion": GATEWAY.api_version, "kind": GATEWAY.name, "metadata": metadata, "spec": spec}


def api_pod(name: str = "web", **labels: str) -> Any:
    made = pod(image="envoy")
    made["metadata"]["labels"] = {GATEWAY_NAME: name, **labels}
    return made


def test_a_pod_that_names_a_gateway_serves_it() -> None:
    made = patched(api_pod(), api_gateway())
    (container,) = made["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["args"][container["args"].index("--service-cluster") + 1] == "gateway/pr-env/web"
    (volume,) = (each for each in made["spec"]["volumes"] if each["name"] == "greenroom-tls")
    assert volume["projected"]["sources"][0]["secret"]["name"] == "greenroom-gatewayapi-web"


@pytest.mark.parametrize(("ports", "has_rights"), [((8080,), False), ((8080, 80), True)])
def test_a_gateway_with_a_port_that_needs_rights_has_them(ports: tuple[int, ...], has_rights: bool) -> None:
    (container,) = patched(api_pod(), api_gateway(*ports))["spec"]["containers"]
    assert ("securityContext" not in container) is has_rights


def test_a_pod_of_two_apis_gateways_is_refused_by_their_names() -> None:
    labels = published("Deployment")["spec"]["template"]["metadata"]["labels"]
    answer = decided(api_pod(**labels), gateway("ingress-gw"), api_gateway())
    assert not answer.allowed
    assert "the Gateway web by its label, and the podSelector of ingress-gw" in answer.message


def test_a_pod_that_names_no_gateway_of_ours_is_left_to_others() -> None:
    answer = decided(api_pod("theirs"), api_gateway())
    assert (answer.allowed, answer.patch) == (True, ())

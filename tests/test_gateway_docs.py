"""docs/gateway.md: its manifests make a gateway that nothing is wrong with, and it tells of every finding there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from tests.gateway.world import World

from greenroom.core import gateway_checks, leftovers
from greenroom.core.admission import Answer, judge
from greenroom.core.bootstrap import ControlPlane
from greenroom.core.doctor import diagnose, kinds_read
from greenroom.core.findings import Known
from greenroom.core.gateway_api import GatewayApi
from greenroom.core.injection import INJECT, Injection, decide
from greenroom.model.manifest import PR, REVIEW_APP, Kind, Manifest, kind_of, ref_of
from greenroom.model.mesh import KINDS

TEXT = (Path(__file__).parents[1] / "docs" / "gateway.md").read_text()


def manifests(block: int = 0) -> list[Any]:
    """Those of App Mesh, and in the second block those of Gateway API."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    return list(yaml.safe_load_all(blocks[block]))


def namespace() -> Any:
    """As the page labels it."""
    (words,) = re.findall(r"kubectl label namespace pr-env (.*)", TEXT)
    labels = dict(word.split("=", 1) for word in words.split())
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr-env", "labels": labels}}


def test_the_gateway_of_the_page_gets_envoy_and_its_routes() -> None:
    objects = manifests()
    assert all(judge({"object": each}) == Answer() for each in objects)
    gateway, deployment = objects[1], objects[2]
    metadata = {**deployment["spec"]["template"]["metadata"], "name": "a", "namespace": "pr-env"}
    pod = {**deployment["spec"]["template"], "apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    injection = Injection("example.com/envoy:1", ControlPlane("greenroom-ads.greenroom.svc", 18000))
    patch = decide(injection, pod, namespace=namespace(), gateways=[gateway]).patch
    container: Any = patch[-1]["value"]
    assert container["image"] == "example.com/envoy:1"
    assert namespace()["metadata"]["labels"][INJECT] == "enabled"

    target = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    route: Any = {
        "apiVersion": "appmesh.k8s.aws/v1beta2",
        "kind": "GatewayRoute",
        "metadata": {"name": "web", "namespace": "pr-env"},
        "spec": {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}},
    }
    pod["spec"] = {"containers": [container], "volumes": patch[1]["value"]}
    found: dict[Kind, list[Manifest]] = {kind: [] for kind in kinds_read()}
    for each in (*objects, route, namespace(), pod):
        found.setdefault(kind_of(each), []).append(each)
    findings = diagnose(Known(found, (REVIEW_APP, PR, *KINDS)), {}).findings
    assert [finding.reason for finding in findings] == ["NoPodWebhook"]  # there is no Greenroom


def test_the_gateway_of_gateway_api_gets_envoy_and_its_route() -> None:
    gateway_class, gateway, deployment, service, route = manifests(1)
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    pod = {**template, "metadata": {**template["metadata"], "namespace": "pr-env"}}
    injection = Injection("example.com/envoy:1", ControlPlane("greenroom-ads.greenroom.svc", 18000))
    assert decide(injection, pod, namespace=namespace(), gateways=[gateway]).patch
    backend: Any = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pr7", "namespace": "pr-env"}}
    world = World(gateway_class, gateway, route, {**backend, "spec": {"ports": [{"port": 80}]}})
    found = GatewayApi().route(world)
    assert [each.is_accepted for each in found.attachments[ref_of(route)]] == [True]
    assert (dict(found.unresolved), found.classes[ref_of(gateway_class)].trouble) == ({}, None)
    (listener,) = found.tables[ref_of(gateway)].listeners
    assert [host.domain for host in listener.hosts] == ["pr7.pr-env.example.com"]


def test_every_reason_of_doctor_is_explained() -> None:
    sources = "".join(Path(str(module.__file__)).read_text() for module in (gateway_checks, leftovers))
    reasons = set(re.findall(r'Finding\(\s*"(\w+)"', sources))
    assert len(reasons) > 10
    assert {reason for reason in reasons if f"`{reason}`" not in TEXT} == set()

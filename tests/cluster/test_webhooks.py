"""Greenroom's admission webhooks, asked by a real API server: gateways get Envoy, and nothing else waits for us."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.kubernetes import MANAGER, Kubernetes
from tests.cluster.webhooks import IMAGE, serving
from tests.contract.suite import eventually

from greenroom.core.injection import INJECT
from greenroom.flows.certificates import AUTHORITY, SERVER
from greenroom.model.errors import ClusterError, Invalid
from greenroom.model.manifest import POD, SECRET, Manifest, Ref, items, ref_of, text
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.ports import Cluster

PUBLISHED = Path(__file__).parents[1] / "data" / "published"


@pytest.fixture
async def enabled(cluster: Cluster, namespace: str) -> str:
    """A namespace with the label of the published one."""
    return await labelled(cluster, namespace, "enabled")


async def labelled(cluster: Cluster, namespace: str, mode: str) -> str:
    metadata: Any = {"name": namespace, "labels": {INJECT: mode}}
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, manager=MANAGER)
    return namespace


@pytest.fixture
def kubectl(kubernetes: Kubernetes, binaries: Path, enabled: str) -> Kubectl:
    return Kubectl(binaries / "kubectl", kubernetes.kubeconfig, enabled)


def published(kind: str) -> Any:
    manifests = yaml.safe_load_all((PUBLISHED / "gateway.yaml").read_text())
    return next(manifest for manifest in manifests if manifest["kind"] == kind)


def pod(namespace: str, name: str, *, container: str = "envoy", image: str = "", **annotations: str) -> Any:
    """A pod as the published Deployment makes it, unless it has another image."""
    template = published("Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"]
    containers = [{**template["spec"]["containers"][0], "name": container}]
    containers[0]["image"] = image or containers[0]["image"]
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


async def apply_gateway(cluster: Cluster, namespace: str) -> None:
    gateway = published("VirtualGateway")
    await cluster.apply({**gateway, "metadata": {**gateway["metadata"], "namespace": namespace}}, manager=MANAGER)


async def asked(cluster: Cluster, namespace: str) -> None:
    """Wait until the API server asks: it hears of a new configuration, or of a new label, after a moment."""

    async def is_refused() -> bool:
        probe = pod(namespace, "probe")
        try:
            await cluster.apply(probe, manager=MANAGER)
        except Invalid as error:
            return "no VirtualGateway in this namespace" in str(error)
        except ClusterError:
            return False
        await cluster.delete(ref_of(probe), grace_seconds=0)
        return False

    await eventually("the API server asks", is_refused)


async def refusal(write: Awaitable[Manifest]) -> str:
    with pytest.raises(ClusterError) as caught:
        await write
    return str(caught.value)


async def test_the_published_gateways_pod_comes_up_with_upstream_envoy(cluster: Cluster, enabled: str) -> None:
    async with serving(cluster, enabled):
        await asked(cluster, enabled)
        await apply_gateway(cluster, enabled)
        made: Any = await cluster.apply(pod(enabled, "ingress-gw-1"), manager=MANAGER)
        (envoy,) = made["spec"]["containers"]
        assert (envoy["image"], envoy["command"]) == (IMAGE, ["envoy"])
        assert f"{enabled}/ingress-gw" in envoy["args"]
        assert envoy["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert envoy["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
        sources = [each["projected"]["sources"] for each in made["spec"]["volumes"] if each["name"] == "greenroom-tls"]
        assert sources[0][0]["secret"]["name"] == "greenroom-gateway-ingress-gw"


async def test_a_gateways_pod_may_be_one_of_a_restricted_namespace(cluster: Cluster, enabled: str) -> None:
    async with serving(cluster, enabled):
        await asked(cluster, enabled)
        await apply_gateway(cluster, enabled)
        strict: Any = {
            "name": enabled,
            "labels": {INJECT: "enabled", "pod-security.kubernetes.io/enforce": "restricted"},
        }
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": strict}, manager=MANAGER)

        async def is_strict() -> bool:
            try:
                await cluster.apply(pod(enabled, "web", container="web"), manager=MANAGER)
            except ClusterError as error:
                return "violates PodSecurity" in str(error)
            await cluster.delete(Ref(POD, enabled, "web"), grace_seconds=0)
            return False

        await eventually("the namespace is restricted", is_strict)
        made = await cluster.apply(pod(enabled, "ingress-gw-1"), manager=MANAGER)
        assert text(made, "spec", "containers", 0, "image") == IMAGE


async def test_a_gateways_pod_may_have_any_image(cluster: Cluster, enabled: str) -> None:
    async with serving(cluster, enabled):
        await asked(cluster, enabled)
        await apply_gateway(cluster, enabled)
        made = await cluster.apply(pod(enabled, "other", image="envoyproxy/envoy:v1.30.1"), manager=MANAGER)
        assert text(made, "spec", "containers", 0, "image") == IMAGE


async def test_without_us_only_new_gateways_wait(cluster: Cluster, enabled: str) -> None:
    async with serving(cluster, enabled) as webhooks:
        await asked(cluster, enabled)
        await webhooks.stop()
        assert "failed calling webhook" in await refusal(cluster.apply(pod(enabled, "ingress-gw-1"), manager=MANAGER))
        assert "failed calling webhook" in await refusal(
            cluster.apply(pod(enabled, "documented", image="envoy"), manager=MANAGER)
        )
        by_label = pod(enabled, "by-label", image="envoyproxy/envoy:v1.30.1")
        by_label["metadata"]["labels"] = {"gateway.networking.k8s.io/gateway-name": "web"}
        assert "failed calling webhook" in await refusal(cluster.apply(by_label, manager=MANAGER))
        application = pod(enabled, "application", image="envoyproxy/envoy:v1.30.1")
        for free in (pod(enabled, "web", container="web"), pod(enabled, "own", **{INJECT: "disabled"}), application):
            assert await cluster.apply(free, manager=MANAGER)
        await apply_gateway(cluster, enabled)
        await cluster.apply(route(enabled, "no-slash"), manager=MANAGER)


async def test_in_a_namespace_that_is_labelled_disabled_pods_have_to_ask(cluster: Cluster, namespace: str) -> None:
    async with serving(cluster, await labelled(cluster, namespace, "enabled")):
        await asked(cluster, namespace)
        await apply_gateway(cluster, namespace)
        await labelled(cluster, namespace, "disabled")

        async def is_left_alone() -> bool:
            made = await cluster.apply(pod(namespace, "own"), manager=MANAGER)
            await cluster.delete(ref_of(made), grace_seconds=0)
            return text(made, "spec", "containers", 0, "image") != IMAGE

        await eventually("pods are left alone", is_left_alone)
        made = await cluster.apply(pod(namespace, "asks", **{INJECT: "enabled"}), manager=MANAGER)
        assert text(made, "spec", "containers", 0, "image") == IMAGE


def route(namespace: str, prefix: str) -> Any:
    reference = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    spec = {"httpRoute": {"match": {"prefix": prefix}, "action": {"target": reference}}}
    metadata = {"name": "web", "namespace": namespace}
    return {"apiVersion": GATEWAY_ROUTE.api_version, "kind": "GatewayRoute", "metadata": metadata, "spec": spec}


async def test_kubectl_tells_what_is_wrong_with_a_route_and_how_to_mend_it(
    cluster: Cluster, enabled: str, kubectl: Kubectl
) -> None:
    wrong, right = route(enabled, "/"), route(enabled, "/")
    wrong["spec"]["httpRoute"]["match"] = {"path": {"regex": "("}}

    async def is_refused() -> bool:
        try:
            await kubectl("apply", "--filename=-", given=yaml.safe_dump(wrong))
        except KubectlFailed as error:
            return "GatewayRoute web: spec.httpRoute.match.path.regex: " in str(error)
        await kubectl("delete", "gatewayroute/web")
        return False

    async with serving(cluster, enabled):
        await eventually("the route is refused", is_refused)
        assert "created" in await kubectl("apply", "--filename=-", given=yaml.safe_dump(right))


async def test_a_bundle_that_somebody_breaks_is_mended_and_a_new_authority_is_trusted(
    cluster: Cluster, enabled: str
) -> None:
    async with serving(cluster, enabled) as webhooks:
        await asked(cluster, enabled)
        for name in (AUTHORITY, SERVER):
            await cluster.delete(Ref(SECRET, enabled, name))
        await webhooks.certificates.keep()
        identity = await webhooks.certificates.known()
        for ref in webhooks.refs:
            for webhook in items(await cluster.get(ref), "webhooks"):
                assert base64.b64decode(text(webhook, "clientConfig", "caBundle")) == identity.trust
        await asked(cluster, enabled)

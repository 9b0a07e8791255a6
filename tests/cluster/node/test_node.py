"""What pods are given on the tests' node: the names of Services, and upstream's Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.node.images import Images
from tests.cluster.node.published import page
from tests.contract.suite import eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.model.manifest import NAMESPACE, Json, ref_of

PAGE = "two rooms and a stage"
BUSYBOX = "/bin/busybox"

pytestmark = pytest.mark.timeout(120)

_SHOP = """\
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: shop}}
spec: {containers: [{name: shop, image: "tests/shop:names"}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop-pods}
spec: {clusterIP: None, selector: {app: shop}, ports: [{port: 80}]}
"""


@pytest.fixture(autouse=True)
async def tidy(cluster: KubeCluster) -> AsyncIterator[None]:
    """Older than the namespace of the test, it waits until that is gone: other tests take stock of the cluster."""

    async def namespaces() -> set[str]:
        return {ref_of(manifest).name for manifest in (await cluster.list(NAMESPACE)).items}

    async def is_tidy() -> bool:
        return await namespaces() <= before

    before = await namespaces()
    yield
    await eventually("the namespace is gone", is_tidy)


@pytest.fixture
async def kubectl(kubernetes: Kubernetes, binaries: Path, namespace: str, images: Images) -> Kubectl:
    """For a namespace with a pod ``server``, which two Services lead to: ``shop``, and the headless ``shop-pods``."""
    images.push_shop("names", PAGE, repository="tests/shop")
    kubectl = Kubectl(binaries / "kubectl", kubernetes.kubeconfig, namespace)
    await kubectl("apply", "--filename=-", given=_SHOP)
    await is_ready(kubectl, "server")
    return kubectl


async def is_ready(kubectl: Kubectl, pod: str) -> None:
    await kubectl("wait", "--for=condition=Ready", "--timeout=40s", f"pod/{pod}")


async def address(kubectl: Kubectl, name: str, field: str) -> str:
    return await kubectl("get", name, f"--output=jsonpath={{{field}}}")


async def test_a_pod_finds_services_by_name(kubectl: Kubectl) -> None:
    async def inside(*command: str) -> str:
        return await kubectl("exec", "server", "--", BUSYBOX, *command)

    async def told(service: str) -> list[str]:
        """The words of the answer, addresses among them."""
        return (await inside("nslookup", f"{service}.{kubectl.namespace}.svc.cluster.local")).split()

    assert await inside("wget", "-q", "-O", "-", "http://shop/") == PAGE
    assert await address(kubectl, "service/shop", ".spec.clusterIP") in await told("shop")
    assert await address(kubectl, "pod/server", ".status.podIP") in await told("shop-pods")


async def test_envoy_finds_the_pods_of_a_headless_service_by_name(kubectl: Kubectl, images: Images) -> None:
    images.push_envoy("test")
    await kubectl("apply", "--filename=-", given=yaml.safe_dump(envoy(f"shop-pods.{kubectl.namespace}.svc")))
    await is_ready(kubectl, "envoy")
    assert await page(f"http://{await address(kubectl, 'pod/envoy', '.status.podIP')}:8080/") == PAGE


def envoy(upstream: str) -> Json:
    """A pod that may do as little as a pod can, and sends all requests on to port 80 of ``upstream``."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "envoy"},
        "spec": {
            "securityContext": {"runAsNonRoot": True},  # the kubelet takes the image's word for who it is
            "containers": [
                {
                    "name": "envoy",
                    "image": "envoyproxy/envoy:test",
                    "command": ["envoy", "--config-yaml", yaml.safe_dump(bootstrap(upstream))],
                    "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
            ],
        },
    }


def bootstrap(upstream: str) -> Json:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    routes: Json = [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]
    http: Json = {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{router}"}}],
    }
    listener: Json = {
        "address": socket_address("0.0.0.0", 8080),  # noqa: S104 - in the pod
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }
    endpoint: Json = {"endpoint": {"address": socket_address(upstream, 80)}}
    cluster: Json = {
        "name": "upstream",
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def socket_address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}

"""The CRDs of App Mesh's kinds as a real API server takes them: as much as AWS's, and they tell more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.served import custom, schemas, shown, undescribed
from tests.contract.suite import MANAGER, eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_http import ApiServer
from greenroom.core.verdicts import Verdict
from greenroom.core.verdicts import status_of as mesh_status_of
from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import Json, Kind, Manifest, condition_of, ref_of, text
from greenroom.model.mesh import GATEWAY_ROUTE, KINDS
from greenroom.model.mesh import GROUP as MESH_GROUP

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
HTTP_PORT: Manifest = {"portMapping": {"port": 80, "protocol": "http"}}


@pytest.fixture
async def server(kubernetes: Kubernetes) -> AsyncIterator[ApiServer]:
    async with ApiServer(kubernetes.admin, timeout=30) as server:
        yield server


# What is taken


async def test_mesh_objects_keep_what_greenroom_does_not_know(cluster: KubeCluster, namespace: str) -> None:
    """As AWS's CRDs, which these may take the place of."""
    header: Json = {"name": "x", "match": {"range": {"start": 1, "end": 9}}, "new": True}
    match: Json = {"hostname": {"exact": "a.example.com", "new": [1]}, "headers": [header], "new": {}}
    action: Json = {"target": {"virtualService": {"virtualServiceARN": "arn:aws:x"}, "new": 1}}
    manifest = custom(GATEWAY_ROUTE, namespace, "route", {"httpRoute": {"match": match, "action": action}, "new": ""})
    assert (await cluster.apply(manifest, manager=MANAGER))["spec"] == manifest["spec"]
    assert await cluster.apply(custom(GATEWAY_ROUTE, namespace, "empty", {}), manager=MANAGER)


TIMES: Json = {"perRequest": {"value": 0, "unit": "s"}, "idle": {"value": 500, "unit": "ms"}}
TLS: Json = {
    "mode": "PERMISSIVE",
    "certificate": {"acm": {"certificateARN": "arn:aws:acm:x"}},
    "validation": {"trust": {"sds": {"secretName": "x"}}, "subjectAlternativeNames": {"match": {"exact": []}}},
}
CHECK: Json = {
    "protocol": "http",
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
    "healthyThreshold": 2,
    "unhealthyThreshold": 10,
}
TARGETS: Json = {"weightedTargets": [{"virtualNodeARN": "arn:aws:x", "weight": 0, "port": 0}]}
VALUES: Json = [{"name": "x"}, {"name": "y", "invert": True, "match": {"range": {"start": -1, "end": 1}}}]
RETRY: Json = {
    "maxRetries": 0,
    "perRetryTimeout": {"value": 1, "unit": "s"},
    "tcpRetryEvents": ["connection-error"],
}
GENEROUS = [
    ("VirtualGateway", {}),
    ("VirtualGateway", {"listeners": [], "podSelector": {}}),
    ("VirtualGateway", {"listeners": [{**HTTP_PORT, "tls": TLS, "connectionPool": {}, "healthCheck": CHECK}]}),
    (
        "GatewayRoute",
        {"priority": 0, "grpcRoute": {"match": {"port": 0}, "action": {"target": {"virtualService": {}}}}},
    ),
    ("VirtualService", {"provider": {"virtualNode": {"virtualNodeARN": "arn:aws:x"}, "virtualRouter": {}}}),
    ("VirtualNode", {"serviceDiscovery": {"awsCloudMap": {"namespaceName": "a", "serviceName": "b"}}}),
    ("VirtualNode", {"listeners": [{**HTTP_PORT, "tls": TLS, "timeout": {"tcp": {}, "http": TIMES}}]}),
    ("VirtualRouter", {"routes": [{"name": "a", "tcpRoute": {"action": TARGETS}}]}),
    (
        "VirtualRouter",
        {
            "listeners": [{"portMapping": {"port": 65535, "protocol": "tcp"}}],
            "routes": [
                {
                    "name": "a",
                    "grpcRoute": {
                        "match": {"methodName": "M", "metadata": VALUES},
                        "action": TARGETS,
                        "retryPolicy": RETRY,
                        "timeout": {},
                    },
                }
            ],
        },
    ),
]
"""What AWS's CRDs take, whatever the gateway then says of it."""


@pytest.mark.parametrize(("kind", "spec"), GENEROUS)
async def test_what_awss_crds_take_is_taken(cluster: KubeCluster, namespace: str, kind: str, spec: Json) -> None:
    manifest = custom(Kind(MESH_GROUP, "v1beta2", kind), namespace, "web", spec)
    assert (await cluster.apply(manifest, manager=MANAGER))["spec"] == spec


# What is shown


async def test_kubectl_explain_has_something_to_say_of_mesh_objects(server: ApiServer) -> None:
    async def spoken() -> bool:
        try:
            return {kind.name for kind in KINDS} <= (await schemas(server, GATEWAY_ROUTE.api_version)).keys()
        except UnknownKind:
            return False

    await eventually("the API server tells of the kinds", spoken)
    found = await schemas(server, GATEWAY_ROUTE.api_version)
    for kind in (kind.name for kind in KINDS):
        assert not [path for path in undescribed(found[kind], kind) if not path.startswith(f"{kind}.metadata")]
    format_path = ("spec", "logging", "accessLog", "file", "format", "text")
    steps = [step for field in format_path for step in ("properties", field)]
    assert "%RESPONSE_CODE%" in text(found["VirtualGateway"], *steps, "description")


@pytest.mark.parametrize("protocol", ["httpRoute", "http2Route", "grpcRoute"])
@pytest.mark.parametrize("how", ["exact", "suffix"])
async def test_get_gatewayroutes(
    cluster: KubeCluster, server: ApiServer, namespace: str, protocol: str, how: str
) -> None:
    action: Json = {"target": {"virtualService": {"virtualServiceRef": {"name": "web"}}}}
    route: Json = {"match": {"hostname": {how: "a.example.com"}}, "action": action}
    stored = await cluster.apply(custom(GATEWAY_ROUTE, namespace, "route", {protocol: route}), manager=MANAGER)
    change = mesh_status_of(stored, Verdict(active=False, reason="NoEnvoy", message="none is there"), NOW)
    assert change is not None
    await cluster.patch_status(ref_of(stored), change)
    row = ["route", "a.example.com", "False", "NoEnvoy"]
    assert await shown(server, namespace, "gatewayroutes", group=GATEWAY_ROUTE.api_version) == [row]
    wide = await shown(server, namespace, "gatewayroutes", group=GATEWAY_ROUTE.api_version, wide=True)
    assert wide == [[*row, "none is there"]]


@pytest.mark.parametrize(
    ("kind", "spec", "column"),
    [
        ("VirtualGateway", {"listeners": [HTTP_PORT]}, 80),
        ("VirtualService", {"provider": {"virtualNode": {"virtualNodeRef": {"name": "web"}}}}, "web"),
        ("VirtualService", {"provider": {"virtualRouter": {"virtualRouterRef": {"name": "canary"}}}}, "canary"),
        ("VirtualNode", {"serviceDiscovery": {"dns": {"hostname": "web.shop"}}}, "web.shop"),
    ],
)
async def test_get_tells_what_is_particular_of_a_mesh_object(
    cluster: KubeCluster, server: ApiServer, namespace: str, kind: str, spec: Json, column: Json
) -> None:
    of_mesh = Kind(MESH_GROUP, "v1beta2", kind)
    await cluster.apply(custom(of_mesh, namespace, "one", spec), manager=MANAGER)
    plural = f"{kind.lower()}s"
    assert await shown(server, namespace, plural, group=of_mesh.api_version) == [["one", column, None, None]]


# What is written


async def test_a_mesh_object_keeps_what_app_mesh_wrote(cluster: KubeCluster, namespace: str) -> None:
    stored = await cluster.apply(custom(GATEWAY_ROUTE, namespace, "route", {}), manager=MANAGER)
    await cluster.patch_status(ref_of(stored), {"gatewayRouteARN": "arn:aws:x"})
    change = mesh_status_of(stored, Verdict(active=True, reason="Programmed", message="it is served"), NOW)
    assert change is not None
    written = await cluster.patch_status(ref_of(stored), change)
    assert text(condition_of(written, "GatewayRouteActive"), "message") == "it is served"
    assert written["status"] == {"gatewayRouteARN": "arn:aws:x", **change}

"""What a VirtualNode and a VirtualGateway may say, what it means, and what is said of one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.upstream import (
    HEALTH_CHECK,
    NODE,
    OUTLIERS,
    cluster,
    file_tls,
    gateway,
    named,
    node,
    policy,
    refusal,
    routed,
    spoken,
    table,
)
from tests.gateway.world import GATEWAY, NAMESPACE, environment, find, route, stage, web

from greenroom.model.manifest import SERVICE, Manifest, Ref
from greenroom.model.mesh import GATEWAY_ROUTE, VIRTUAL_NODE, VIRTUAL_SERVICE
from greenroom.model.routes import (
    AccessLog,
    ClientTls,
    Forward,
    HealthCheck,
    Limits,
    Listener,
    OutlierDetection,
    Protocol,
    Resolution,
    Upstream,
)

ROUTE = Ref(GATEWAY_ROUTE, NAMESPACE, "web")
HOST = "web.pr-env.svc.cluster.local"


def timeouts(*manifests: Manifest) -> tuple[float, float]:
    (served,) = table(*manifests).listeners
    action = served.hosts[0].routes[0].action
    assert isinstance(action, Forward)
    return action.timeout, action.idle


# What is not said


def test_a_node_has_app_meshs_defaults() -> None:
    assert cluster(*node()).upstream == Upstream(HOST, 80)
    assert timeouts(*node()) == (15.0, 0.0)


def test_a_gateway_has_one_plain_listener() -> None:
    made = gateway(None, logging=None)
    assert [each.listener for each in table(*made).listeners] == [Listener(8080)]


# What is said


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_timeouts_are_those_of_the_protocol(protocol: str) -> None:
    seconds = {"perRequest": {"value": 90, "unit": "s"}, "idle": {"value": 1500, "unit": "ms"}}
    made = node(spoken(protocol) | {"timeout": {protocol: seconds}})
    assert timeouts(*made) == (90.0, 1.5)
    assert cluster(*made).name == f"cds_egress_pr-env_web_pr-env_{protocol}_80"
    assert cluster(*made).http2 is (protocol != "http")


def test_checks_and_limits_reach_the_cluster() -> None:
    pool = {"http": {"maxConnections": 10, "maxPendingRequests": 5}}
    made = node({"healthCheck": HEALTH_CHECK, "outlierDetection": OUTLIERS, "connectionPool": pool})
    upstream = cluster(*made).upstream
    assert upstream.health_check == HealthCheck(Protocol.HTTP, "/health?deep=1", 5, 2, healthy=2, unhealthy=3)
    assert upstream.outliers == OutlierDetection(errors=5, interval=10, ejection=1.5, max_percent=50)
    assert upstream.limits == Limits(connections=10, pending=5)


def test_a_health_check_without_a_path_asks_for_the_root() -> None:
    check = {key: value for key, value in HEALTH_CHECK.items() if key != "path"}
    found = cluster(*node({"healthCheck": check})).upstream.health_check
    assert found is not None
    assert found.path == "/"


def test_of_two_limits_the_stricter_one_holds() -> None:
    made = gateway({"connectionPool": {"http": {"maxConnections": 3, "maxPendingRequests": 9}}})
    pool = {"http": {"maxConnections": 10, "maxPendingRequests": 5}}
    find(made, VIRTUAL_NODE, "pr1")["spec"]["listeners"][0]["connectionPool"] = pool
    assert cluster(*made).upstream.limits == Limits(connections=3, pending=5)


def test_of_several_listeners_the_first_gets_requests() -> None:
    made = node()
    listeners = [spoken("http"), {"portMapping": {"port": 90, "protocol": "tcp"}}]
    find(made, VIRTUAL_NODE, "web")["spec"]["listeners"] = listeners
    assert cluster(*made).upstream.port == 80


def _to_port(port: int) -> list[Manifest]:
    made = node()
    find(made, VIRTUAL_NODE, "web")["spec"]["listeners"].append({"portMapping": {"port": 90, "protocol": "grpc"}})
    find(made, SERVICE, "web")["spec"]["ports"].append({"port": 90, "name": "grpc"})
    find(made, GATEWAY_ROUTE, "web")["spec"]["httpRoute"]["action"]["target"]["port"] = port
    return made


def test_a_route_chooses_one_of_several_listeners() -> None:
    assert cluster(*_to_port(90)).name == "cds_egress_pr-env_web_pr-env_grpc_90"
    assert cluster(*_to_port(80)).name == "cds_egress_pr-env_web_pr-env_http_80"
    message = "VirtualNode pr-env/web has no listener on port 91; its ports: 80, 90"
    assert message in refusal(ROUTE, *_to_port(91))


def test_two_nodes_with_the_same_backend_have_clusters_of_their_own() -> None:
    made = [*stage(), *web("one"), *web("two"), route("one", {"prefix": "/1"}, to="one")]
    made.append(route("two", {"prefix": "/2"}, to="two"))
    find(made, VIRTUAL_NODE, "two")["spec"]["serviceDiscovery"] = named("one.pr-env.svc.cluster.local")
    assert len(table(*made).clusters) == 2


@pytest.mark.parametrize("protocol", ["http", "http2", "grpc"])
def test_a_listener_speaks_one_protocol(protocol: str) -> None:
    (served,) = table(*gateway(spoken(protocol), logging=None)).listeners
    assert served.listener == Listener(80, Protocol(protocol))


def test_an_access_log_may_have_a_format() -> None:
    pairs = [{"key": "a", "value": "%DURATION%"}, {"key": "b", "value": "%REQ(X):9%"}]
    (served,) = table(*gateway(None, logging=_log({"json": pairs}))).listeners
    assert served.listener.access_log == AccessLog("/dev/stdout", json=(("a", "%DURATION%"), ("b", "%REQ(X):9%")))


# Where requests go


@pytest.mark.parametrize("hostname", ["web", "web.pr-env", "web.pr-env.svc", HOST, "WEB.PR-ENV.SVC", f"{HOST}."])
def test_names_of_a_service_of_this_cluster_never_reach_dns(hostname: str) -> None:
    assert cluster(*node(serviceDiscovery=named(hostname))).upstream.resolution is Resolution.KNOWN


@pytest.mark.parametrize(
    ("response_type", "resolution"),
    [(None, Resolution.ONE_ADDRESS), ("LOADBALANCER", Resolution.ONE_ADDRESS), ("ENDPOINTS", Resolution.ALL_ADDRESSES)],
)
def test_another_host_is_looked_up(response_type: str | None, resolution: Resolution) -> None:
    upstream = cluster(*node(serviceDiscovery=named("Shop.Example.com.", response_type))).upstream
    assert (upstream.host, upstream.port, upstream.resolution) == ("shop.example.com", 80, resolution)


def test_a_service_may_stand_for_another_host() -> None:
    made = node()
    find(made, SERVICE, "web")["spec"] = {"type": "ExternalName", "externalName": "shop.example.com"}
    assert cluster(*made).upstream.host == "shop.example.com"
    assert cluster(*made).upstream.resolution is Resolution.ONE_ADDRESS


def test_a_service_that_stands_for_no_host_is_told() -> None:
    made = node()
    find(made, SERVICE, "web")["spec"] = {"type": "ExternalName", "externalName": ""}
    assert "Service web has the externalName '', which is not a host name" in refusal(NODE, *made)


def test_an_address_is_an_endpoint() -> None:
    found = cluster(*node(serviceDiscovery=named("10.1.2.3")))
    assert [(each.address, each.port) for each in found.endpoints] == [("10.1.2.3", 80)]


# TLS


def test_tls_follows_the_node_when_the_gateway_has_no_policy() -> None:
    """The certificate is not looked at: user guide, tls.md, "Without client policies"."""
    assert cluster(*node(file_tls())).upstream.tls == ClientTls()
    assert cluster(*node(file_tls(mode="PERMISSIVE"))).upstream.tls == ClientTls()
    assert cluster(*node(file_tls(mode="DISABLED"))).upstream.tls is None


@pytest.mark.parametrize("ports", [None, [80], [443, 80]])
def test_a_policy_asks_for_tls_whatever_the_node_says(ports: list[int] | None) -> None:
    assert cluster(*gateway(None, **policy(ports=ports))).upstream.tls == ClientTls(
        "/certs/ca.crt", ("pr1.pr-env.svc.cluster.local",)
    )


def test_a_policy_may_name_whose_certificate_is_taken() -> None:
    tls = cluster(*gateway(None, **policy("/ca", "a.example.com", "spiffe://x/y"))).upstream.tls
    assert tls == ClientTls("/ca", ("a.example.com", "spiffe://x/y"))


@pytest.mark.parametrize("more", [{"ports": [443]}, {"enforce": False}])
def test_a_policy_that_is_not_for_the_port_or_not_enforced_changes_nothing(more: dict[str, Any]) -> None:
    assert cluster(*gateway(None, **policy(**more))).upstream.tls is None


# What is wrong


def _check(**fields: Any) -> dict[str, Any]:
    return {"healthCheck": {**HEALTH_CHECK, **fields}}


def _outliers(**fields: Any) -> dict[str, Any]:
    return {"outlierDetection": {**OUTLIERS, **fields}}


def _pool(**pools: Any) -> dict[str, Any]:
    return {"connectionPool": pools}


def _log(form: Any, path: str = "/dev/stdout") -> dict[str, Any]:
    return {"accessLog": {"file": {"path": path, "format": form}}}


L = "spec.listeners[0]"
WRONG_LISTENERS = [
    (spoken("udp"), f"{L}.portMapping.protocol: must be one of http, http2, grpc"),
    ({"portMapping": {"port": 0, "protocol": "http"}}, f"{L}.portMapping.port: must be a whole number from 1 to 65535"),
    (_check(port=81), f"{L}.healthCheck.port: must be that of the listener, 80: leave it out"),
    (_check(protocol="icmp"), f"{L}.healthCheck.protocol: must be one of"),
    (_check(path="health"), f"{L}.healthCheck.path: must start with /"),
    (_check(path="/é"), f"{L}.healthCheck.path: must start with / and be ASCII"),
    (_check(intervalMillis=4999), f"{L}.healthCheck.intervalMillis: must be a whole number from 5000 to 300000"),
    (_check(timeoutMillis=60001), f"{L}.healthCheck.timeoutMillis: must be a whole number from 2000 to 60000"),
    (_check(healthyThreshold=1), f"{L}.healthCheck.healthyThreshold: must be a whole number from 2 to 10"),
    (_check(unhealthyThreshold="3"), f"{L}.healthCheck.unhealthyThreshold: must be a whole number from 2 to 10"),
    (_pool(http2={"maxRequests": 1}), f"{L}.connectionPool: must have http and nothing else"),
    (_pool(http={"maxConnections": 1}, grpc={"maxRequests": 1}), f"{L}.connectionPool: must have http and nothing"),
    (_pool(http={"maxConnections": 0}), f"{L}.connectionPool.http.maxConnections: must be a whole number from 1"),
    (_pool(http={"maxPendingRequests": 1}), f"{L}.connectionPool.http.maxConnections: must be a whole number from 1"),
    ({"tls": {"mode": "ON"}}, f"{L}.tls.mode: must be DISABLED, PERMISSIVE or STRICT"),
    ({"tls": {"mode": "STRICT"}}, f"{L}.tls.certificate.file: is missing"),
    (
        {"tls": {"mode": "STRICT", "certificate": {"acm": {"certificateARN": "arn"}}}},
        f"{L}.tls.certificate.acm: there is no AWS Certificate Manager here: use file",
    ),
    (
        {"tls": {"mode": "STRICT", "certificate": {"sds": {"secretName": "x"}}}},
        f"{L}.tls.certificate.sds: there is no server for secrets here: use file",
    ),
    (
        {"tls": {"mode": "STRICT", "certificate": {"file": {"certificateChain": "", "privateKey": "k"}}}},
        f"{L}.tls.certificate.file.certificateChain: must be a text of 1 to 255 characters",
    ),
    ({"surprise": 1}, f"{L}.surprise: not supported by this gateway yet"),
]


@pytest.mark.parametrize(("listener", "message"), WRONG_LISTENERS)
def test_a_wrong_listener_of_a_node_is_told_the_field_and_the_cure(listener: dict[str, Any], message: str) -> None:
    assert message in refusal(NODE, *node(listener))


@pytest.mark.parametrize(("listener", "message"), WRONG_LISTENERS)
def test_a_wrong_listener_of_a_gateway_is_told_the_same(listener: dict[str, Any], message: str) -> None:
    assert message in refusal(GATEWAY, *gateway(spoken("http") | listener))


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (_outliers(maxServerErrors=0), "outlierDetection.maxServerErrors: must be a whole number from 1"),
        (
            _outliers(maxEjectionPercent=101),
            "outlierDetection.maxEjectionPercent: must be a whole number from 0 to 100",
        ),
        (
            _outliers(interval={"value": 0, "unit": "s"}),
            "outlierDetection.interval.value: must be a whole number from 1",
        ),
        (_outliers(interval={"value": 1, "unit": "m"}), "outlierDetection.interval.unit: must be s or ms"),
        (_outliers(baseEjectionDuration=None), "outlierDetection.baseEjectionDuration.unit: must be s or ms"),
        ({"timeout": {"http2": {}}}, "timeout: must have http and nothing else, like portMapping.protocol"),
        (
            {"timeout": {"http": {"idle": {"value": -1, "unit": "s"}}}},
            "timeout.http.idle.value: must be a whole number",
        ),
    ],
)
def test_a_wrong_node_is_told_the_field_and_the_cure(listener: dict[str, Any], message: str) -> None:
    assert f"{L}.{message}" in refusal(NODE, *node(listener))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"serviceDiscovery": None}, "spec.serviceDiscovery.dns.hostname: is missing: it names the Service"),
        ({"serviceDiscovery": named("web:80")}, "spec.serviceDiscovery.dns.hostname: 'web:80' is not a host name"),
        ({"serviceDiscovery": named("gone")}, "spec.serviceDiscovery.dns.hostname: Service pr-env/gone does not exist"),
        ({"serviceDiscovery": named("gone.pr-env.svc")}, "Service pr-env/gone does not exist"),
        ({"serviceDiscovery": named(HOST, "ALL")}, "spec.serviceDiscovery.dns.responseType: must be ENDPOINTS or"),
        (
            {"serviceDiscovery": {"awsCloudMap": {"serviceName": "x", "namespaceName": "y"}}},
            "spec.serviceDiscovery.awsCloudMap: there is no AWS Cloud Map here: use dns.hostname",
        ),
        (
            {"listeners": [spoken("http"), spoken("grpc")]},
            "spec.listeners[1].portMapping.port: is that of another listener: leave one out",
        ),
    ],
)
def test_a_wrong_spec_of_a_node_is_told_the_field_and_the_cure(spec: dict[str, Any], message: str) -> None:
    assert message in refusal(NODE, *node(None, **spec))


def test_a_route_to_a_port_that_speaks_tcp_is_told_why() -> None:
    assert "speaks tcp on port 80: a gateway needs http, http2 or grpc" in refusal(ROUTE, *node(spoken("tcp")))


def test_a_node_without_listeners_is_fine_until_a_route_leads_to_it() -> None:
    made = node(None, listeners=[], serviceDiscovery=None)
    assert NODE not in routed(*made).refused
    assert "spec.listeners: is empty: it names the port" in refusal(ROUTE, *made)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"listeners": []}, "spec.listeners: must have a listener"),
        ({"listeners": [spoken("http"), spoken("http2")]}, "spec.listeners[1].portMapping.port: is that of another"),
        ({"listeners": [spoken("tcp")]}, "spec.listeners[0].portMapping.protocol: must be one of http, http2, grpc"),
        ({"logging": _log(None, path="")}, "spec.logging.accessLog.file.path: must be a path of 1 to 255"),
        ({"logging": _log({"text": "a", "json": []})}, "accessLog.file.format: must not have both text and json"),
        ({"logging": _log({"text": ""})}, "format.text: must be a text of 1 to 1000 characters"),
        ({"logging": _log({"text": "100%"})}, "format.text: has a per cent sign that begins no command"),
        ({"logging": _log({"text": "%WHAT%"})}, "format.text: has %WHAT%, which is not supported"),
        ({"logging": _log({"text": "%ENVIRONMENT(SECRET)%"})}, "has %ENVIRONMENT(SECRET)%, which is not supported"),
        ({"logging": _log({"text": "%REQ%"})}, "has %REQ%, which has a wrong argument for REQ"),
        ({"logging": _log({"text": "%DURATION:3%"})}, "has %DURATION:3%, which has a wrong argument for DURATION"),
        ({"logging": _log({"text": "%REQ(a b)%"})}, "has %REQ(a b)%, which has a wrong argument for REQ"),
        ({"logging": _log({"json": [{"key": "", "value": "x"}]})}, "format.json[0].key: must be a text"),
        (
            {"logging": _log({"json": [{"key": "a", "value": "x"}] * 2})},
            "format.json[1].key: must be a text of 1 to 100",
        ),
        (
            policy(trust=""),
            "spec.backendDefaults.clientPolicy.tls.validation.trust.file.certificateChain: must be a text",
        ),
        (policy(ports=[0]), "spec.backendDefaults.clientPolicy.tls.ports[0]: must be a whole number from 1 to 65535"),
        (policy(enforce="yes"), "spec.backendDefaults.clientPolicy.tls.enforce: must be true or false"),
        (
            {"backendDefaults": {"clientPolicy": {"tls": {"validation": {"trust": {"acm": {}}}}}}},
            "spec.backendDefaults.clientPolicy.tls.validation.trust.acm: there is no AWS Certificate Manager here",
        ),
    ],
)
def test_a_wrong_gateway_is_told_the_field_and_the_cure(spec: dict[str, Any], message: str) -> None:
    assert message in refusal(GATEWAY, *gateway(None, **spec))


def test_a_wrong_node_takes_nobody_else_along() -> None:
    made = [*node(_check(port=81)), *environment(1, "a" * 40, 20001)]
    assert routed(*made).refused.keys() == {NODE, ROUTE, Ref(VIRTUAL_SERVICE, NAMESPACE, "web")}

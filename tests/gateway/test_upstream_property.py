"""Whatever a VirtualNode or a VirtualGateway says: Envoy takes what comes of it, or it is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.certificates import Authority
from tests.gateway.envoy_static import complaint
from tests.gateway.upstream import routed
from tests.gateway.world import GATEWAY, NAMESPACE, find, route, stage, web

from greenroom.core.envoy import snapshot
from greenroom.model.access_log import parse_access_log
from greenroom.model.manifest import Manifest, Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY, VIRTUAL_NODE, VIRTUAL_SERVICE, Refused
from greenroom.model.routes import AccessLog, Listener, ListenerRoutes, RouteTable

NODES = 25
"""How many are put into one configuration: starting Envoy is what takes the time."""
OWN_REASONS = {"Invalid", "NotSupported", "NotSupportedYet", "ServiceNotFound", "PortNotFound", "Conflict"}

wild = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


def near(low: int, high: int) -> st.SearchStrategy[Any]:
    """Mostly in the range, at its ends or just outside, and now and then something else."""
    edges = st.sampled_from([low, high, low - 1, high + 1])
    return st.one_of(*[st.integers(low, high)] * 12, edges, wild)


def durations(low: int = 0) -> st.SearchStrategy[Any]:
    found = st.fixed_dictionaries({"value": near(low, 2**31 - 1), "unit": st.sampled_from([*["s", "ms"] * 8, "m"])})
    return mostly(found)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*[good] * 20, wild)


checks = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from(["http", "http2", "grpc", "http", "http2", "grpc", "tcp"]),
        "intervalMillis": near(5000, 300_000),
        "timeoutMillis": near(2000, 60_000),
        "healthyThreshold": near(2, 10),
        "unhealthyThreshold": near(2, 10),
    },
    optional={"path": mostly(st.text(max_size=8).map("/{}".format)), "port": near(80, 80)},
)
outliers = st.fixed_dictionaries(
    {
        "maxServerErrors": near(1, 2**32 - 1),
        "interval": durations(1),
        "baseEjectionDuration": durations(1),
        "maxEjectionPercent": near(0, 100),
    }
)


def pools(protocol: str) -> st.SearchStrategy[dict[str, Any]]:
    if protocol == "http":
        pool = some(maxConnections=near(1, 2**31 - 1), maxPendingRequests=near(1, 2**31 - 1))
    else:
        pool = some(maxRequests=near(1, 2**31 - 1))
    return st.fixed_dictionaries({protocol: pool})


def tls(folder: str) -> st.SearchStrategy[dict[str, Any]]:
    own = {"file": {"certificateChain": f"{folder}/server.crt", "privateKey": f"{folder}/server.key"}}
    names = st.lists(st.sampled_from(["a.example.com", "spiffe://a/b", "10.0.0.1", "*", "ü", ""]), max_size=3)
    trusted = st.fixed_dictionaries(
        {"trust": st.just({"file": {"certificateChain": f"{folder}/ca.crt"}})},
        optional={"subjectAlternativeNames": names.map(lambda exact: {"match": {"exact": exact}})},
    )
    sources = st.sampled_from([*[own] * 12, {"acm": {}}, {"sds": {"secretName": "x"}}, {}])
    return st.fixed_dictionaries(
        {"mode": st.sampled_from([*["STRICT", "PERMISSIVE", "DISABLED"] * 5, "?"]), "certificate": sources},
        optional={"validation": trusted},
    )


def listeners(protocol: str, folder: str, port: int, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
    optional = {"healthCheck": mostly(checks), "connectionPool": mostly(pools(protocol)), "tls": tls(folder), **more}
    return st.fixed_dictionaries({"portMapping": st.just({"port": port, "protocol": protocol})}, optional=optional)


def node_listeners(protocol: str, folder: str) -> st.SearchStrategy[dict[str, Any]]:
    timeout = some(perRequest=durations(), idle=durations()).map(lambda found: {protocol: found})
    return listeners(protocol, folder, 80, outlierDetection=mostly(outliers), timeout=mostly(timeout))


hostnames = st.one_of(
    st.sampled_from(["web", "10.0.0.1", "::1", "fe80::1%eth0", "shop.example.com", "a..b", "x_y.example.com", "gone"]),
    st.text(max_size=6),
)
discoveries = st.one_of(
    st.fixed_dictionaries(
        {"hostname": hostnames}, optional={"responseType": st.sampled_from(["ENDPOINTS", "LOADBALANCER"])}
    ).map(lambda dns: {"dns": dns}),
    st.just({"awsCloudMap": {"serviceName": "x"}}),
)
plain_discovery = st.just({"dns": {"hostname": "web"}})
_GOOD = ["%DURATION%", "%REQ(:METHOD)%", "%RESP(a?b):7%", "%START_TIME(%s.%3f)%", "%START_TIME(%9f%E)%", "%%", "a", "é"]
_ODD = ["%START_TIME(%0)%", "%DYNAMIC_METADATA(a:b):3%", "%CLUSTER_METADATA(a)%", "\n", "(", ")", ":", "100"]
_BAD = ["%", "%REQ%", "%X(y)%", "%REQ():1%", "%REQ(a?b?c)%"]
pieces = st.one_of(*[st.sampled_from([*_GOOD, *_ODD])] * 8, st.sampled_from(_BAD), st.text(max_size=3))
lines = st.lists(pieces, max_size=5).map("".join)
files = st.fixed_dictionaries(
    {"path": st.just("/dev/null")},
    optional={
        "format": st.one_of(
            some(text=lines),
            some(json=st.lists(st.fixed_dictionaries({"key": st.text(max_size=3), "value": lines}), max_size=2)),
        )
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("certs")
    Authority(folder).issue("server", "localhost")
    return str(folder)


def _nodes(folder: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    protocol = st.sampled_from(["http", "http2", "grpc", "tcp"])
    spec = st.fixed_dictionaries(
        {
            "listeners": st.lists(protocol.flatmap(lambda each: node_listeners(each, folder)), min_size=1, max_size=1),
            "serviceDiscovery": st.one_of(plain_discovery, plain_discovery, discoveries),
        }
    )
    return st.lists(spec, min_size=NODES, max_size=NODES)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_virtual_nodes(folder: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    made: list[Manifest] = [*stage(), *web()]
    for index, spec in enumerate(data.draw(_nodes(folder))):
        made += web(f"n{index}")
        find(made, VIRTUAL_NODE, f"n{index}")["spec"] = spec
        made.append(route(f"n{index}", {"prefix": f"/{index}/"}, to=f"n{index}"))
    routing = routed(*made)
    assert {why.reason for why in routing.refused.values()} <= OWN_REASONS
    for index in range(NODES):  # who depends on a refused one is told; nobody else is refused
        broken = Ref(VIRTUAL_NODE, NAMESPACE, f"n{index}") in routing.refused
        assert not broken or Ref(VIRTUAL_SERVICE, NAMESPACE, f"n{index}") in routing.refused
    assert Ref(VIRTUAL_GATEWAY, NAMESPACE, "ingress-gw") not in routing.refused
    built = snapshot(routing.tables[GATEWAY], bind="127.0.0.1")
    assert complaint(built, tmp_path_factory.mktemp("envoy")) == ""


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_virtual_gateway(folder: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    protocol = st.sampled_from([*["http", "http2", "grpc"] * 4, "tcp"])
    ports = st.lists(st.integers(20000, 20020), min_size=1, max_size=3)

    def listener(port: int) -> st.SearchStrategy[dict[str, Any]]:
        return protocol.flatmap(lambda spoken: listeners(spoken, folder, port))

    several = ports.flatmap(lambda found: st.tuples(*map(listener, found)))
    policies = st.fixed_dictionaries(
        {"validation": st.just({"trust": {"file": {"certificateChain": f"{folder}/ca.crt"}}})},
        optional={"enforce": mostly(st.booleans()), "ports": st.lists(near(1, 65535), max_size=2)},
    )
    made: list[Manifest] = [*stage(), *web(), route("web", {"prefix": "/"})]
    find(made, VIRTUAL_GATEWAY, "ingress-gw")["spec"] |= {
        "listeners": list(data.draw(several)),
        "logging": {"accessLog": {"file": {"path": "/dev/null"}}},
        "backendDefaults": {"clientPolicy": {"tls": data.draw(policies)}},
    }
    routing = routed(*made)
    if GATEWAY in routing.refused:
        assert routing.refused[GATEWAY].reason in OWN_REASONS
        assert str(routing.refused[GATEWAY]).startswith("spec.")
        return
    built = snapshot(routing.tables[GATEWAY], bind="127.0.0.1")
    assert complaint(built, tmp_path_factory.mktemp("envoy")) == ""


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(found=st.lists(files, min_size=60, max_size=60))
def test_any_access_log(tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, Any]]) -> None:
    logs = [log for file in found if (log := _parsed(file)) is not None]
    served = tuple(ListenerRoutes(Listener(20000 + index, access_log=log)) for index, log in enumerate(logs))
    built = snapshot(RouteTable(served), bind="127.0.0.1")
    assert complaint(built, tmp_path_factory.mktemp("envoy")) == ""


def _parsed(file: dict[str, Any]) -> AccessLog | None:
    try:
        return parse_access_log(file, "file")
    except Refused:
        return None

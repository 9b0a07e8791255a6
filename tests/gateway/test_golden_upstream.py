"""VirtualNodes and VirtualGateways -> Envoy's clusters and listeners, in files to be read: ``golden/upstream``.

``pytest tests/gateway --rewrite-golden`` writes them anew; look at the difference before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.certificates import Authority
from tests.gateway.envoy_static import complaint, readable
from tests.gateway.upstream import HEALTH_CHECK, OUTLIERS, file_tls, gateway, named, node, policy, spoken, table
from tests.gateway.world import stage
from tests.golden import expected, orphans

from greenroom.core.envoy import snapshot
from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER
from greenroom.model.manifest import Manifest

GOLDEN = Path(__file__).parent / "golden" / "upstream"
CERTIFICATES = "certs"
"""Tests run where this folder is, so that the files say the same everywhere."""


def http2() -> list[Manifest]:
    return node(spoken("http2"))


def grpc() -> list[Manifest]:
    return node(spoken("grpc") | {"timeout": {"grpc": {"perRequest": {"value": 0, "unit": "s"}}}})


def health_check_http() -> list[Manifest]:
    return node({"healthCheck": HEALTH_CHECK})


def health_check_http2() -> list[Manifest]:
    check = {key: value for key, value in HEALTH_CHECK.items() if key not in {"path", "port"}}
    return node({"healthCheck": check | {"protocol": "http2"}})


def health_check_grpc() -> list[Manifest]:
    return node(spoken("grpc") | {"healthCheck": HEALTH_CHECK | {"protocol": "grpc"}})


def health_check_tcp() -> list[Manifest]:
    return node({"healthCheck": HEALTH_CHECK | {"protocol": "tcp"}})


def outlier_detection() -> list[Manifest]:
    return node({"outlierDetection": OUTLIERS})


def connection_pool_http() -> list[Manifest]:
    return node({"connectionPool": {"http": {"maxConnections": 10, "maxPendingRequests": 5}}})


def connection_pool_http2() -> list[Manifest]:
    return node(spoken("http2") | {"connectionPool": {"http2": {"maxRequests": 8}}})


def connection_pool_grpc() -> list[Manifest]:
    return node(spoken("grpc") | {"connectionPool": {"grpc": {"maxRequests": 7}}})


def connection_pool_of_the_gateway() -> list[Manifest]:
    return gateway({"connectionPool": {"http": {"maxConnections": 3}}})


def host_elsewhere_one_address() -> list[Manifest]:
    return node(serviceDiscovery=named("Shop.example.com."))


def host_elsewhere_every_address() -> list[Manifest]:
    return node(serviceDiscovery=named("shop.example.com", "ENDPOINTS"))


def address() -> list[Manifest]:
    return node(serviceDiscovery=named("2001:db8::1"))


def tls_offered_by_the_node() -> list[Manifest]:
    return node(file_tls(CERTIFICATES))


def tls_asked_for_by_the_gateway() -> list[Manifest]:
    file = {"certificateChain": f"{CERTIFICATES}/client.crt", "privateKey": f"{CERTIFICATES}/client.key"}
    names = ("pr1.example.com", "spiffe://example.com/pr1")
    return gateway(None, **policy(f"{CERTIFICATES}/ca.crt", *names, certificate={"file": file}))


def tls_for_the_host_of_the_node() -> list[Manifest]:
    return gateway(None, **policy(f"{CERTIFICATES}/ca.crt", ports=[80]))


def listener_tls() -> list[Manifest]:
    return gateway(file_tls(CERTIFICATES))


def listener_tls_with_certificates_of_visitors() -> list[Manifest]:
    names = {"match": {"exact": ["load-balancer.example.com"]}}
    trust = {"file": {"certificateChain": f"{CERTIFICATES}/ca.crt"}}
    made = file_tls(CERTIFICATES, mode="PERMISSIVE", validation={"trust": trust, "subjectAlternativeNames": names})
    return gateway(spoken("http2") | made)


def listeners() -> list[Manifest]:
    """One for each protocol. A health check changes nothing."""
    check = {"healthCheck": HEALTH_CHECK}
    mappings = [{"port": 80, "protocol": "http"}, {"port": 81, "protocol": "http2"}, {"port": 82, "protocol": "grpc"}]
    return gateway(
        None, listeners=[{"portMapping": mapping, **(check if mapping["port"] == 80 else {})} for mapping in mappings]
    )


def access_log_text() -> list[Manifest]:
    line = "%START_TIME(%Y-%m-%d)% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):80% 100%% %RESPONSE_CODE%"
    return gateway(None, **_log({"text": line}))


def access_log_json() -> list[Manifest]:
    pairs = [{"key": "status", "value": "%RESPONSE_CODE%"}, {"key": "commit", "value": "%RESP(X-GREENROOM-COMMIT)%"}]
    return gateway(None, **_log({"json": pairs}))


def _log(form: dict[str, Any]) -> dict[str, Any]:
    return {"logging": {"accessLog": {"file": {"path": "/dev/stdout", "format": form}}}}


NODES: list[Callable[[], list[Manifest]]] = [
    http2,
    grpc,
    health_check_http,
    health_check_http2,
    health_check_grpc,
    health_check_tcp,
    outlier_detection,
    connection_pool_http,
    connection_pool_http2,
    connection_pool_grpc,
    connection_pool_of_the_gateway,
    host_elsewhere_one_address,
    host_elsewhere_every_address,
    address,
    tls_offered_by_the_node,
    tls_asked_for_by_the_gateway,
    tls_for_the_host_of_the_node,
]
LISTENERS: list[Callable[[], list[Manifest]]] = [
    listener_tls,
    listener_tls_with_certificates_of_visitors,
    listeners,
    access_log_text,
    access_log_json,
]
CASES = [*NODES, *LISTENERS]


@pytest.fixture(autouse=True)
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / CERTIFICATES).mkdir()
    authority = Authority(tmp_path / CERTIFICATES)
    authority.issue("server", "localhost")
    authority.issue("client", "gateway.example.com")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_envoy_gets(case: Callable[[], list[Manifest]], rewrite_golden: bool, tmp_path: Path) -> None:
    made = snapshot(table(*case()), bind="127.0.0.1")
    resources = readable(made)
    for listener in resources["Listener"]:
        for chain in listener["filter_chains"]:
            connections = chain["filters"][0]["typed_config"]
            del connections["local_reply_config"]
            for log in connections.get("access_log", ()):
                _sort(log["typed_config"].get("log_format", {}))
    shown_types = (CLUSTER, ENDPOINTS) if case in NODES else (LISTENER,)
    # The versions tell that another process makes the same bytes, so that a restart changes nothing in Envoy.
    versions = {name: resource.version for each in shown_types for name, resource in made[each].items()}
    about = {
        **{each.rpartition(".")[2]: resources[each.rpartition(".")[2]] for each in shown_types},
        "versions": versions,
    }
    shown, golden = expected(GOLDEN / f"{case.__name__}.yaml", about, rewrite=rewrite_golden)
    assert shown == golden
    assert complaint(made, tmp_path) == ""


def test_envoy_gets_pages(rewrite_golden: bool) -> None:
    (listener,) = readable(snapshot(table(*stage()), bind="127.0.0.1"))["Listener"]
    replies = listener["filter_chains"][0]["filters"][0]["typed_config"]["local_reply_config"]["mappers"]
    for reply in replies:
        _sort(reply["body_format_override"])
    shown, golden = expected(GOLDEN / "pages.yaml", replies, rewrite=rewrite_golden)
    assert shown == golden


def _sort(form: dict[str, Any]) -> None:
    """The fields of a JSON format, which protocol buffers keep in no order."""
    if "json_format" in form:
        form["json_format"] = dict(sorted(form["json_format"].items()))


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, [*(case.__name__ for case in CASES), "pages"], rewrite=rewrite_golden)

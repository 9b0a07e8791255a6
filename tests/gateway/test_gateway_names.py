"""A Gateway and a VirtualGateway of the same name are never taken for each other."""

from __future__ import annotations

import pytest
from tests.gateway.http_world import WEB

from greenroom.core.gateway_names import gateway_identity, gateway_of, gateway_secret, node_cluster
from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY

ALIKE = [
    *(
        Ref(kind, namespace, name)
        for kind in (VIRTUAL_GATEWAY, GATEWAY)
        for namespace in ("a", "gateway")
        for name in "ab"
    ),
    Ref(VIRTUAL_GATEWAY, "a", "gateway"),
    Ref(VIRTUAL_GATEWAY, "a", "api-a"),
]


@pytest.mark.parametrize("gateway", ALIKE, ids=str)
def test_an_envoy_tells_which_gateway_it_serves(gateway: Ref) -> None:
    assert gateway_of(node_cluster(gateway)) == gateway


def test_no_two_gateways_have_the_same_names() -> None:
    for named in (node_cluster, gateway_identity, gateway_secret):
        assert len({named(gateway) for gateway in ALIKE}) == len(ALIKE)


def test_what_virtual_gateways_were_called_before_they_are_still_called() -> None:
    gateway = Ref(VIRTUAL_GATEWAY, "pr-env", "ingress-gw")
    assert node_cluster(gateway) == "pr-env/ingress-gw"
    assert gateway_identity(gateway) == "greenroom://gateway/pr-env/ingress-gw"
    assert gateway_secret(gateway).name == "greenroom-gateway-ingress-gw"
    assert gateway_identity(WEB) == "greenroom://gatewayapi/pr-env/web"


@pytest.mark.parametrize("cluster", ["", "web", "gateway/a/b/c", "other/a/b", "a/b/c"])
def test_what_names_no_gateway_is_none(cluster: str) -> None:
    assert gateway_of(cluster) is None

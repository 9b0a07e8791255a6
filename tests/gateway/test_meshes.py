"""What a Mesh may say beside its namespaces: it is about sidecars, of which there are none."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.world import NAMESPACE, World, find, route, stage, web

from greenroom.core.routing import Router, Routing
from greenroom.core.verdicts import verdicts
from greenroom.model.manifest import Ref
from greenroom.model.mesh import GATEWAY_ROUTE, MESH

PR_ENV = Ref(MESH, "", "pr-env")


def routed(**spec: Any) -> Routing:
    made = [*stage(), *web(), route("r", {"prefix": "/"})]
    find(made, MESH, "pr-env")["spec"] |= spec
    return Router().route(World(*made))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"egressFilter": {"type": "ALLOW_ALL"}}, ""),
        ({"meshOwner": "123456789012", "awsName": "shop"}, ""),
        ({"egressFilter": {"type": "DROP_ALL"}}, "; spec.egressFilter has no effect: applications have no sidecar"),
        (
            {"meshServiceDiscovery": {"ipPreference": "IPv6_ONLY"}},
            "; spec.meshServiceDiscovery has no effect: pods are reached at the addresses that Kubernetes tells",
        ),
    ],
)
def test_what_has_no_effect_is_taken_and_told_where_it_matters(spec: Any, said: str) -> None:
    routing = routed(**spec)
    assert not routing.refused
    verdict = verdicts(routing, {}, bind="127.0.0.1")[PR_ENV]
    assert verdict is not None
    assert verdict.active
    assert verdict.message.startswith(f"everything that it refers to is there{said}")
    assert bool(said) is (";" in verdict.message)


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"egressFilter": {"type": "DROP"}}, "Invalid", "spec.egressFilter.type: must be ALLOW_ALL or DROP_ALL"),
        (
            {"meshServiceDiscovery": {"ipPreference": 6}},
            "Invalid",
            "spec.meshServiceDiscovery.ipPreference: must be IPv4_ONLY or IPv6_ONLY",
        ),
        ({"egressFilter": {"mode": "x"}}, "NotSupportedYet", "spec.egressFilter.mode: not supported"),
        ({"tracing": {}}, "NotSupportedYet", "spec.tracing: not supported by this gateway yet"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}},
            "Invalid",
            "spec.namespaceSelector.matchExpressions[0].operator: must be In, NotIn, Exists or DoesNotExist",
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_name(spec: Any, reason: str, said: str) -> None:
    refused = routed(**spec).refused
    assert refused[PR_ENV].reason == reason
    assert said in str(refused[PR_ENV])
    of_route = refused[Ref(GATEWAY_ROUTE, NAMESPACE, "r")]
    assert of_route.reason in {"NoMesh", "NoVirtualGateway"}
    assert said in str(of_route)

"""What `greenroom doctor` tells of conditions that Greenroom has written."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.test_doctor import MESH_API, examined, healthy, made, only, route

from greenroom.model.gateway import CONTROLLER

API = "gateway.networking.k8s.io/v1"


def status(kind: str, reason: str, message: str, *, says: str = "False", generation: int = 2) -> Any:
    condition = {"type": f"{kind}Active", "status": says, "message": message, **({"reason": reason} if reason else {})}
    return {"observedGeneration": generation, "conditions": [condition]}


def node(**content: Any) -> Any:
    return made(MESH_API, "VirtualNode", "web", spec={}, metadata={"generation": 2}, **content)


def api_conditions(*false: str, generation: int = 2) -> list[Any]:
    return [
        {"type": each, "status": "False" if each in false else "True", "reason": "Why", "message": "what"}
        | {"observedGeneration": generation}
        for each in ("Accepted", "ResolvedRefs", "Programmed")
    ]


def gateway_class(controller: str = CONTROLLER, **content: Any) -> Any:
    metadata = {"generation": 2}
    spec = {"controllerName": controller}
    return made(API, "GatewayClass", "greenroom", at="", spec=spec, metadata=metadata, **content)


def api_gateway(**status: Any) -> Any:
    spec = {"gatewayClassName": "greenroom"}
    return made(API, "Gateway", "web", spec=spec, metadata={"generation": 2}, status=status)


def http_route(*false: str, controller: str = CONTROLLER) -> Any:
    parent = {"controllerName": controller, "parentRef": {"name": "web"}, "conditions": api_conditions(*false)}
    return made(API, "HTTPRoute", "pr7", spec={}, metadata={"generation": 2}, status={"parents": [parent]})


def test_whatever_is_not_active_is_told_with_reason_and_message() -> None:
    message = "spec.serviceDiscovery.awsCloudMap: is a service of AWS"
    finding = only([*healthy(), node(status=status("VirtualNode", "NotSupported", message))])
    assert (finding.reason, finding.objects) == ("NotSupported", ("VirtualNode pr-env/web",))
    assert finding.message == message
    assert finding.cure == "kubectl -n pr-env edit virtualnode.appmesh.k8s.aws/web"


def test_where_no_change_of_the_object_helps_it_is_to_be_looked_at() -> None:
    silent = status("VirtualNode", "NoEnvoy", "no Envoy of this VirtualGateway is connected to Greenroom")
    assert only([*healthy(), node(status=silent)]).cure == "kubectl -n pr-env describe virtualnode.appmesh.k8s.aws/web"


@pytest.mark.parametrize(
    "said",
    [
        status("VirtualNode", "Accepted", "", says="True"),
        status("VirtualNode", "NotSupported", "of another generation", generation=1),
        status("VirtualNode", "", "by App Mesh's controller"),
        status("Mesh", "Invalid", "of another type"),
        {},
    ],
)
def test_what_is_well_or_out_of_date_or_somebody_elses_is_not_told(said: Any) -> None:
    assert examined([*healthy(), node(status=said)]).findings == ()


def test_what_goes_away_is_not_told() -> None:
    leaving = node(status=status("VirtualNode", "Invalid", "what"))
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:00Z"
    assert examined([*healthy(), leaving]).findings == ()


def test_what_a_check_tells_with_a_better_cure_is_told_once() -> None:
    lost = route("lost", at="elsewhere")
    lost["status"] = status("GatewayRoute", "NoVirtualGateway", "no VirtualGateway's selectors match this route")
    lost["metadata"]["generation"] = 2
    elsewhere = made("v1", "Namespace", "elsewhere", at="")
    finding = only([*healthy(), elsewhere, lost])
    assert (finding.reason, finding.cure) == (
        "NoVirtualGateway",
        "kubectl label namespace elsewhere mesh=pr-env --overwrite",
    )


@pytest.mark.parametrize("what", ["Accepted", "ResolvedRefs", "Programmed"])
def test_what_gateway_apis_objects_say_is_told_too(what: str) -> None:
    objects: dict[str, Any] = {
        "GatewayClass greenroom": [gateway_class(status={"conditions": api_conditions(what)})],
        "Gateway pr-env/web": [gateway_class(), api_gateway(conditions=api_conditions(what))],
        "HTTPRoute pr-env/pr7": [http_route(what)],
    }
    for name, each in objects.items():
        finding = only([*healthy(), *each])
        assert (finding.reason, finding.objects) == ("Why", (name,))
        assert finding.message.endswith(f"{what} is False: what")


def test_a_listener_is_told_by_its_name() -> None:
    listeners = [{"name": "https", "conditions": api_conditions("Accepted")}]
    finding = only([*healthy(), gateway_class(), api_gateway(listeners=listeners)])
    assert finding.message == "listener https: Accepted is False: what"


def test_what_other_controllers_say_of_gateway_apis_objects_is_theirs() -> None:
    theirs = [
        gateway_class("example.com/other", status={"conditions": api_conditions("Accepted")}),
        api_gateway(conditions=api_conditions("Programmed")),
        http_route("Accepted", controller="example.com/other"),
    ]
    assert examined([*healthy(), *theirs]).findings == ()

"""HTTPRoutes and their Gateways: what is served, what is remembered, and what their statuses say over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.gateway.http_world import (
    WEB,
    backend,
    gateway,
    gateway_class,
    http_route,
    listener,
    path,
    rule,
    service,
    stage,
)
from tests.gateway.world import NAMESPACE, World

from greenroom.core.gateway_api import GatewayApi, GatewayRouting, backend_namespaces
from greenroom.core.gateway_api_status import Condition, Statement, statements, status_of
from greenroom.core.verdicts import Attested
from greenroom.core.xds import LISTENER, Named, Standing
from greenroom.model.gateway import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.manifest import Manifest, Ref, is_deleting
from greenroom.model.mesh import Refused

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHOP = Ref(HTTP_ROUTE, NAMESPACE, "shop")
CLASS = Ref(GATEWAY_CLASS, "", "greenroom")
BIND = "127.0.0.1"


def routed(*manifests: Manifest) -> GatewayRouting:
    return GatewayApi().route(World(*manifests))


def said(
    found: GatewayRouting, attested: Attested | None = None, *, patient: bool = True
) -> dict[Ref, Statement | None]:
    return statements(found, {WEB: attested} if attested else {}, bind=BIND, patient=patient)


def condition(statement: Statement | None, kind: str) -> Condition:
    assert statement is not None
    parts = [*statement.conditions, *(each for parent in statement.parents for each in parent.conditions)]
    return next(each for each in parts if each.type == kind)


def written(manifest: dict[str, Any], statement: Statement | None, now: datetime = NOW) -> dict[str, Any] | None:
    """``manifest`` with the status that it gets; None when nothing is written."""
    assert statement is not None
    status = status_of(manifest, statement, now)
    return None if status is None else {**manifest, "status": {**manifest.get("status", {}), **status}}


def taken(*missing: Named) -> Attested:
    """What one Envoy says that has taken everything but ``missing``."""
    return Attested((Standing(frozenset(missing), {}),))


def test_gateways_of_other_classes_are_left_alone() -> None:
    found = routed(gateway_class("example.com/other"), gateway(), *service(), http_route("shop"))
    assert not found.gateways
    assert not found.tables
    assert written(http_route("shop"), said(found)[SHOP]) is None


def test_what_is_being_deleted_is_gone() -> None:
    route = http_route("shop")
    route["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    assert is_deleting(route)
    found = routed(*stage(), *service(), route)
    assert not found.tables[WEB].listeners[0].hosts
    assert SHOP not in said(found)


def test_a_new_pod_serves_and_nothing_else_is_made_again() -> None:
    api, world = GatewayApi(), World(*stage(), *service("one"), *service("two"))
    world.put(*(http_route(name, rule(path(f"/{name}"), to=name)) for name in ("one", "two")))
    before = {each.name: each for each in api.route(world).tables[WEB].clusters}
    world.put(*service("two", pod=20001))
    after = {each.name: each for each in api.route(world).tables[WEB].clusters}
    assert after["service_pr-env_one_80"] is before["service_pr-env_one_80"]
    assert [each.port for each in after["service_pr-env_two_80"].endpoints] == [20001]


def test_a_namespace_that_cannot_be_seen_is_no_missing_backend() -> None:
    world = World(*stage(), http_route("shop"))
    why = Refused("MissingPermission", "may not list services")
    found = GatewayApi().route(world, blind={NAMESPACE: why})
    resolved = condition(said(found)[SHOP], "ResolvedRefs")
    assert (resolved.holds, resolved.reason) == (False, "MissingPermission")


def test_the_namespaces_of_all_backends_are_followed() -> None:
    there = http_route("there", rule(to=[backend(namespace="over-there")]))
    assert backend_namespaces(http_route("here")) | backend_namespaces(there) == {NAMESPACE, "over-there"}


def test_a_gateway_is_programmed_when_every_envoy_has_taken_it() -> None:
    found = routed(*stage(), *service(), http_route("shop"))
    web = said(found, taken())[WEB]
    assert condition(web, "Programmed") == Condition(
        "Programmed", True, "Programmed", "every connected Envoy serves it"
    )
    assert web is not None
    assert all(each.holds for each in web.listeners[0].conditions if each.type != "Conflicted")


def test_nothing_is_said_of_a_gateway_while_it_waits_for_envoy() -> None:
    found = routed(*stage(), *service(), http_route("shop"))
    waiting = taken((LISTENER, "lds_ingress_127.0.0.1_8080"))
    assert said(found)[WEB] is None
    assert said(found, waiting)[WEB] is None
    assert condition(said(found, waiting, patient=False)[WEB], "Programmed").reason == "Pending"


def test_a_port_that_is_in_use_is_told_of_its_listener() -> None:
    found = routed(*stage(listener(), listener("other", port=8081)), *service(), http_route("shop"))
    refused = {(LISTENER, "lds_ingress_127.0.0.1_8081"): "cannot bind: Address already in use"}
    web = said(found, Attested((Standing(frozenset(refused), refused),)))[WEB]
    assert web is not None
    programmed = [condition(Statement(each.conditions), "Programmed") for each in web.listeners]
    assert [each.holds for each in programmed] == [True, False]
    assert "port 8081 is in use" in programmed[1].message


def test_a_route_that_envoy_refuses_is_not_accepted() -> None:
    found = routed(*stage(), *service(), http_route("shop"))
    attested = Attested(taken().standings, {"httproute/pr-env/shop": "bad regex"})
    accepted = condition(said(found, attested)[SHOP], "Accepted")
    assert (accepted.holds, accepted.reason) == (False, "Quarantined")
    assert "bad regex" in accepted.message


def test_a_gateway_route_of_the_same_name_is_not_mistaken() -> None:
    found = routed(*stage(), *service(), http_route("shop"))
    attested = Attested(taken().standings, {"pr-env/shop": "bad regex"})
    assert condition(said(found, attested)[SHOP], "Accepted").holds


def test_a_status_that_says_so_already_is_not_written() -> None:
    manifests = [gateway_class(), gateway(), http_route("shop")]
    found = routed(*manifests, *service())
    statuses = said(found, taken())
    for manifest, ref in zip(manifests, (CLASS, WEB, SHOP), strict=True):
        first = written(manifest, statuses[ref])
        assert first is not None
        assert written(first, statuses[ref], NOW + timedelta(hours=1)) is None


def test_a_condition_tells_since_when_it_holds() -> None:
    found = routed(*stage(), http_route("shop"))
    first = written(http_route("shop"), said(found)[SHOP])
    assert first is not None
    first["metadata"]["generation"] = 2
    found = routed(*stage(), *service(), http_route("shop"))
    second = written(first, said(found)[SHOP], NOW + timedelta(hours=1))
    assert second is not None
    told = {each["type"]: each for each in second["status"]["parents"][0]["conditions"]}
    assert told["Accepted"]["lastTransitionTime"] == "2026-11-24T12:00:00Z"
    assert told["ResolvedRefs"]["lastTransitionTime"] == "2026-11-24T13:00:00Z"
    assert {each["observedGeneration"] for each in told.values()} == {2}


def test_what_other_controllers_wrote_stays() -> None:
    route = http_route("shop")
    theirs = {"parentRef": {"name": "web"}, "controllerName": "example.com/other", "conditions": []}
    route["status"] = {"parents": [theirs]}
    web = gateway()
    custom = {"type": "example.com/Custom", "status": "True", "reason": "X", "message": ""}
    pending = {"type": "Programmed", "status": "Unknown", "reason": "Pending", "message": ""}
    web["status"] = {"conditions": [custom, pending], "addresses": [{"value": "10.0.0.1"}]}
    found = routed(gateway_class(), web, *service(), route)
    statuses = said(found, taken())
    written_route, written_web = written(route, statuses[SHOP]), written(web, statuses[WEB])
    assert written_route is not None
    assert written_web is not None
    assert [each["controllerName"] for each in written_route["status"]["parents"]] == [
        "example.com/other",
        "greenroom.dev/gateway",
    ]
    assert [each["type"] for each in written_web["status"]["conditions"]] == [custom["type"], "Programmed", "Accepted"]
    assert written_web["status"]["conditions"][0] == custom
    assert written_web["status"]["addresses"] == [{"value": "10.0.0.1"}]


def test_a_route_that_left_a_gateway_says_so_no_more() -> None:
    found = routed(*stage(), *service(), http_route("shop"))
    before = written(http_route("shop"), said(found)[SHOP])
    assert before is not None
    moved = http_route("shop", parent={"name": "another"})
    after = written({**before, "spec": moved["spec"]}, said(routed(*stage(), moved))[SHOP])
    assert after is not None
    assert after["status"]["parents"] == []


def test_a_listener_that_is_gone_is_told_no_more() -> None:
    both = gateway(listener(), listener("other", port=8081))
    found = routed(gateway_class(), both)
    before = written(both, said(found, patient=False)[Ref(GATEWAY, NAMESPACE, "web")])
    assert before is not None
    one = {**before, "spec": gateway()["spec"]}
    after = written(one, said(routed(gateway_class(), one), patient=False)[WEB])
    assert after is not None
    assert [each["name"] for each in after["status"]["listeners"]] == ["http"]

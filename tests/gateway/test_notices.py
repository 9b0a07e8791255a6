"""What PR objects have to say to visitors, and where it is put up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.gateway.http_world import http_route
from tests.gateway.test_pages import HOST, WAITING, pr
from tests.gateway.world import GATEWAY, NAMESPACE, World, environment, load, route, stage, stored, web

from greenroom.core.notices import announced, notice_of, notices
from greenroom.core.routing import Router
from greenroom.core.status import FAILURES, REASONS
from greenroom.model.gateway import GATEWAY as API_GATEWAY
from greenroom.model.manifest import Manifest, Ref
from greenroom.model.routes import Listener, ListenerRoutes, Notice, RouteTable, State, VirtualHost

A = "a" * 40
NOTICE = Notice(State.BUILDING, "shop-pr1", "pr-env", A, "WaitingForImage", WAITING[2])
READY = ("True", "Ready", "shows commit aaaaaaa")


def put_up(*manifests: Manifest, notices: dict[str, Notice]) -> dict[str, Notice | None]:
    """Domain -> notice, on the gateway's only listener."""
    (listener,) = _announced(*manifests, notices=notices)[GATEWAY].listeners
    return {host.domain: host.notice for host in listener.hosts}


def _announced(*manifests: Manifest, notices: dict[str, Notice]) -> dict[Ref, RouteTable]:
    return announced(Router().route(World(*stage(), *manifests)).tables, notices)


def test_a_notice_tells_what_the_pr_object_tells() -> None:
    assert notice_of(pr(ready=WAITING)) == NOTICE


def test_a_new_pr_object_is_being_built() -> None:
    found = notice_of(pr(ready=None))
    assert found is not None
    assert (found.state, found.message) == (State.BUILDING, "Greenroom has not looked at it yet")


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_is_a_state(reason: str) -> None:
    found = notice_of(pr(ready=("False", reason, "why")))
    assert found is not None
    assert (found.state is State.FAILED) is (reason in FAILURES)


def test_nothing_is_said_of_one_that_is_ready_or_goes_away() -> None:
    leaving: dict[str, Any] = dict(pr(ready=WAITING))
    leaving["metadata"] = {**leaving["metadata"], "deletionTimestamp": "2026-11-23T10:00:00Z"}
    assert notice_of(pr(ready=READY)) is None
    assert notice_of(leaving) is None


def test_every_exact_host_of_the_environments_routes_is_known() -> None:
    owner = {"apiVersion": "kubetempura.mercari.com/v1", "kind": "PR", "name": "shop-pr1", "uid": "uid-shop-pr1"}
    owned: dict[str, Any] = {"ownerReferences": [{**owner, "controller": True}]}
    api = route("api", {"hostname": {"exact": "API.example.com"}}, metadata=owned)
    suffix = route("suffix", {"hostname": {"suffix": ".example.com"}}, metadata=owned)
    stranger = route("stranger", {"hostname": {"exact": "stranger.example.com"}})
    assert notices([pr(ready=WAITING)], [api, suffix, stranger]) == {HOST: NOTICE, "api.example.com": NOTICE}
    assert notices([pr(ready=READY)], [api]) == {}


def test_the_hosts_of_an_environments_http_routes_are_known() -> None:
    owner = {"apiVersion": "kubetempura.mercari.com/v1", "kind": "PR", "name": "shop-pr1", "uid": "uid-shop-pr1"}
    made = http_route("api", hostnames=["API.example.com", "*.wide.example.com"])
    made["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    stranger = http_route("stranger", hostnames=["stranger.example.com"])
    assert notices([pr(ready=WAITING)], [made, stranger]) == {HOST: NOTICE, "api.example.com": NOTICE}


@pytest.mark.parametrize("host", ["*", "*.example.com", "", "a b", "[::1]", "a" * 300])
def test_what_is_no_host_is_announced_nowhere(host: str) -> None:
    assert notices([pr(ready=WAITING, host=host)], []) == {}


def test_a_notice_hangs_where_no_endpoint_is_ready() -> None:
    assert put_up(*environment(1, A), notices={HOST: NOTICE}) == {HOST: NOTICE}


def test_a_notice_changes_nothing_where_endpoints_are_ready() -> None:
    """Envoy gets the same bytes as without, whatever the pull request says while it serves."""
    assert put_up(*environment(1, A, 20001), notices={HOST: NOTICE}) == {HOST: None}


def test_one_silent_part_of_an_environment_is_enough() -> None:
    api = route("api", {"prefix": "/api", "hostname": {"exact": HOST}})
    assert put_up(*environment(1, A, 20001), *web(), api, notices={HOST: NOTICE}) == {HOST: NOTICE}


def test_a_host_without_a_route_is_announced() -> None:
    assert put_up(notices={HOST: NOTICE}) == {HOST: NOTICE}


def test_a_host_that_a_suffix_serves_is_left_to_it() -> None:
    wide = route("wide", {"hostname": {"suffix": ".example.com"}})
    assert HOST not in put_up(*web(), wide, notices={HOST: NOTICE})


def test_an_environments_own_page_comes_before_whatever_answers_for_every_host() -> None:
    """Whoever opens its address would take that answer for the environment."""
    assert put_up(*web(), route("wide", {"prefix": "/"}), notices={HOST: NOTICE}) == {"*": None, HOST: NOTICE}


def test_a_host_that_another_gateway_serves_is_not_announced_here() -> None:
    found = domains(*environment(1, A), notices={HOST: NOTICE, "lost.example.com": NOTICE})
    assert found["second"] == ["lost.example.com"]


@pytest.mark.parametrize("match", [{"prefix": "/"}, {"hostname": {"suffix": ".example.com"}}])
def test_a_wide_route_of_another_gateway_silences_no_page_here(match: dict[str, Any]) -> None:
    wide = route("wide", match, metadata={"labels": {"team": "other"}})
    assert domains(*web(), wide, notices={HOST: NOTICE})["ingress-gw"] == [HOST]


def test_a_listener_of_gateway_api_without_routes_leaves_its_hosts_to_the_pages() -> None:
    gateway = Ref(API_GATEWAY, NAMESPACE, "web")
    for listeners in ([HOST], [HOST, "*.example.com"], ["*.example.com", "other.example.com"]):
        served = ListenerRoutes(Listener(8080), tuple(VirtualHost(each, ()) for each in listeners))
        (found,) = announced({gateway: RouteTable((served,), ())}, {HOST: NOTICE})[gateway].listeners
        assert [host.domain for host in found.hosts if host.routes] == [HOST]


def domains(*manifests: Manifest, notices: dict[str, Notice]) -> dict[str, list[str]]:
    """By gateway: the published one for routes without a label, ``second`` for those of the team ``other``."""
    first, second = (stored(load("gateway.yaml")[0]) for _ in range(2))
    second["metadata"] = {**second["metadata"], "name": "second"}
    others = {"key": "team", "operator": "NotIn", "values": ["other"]}
    first["spec"] |= {"gatewayRouteSelector": {"matchExpressions": [others]}}
    second["spec"] |= {"gatewayRouteSelector": {"matchLabels": {"team": "other"}}}
    tables = _announced(first, second, *manifests, notices=notices)
    return {ref.name: [host.domain for each in table.listeners for host in each.hosts] for ref, table in tables.items()}


def test_hosts_stay_in_order() -> None:
    more = {"aa.example.com": NOTICE, "zz.example.com": replace(NOTICE, state=State.FAILED)}
    assert list(put_up(*environment(1, A), notices=more)) == ["aa.example.com", HOST, "zz.example.com"]

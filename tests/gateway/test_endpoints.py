"""Which pods an address leads to: ready ones, and of one commit."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.world import (
    GATEWAY,
    World,
    endpoint_slice,
    environment,
    find,
    running,
    stage,
)

from greenroom.core.routing import Router
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    POD,
    REPLICA_SET,
    SERVICE,
    Kind,
    name_of,
    ref_of,
)
from greenroom.model.mesh import MESH, VIRTUAL_NODE

A, B, C = "a" * 40, "b" * 40, "c" * 40
LATER, LATEST = "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


def serving(world: World) -> dict[int, str]:
    """Port -> commit of what the only address leads to."""
    routing = Router().route(world)
    assert not routing.refused
    return {each.port: each.commit for each in routing.tables[GATEWAY].clusters[0].endpoints}


def shown(*manifests: Any, wanted: str = A, replicas: int = 1) -> dict[int, str]:
    """The same for pods of ``pr1``, whose Deployment wants ``replicas`` of the commit ``wanted``."""
    made = [*stage(), *environment(1, wanted)]
    made = [each for each in made if each["kind"] != "ReplicaSet"]
    find(made, DEPLOYMENT, "pr1")["spec"]["replicas"] = replicas
    return serving(World(*made, *manifests))


def test_ready_pods_serve() -> None:
    assert shown(*running("pr1", A, 1, 2), replicas=2) == {1: A, 2: A}


def test_pods_that_are_not_ready_do_not() -> None:
    assert shown(*running("pr1", A, 1, ready=False)) == {}


def test_the_old_commit_serves_while_the_new_one_starts() -> None:
    old, new = running("pr1", A, 1), running("pr1", B, 2, ready=False, created=LATER)
    assert shown(*old, *new, wanted=B) == {1: A}


def test_the_new_commit_takes_over_when_all_its_replicas_are_ready() -> None:
    old = running("pr1", A, 1, 2)
    assert shown(*old, *running("pr1", B, 3, created=LATER), wanted=B, replicas=2) == {1: A, 2: A}
    assert shown(*old, *running("pr1", B, 3, 4, created=LATER), wanted=B, replicas=2) == {3: B, 4: B}


def test_a_part_of_the_new_commit_is_better_than_nothing() -> None:
    assert shown(*running("pr1", B, 3), wanted=B, replicas=2) == {3: B}


def test_a_failed_new_commit_leaves_the_one_that_was_shown() -> None:
    older = [*running("pr1", A, 1, 2), *running("pr1", B, 3, created=LATER)]
    assert shown(*older, wanted=C, replicas=2) == {1: A, 2: A}


def test_a_step_back_counts_as_new() -> None:
    both = [*running("pr1", A, 1), *running("pr1", B, 2, created=LATER)]
    assert shown(*both, wanted=A) == {1: A}


def test_revisions_order_commits_that_are_not_wanted_any_more() -> None:
    first, second = running("pr1", A, 1, created=LATER), running("pr1", B, 2)
    for replica_set, revision in ((first[0], "9"), (second[0], "10")):
        assert isinstance(replica_set, dict)
        replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision
    assert shown(*first, *second, wanted=C) == {2: B}


def test_a_pod_is_not_used_before_its_commit_is_known() -> None:
    pod_unknown = [each for each in running("pr1", A, 1) if each["kind"] != POD.name]
    owner_unknown = [each for each in running("pr1", A, 1) if each["kind"] != "ReplicaSet"]
    assert shown(*pod_unknown) == {}
    assert shown(*owner_unknown) == {}


def test_a_pod_that_is_being_deleted_gets_no_more_requests() -> None:
    made = running("pr1", A, 1, 2)
    find(made, POD, "pr1-aaaaa-2")["metadata"]["deletionTimestamp"] = LATEST
    assert shown(*made) == {1: A}


def test_addresses_without_a_pod_serve_and_tell_no_commit() -> None:
    made = endpoint_slice("pr1", "x", 7)
    del made["endpoints"][0]["targetRef"]
    assert shown(made) == {7: ""}


def test_a_bare_pod_tells_its_own_commit() -> None:
    made = running("pr1", A, 1)[1:]
    pod = find(made, POD, "pr1-aaaaa-1")
    pod["metadata"] |= {"ownerReferences": [], "annotations": {COMMIT_ANNOTATION: B}}
    assert shown(*made) == {1: B}


def test_no_word_on_readiness_means_ready() -> None:
    made = running("pr1", A, 1)
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["endpoints"][0]["conditions"] = {}
    assert shown(*made) == {1: A}


def test_one_slice_with_many_endpoints_serves_as_many() -> None:
    made = [each for each in running("pr1", A, 1, 2) if each["kind"] != ENDPOINT_SLICE.name]
    merged = endpoint_slice("pr1", "pr1-aaaaa-1", 80)
    other = endpoint_slice("pr1", "pr1-aaaaa-2", 80)["endpoints"][0]
    merged["endpoints"][0]["addresses"] = ["10.0.0.1"]
    merged["endpoints"].append({**other, "addresses": ["10.0.0.2"]})
    world = World(*stage(), *environment(1, A), *made, merged)
    endpoints = Router().route(world).tables[GATEWAY].clusters[0].endpoints
    assert [each.address for each in endpoints] == ["10.0.0.1", "10.0.0.2"]


def test_the_port_of_a_slice_is_found_by_the_name_of_the_services_port() -> None:
    made = [*stage(), *environment(1, A, 1)]
    find(made, SERVICE, "pr1")["spec"]["ports"] = [{"name": "admin", "port": 9}, {"name": "web", "port": 80}]
    ports = [{"name": "admin", "port": 1009}, {"name": "web", "port": 1080}]
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["ports"] = ports
    assert serving(World(*made)) == {1080: A}


def test_a_headless_service_is_dialled_on_the_port_of_its_pods() -> None:
    made = [*stage(), *environment(1, A, 1)]
    spec = {"clusterIP": "None", "ports": [{"name": "web", "port": 8080, "targetPort": 80}]}
    find(made, SERVICE, "pr1")["spec"] |= spec
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["ports"] = [{"name": "web", "port": 80}]
    assert serving(World(*made)) == {80: A}


def test_a_headless_service_may_leave_the_port_to_the_node() -> None:
    made = [*stage(), *environment(1, A, 1)]
    find(made, SERVICE, "pr1")["spec"] |= {"clusterIP": "None", "ports": []}
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["ports"] = []
    assert serving(World(*made)) == {80: A}


def test_of_two_address_families_one_is_used() -> None:
    made = running("pr1", A, 1)
    second = {**endpoint_slice("pr1", "pr1-aaaaa-1", 1), "addressType": "IPv6"}
    second["metadata"]["name"] = "v6"
    second["endpoints"][0]["addresses"] = ["::1"]
    world = World(*stage(), *environment(1, A), *made, second)
    assert [each.address for each in Router().route(world).tables[GATEWAY].clusters[0].endpoints] == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["", "not-an-address", "127.0.0.1:80", "fe80::1%eth0"])
def test_what_is_no_address_is_left_out(address: str) -> None:
    made = running("pr1", A, 1)
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["endpoints"][0]["addresses"] = [address]
    assert shown(*made) == {}


def test_the_slices_of_another_namespace_are_not_taken() -> None:
    made = running("pr1", A, 1)
    find(made, ENDPOINT_SLICE, "pr1-pr1-aaaaa-1")["metadata"]["namespace"] = "elsewhere"
    assert shown(*made) == {}


CHANGES: list[tuple[Kind, str, Any]] = [
    (POD, "pr1-aaaaa-1", lambda each: each["metadata"].update(deletionTimestamp=LATEST)),
    (REPLICA_SET, "pr1-aaaaa", lambda each: each["metadata"]["annotations"].update({COMMIT_ANNOTATION: C})),
    (REPLICA_SET, "pr1-bbbbb", lambda each: each["metadata"]["annotations"].update({COMMIT_ANNOTATION: C})),
    (DEPLOYMENT, "pr1", lambda each: each["spec"].update(replicas=1)),
    (ENDPOINT_SLICE, "pr1-pr1-bbbbb-2", lambda each: each["endpoints"][0]["conditions"].update(ready=False)),
    (ENDPOINT_SLICE, "pr1-pr1-aaaaa-1", lambda each: each["metadata"]["labels"].clear()),
    (SERVICE, "pr1", lambda each: each["spec"].update(ports=[{"port": 80, "name": "other"}])),
    (SERVICE, "pr1", lambda each: each["spec"].update(type="ExternalName", externalName="x.example.com")),
    (VIRTUAL_NODE, "pr1", lambda each: each["spec"]["serviceDiscovery"]["dns"].update(hostname="10.0.0.1")),
    (MESH, "pr-env", lambda each: each["spec"].update(awsName="other")),
]


@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.booleans()), max_size=6))
def test_what_is_remembered_is_what_would_be_found_again(changes: list[tuple[tuple[Kind, str, Any], bool]]) -> None:
    """After any changes, undone or not, removals included, a new router says the same."""
    made = [*stage(), *environment(1, A), *running("pr1", A, 1), *running("pr1", B, 2, created=LATER)]
    world, router = World(*made), Router()
    router.route(world)
    for (kind, name, change), gone in changes:
        original = next(each for each in made if each["kind"] == kind.name and name_of(each) == name)
        changed = deepcopy(dict(original))
        change(changed)
        for manifest in (changed, original):
            world.put(manifest)
            if gone:
                world.remove(ref_of(manifest))
            assert router.route(world).tables == Router().route(world).tables
            assert router.route(world).refused.keys() == Router().route(world).refused.keys()

"""However many changes a gateway has seen: what it serves is what one would serve that was started now."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.world import NAMESPACE, World, environment, load, route, router, routers_route, running, stage, web

from greenroom.core.envoy import snapshot
from greenroom.core.routing import Router, Routing
from greenroom.model.manifest import Manifest, name_of, ref_of
from greenroom.model.mesh import Refused

A, B = "a" * 40, "b" * 40
LATER = "2026-11-23T11:00:00Z"


def objects() -> list[Manifest]:
    """Of everything some, so that objects depend on one another, collide, and are missed."""
    second = {**load("gateway.yaml")[0], "metadata": {"name": "second", "namespace": NAMESPACE}}
    weights = {"web": 1, "pr1": 2}
    suffix = {"prefix": "/", "hostname": {"suffix": ".example.com"}}
    return [
        *stage(),
        second,
        {**load("mesh.yaml")[0], "metadata": {"name": "second"}},
        *environment(1, A, 20001, host="a.example.com"),
        *running("pr1", B, 20002),
        *environment(2, A, 20003),
        *web(),
        *router("split", routers_route("r", {"prefix": "/"}, to=weights)),
        route("any", {"prefix": "/any"}),
        route("suffix", suffix, to="split"),
        route("rival", suffix, metadata={"creationTimestamp": LATER}),
        route("port", {"prefix": "/", "port": 8080}, to="split"),
    ]


EDITS: list[tuple[tuple[str, ...], Any]] = [
    (("metadata", "labels"), {"gateway": "other"}),
    (("metadata", "labels"), None),
    (("metadata", "annotations"), {"greenroom.dev/commit": B}),
    (("metadata", "creationTimestamp"), LATER),
    (("metadata", "deletionTimestamp"), LATER),
    (("metadata", "deletionTimestamp"), None),
    (("spec", "awsName"), "same"),
    (("spec", "awsName"), None),
    (("spec", "priority"), 3),
    (("spec", "namespaceSelector"), {}),
    (("spec", "namespaceSelector"), None),
    (("spec", "gatewayRouteSelector"), {"matchLabels": {"gateway": "other"}}),
    (("spec", "provider"), {"virtualRouter": {"virtualRouterRef": {"name": "split"}}}),
    (("spec", "provider"), {"virtualNode": {"virtualNodeRef": {"name": "web"}}}),
    (("spec", "serviceDiscovery"), {"dns": {"hostname": "example.com"}}),
    (("spec", "serviceDiscovery"), {"dns": {"hostname": f"web.{NAMESPACE}.svc"}}),
    (("spec", "ports"), [{"port": 81}]),
    (("spec", "replicas"), 2),
    (("endpoints",), []),
    (("spec", "unknown"), 1),
]
WHAT = st.one_of(st.just("put"), st.just("remove"), st.integers(0, len(EDITS) - 1))
CHANGE = st.tuples(st.integers(0, len(objects()) - 1), WHAT)


def edited(manifest: Manifest, path: tuple[str, ...], value: Any) -> Manifest:
    made: dict[str, Any] = deepcopy(dict(manifest))
    inner = made
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value
    return made


def seen(routing: Routing) -> dict[str, Any]:
    """All that there is to see of it."""
    return {
        "tables": routing.tables,
        "placed": routing.placed,
        "accepted": routing.accepted,
        "refused": {ref: (why.reason, str(why)) for ref, why in routing.refused.items()},
        "remarks": routing.remarks,
        "snapshots": {ref: snapshot(table, bind="127.0.0.1") for ref, table in routing.tables.items()},
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CHANGE, min_size=1, max_size=3), max_size=12), st.booleans())
def test_what_is_served_does_not_depend_on_what_was_before(steps: list[list[tuple[int, Any]]], blind: bool) -> None:
    everything = objects()
    # With a second mesh or gateway from the beginning, nearly everything would be refused.
    world, router = World(*(each for each in everything if name_of(each) != "second")), Router()
    known = {NAMESPACE: Refused("MissingPermission", "allow list of services")} if blind else {}
    router.route(world, blind=known)
    for index, step in enumerate(steps):
        for which, what in step:
            manifest = everything[which]
            ref = ref_of(manifest)
            if what == "put":
                world.put(manifest)
            elif what != "remove":
                world.put(edited(world.get(ref) or manifest, *EDITS[what]))
            elif world.get(ref) is not None:
                world.remove(ref)
        now = known if index % 2 else {}
        assert seen(router.route(world, blind=now)) == seen(Router().route(world, blind=now))

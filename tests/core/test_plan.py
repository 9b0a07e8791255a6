"""What is done to the cluster, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.plan import (
    Action,
    Apply,
    Blocked,
    Delete,
    Record,
    digest,
    holds_data,
    inventory_items,
    inventory_of,
    is_repair,
    plan,
    projection,
)
from greenroom.model.environment import Environment
from greenroom.model.manifest import PR, Ref, ref_of

ENVIRONMENT = Environment(Ref(PR, "pr-env", "shop-pr7"), "uid-7", 1, "shop", "7", "c" * 40, ())
OWNER = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr7", "uid": "uid-7", "controller": True}
KINDS = {
    "ConfigMap": "v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "GatewayRoute": "appmesh.k8s.aws/v1beta2",
}


def desired(name: str, kind: str = "ConfigMap", **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "pr-env", "ownerReferences": [OWNER]}
    return {"apiVersion": KINDS[kind], "kind": kind, "metadata": metadata, **content}


def stored(rendered: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """As a server keeps it: with a UID, a default, and a number written in another way."""
    text = {key: str(value) for key, value in rendered.get("data", {}).items()}
    kept = {**rendered["metadata"], "uid": f"uid-of-{rendered['metadata']['name']}", **metadata}
    return {**rendered, "metadata": kept, "data": text, "immutable": False}


class Server:
    """Objects that are stored by ``do``, and the inventory that is kept of them."""

    def __init__(self, *present: dict[str, Any]) -> None:
        self.objects: dict[Ref, Any] = {ref_of(manifest): manifest for manifest in present}
        self.inventory: dict[Ref, Record] = {}

    def plan(self, *wanted: Any) -> tuple[Action, ...]:
        owned = [each for each in self.objects.values() if OWNER in each["metadata"].get("ownerReferences", [])]
        return plan(wanted, self.objects.get, owned, self.inventory)

    def do(self, *wanted: Any) -> None:
        for action in self.plan(*wanted):
            match action:
                case Apply(manifest):
                    self.objects[action.ref] = stored(dict(manifest))
                    self.inventory[action.ref] = Record.of(manifest, self.objects[action.ref])
                case Delete(ref):
                    del self.objects[ref]
                    self.inventory.pop(ref, None)


contents = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)
templates = st.dictionaries(st.sampled_from("xyz"), contents, max_size=3)


def objects_of(template: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    return [desired(name, data=data) for name, data in template.items()]


@given(st.lists(templates, min_size=1, max_size=4))
def test_after_an_apply_there_is_nothing_to_do(history: list[dict[str, dict[str, int]]]) -> None:
    server = Server()
    for template in history:
        server.do(*objects_of(template))
        assert server.plan(*objects_of(template)) == ()
    assert {ref.name for ref in server.objects} == set(history[-1])


def test_only_what_changed_in_the_template_is_written() -> None:
    server = Server()
    server.do(desired("a", data={"x": 1}), desired("b", data={"x": 1}))
    changed = desired("b", data={"x": 2})
    assert server.plan(desired("a", data={"x": 1}), changed) == (Apply(changed),)


def test_what_somebody_changed_is_put_right() -> None:
    server = Server()
    wanted = desired("a", data={"x": 1})
    server.do(wanted)
    server.objects[ref_of(wanted)] = stored({**wanted, "data": {"x": 2}})
    assert server.plan(wanted) == (Apply(wanted),)


def test_what_somebody_added_is_left() -> None:
    server = Server()
    wanted = desired("a", data={"x": 1})
    server.do(wanted)
    added = stored({**wanted, "data": {"x": 1, "y": 2}}, labels={"theirs": "too"})
    server.objects[ref_of(wanted)] = {**added, "status": {"seen": True}}
    assert server.plan(wanted) == ()


def test_what_somebody_deleted_is_made_again() -> None:
    server = Server()
    server.do(desired("a"))
    server.objects.clear()
    assert server.plan(desired("a")) == (Apply(desired("a")),)


def job(image: str, **spec: Any) -> dict[str, Any]:
    return desired("seed", "Job", spec={"template": {"image": image}, **spec})


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_job_that_is_cleaned_away_when_it_has_finished_runs_once_for_each_version_of_it(seconds: int) -> None:
    server = Server()
    first, second = (job(image, ttlSecondsAfterFinished=seconds) for image in "ab")
    assert server.plan(first) == (Apply(first),)
    server.do(first)
    server.objects[ref_of(first)] = stored(first, deletionTimestamp="2026-01-31T12:00:00Z")
    assert server.plan(first) == ()
    server.objects.clear()
    assert server.plan(first) == ()
    assert server.plan(second) == (Apply(second),)


@pytest.mark.parametrize("made", [job("a"), desired("seed", "CronJob", spec={"ttlSecondsAfterFinished": 60})])
def test_what_nobody_cleans_away_by_itself_is_made_again(made: dict[str, Any]) -> None:
    server = Server()
    server.do(made)
    server.objects.clear()
    assert server.plan(made) == (Apply(made),)


def test_to_put_right_what_was_as_desired_is_a_repair_and_nothing_else_is() -> None:
    wanted = desired("a", data={"x": 1})
    record = Record.of(wanted, wanted)
    assert is_repair(Apply(wanted), record)
    assert not is_repair(Apply(wanted), None)
    assert not is_repair(Apply(desired("a", data={"x": 2})), record)
    assert not is_repair(Delete(ref_of(wanted), "uid"), record)


def test_what_left_the_template_is_deleted_by_its_uid() -> None:
    server = Server()
    server.do(desired("a"), desired("b"))
    assert server.plan(desired("a")) == (Delete(ref_of(desired("b")), "uid-of-b"),)


def test_what_is_being_deleted_is_not_deleted_again() -> None:
    server = Server(stored(desired("b"), deletionTimestamp="2026-01-31T12:00:00Z"))
    assert server.plan() == ()


def test_an_object_that_nobody_owns_is_taken_over_but_never_pruned() -> None:
    lonely = stored(desired("a"), ownerReferences=[])
    assert Server(lonely).plan(desired("a")) == (Apply(desired("a")),)
    assert Server(lonely).plan() == ()


def test_an_object_of_somebody_else_is_left_alone() -> None:
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs", "uid": "x", "controller": True}
    server = Server(stored(desired("a"), ownerReferences=[theirs]))
    (blocked,) = server.plan(desired("a"))
    assert isinstance(blocked, Blocked)
    assert (blocked.reason, blocked.message) == ("NameTaken", "ConfigMap/a belongs to Deployment/theirs")


def test_the_rest_of_an_earlier_environment_makes_room() -> None:
    earlier = stored(desired("a"), ownerReferences=[{**OWNER, "uid": "uid-of-before"}])
    assert Server(earlier).plan(desired("a")) == (Delete(ref_of(earlier), "uid-of-a"),)


def test_an_object_that_is_going_is_waited_for() -> None:
    server = Server(stored(desired("a"), deletionTimestamp="2026-01-31T12:00:00Z"))
    (blocked,) = server.plan(desired("a"))
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "Replacing"


def test_an_object_that_is_seen_in_two_versions_is_one() -> None:
    wanted = {**desired("a"), "apiVersion": "autoscaling/v2"}
    other = stored({**wanted, "apiVersion": "autoscaling/v1"})
    assert Server(stored(wanted), other).plan(wanted) == (Apply(wanted),)
    assert len(Server(stored(wanted), other).plan()) == 2


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "held"),
    [
        ("v1", "ConfigMap", {}, False),
        ("v1", "PersistentVolumeClaim", {}, True),
        ("apps/v1", "Deployment", {}, False),
        ("apps/v1", "StatefulSet", {}, False),
        ("apps/v1", "StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}, False),
        ("apps/v1", "StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}, True),
        ("autoscaling/v2", "HorizontalPodAutoscaler", {}, False),
        ("networking.k8s.io/v1", "Ingress", {}, False),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", {}, False),
        ("appmesh.k8s.aws/v1beta2", "GatewayRoute", {}, False),
        ("databases.example.com/v1", "Database", {}, True),
        ("k8s.io.example.com/v1", "Database", {}, True),
        ("snapshot.storage.k8s.io/v1", "VolumeSnapshot", {}, True),
    ],
)
def test_what_may_hold_data_is_known_by_its_kind_and_its_promises(
    api_version: str, kind: str, spec: Any, held: bool
) -> None:
    assert holds_data({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, "spec": spec}) == held


def test_what_pods_read_comes_before_them_and_routes_come_last() -> None:
    wanted = [
        desired("r", "GatewayRoute"),
        desired("d", "Deployment"),
        desired("s", "Service"),
        desired("c"),
        desired("b"),
    ]
    assert [action.ref.name for action in Server().plan(*wanted)] == ["c", "b", "s", "d", "r"]


@pytest.mark.parametrize(
    ("rendered", "live", "seen"),
    [
        ({"a": 1}, {"a": "1", "b": 2}, {"a": "1"}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {}),
        (
            {"a": [{"name": "x", "v": 1}]},
            {"a": [{"name": "sidecar"}, {"name": "x", "v": 1, "d": 2}]},
            {"a": [{"name": "x", "v": 1}]},
        ),
        ({"a": [{"name": "x"}, {"name": "y"}]}, {"a": [{"name": "y"}]}, {"a": [{"name": "y"}]}),
        ({"a": [{"p": 1}]}, {"a": [{"p": 1, "q": 2}]}, {"a": [{"p": 1}]}),
        ({"a": [{"p": 1}]}, {"a": [{"p": 1}, {"p": 2}]}, {"a": [{"p": 1}, {"p": 2}]}),
        ({"a": ["x"]}, {"a": "x"}, {"a": "x"}),
    ],
)
def test_drift_is_looked_for_in_the_fields_that_were_given(rendered: Any, live: Any, seen: Any) -> None:
    assert projection(rendered, live) == seen


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [2, 1]}) != digest({"b": [1, 2]})


def test_the_inventory_is_read_back_from_the_status() -> None:
    records = [Record(ref_of(desired("b", "Deployment")), "1", "2"), Record(ref_of(desired("a")), "3", "4")]
    status = {"inventory": [*inventory_items(records), {"kind": "Broken"}, 7]}
    assert inventory_of(status, "pr-env") == {record.ref: record for record in records}

"""Server-side apply: what each manager gives, keeps, takes over and lets go of."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.local.storage.apply import Owners, apply, owners_from, plain, same
from greenroom.local.storage.schema import ATOMIC, schema_of
from greenroom.model.errors import Conflict, Invalid
from greenroom.model.manifest import DEPLOYMENT, Json, Manifest, get, items, table, text

SCHEMA = schema_of(DEPLOYMENT)
BASE: Manifest = {"metadata": {"uid": "u1"}}


def applied(
    state: tuple[Manifest, Owners], wanted: Manifest, manager: str, *, force: bool = True
) -> tuple[Manifest, Owners]:
    return apply(*state, table(plain(wanted, SCHEMA)), manager=manager, force=force, schema=SCHEMA)


def pod_spec(**fields: Json) -> Manifest:
    return {"spec": {"template": {"spec": fields}}}


def containers(manifest: Manifest) -> Sequence[Json]:
    return items(manifest, "spec", "template", "spec", "containers")


def names(values: Sequence[Json]) -> list[str]:
    return [text(value, "name") for value in values]


START: tuple[Manifest, Owners] = (BASE, {})


def test_a_list_item_that_two_managers_share_keeps_what_the_other_gave() -> None:
    state = applied(START, pod_spec(containers=[{"name": "app", "image": "app:1", "tty": True}]), "one")
    state = applied(state, pod_spec(containers=[{"name": "app", "workingDir": "/srv"}]), "two")
    state = applied(state, pod_spec(containers=[{"name": "web", "image": "web:1"}]), "one")
    assert containers(state[0]) == [{"name": "app", "workingDir": "/srv"}, {"name": "web", "image": "web:1"}]


def test_all_variables_that_a_manager_no_longer_gives_go_whole() -> None:
    def variables(*named: str) -> Manifest:
        return pod_spec(containers=[{"name": "app", "env": [{"name": name, "value": "x"} for name in named]}])

    # Many: what goes is a set of paths, and in whatever order they come no variable may be left without its name.
    state = applied(START, variables("last", *(f"old-{number}" for number in range(50))), "one")
    state = applied(state, variables("other"), "two")
    live, _ = applied(state, variables("last"), "one")
    assert items(containers(live)[0], "env") == [{"name": "last", "value": "x"}, {"name": "other", "value": "x"}]


def test_the_order_of_init_containers_is_that_of_the_manager_who_gave_it_last() -> None:
    state = applied(START, pod_spec(initContainers=[{"name": "a"}, {"name": "b"}]), "one")
    state = applied(state, pod_spec(initContainers=[{"name": "c"}]), "two")
    state = applied(state, pod_spec(initContainers=[{"name": "b"}, {"name": "a"}]), "one")
    assert names(items(state[0], "spec", "template", "spec", "initContainers")) == ["b", "c", "a"]


def test_container_ports_of_one_number_differ_by_protocol_and_tcp_is_the_default() -> None:
    def with_ports(*ports: Json) -> Manifest:
        return pod_spec(containers=[{"name": "app", "ports": ports}])

    state = applied(START, with_ports({"containerPort": 53}), "one")
    state = applied(state, with_ports({"containerPort": 53, "protocol": "UDP"}), "two")
    state = applied(state, with_ports({"containerPort": 53, "protocol": "TCP", "name": "dns"}), "three")
    assert items(containers(state[0])[0], "ports") == [
        {"containerPort": 53, "protocol": "TCP", "name": "dns"},
        {"containerPort": 53, "protocol": "UDP"},
    ]


def test_finalizers_are_a_set_to_which_each_manager_adds_its_own() -> None:
    state = applied(START, {"metadata": {"finalizers": ["acme.example/one"]}}, "one")
    state = applied(state, {"metadata": {"finalizers": ["acme.example/two"]}}, "two")
    assert get(state[0], "metadata", "finalizers") == ["acme.example/one", "acme.example/two"]
    state = applied(state, {"metadata": {"finalizers": []}}, "one")
    assert get(state[0], "metadata", "finalizers") == ["acme.example/two"]


def test_a_null_is_as_good_as_not_given() -> None:
    state = applied(START, {"spec": {"replicas": 2, "paused": None}}, "one")
    state = applied(state, {"spec": {"replicas": None}}, "one")
    assert state[0] == {**BASE, "spec": {}}


def test_true_is_not_one() -> None:
    state = applied(START, {"data": {"on": 1}}, "one")
    state = applied(state, {"data": {"on": True}}, "one")
    assert get(state[0], "data", "on") is True


def test_a_conflict_names_the_manager_the_path_and_the_cure() -> None:
    state = applied(START, pod_spec(containers=[{"name": "app", "image": "app:1"}]), "kubectl")
    with pytest.raises(Conflict) as caught:
        applied(state, pod_spec(containers=[{"name": "app", "image": "app:2"}]), "greenroom", force=False)
    assert str(caught.value) == (
        "\"kubectl\" owns .spec.template.spec.containers[name='app'].image: "
        "leave the field to its manager, or force the change"
    )


def test_an_object_where_another_manager_had_a_value_is_a_conflict() -> None:
    state = applied(START, {"spec": {"strategy": "fast"}}, "one")
    with pytest.raises(Conflict):
        applied(state, {"spec": {"strategy": {"type": "Recreate"}}}, "two", force=False)
    with pytest.raises(Conflict):
        applied(
            applied(state, {"spec": {"strategy": {"type": "x"}}}, "two"), {"spec": {"strategy": 1}}, "one", force=False
        )


def test_filling_another_managers_empty_object_is_no_conflict() -> None:
    state = applied(START, pod_spec(volumes=[{"name": "tmp", "emptyDir": {}}]), "one")
    state = applied(state, pod_spec(volumes=[{"name": "tmp", "emptyDir": {"medium": "Memory"}}]), "two", force=False)
    state = applied(state, {}, "two")
    assert items(state[0], "spec", "template", "spec", "volumes") == [{"name": "tmp", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pod_spec(containers=[{"image": "x"}]), ".spec.template.spec.containers[0].name: required"),
        (pod_spec(containers=["app"]), ".spec.template.spec.containers[0].name: required"),
        (pod_spec(containers=[{"name": "a"}, {"name": "a"}]), "containers[1]: repeats [name='a']"),
        ({"metadata": {"finalizers": ["a", "a"]}}, ".metadata.finalizers[1]: repeats ['a']"),
        ({"data": {"ratio": float("nan")}}, ".data.ratio: this float cannot be kept as JSON"),
        ({"data": {"id": 10**30}}, ".data.id: this int cannot be kept as JSON"),
        ({"data": cast("Json", {1: "x"})}, ".data.1: the name of a field must be text"),
        ({"data": cast("Json", {"when": b"bytes"})}, ".data.when: this bytes cannot be kept as JSON"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(wrong: Manifest, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        plain(wrong, SCHEMA)
    assert message in str(caught.value)


def test_an_object_nested_without_end_is_refused() -> None:
    nested: dict[str, Json] = {}
    nested["again"] = nested
    with pytest.raises(Invalid, match="nested deeper"):
        plain(nested, ATOMIC)


# The laws of apply, for any objects

SCALARS = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from(["x", "y"]))
TREES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=2),
    lambda children: st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=6,
)


def keyed(prefix: str, fields: Mapping[str, st.SearchStrategy[Json]]) -> st.SearchStrategy[list[Json]]:
    """Items of a list that merges by name."""
    item = st.fixed_dictionaries({"name": st.sampled_from([f"{prefix}1", f"{prefix}2"])}, optional=dict(fields))
    return cast("st.SearchStrategy[list[Json]]", st.lists(item, max_size=2, unique_by=lambda each: each["name"]))


def manifests(prefix: str = "") -> st.SearchStrategy[Manifest]:
    """What a manager may apply. Those of different prefixes share containers and no field."""
    env = keyed(prefix, {"value": st.sampled_from(["1", "2"])})
    own_container = keyed(
        prefix, {"image": st.sampled_from(["i", "j"]), "env": env, "args": st.lists(SCALARS, max_size=2)}
    )
    shared_container = st.fixed_dictionaries({"name": st.just("shared"), "env": env})
    every_container = st.builds(
        lambda own, shared: [*own, *shared], own_container, st.lists(shared_container, max_size=1)
    )
    return st.builds(
        lambda found, data, labels: cast(
            "Manifest",
            {
                "metadata": {"labels": {f"{prefix}{key}": value for key, value in labels.items()}},
                "data": {f"{prefix}{key}": value for key, value in data.items()},
                **pod_spec(containers=found),
            },
        ),
        every_container,
        st.dictionaries(st.sampled_from("abc"), TREES, max_size=3),
        st.dictionaries(st.sampled_from("ab"), st.just("x"), max_size=2),
    )


STEPS = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), manifests()), max_size=6)


def after(steps: Sequence[tuple[str, Manifest]]) -> tuple[Manifest, Owners]:
    state = START
    for manager, wanted in steps:
        state = applied(state, wanted, manager)
    return state


def in_any_order(value: Json) -> Json:
    """Comparable without the order of lists' items."""
    if isinstance(value, list):
        return sorted((in_any_order(each) for each in value), key=repr)
    return {key: in_any_order(each) for key, each in sorted(value.items())} if isinstance(value, dict) else value


def holds(value: Json, wanted: Json) -> bool:
    """Whether ``value`` has all of ``wanted``: lists of named items by their names, others as a whole."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and holds(value[key], each) for key, each in wanted.items())
    if isinstance(wanted, list) and wanted and all(text(each, "name") for each in wanted):
        named = {text(each, "name"): each for each in items(value)}
        return all(holds(named.get(text(each, "name")), each) for each in wanted)
    return same(value, wanted)


@given(STEPS, manifests())
def test_applying_twice_is_applying_once(steps: list[tuple[str, Manifest]], wanted: Manifest) -> None:
    once = applied(after(steps), wanted, "one")
    twice = applied(once, wanted, "one", force=False)
    assert twice[0] is once[0]
    assert twice[1] is once[1]


@given(manifests("x"), manifests("y"))
def test_managers_of_different_fields_can_apply_in_any_order(x: Manifest, y: Manifest) -> None:
    x_first = applied(applied(START, x, "one", force=False), y, "two", force=False)
    y_first = applied(applied(START, y, "two", force=False), x, "one", force=False)
    assert in_any_order(cast("Json", x_first[0])) == in_any_order(cast("Json", y_first[0]))
    assert x_first[1] == y_first[1]


@given(manifests("x"), manifests("y"))
def test_who_lets_go_of_everything_leaves_the_object_as_it_was(x: Manifest, y: Manifest) -> None:
    before = applied(START, x, "one")
    assert applied(applied(before, y, "two"), {}, "two") == before


@given(STEPS)
def test_when_everybody_has_let_go_nothing_is_left(steps: list[tuple[str, Manifest]]) -> None:
    state = after(steps)
    for manager in list(state[1]):
        state = applied(state, {}, manager)
    assert state == START


@given(STEPS, manifests())
def test_the_last_forced_apply_wins(steps: list[tuple[str, Manifest]], wanted: Manifest) -> None:
    manifest, _ = applied(after(steps), wanted, "last")
    assert holds(manifest, plain(wanted, SCHEMA))


@given(STEPS, manifests())
def test_an_apply_changes_no_object_in_place(steps: list[tuple[str, Manifest]], wanted: Manifest) -> None:
    state = after(steps)
    before = copy.deepcopy(state)
    applied(state, wanted, "one")
    assert state == before


@given(STEPS)
def test_owners_come_back_from_json(steps: list[tuple[str, Manifest]]) -> None:
    _, owners = after(steps)
    assert owners_from(msgspec.json.decode(msgspec.json.encode(owners))) == owners

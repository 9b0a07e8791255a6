"""How Deployments roll: sizes by table, and properties of every rollout by simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.rollout import (
    Limits,
    Rollout,
    Size,
    limits_of,
    new_replica_set,
    plan,
    recreate,
    roll,
    template_hash,
)
from greenroom.core.rollout_status import deployment_status, seconds_to_deadline
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    Json,
    Manifest,
    annotations_of,
    condition_of,
    get,
    labels_of,
    name_of,
    table,
    text,
    uid_of,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def deployment(
    image: str = "shop:1", spec: Mapping[str, Json] = MappingProxyType({}), *, generation: int = 1
) -> dict[str, Json]:
    template: Json = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-of-web", "generation": generation},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def replica_set(image: str, *, asked: int, available: int, created: str = "2026-01-01") -> Manifest:
    manifest = new_replica_set(deployment(image), asked)
    metadata: Json = {**table(manifest, "metadata"), "uid": f"uid-of-{image}", "creationTimestamp": created}
    status: Json = {"replicas": asked, "readyReplicas": available, "availableReplicas": available}
    return {**manifest, "metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ({}, Limits(1, 1, 0)),
        ({"replicas": 0}, Limits(0, 0, 0)),
        ({"replicas": 3}, Limits(3, 1, 0)),
        ({"replicas": 4}, Limits(4, 1, 1)),
        ({"replicas": 10}, Limits(10, 3, 2)),
        ({"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "50%"}}}, Limits(3, 2, 1)),
        ({"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}, Limits(3, 0, 1)),
        ({"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 5, "maxUnavailable": 9}}}, Limits(2, 5, 2)),
        ({"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": "some", "maxUnavailable": None}}}, Limits(4, 1, 1)),
    ],
)
def test_percentages_are_rounded_as_kubernetes_rounds_them(spec: dict[str, Json], limits: Limits) -> None:
    assert limits_of(deployment(spec=spec)) == limits


@pytest.mark.parametrize(
    ("limits", "current", "old", "sizes"),
    [
        pytest.param(Limits(1, 1, 0), Size(0, 0), [], (1, []), id="first start"),
        pytest.param(Limits(1, 1, 0), Size(0, 0), [Size(1, 1)], (1, [1]), id="the new one starts beside the old"),
        pytest.param(Limits(1, 1, 0), Size(1, 0), [Size(1, 1)], (1, [1]), id="a stuck new one leaves the old"),
        pytest.param(Limits(1, 1, 0), Size(1, 0), [Size(1, 0)], (1, [1]), id="an old one that crashed may come back"),
        pytest.param(Limits(1, 1, 0), Size(1, 1), [Size(1, 1)], (1, [0]), id="the ready new one replaces the old"),
        pytest.param(Limits(1, 1, 0), Size(0, 0), [Size(1, 1), Size(1, 0)], (0, [1, 0]), id="the unready goes first"),
        pytest.param(Limits(1, 0, 1), Size(0, 0), [Size(1, 1)], (0, [0]), id="without surge the old makes room"),
        pytest.param(Limits(3, 1, 0), Size(1, 1), [Size(3, 3)], (1, [2]), id="one by one"),
        pytest.param(Limits(1, 1, 0), Size(3, 3), [], (1, []), id="scaled down"),
        pytest.param(Limits(0, 0, 0), Size(1, 1), [Size(1, 1)], (0, [0]), id="scaled to nothing"),
    ],
)
def test_one_step_of_a_rolling_update(
    limits: Limits, current: Size, old: list[Size], sizes: tuple[int, list[int]]
) -> None:
    assert roll(limits, current, old) == sizes


def test_recreate_waits_for_the_last_old_pod() -> None:
    assert recreate(Limits(2, 1, 0), Size(0, 0), [Size(2, 2)], emptied=False) == (0, [0])
    assert recreate(Limits(2, 1, 0), Size(0, 0), [Size(0, 0)], emptied=True) == (2, [0])


@dataclass(frozen=True)
class World:
    """ReplicaSets by template, oldest first; the last is the current one. ``works`` tells whose pods become ready."""

    limits: Limits
    sizes: tuple[Size, ...]
    works: tuple[bool, ...]

    def step(self) -> World:
        """What the planner asks for; pods taken away are unready ones first, as the ReplicaSet controller does."""
        asked, old = roll(self.limits, self.sizes[-1], self.sizes[:-1])
        sizes = tuple(Size(new, min(size.available, new)) for size, new in zip(self.sizes, [*old, asked], strict=True))
        return replace(self, sizes=sizes)

    def settle(self, index: int) -> World:
        """One more pod of a template that works becomes ready."""
        size = self.sizes[index]
        if not self.works[index] or size.available == size.asked:
            return self
        sizes = (*self.sizes[:index], Size(size.asked, size.available + 1), *self.sizes[index + 1 :])
        return replace(self, sizes=sizes)

    @property
    def available(self) -> int:
        return sum(size.available for size in self.sizes)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    wanted = draw(st.integers(0, 6))
    surge, unavailable = draw(st.integers(0, 3)), draw(st.integers(0, wanted))
    limits = Limits(wanted, surge, unavailable or (0 if surge else min(1, wanted)))
    asked = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    sizes = tuple(Size(count, draw(st.integers(0, count))) for count in asked)
    return World(limits, sizes, tuple(draw(st.booleans()) for _ in asked))


@given(worlds(), st.lists(st.integers(0, 3), max_size=40))
def test_a_rollout_never_takes_away_too_many_ready_pods_nor_asks_for_too_many(world: World, luck: list[int]) -> None:
    needed = world.limits.wanted - world.limits.unavailable
    for index in luck:
        after = world.step()
        assert after.available >= min(needed, world.available)
        before, total = (sum(size.asked for size in each.sizes) for each in (world, after))
        assert total <= max(before, world.limits.wanted + world.limits.surge)
        world = after.settle(index % len(after.sizes))


@given(worlds())
def test_a_template_that_works_takes_over_and_then_nothing_is_left_to_do(world: World) -> None:
    world = replace(world, works=(*world.works[:-1], True))
    for _ in range(100):
        world = world.step().settle(len(world.sizes) - 1)
    wanted = world.limits.wanted
    assert world.sizes == (*[Size(0, 0)] * (len(world.sizes) - 1), Size(wanted, wanted))
    assert world.step() == world


@given(st.integers(1, 6))
def test_a_template_that_does_not_work_leaves_the_old_one_serving(wanted: int) -> None:
    limits = limits_of(deployment(spec={"replicas": wanted}))
    world = World(limits, (Size(wanted, wanted), Size(0, 0)), (True, False))
    for _ in range(100):
        world = world.step()
    assert world.available == wanted - limits.unavailable
    assert world.step() == world


def test_the_commit_of_a_deployment_is_that_of_its_new_replica_set_only() -> None:
    old = replica_set("shop:1", asked=1, available=1)
    manifest = deployment("shop:2")
    metadata: Json = {
        **table(manifest, "metadata"),
        "annotations": {COMMIT_ANNOTATION: "2", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    (created,) = plan({**manifest, "metadata": metadata}, [old], {uid_of(old): 1}).apply
    assert annotations_of(created) == {COMMIT_ANNOTATION: "2"}
    assert get(created, "metadata", "ownerReferences", 0, "uid") == "uid-of-web"
    assert get(created, "spec", "selector", "matchLabels") == labels_of(created)
    assert name_of(created) == f"web-{labels_of(created)['pod-template-hash']}"


def test_a_changed_annotation_reaches_the_present_replica_set() -> None:
    present = replica_set("shop:1", asked=1, available=1)
    manifest = deployment("shop:1")
    metadata: Json = {**table(manifest, "metadata"), "annotations": {COMMIT_ANNOTATION: "2"}}
    (applied,) = plan({**manifest, "metadata": metadata}, [present], {uid_of(present): 1}).apply
    assert name_of(applied) == name_of(present)
    assert annotations_of(applied) == {COMMIT_ANNOTATION: "2"}


def test_an_old_replica_set_goes_with_its_last_pod() -> None:
    old = replica_set("shop:1", asked=0, available=0)
    new = replica_set("shop:2", asked=1, available=1)
    assert plan(deployment("shop:2"), [old, new], {uid_of(old): 1, uid_of(new): 1}).delete == ()
    assert plan(deployment("shop:2"), [old, new], {uid_of(old): 0, uid_of(new): 1}).delete == (old,)


def test_a_resized_replica_set_keeps_everything_else() -> None:
    old = replica_set("shop:1", asked=1, available=1)
    new = replica_set("shop:2", asked=1, available=1)
    (resized,) = plan(deployment("shop:2"), [old, new], {uid_of(old): 1, uid_of(new): 1}).apply
    assert get(resized, "spec") == {**table(old, "spec"), "replicas": 0}
    assert {**table(resized, "metadata"), "uid": uid_of(old), "creationTimestamp": "2026-01-01"} == old["metadata"]


def test_the_same_template_has_the_same_hash_whatever_its_order() -> None:
    assert template_hash({"a": 1, "b": {"c": 2, "d": 3}}) == template_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert template_hash({"a": 1}) != template_hash({"a": 2})
    assert len(template_hash({})) == 10


def test_the_status_tells_counts_and_generation() -> None:
    old, new = replica_set("shop:1", asked=1, available=1), replica_set("shop:2", asked=1, available=0)
    status = deployment_status(deployment("shop:2", generation=2), [old, new], NOW)
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        "observedGeneration": 2,
        "replicas": 2,
        "updatedReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
        "unavailableReplicas": 0,
    }
    assert _condition(status, "Available") == ("True", "MinimumReplicasAvailable")
    assert _condition(status, "Progressing") == ("True", "ReplicaSetUpdated")


def test_a_rollout_that_stands_still_exceeds_its_deadline_and_recovers() -> None:
    old, new = replica_set("shop:1", asked=1, available=1), replica_set("shop:2", asked=1, available=0)
    manifest = deployment("shop:2", {"progressDeadlineSeconds": 60})
    status = deployment_status(manifest, [old, new], NOW)
    assert seconds_to_deadline(manifest, status, NOW + timedelta(seconds=20)) == 40

    late = NOW + timedelta(seconds=60)
    status = deployment_status({**manifest, "status": status}, [old, new], late)
    assert _condition(status, "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert _condition(status, "Available") == ("True", "MinimumReplicasAvailable")
    assert seconds_to_deadline(manifest, status, late) is None

    much_later = NOW + timedelta(seconds=600)
    again = deployment_status({**manifest, "status": status}, [old, new], much_later)
    assert again == status
    ready = replica_set("shop:2", asked=1, available=1)
    status = deployment_status({**manifest, "status": again}, [ready], much_later)
    assert _condition(status, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_crash_after_the_rollout_is_no_matter_of_progress() -> None:
    manifest = deployment("shop:1")
    status = deployment_status(manifest, [replica_set("shop:1", asked=1, available=1)], NOW)
    crashed = replica_set("shop:1", asked=1, available=0)
    later = deployment_status({**manifest, "status": status}, [crashed], NOW + timedelta(days=1))
    assert _condition(later, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert _condition(later, "Available") == ("False", "MinimumReplicasUnavailable")


def test_an_unchanged_world_has_the_same_status_later() -> None:
    present = replica_set("shop:1", asked=1, available=1)
    manifest = deployment("shop:1")
    status = deployment_status(manifest, [present], NOW)
    later = NOW + timedelta(days=1)
    assert deployment_status({**manifest, "status": status}, [present], later) == status
    assert plan({**manifest, "status": status}, [present], {uid_of(present): 1}) == Rollout()


def _condition(status: Mapping[str, Json], kind: str) -> tuple[str, str]:
    condition = condition_of({"status": status}, kind)
    return text(condition, "status"), text(condition, "reason")

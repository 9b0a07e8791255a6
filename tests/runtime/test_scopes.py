"""Informers that look at parts of a cluster: a namespace, what carries a label, and parts that overlap."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.model_cluster import ModelCluster
from tests.runtime.test_informer import Story, following, names, owned_by, until
from tests.virtual import now, virtual_time

from greenroom.model.errors import ClusterError, Forbidden, Unavailable
from greenroom.model.manifest import DEPLOYMENT, POD, REPLICA_SET, Manifest, Ref, name_of, uid_of
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers

LABEL = "acme.example/part"
ALL, LABELLED, HERE = Scope(POD), Scope(POD, "ns", LABEL), Scope(POD, "ns")


def nobody(_old: Manifest | None, _new: Manifest | None) -> None:
    """Of a scope that was started, and not subscribed to."""


async def started(informers: Informers, *scopes: Scope) -> None:
    for scope in scopes:
        informers.start(scope)
    await informers.synced()


@virtual_time
async def test_only_what_is_in_a_scope_is_known() -> None:
    cluster = ModelCluster()
    cluster.write(POD, "web", labels={LABEL: ""})
    async with following(cluster) as informers:
        await started(informers, LABELLED)
        cluster.write(POD, "later", labels={LABEL: "x"})
        cluster.write(POD, "bare")
        cluster.write(POD, "elsewhere", namespace="other", labels={LABEL: "x"})
        await until(lambda: names(informers) == ["later", "web"])
        assert cluster.streams() == {LABELLED}


@virtual_time
async def test_an_object_that_loses_the_label_is_gone_where_only_the_label_was_looked_for() -> None:
    cluster, story = ModelCluster(), Story()
    cluster.write(POD, "web", labels={LABEL: ""})
    async with following(cluster) as informers:
        informers.subscribe(LABELLED, story)
        await informers.synced()
        cluster.write(POD, "web")
        await until(lambda: names(informers) == [])
    assert story.steps == ["+web", "-web"]


@virtual_time
async def test_an_object_that_leaves_one_of_two_scopes_stays_and_those_who_had_it_are_told() -> None:
    cluster, story = ModelCluster(), Story()
    cluster.write(POD, "web", labels={LABEL: ""})
    async with following(cluster) as informers:
        informers.subscribe(LABELLED, story)
        await started(informers, ALL)
        bare = cluster.write(POD, "web")
        await until(lambda: informers.get(Ref(POD, "ns", "web")) == bare)
        cluster.write(POD, "web", annotations={})
        await asyncio.sleep(1)
    assert story.steps == ["+web", "~web"]


@virtual_time
async def test_an_object_in_two_scopes_is_there_once_and_told_once_to_each() -> None:
    cluster, ours, everybody = ModelCluster(), Story(), Story()
    owner = cluster.write(REPLICA_SET, "owner")
    cluster.write(POD, "web", labels={LABEL: ""}, ownerReferences=owned_by(owner))
    async with following(cluster) as informers:
        informers.subscribe(LABELLED, ours)
        informers.subscribe(ALL, everybody)
        await informers.synced()
        assert [*informers.list(POD)] == [*informers.list(POD, namespace="ns")] == [*informers.owned(uid_of(owner))]
        assert names(informers) == ["web"]
        web = cluster.write(POD, "web", labels={LABEL: "x"})
        informers.observe(web)
        await asyncio.sleep(1)
        cluster.write(POD, "bare")
        cluster.remove(web)
        await until(lambda: names(informers) == ["bare"])
        assert [*informers.owned(uid_of(owner))] == []
    assert ours.steps == ["+web", "~web", "-web"]
    assert everybody.steps == ["+web", "~web", "+bare", "-web"]


@virtual_time
async def test_an_object_does_not_go_back_in_time_when_the_scope_that_saw_it_last_loses_it() -> None:
    cluster = ModelCluster()
    cluster.write(POD, "web", labels={LABEL: ""})
    async with following(cluster) as informers:
        await started(informers, ALL, LABELLED)
        cluster.strike_dumb()  # for the one that sees everything: the other is new
        informers.leave(LABELLED, nobody)
        await started(informers, LABELLED)
        web = cluster.write(POD, "web", labels={LABEL: "x"})
        await until(lambda: informers.get(Ref(POD, "ns", "web")) == web)
        cluster.write(POD, "web")
        await asyncio.sleep(1)
        assert informers.get(Ref(POD, "ns", "web")) == web
        bare = cluster.objects[Ref(POD, "ns", "web")]
        await until(lambda: informers.get(Ref(POD, "ns", "web")) == bare, within=310)


@virtual_time
async def test_our_own_write_is_taken_by_the_scopes_it_belongs_to() -> None:
    cluster = ModelCluster()
    async with following(cluster) as informers:
        await started(informers, LABELLED, Scope(POD, "other"))
        informers.observe(cluster.write(POD, "bare"))
        informers.observe(cluster.write(POD, "ours", labels={LABEL: ""}))
        informers.observe(cluster.write(POD, "theirs", namespace="other"))
        assert names(informers) == ["ours", "theirs"]


@virtual_time
async def test_a_scope_that_is_stopped_is_watched_no_longer_and_its_objects_are_forgotten() -> None:
    cluster, story, other = ModelCluster(), Story(), Story()
    owner = cluster.write(REPLICA_SET, "owner")
    cluster.write(POD, "web", labels={LABEL: ""}, ownerReferences=owned_by(owner))
    cluster.write(POD, "there", namespace="other")
    async with following(cluster) as informers:
        informers.subscribe(LABELLED, story)
        informers.subscribe(Scope(POD, "other"), other)
        await informers.synced()
        await asyncio.sleep(1)
        informers.leave(LABELLED, story)
        assert names(informers) == ["there"]
        assert [*informers.owned(uid_of(owner))] == []
        assert not informers.has_listed(LABELLED)
        await asyncio.sleep(1)
        assert cluster.streams() == {Scope(POD, "other")}
        cluster.write(POD, "web", labels={LABEL: "x"})
        await asyncio.sleep(1)
        assert names(informers) == ["there"]
        await started(informers, LABELLED)
        assert names(informers) == ["there", "web"]
    assert (story.steps, other.steps) == (["+web"], ["+there"])


@virtual_time
async def test_a_scope_of_two_subscribers_is_followed_until_the_second_one_leaves() -> None:
    cluster, first, second = ModelCluster(), Story(), Story()
    cluster.write(POD, "web")
    async with following(cluster) as informers:
        informers.subscribe(HERE, first)
        informers.subscribe(HERE, second)
        await informers.synced()
        informers.leave(HERE, first)
        cluster.write(POD, "web", labels={LABEL: ""})
        await until(lambda: second.steps == ["+web", "~web"])
        informers.leave(HERE, second)
        assert names(informers) == []
    assert first.steps == ["+web"]


@virtual_time
async def test_what_another_scope_has_too_outlives_the_one_that_is_stopped() -> None:
    cluster, story = ModelCluster(), Story()
    cluster.write(POD, "web", labels={LABEL: ""})
    async with following(cluster) as informers:
        informers.subscribe(HERE, story)
        await started(informers, LABELLED)
        informers.leave(LABELLED, nobody)
        assert names(informers) == ["web"]
        informers.leave(HERE, story)
        assert names(informers) == []
    assert story.steps == ["+web"]


@virtual_time
async def test_a_refusal_is_known_at_once_with_its_reason_and_over_when_it_is_lifted() -> None:
    cluster = ModelCluster()
    cluster.refused = {HERE}
    cluster.write(POD, "web")
    async with following(cluster, DEPLOYMENT) as informers:
        informers.start(HERE)
        await informers.answered(HERE)
        assert now() == 0
        assert isinstance(informers.failure(HERE), Forbidden)
        assert not informers.has_listed(HERE)
        assert informers.failure(Scope(DEPLOYMENT)) is None
        await asyncio.sleep(3600)
        cluster.refused = set()
        await asyncio.wait_for(informers.synced(HERE), 11)
        assert informers.failure(HERE) is None
        assert names(informers) == ["web"]


@virtual_time
async def test_a_cluster_that_cannot_be_reached_has_not_answered() -> None:
    cluster = ModelCluster()
    cluster.trouble = Unavailable("no route to host")
    async with following(cluster, POD) as informers:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(informers.answered(ALL), 60)
        assert informers.failure(ALL) is cluster.trouble
        cluster.trouble = None
        await asyncio.wait_for(informers.answered(ALL), 11)


@virtual_time
@pytest.mark.parametrize("error", [Forbidden("taken away"), Unavailable("down")])
async def test_a_watch_that_is_refused_is_a_failure_until_one_holds(error: ClusterError) -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        cluster.trouble = error
        cluster.cut(error)
        for _ in range(20):
            await asyncio.sleep(7)
            assert informers.failure(ALL) is error
        cluster.trouble = None
        await until(lambda: informers.failure(ALL) is None, within=13)
        for _ in range(800):  # a silent stream is made anew meanwhile: no reason to remember what was
            await asyncio.sleep(0.5)
            assert informers.failure(ALL) is None


@virtual_time
async def test_those_who_depend_on_a_scope_are_told_when_it_is_refused_and_when_it_is_not_any_more() -> None:
    cluster, story, turns = ModelCluster(), Story(), [0.0]
    cluster.refused = {HERE}
    async with following(cluster) as informers:
        informers.subscribe(HERE, story, turned=lambda: turns.append(now()))
        await asyncio.sleep(100)
        assert turns == [0]
        cluster.refused = set()
        await asyncio.sleep(100)
        assert len(turns) == 2
        assert turns[-1] < 111
        cluster.refused = {HERE}
        cluster.cut()
        await asyncio.sleep(100)
        assert turns[2:] == [200]
        assert story.steps == []


STEPS = st.sampled_from(
    ["write a", "write b", "label a", "label b", "remove a", "stop", "start", "cut", "dumb", "compact", "wait"]
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=25), pauses=st.lists(st.sampled_from([0.0, 0.02, 5.0]), min_size=25, max_size=25))
@virtual_time
async def test_overlapping_scopes_know_the_same_as_the_cluster_after_any_interleaving(
    steps: list[str], pauses: list[float]
) -> None:
    cluster = ModelCluster()
    told: dict[str, Manifest] = {}

    def tell(old: Manifest | None, new: Manifest | None) -> None:
        if new is None:
            del told[name_of(old or {})]
        else:
            assert old == told.get(name_of(new))
            told[name_of(new)] = new

    async with following(cluster) as informers:
        informers.subscribe(HERE, tell)
        for step, pause in zip(steps, pauses, strict=False):
            _take(step, cluster, informers)
            await asyncio.sleep(pause)
        await until(lambda: {Ref(POD, "ns", name_of(m)): m for m in informers.list(POD)} == cluster.objects, within=320)
        assert sorted(told) == names(informers)


def _take(step: str, cluster: ModelCluster, informers: Informers) -> None:
    match step.split():
        case ["write", name]:
            informers.observe(cluster.write(POD, name))
        case ["label", name]:
            informers.observe(cluster.write(POD, name, labels={LABEL: ""}))
        case ["remove", name]:
            if (found := cluster.objects.get(Ref(POD, "ns", name))) is not None:
                cluster.remove(found)
        case ["stop"]:
            informers.leave(LABELLED, nobody)
        case ["start"]:
            informers.start(LABELLED)
        case ["cut"]:
            cluster.cut()
        case ["dumb"]:
            cluster.strike_dumb()
        case ["compact"]:
            cluster.compact()
        case ["wait"]:
            pass

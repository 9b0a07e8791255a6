from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.model_cluster import ModelCluster
from tests.virtual import now, virtual_time

from greenroom.adapters.kube import WATCH_SECONDS
from greenroom.model.errors import Expired, Forbidden, Throttled, Unavailable
from greenroom.model.manifest import DEPLOYMENT, POD, REPLICA_SET, Json, Kind, Manifest, Ref, name_of, uid_of
from greenroom.model.watch import Scope
from greenroom.ports import Cluster, Reader, WatchEvent
from greenroom.runtime.informer import SILENCE_SECONDS, Informers


@asynccontextmanager
async def following(cluster: Cluster, *kinds: Kind) -> AsyncIterator[Informers]:
    informers = Informers(cluster)
    for kind in kinds:
        informers.start(Scope(kind))
    task = asyncio.create_task(informers.run())
    try:
        yield informers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], *, within: float = 60.0) -> None:
    deadline = now() + within
    while not condition():
        assert now() < deadline, "it never came true"
        await asyncio.sleep(0.01)


def names(reader: Reader, kind: Kind = POD, namespace: str = "") -> list[str]:
    return sorted(name_of(manifest) for manifest in reader.list(kind, namespace=namespace))


class Story:
    """A handler that writes down what it is told: ``+a`` appeared, ``~a`` changed, ``-a`` is gone."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def __call__(self, old: Manifest | None, new: Manifest | None) -> None:
        sign = "+" if old is None else "-" if new is None else "~"
        self.steps.append(sign + name_of(new or old or {}))


def owned_by(owner: Manifest) -> Json:
    return [{"kind": "any", "name": "any", "uid": uid_of(owner), "controller": True}]


@virtual_time
async def test_what_exists_is_there_after_synced_and_what_changes_follows() -> None:
    cluster, story = ModelCluster(), Story()
    web = cluster.write(POD, "web")
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), story)
        await informers.synced(Scope(POD))
        assert informers.get(Ref(POD, "ns", "web")) == web

        web = cluster.write(POD, "web", labels={"a": "b"})
        await until(lambda: informers.get(Ref(POD, "ns", "web")) == web)
        cluster.remove(web)
        await until(lambda: informers.get(Ref(POD, "ns", "web")) is None)

    assert story.steps == ["+web", "~web", "-web"]


@virtual_time
async def test_nothing_is_synced_before_it_was_listed() -> None:
    cluster = ModelCluster()
    cluster.trouble = Unavailable("starting")
    async with following(cluster, POD) as informers:
        waiting = asyncio.create_task(informers.synced())
        await asyncio.sleep(120)
        assert not waiting.done()

        cluster.trouble = None
        await asyncio.wait_for(waiting, 15)


@virtual_time
async def test_a_late_subscriber_is_told_what_is_known() -> None:
    cluster, story = ModelCluster(), Story()
    cluster.write(POD, "web")
    async with following(cluster, POD) as informers:
        await informers.synced()
        informers.subscribe(Scope(POD), story)

    assert story.steps == ["+web"]


@virtual_time
async def test_a_kind_started_while_running_is_followed_too() -> None:
    cluster = ModelCluster()
    cluster.write(DEPLOYMENT, "web")
    async with following(cluster, POD) as informers:
        await informers.synced()
        assert names(informers, DEPLOYMENT) == []
        await informers.synced(Scope(DEPLOYMENT))
        assert names(informers, DEPLOYMENT) == ["web"]


@virtual_time
async def test_a_stream_that_ends_is_resumed_without_listing_again() -> None:
    cluster, story = ModelCluster(), Story()
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), story)
        await informers.synced()
        cluster.cut()
        cluster.write(POD, "meanwhile")
        await until(lambda: names(informers) == ["meanwhile"])
        cluster.cut(Unavailable("connection reset"))
        cluster.write(POD, "and-again")
        await until(lambda: len(names(informers)) == 2)

    assert story.steps == ["+meanwhile", "+and-again"]
    assert cluster.lists == 1


@virtual_time
async def test_a_stream_cut_after_every_event_is_resumed_without_delay() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        for number in range(20):
            cluster.write(POD, f"web-{number}")
            await until(lambda: len(names(informers)) == cluster.version, within=0.2)
            cluster.cut()


@virtual_time
async def test_a_quiet_stream_that_the_cluster_ends_every_few_minutes_is_resumed_without_delay() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        for _ in range(20):
            await asyncio.sleep(120)
            cluster.cut()
        cluster.write(POD, "web")
        await until(lambda: names(informers) == ["web"], within=0.2)


@virtual_time
async def test_an_object_deleted_while_disconnected_is_reported_gone() -> None:
    cluster, story = ModelCluster(), Story()
    web = cluster.write(POD, "web")
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), story)
        await informers.synced()
        cluster.cut()
        cluster.remove(web)
        cluster.compact()
        await until(lambda: names(informers) == [])

    assert story.steps == ["+web", "-web"]


@virtual_time
async def test_history_that_expires_in_the_middle_of_a_stream_is_listed_again() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        cluster.write(POD, "web")
        cluster.cut(Expired("too old resource version"))
        cluster.compact()
        await until(lambda: names(informers) == ["web"])


@virtual_time
async def test_a_half_open_stream_is_replaced_after_two_missing_bookmarks() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        cluster.strike_dumb()
        cluster.write(POD, "unheard")
        await asyncio.sleep(129)
        assert names(informers) == []
        await until(lambda: names(informers) == ["unheard"], within=2)


def test_a_half_open_stream_is_noticed_before_the_api_server_would_have_ended_it() -> None:
    assert SILENCE_SECONDS < WATCH_SECONDS


@virtual_time
async def test_bookmarks_keep_a_quiet_stream_alive_and_its_resume_point_fresh() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        for number in range(60):
            cluster.write(DEPLOYMENT, f"other-{number}")
            cluster.bookmark()
            await asyncio.sleep(60)
        assert cluster.watches == 1
        cluster.compact()
        cluster.cut()
        cluster.write(POD, "web")
        await until(lambda: names(informers) == ["web"])

    assert cluster.lists == 1


@virtual_time
async def test_an_outage_of_an_hour_is_over_within_ten_seconds_of_its_end() -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        cluster.trouble = Unavailable("no route to host")
        cluster.cut()
        await asyncio.sleep(3600)
        cluster.write(POD, "meanwhile")
        cluster.trouble = None
        await until(lambda: names(informers) == ["meanwhile"], within=10.1)


@virtual_time
async def test_the_cluster_is_left_alone_for_as_long_as_it_asks() -> None:
    cluster = ModelCluster()
    cluster.trouble = Throttled("slow down", retry_after=90)
    async with following(cluster, POD) as informers:
        await asyncio.sleep(1)
        cluster.trouble = None
        await informers.synced()
        assert now() == 90


@virtual_time
@pytest.mark.parametrize("trouble", [Expired("always"), None])
async def test_a_watch_that_never_holds_does_not_become_a_busy_loop(trouble: Expired | None) -> None:
    cluster = ModelCluster()
    cluster.watch_ends = [trouble]
    async with following(cluster, POD):
        await asyncio.sleep(600)

    assert cluster.watches < 100


@virtual_time
async def test_a_kind_that_is_not_served_is_empty_until_its_crd_comes() -> None:
    cluster = ModelCluster()
    cluster.not_served = {DEPLOYMENT}
    async with following(cluster, POD, DEPLOYMENT) as informers:
        await asyncio.wait_for(informers.synced(), 1)
        assert names(informers, DEPLOYMENT) == []

        await asyncio.sleep(3600)
        cluster.not_served = set()
        cluster.write(DEPLOYMENT, "web")
        await until(lambda: names(informers, DEPLOYMENT) == ["web"], within=11)


@virtual_time
async def test_a_crd_that_was_away_took_its_objects_along() -> None:
    cluster = ModelCluster()
    cluster.write(DEPLOYMENT, "web")
    async with following(cluster, DEPLOYMENT) as informers:
        await informers.synced()
        cluster.not_served = {DEPLOYMENT}
        cluster.objects.clear()
        cluster.cut()
        await asyncio.sleep(1)
        cluster.not_served = set()
        await until(lambda: names(informers, DEPLOYMENT) == [])


@virtual_time
@pytest.mark.parametrize("error", [Forbidden("no"), RuntimeError("bug"), asyncio.CancelledError()], ids=repr)
async def test_trouble_with_a_connection_ends_no_informer(error: BaseException) -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        await informers.synced()
        cluster.cut(error)
        await asyncio.sleep(1)
        cluster.write(POD, "web")
        await until(lambda: names(informers) == ["web"])


@virtual_time
async def test_a_crashing_handler_stops_neither_the_others_nor_the_informer() -> None:
    def crash(_old: Manifest | None, _new: Manifest | None) -> None:
        raise RuntimeError("bug")

    cluster, story = ModelCluster(), Story()
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), crash)
        informers.subscribe(Scope(POD), story)
        await informers.synced()
        for name in "ab":
            cluster.write(POD, name)
        await until(lambda: story.steps == ["+a", "+b"])


@virtual_time
async def test_a_handler_sees_the_change_it_is_told_of() -> None:
    cluster = ModelCluster()
    cluster.write(POD, "a")
    cluster.write(POD, "b")
    seen: list[list[str]] = []
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), lambda _old, _new: seen.append(names(informers, namespace="ns")))
        await informers.synced()

    assert seen == [["a", "b"], ["a", "b"]]


@virtual_time
async def test_our_own_write_is_read_at_once_and_told_once() -> None:
    cluster, story = ModelCluster(), Story()
    async with following(cluster) as informers:
        informers.subscribe(Scope(POD), story)
        await informers.synced()

        written = cluster.write(POD, "web")
        informers.observe(written)
        assert informers.get(Ref(POD, "ns", "web")) == written

        cluster.remove(written)
        await until(lambda: names(informers) == [])
        informers.observe(written)
        informers.observe(cluster.write(DEPLOYMENT, "nobody-follows-these"))
        assert names(informers) == names(informers, DEPLOYMENT) == []

    assert story.steps == ["+web", "-web"]


@virtual_time
async def test_objects_are_found_by_namespace_and_by_owner_of_whatever_kind() -> None:
    cluster = ModelCluster()
    first, second = cluster.write(REPLICA_SET, "first"), cluster.write(REPLICA_SET, "second")
    pod = cluster.write(POD, "web", ownerReferences=owned_by(first))
    cluster.write(POD, "web", namespace="other")
    cluster.write(DEPLOYMENT, "web", ownerReferences=owned_by(first))
    async with following(cluster, POD, DEPLOYMENT) as informers:
        await informers.synced()
        assert list(informers.list(POD, namespace="ns")) == [pod]
        assert len(list(informers.list(POD))) == 2
        assert {manifest["kind"] for manifest in informers.owned(uid_of(first))} == {"Pod", "Deployment"}

        pod = cluster.write(POD, "web", ownerReferences=owned_by(second))
        await until(lambda: list(informers.owned(uid_of(second))) == [pod])
        assert [manifest["kind"] for manifest in informers.owned(uid_of(first))] == ["Deployment"]

        cluster.remove(pod)
        await until(lambda: list(informers.owned(uid_of(second))) == [])
        assert list(informers.list(POD, namespace="ns")) == []


@virtual_time
async def test_managed_fields_are_not_kept() -> None:
    cluster = ModelCluster()
    cluster.write(POD, "web", managedFields=[{"manager": "someone"}])
    async with following(cluster, POD) as informers:
        await informers.synced()
        found = informers.get(Ref(POD, "ns", "web"))

    assert found is not None
    metadata = found["metadata"]
    assert isinstance(metadata, dict)
    assert sorted(metadata) == ["name", "namespace", "resourceVersion", "uid"]


STEPS = st.sampled_from(["write a", "write b", "remove a", "remove b", "cut", "dumb", "compact", "down", "up", "wait"])


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=25), pauses=st.lists(st.sampled_from([0.0, 0.02, 5.0]), min_size=25, max_size=25))
@virtual_time
async def test_the_copy_equals_the_cluster_after_any_interleaving_of_changes_and_trouble(
    steps: list[str], pauses: list[float]
) -> None:
    cluster = ModelCluster()
    async with following(cluster, POD) as informers:
        for step, pause in zip(steps, pauses, strict=False):
            await _take(step, cluster, informers)
            await asyncio.sleep(pause)
        cluster.trouble = None
        await until(lambda: {Ref(POD, "ns", name_of(m)): m for m in informers.list(POD)} == cluster.objects, within=320)


async def _take(step: str, cluster: ModelCluster, informers: Informers) -> None:
    match step.split():
        case ["write", name]:
            informers.observe(cluster.write(POD, name))
        case ["remove", name]:
            if (found := cluster.objects.get(Ref(POD, "ns", name))) is not None:
                cluster.remove(found)
        case ["cut"]:
            cluster.cut()
        case ["dumb"]:
            cluster.strike_dumb()
        case ["compact"]:
            cluster.compact()
        case ["down"]:
            cluster.trouble = Unavailable("down")
            cluster.cut(cluster.trouble)
        case ["up"]:
            cluster.trouble = None
        case ["wait"]:
            await asyncio.sleep(60)


@virtual_time
async def test_a_handler_that_was_unsubscribed_is_told_nothing_more_and_the_copy_is_kept() -> None:
    cluster, story, other = ModelCluster(), Story(), Story()
    async with following(cluster, POD) as informers:
        for kind in (POD, DEPLOYMENT):
            informers.subscribe(Scope(kind), story)
        informers.subscribe(Scope(POD), other)
        await informers.synced()
        cluster.write(POD, "a")
        await until(lambda: names(informers) == ["a"])
        informers.unsubscribe(story)
        cluster.write(POD, "b")
        await until(lambda: names(informers) == ["a", "b"])
    assert story.steps == ["+a"]
    assert other.steps == ["+a", "+b"]


@virtual_time
async def test_a_kind_that_is_not_served_counts_as_synced_but_was_never_listed() -> None:
    cluster = ModelCluster()
    cluster.not_served.add(POD)
    async with following(cluster, POD) as informers:
        await informers.synced(Scope(POD))
        assert not informers.has_listed(Scope(POD))
        cluster.not_served.clear()
        await asyncio.sleep(11)
        assert informers.has_listed(Scope(POD))


class Deaf(ModelCluster):
    """Its watches cannot be ended from outside: they swallow their cancellation."""

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncIterator[WatchEvent]:
        while not self.woken.is_set():
            with suppress(asyncio.CancelledError):
                await self.woken.wait()
        async for event in super().watch(kind, since=since, namespace=namespace, labels=labels):
            yield event

    def __init__(self) -> None:
        super().__init__()
        self.woken = asyncio.Event()


@virtual_time
async def test_a_watch_that_cannot_be_ended_is_stuck_and_a_silent_or_failing_one_is_not() -> None:
    silent, away, deaf = ModelCluster(), ModelCluster(), Deaf()
    async with following(silent, POD) as quiet, following(away, POD) as failing, following(deaf, POD) as stuck:
        await asyncio.sleep(1)
        away.cut()
        away.trouble = Unavailable("away")
        for _ in range(40):
            assert quiet.stuck() == failing.stuck() == ()
            await asyncio.sleep(100)
        found = stuck.stuck()
        deaf.woken.set()
    assert found == (Scope(POD),)

"""What the one-machine cluster's store does beyond the contract of every cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from greenroom.local.storage.store import Store
from greenroom.model.errors import Expired, Forbidden, Invalid, NotFound, UnknownKind
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SECRET,
    Json,
    Kind,
    Manifest,
    Ref,
    get,
    is_deleting,
    name_of,
    number,
    owner_reference,
    ref_of,
    text,
    uid_of,
)
from greenroom.ports import Change, WatchEvent

WIDGET = Kind("acme.example", "v1", "Widget")
NODE = Kind("", "v1", "Node")
MANAGER = "test"
HISTORY = 20
DEADLINE = 5.0


class SetClock:
    """Stands still."""

    def now(self) -> datetime:
        return datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)


def open_store(folder: Path) -> Store:
    return Store.open(folder / "cluster.db", clock=SetClock(), history=HISTORY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path)) as store:
        yield store


def named(kind: Kind, name: str, namespace: str = "default", /, **metadata: Json) -> dict[str, Json]:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name, **where, **metadata}}


def owned(kind: Kind, name: str, owner: Manifest, namespace: str = "default") -> dict[str, Json]:
    return named(kind, name, namespace, ownerReferences=[owner_reference(owner)])


def version_of(manifest: Manifest) -> str:
    return text(manifest, "metadata", "resourceVersion")


async def names(store: Store, kind: Kind) -> list[str]:
    return [name_of(manifest) for manifest in (await store.list(kind)).items]


async def following(store: Store, kind: Kind, since: str, count: int) -> list[WatchEvent]:
    """The next ``count`` changes."""
    found: list[WatchEvent] = []
    async with asyncio.timeout(DEADLINE), aclosing(store.watch(kind, since=since)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


# Kinds


async def test_a_kind_that_nobody_knows_can_be_stored_and_is_still_there_after_a_restart(tmp_path: Path) -> None:
    policy = Kind("acme.example", "v1", "Policy")
    with closing(open_store(tmp_path)) as store:
        assert (await store.resource(policy)).plural == "policies"
        await store.apply({**named(policy, "open"), "anything": [{"goes": True}]}, manager=MANAGER)
    with closing(open_store(tmp_path)) as store:
        assert policy in {resource.kind for resource in await store.resources()}
        assert get(await store.get(Ref(policy, "default", "open")), "anything", 0, "goes") is True


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Kind("apps", "v1", "Deploymnt"), 'no kind "Deploymnt" in "apps/v1": did you mean Deployment in apps/v1?'),
        (Kind("", "v1", "Deployment"), 'no kind "Deployment" in "v1": did you mean Deployment in apps/v1?'),
        (Kind("extensions", "v1beta1", "Ingress"), "did you mean Ingress in networking.k8s.io/v1?"),
        (Kind("apps", "v1", "Zzz"), 'no kind "Zzz" in "apps/v1": check apiVersion and kind'),
        (Kind("kubetempura.mercari.com", "v1", "Reviewapp"), "did you mean ReviewApp in kubetempura.mercari.com/v1?"),
    ],
)
async def test_a_mistyped_kind_of_kubernetes_says_what_was_probably_meant(
    store: Store, kind: Kind, message: str
) -> None:
    with pytest.raises(UnknownKind) as caught:
        await store.apply(named(kind, "web"), manager=MANAGER)
    assert message in str(caught.value)


# What an object may look like


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "Pod", "metadata": {"name": "web"}}, "apiVersion: required"),
        ({"apiVersion": "v1", "metadata": {"name": "web"}}, "kind: required"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default"}}, "metadata.name: required"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7}}, "metadata.name: required, as text"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": "web"}, "metadata.name: required"),
        (named(POD, "web", ""), "metadata.namespace: required for a Pod"),
        (named(NAMESPACE, "shop"), "metadata.namespace: a Namespace belongs to no namespace: leave it out"),
        (named(POD, "web", "De Fault"), 'metadata.namespace "De Fault": use lower case letters'),
        (named(POD, "Web"), 'metadata.name "Web": use lower case letters'),
        (named(NAMESPACE, "a.b", ""), 'metadata.name "a.b": use lower case letters, digits and "-", up to 63'),
        (named(Kind("", "v1", "Service"), "7up"), "a letter first"),
        (named(POD, "web", labels={"version": 1}), "metadata.labels[version]: must be text: put it in quotes"),
        (named(POD, "web", labels="app"), "metadata.labels: must be an object of texts"),
        (named(POD, "web", labels={"app": "a b"}), 'metadata.labels[app] "a b": use letters'),
        (named(POD, "web", labels={"-": "x"}), 'metadata.labels: the key "-" is not valid: use letters'),
        (named(POD, "web", annotations={"On": True}), "metadata.annotations[On]: must be text: put it in quotes"),
        (named(POD, "web", finalizers=["a b"]), 'metadata.finalizers: the key "a b" is not valid'),
        (named(POD, "web", finalizers="x"), "metadata.finalizers: must be a list"),
        (named(POD, "web", ownerReferences=[{"uid": "1"}]), "metadata.ownerReferences[0].apiVersion: required"),
        ({**named(SECRET, "key"), "stringData": {"port": 80}}, "stringData: its values must be texts"),
        ({**named(CONFIG_MAP, "text"), "data": {"half": "\ud83d"}}, "half of a surrogate pair"),
    ],
)
async def test_a_wrong_object_is_refused_naming_the_field_and_the_cure(
    store: Store, wrong: Mapping[str, Json], message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await store.apply(wrong, manager=MANAGER)
    assert message in str(caught.value)


async def test_the_roles_of_kubernetes_may_have_colons_in_their_names(store: Store) -> None:
    role = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole")
    assert name_of(await store.apply(named(role, "system:viewer", ""), manager=MANAGER)) == "system:viewer"


async def test_a_status_that_makes_an_object_too_large_is_refused(store: Store) -> None:
    ref = ref_of(await store.apply(named(POD, "web"), manager=MANAGER))
    with pytest.raises(Invalid, match="too many for an object"):
        await store.patch_status(ref, {"message": "x" * 1_600_000})
    assert "status" not in await store.get(ref)


async def test_string_data_of_a_secret_is_kept_as_kubernetes_keeps_it(store: Store) -> None:
    wanted = {**named(SECRET, "key"), "data": {"old": "b2xk"}, "stringData": {"new": "grün"}}
    stored = await store.apply(wanted, manager=MANAGER)
    assert get(stored, "data") == {"old": "b2xk", "new": "Z3LDvG4="}
    assert "stringData" not in stored


async def test_what_the_server_sets_cannot_be_applied(store: Store) -> None:
    forged = named(POD, "web", creationTimestamp="1970-01-01T00:00:00Z", generation=7, deletionTimestamp="1970")
    stored = await store.apply(forged, manager=MANAGER)
    assert text(stored, "metadata", "creationTimestamp") == "2026-05-04T03:02:01Z"
    assert number(stored, "metadata", "generation") == 1
    assert not is_deleting(stored)


# Lists and watches


async def test_a_list_is_ordered_by_namespace_and_name(store: Store) -> None:
    await store.apply(named(NAMESPACE, "aaa", ""), manager=MANAGER)
    for name, namespace in (("b", "default"), ("a", "default"), ("z", "aaa")):
        await store.apply(named(CONFIG_MAP, name, namespace), manager=MANAGER)
    assert await names(store, CONFIG_MAP) == ["z", "a", "b"]


async def test_a_slow_watcher_holds_nobody_up_and_must_list_again(store: Store) -> None:
    since = (await store.list(CONFIG_MAP)).resource_version
    async with aclosing(store.watch(CONFIG_MAP, since=since)) as events:
        await store.apply(named(CONFIG_MAP, "first"), manager=MANAGER)
        assert name_of((await anext(events)).object) == "first"
        for index in range(2 * HISTORY):
            await store.apply({**named(CONFIG_MAP, "first"), "data": {"index": str(index)}}, manager=MANAGER)
        with pytest.raises(Expired):
            await anext(events)


async def test_as_many_changes_as_the_history_keeps_can_be_read_late(store: Store) -> None:
    versions = [
        version_of(await store.apply({**named(CONFIG_MAP, "busy"), "data": {"index": str(index)}}, manager=MANAGER))
        for index in range(2 * HISTORY)
    ]
    seen = await following(store, CONFIG_MAP, versions[HISTORY - 1], HISTORY)
    assert [version_of(event.object) for event in seen] == versions[HISTORY:]
    with pytest.raises(Expired):
        await following(store, CONFIG_MAP, versions[HISTORY - 2], 1)


async def test_changes_of_other_kinds_do_not_age_a_watch(store: Store) -> None:
    since = (await store.list(SECRET)).resource_version
    for index in range(3 * HISTORY):
        await store.apply({**named(CONFIG_MAP, "busy"), "data": {"index": str(index)}}, manager=MANAGER)
    await store.apply(named(SECRET, "quiet"), manager=MANAGER)
    (event,) = await following(store, SECRET, since, 1)
    assert name_of(event.object) == "quiet"


async def test_a_watch_ends_when_the_store_closes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    since = (await store.list(POD)).resource_version
    watching = asyncio.create_task(following(store, POD, since, 1))
    await asyncio.sleep(0)  # it is waiting now
    store.close()
    assert await watching == []


async def test_after_a_restart_a_watch_goes_on_from_the_present_only(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store:
        old = (await store.list(POD)).resource_version
        await store.apply(named(POD, "web"), manager=MANAGER)
        present = (await store.list(POD)).resource_version
    with closing(open_store(tmp_path)) as store:
        with pytest.raises(Expired):
            await following(store, POD, old, 1)
        await store.apply(named(POD, "more"), manager=MANAGER)
        (event,) = await following(store, POD, present, 1)
        assert (event.change, name_of(event.object)) == (Change.ADDED, "more")


async def test_a_watch_from_the_future_of_a_restored_database_must_list_again(store: Store) -> None:
    with pytest.raises(Expired):
        await following(store, POD, "1000000", 1)
    with pytest.raises(Invalid):
        await following(store, POD, "latest", 1)


async def test_two_watchers_of_one_kind_see_the_same(store: Store) -> None:
    since = (await store.list(POD)).resource_version
    watchers = [asyncio.create_task(following(store, POD, since, 2)) for _ in range(2)]
    await store.apply(named(POD, "one"), manager=MANAGER)
    await store.apply(named(POD, "two"), manager=MANAGER)
    one, two = await asyncio.gather(*watchers)
    assert [name_of(event.object) for event in one] == [name_of(event.object) for event in two] == ["one", "two"]


# Deletion


async def test_a_pod_has_the_grace_of_its_spec_and_a_second_deletion_can_only_shorten_it(store: Store) -> None:
    pod = {**named(POD, "web"), "spec": {"terminationGracePeriodSeconds": 90}}
    ref = ref_of(await store.apply(pod, manager=MANAGER))
    await store.delete(ref)
    first = await store.get(ref)
    assert text(first, "metadata", "deletionTimestamp") == "2026-05-04T03:03:31Z"
    await store.delete(ref, grace_seconds=120)
    assert await store.get(ref) is first
    await store.delete(ref, grace_seconds=10)
    assert number(await store.get(ref), "metadata", "deletionGracePeriodSeconds") == 10


async def test_a_pod_with_a_finalizer_outlives_its_processes(store: Store) -> None:
    ref = ref_of(await store.apply(named(POD, "web", finalizers=["acme.example/hold"]), manager=MANAGER))
    await store.delete(ref, grace_seconds=0)
    assert is_deleting(await store.get(ref))
    await store.apply(named(POD, "web"), manager=MANAGER)
    with pytest.raises(NotFound):
        await store.get(ref)


async def test_pods_are_marked_when_their_owner_goes_and_everything_else_is_gone_at_once(store: Store) -> None:
    owner = await store.apply(named(DEPLOYMENT, "web"), manager=MANAGER)
    await store.apply(owned(POD, "web-1", owner), manager=MANAGER)
    await store.apply(owned(CONFIG_MAP, "web", owner), manager=MANAGER)
    await store.delete(ref_of(owner))
    assert await names(store, CONFIG_MAP) == []
    assert is_deleting(await store.get(Ref(POD, "default", "web-1")))


async def test_what_is_marked_still_owns_what_it_owns(store: Store) -> None:
    owner = await store.apply(named(DEPLOYMENT, "web", finalizers=["acme.example/hold"]), manager=MANAGER)
    await store.apply(owned(CONFIG_MAP, "web", owner), manager=MANAGER)
    await store.delete(ref_of(owner))
    assert await names(store, CONFIG_MAP) == ["web"]
    await store.apply(named(DEPLOYMENT, "web"), manager=MANAGER)
    assert await names(store, CONFIG_MAP) == []


async def test_a_deletion_is_seen_by_the_watchers_of_everything_that_goes(store: Store) -> None:
    owner = await store.apply(named(DEPLOYMENT, "web"), manager=MANAGER)
    child = await store.apply(owned(CONFIG_MAP, "web", owner), manager=MANAGER)
    await store.delete(ref_of(owner))
    (event,) = await following(store, CONFIG_MAP, version_of(child), 1)
    assert (event.change, uid_of(event.object)) == (Change.DELETED, uid_of(child))
    assert int(version_of(event.object)) > int(version_of(child))


async def test_an_owner_of_a_kind_that_is_not_served_is_not_missed(store: Store) -> None:
    owner = {**named(WIDGET, "far"), "metadata": {"name": "far", "uid": "elsewhere"}}
    await store.apply(owned(CONFIG_MAP, "kept", owner), manager=MANAGER)
    assert await names(store, CONFIG_MAP) == ["kept"]


async def test_a_cluster_scoped_owner_counts_and_one_of_another_namespace_does_not(store: Store) -> None:
    await store.apply(named(NAMESPACE, "other", ""), manager=MANAGER)
    node = await store.apply(named(NODE, "here", ""), manager=MANAGER)
    stranger = await store.apply(named(CONFIG_MAP, "stranger", "other"), manager=MANAGER)
    await store.apply(owned(SECRET, "of-node", node), manager=MANAGER)
    await store.apply(owned(SECRET, "of-stranger", stranger), manager=MANAGER)
    assert await names(store, SECRET) == ["of-node"]


async def test_owners_that_own_each_other_go_together(store: Store) -> None:
    one = await store.apply(named(CONFIG_MAP, "one"), manager=MANAGER)
    two = await store.apply(owned(CONFIG_MAP, "two", one), manager=MANAGER)
    await store.apply(owned(CONFIG_MAP, "one", two), manager=MANAGER)
    await store.delete(ref_of(two))
    assert await names(store, CONFIG_MAP) == []


async def test_a_namespace_stays_until_its_pods_have_ended_and_takes_nothing_new(store: Store) -> None:
    shop = ref_of(await store.apply(named(NAMESPACE, "shop", ""), manager=MANAGER))
    pod = ref_of(await store.apply(named(POD, "web", "shop"), manager=MANAGER))
    await store.apply(named(CONFIG_MAP, "settings", "shop"), manager=MANAGER)
    await store.delete(shop)
    assert get(await store.get(shop), "status", "phase") == "Terminating"
    assert await names(store, CONFIG_MAP) == []
    with pytest.raises(NotFound, match="is being deleted"):
        await store.apply(named(CONFIG_MAP, "late", "shop"), manager=MANAGER)
    await store.delete(pod, grace_seconds=0)
    with pytest.raises(NotFound):
        await store.get(shop)


async def test_the_default_namespace_is_there_and_stays(store: Store) -> None:
    assert get(await store.get(Ref(NAMESPACE, "", "default")), "status", "phase") == "Active"
    with pytest.raises(Forbidden):
        await store.delete(Ref(NAMESPACE, "", "default"))


# Nothing is shared that could be changed


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.apply({**named(CONFIG_MAP, "held"), "data": {"a": "2"}}, manager=MANAGER),
        lambda store: store.patch_status(Ref(CONFIG_MAP, "default", "held"), {"a": "2"}),
        lambda store: store.delete(Ref(CONFIG_MAP, "default", "held")),
    ],
    ids=["apply", "patch_status", "delete"],
)
async def test_an_object_that_was_handed_out_never_changes(
    store: Store, write: Callable[[Store], Awaitable[object]]
) -> None:
    manifest = {**named(CONFIG_MAP, "held", finalizers=["acme.example/hold"]), "data": {"a": "1"}}
    held = cast("dict[str, Json]", await store.apply(manifest, manager=MANAGER))
    before = repr(held)
    await write(store)
    assert repr(held) == before

"""What every ``ports.Cluster`` does: one suite for the one-machine cluster, the same over HTTP, and Kubernetes.

A test module in this folder subclasses :class:`ClusterContract` and provides three fixtures::

    class TestLocal(ClusterContract):
        @pytest.fixture
        async def cluster(self, tmp_path) -> AsyncIterator[Cluster]: ...

        @pytest.fixture
        async def namespace(self, cluster) -> AsyncIterator[str]: ...   # new, empty, ready for pods; removed afterwards

        @pytest.fixture
        def compact(self, cluster, namespace) -> Compact: ...           # see Compact

Nothing here may hold for one cluster only. So a test compares the fields that it set (Kubernetes fills in others),
gives what happens in the background a deadline, asserts the type of an error and never its wording, and does not count
objects of a kind that Kubernetes itself puts into every namespace (ConfigMap). The ReviewApp and PR kinds are served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from greenroom.model.errors import ClusterError, Conflict, Expired, Invalid, NotFound, UnknownKind
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    PR,
    REVIEW_APP,
    SECRET,
    SERVICE,
    Json,
    Kind,
    Manifest,
    Ref,
    get,
    is_deleting,
    items,
    labels_of,
    name_of,
    number,
    owner_reference,
    ref_of,
    table,
    text,
    uid_of,
    version_of,
)
from greenroom.ports import Change, Cluster, WatchEvent

Compact: TypeAlias = Callable[[], Awaitable[str]]
"""Make the cluster forget its history; answers a resource version of Secrets that is now too old to watch from."""

DEADLINE = 40.0  # seconds: Kubernetes' garbage collector and namespace controller take their time
FINALIZER = "greenroom.dev/contract"
MANAGER = "contract"


def config_map(namespace: str, name: str = "settings", **data: str) -> dict[str, Json]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def secret(namespace: str, name: str, labels: Mapping[str, str] | None = None, **data: str) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def deployment(namespace: str, *containers: Json, replicas: int = 0) -> dict[str, Json]:
    """A Deployment of no replicas: a real cluster's controllers then leave its namespace alone."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
        },
    }


def container(name: str, env: Mapping[str, str] | None = None) -> dict[str, Json]:
    variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
    return {"name": name, "image": "registry.invalid/app:1", **({"env": variables} if env else {})}


def pull_request(namespace: str, commit: str = "abc1234") -> dict[str, Json]:
    return {
        "apiVersion": PR.api_version,
        "kind": PR.name,
        "metadata": {"name": "shop-pr7", "namespace": namespace},
        "spec": {"parentReviewApp": "shop", "prNumber": "7", "headCommitRef": commit},
    }


def with_metadata(manifest: Manifest, **fields: Json) -> dict[str, Json]:
    return {**manifest, "metadata": {**table(manifest, "metadata"), **fields}}


def generation_of(manifest: Manifest) -> int:
    return number(manifest, "metadata", "generation")


def environment_of(manifest: Manifest) -> dict[str, str]:
    """``env`` of the first container."""
    variables = items(manifest, "spec", "template", "spec", "containers", 0, "env")
    return {text(variable, "name"): text(variable, "value") for variable in variables}


async def eventually(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``holds``; fails after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not await holds():  # noqa: ASYNC110 — the port has no event for "is gone"
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{what}: not within {DEADLINE:.0f} s")


async def exists(cluster: Cluster, ref: Ref) -> bool:
    try:
        await cluster.get(ref)
    except NotFound:
        return False
    return True


async def gone(cluster: Cluster, ref: Ref) -> None:
    async def absent() -> bool:
        return not await exists(cluster, ref)

    await eventually(f"{ref} is gone", absent)


@asynccontextmanager
async def watching(
    cluster: Cluster, kind: Kind, *, since: str, namespace: str, labels: str = ""
) -> AsyncIterator[Callable[[], Awaitable[WatchEvent]]]:
    """A watch, as a function that answers the next change within the deadline. Bookmarks are passed over."""
    stream = cluster.watch(kind, since=since, namespace=namespace, labels=labels)

    async def following() -> WatchEvent:
        async with asyncio.timeout(DEADLINE):
            async for event in stream:
                if event.change is not Change.BOOKMARK:
                    return event
        pytest.fail("the watch ended")

    try:
        yield following
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def seen(event: WatchEvent) -> tuple[Change, str]:
    return event.change, name_of(event.object)


class ClusterContract:
    """Subclass it and provide ``cluster``, ``namespace`` and ``compact``."""

    # Reading and creating

    async def test_an_applied_object_can_be_read_with_what_the_cluster_adds(
        self, cluster: Cluster, namespace: str
    ) -> None:
        created = await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        found = await cluster.get(Ref(CONFIG_MAP, namespace, "settings"))
        assert found == created
        assert get(found, "data") == {"color": "green"}
        assert (ref_of(found), is_deleting(found)) == (Ref(CONFIG_MAP, namespace, "settings"), False)
        assert uid_of(found)
        assert version_of(found)
        assert text(found, "metadata", "creationTimestamp").endswith("Z")

    async def test_what_is_not_there_is_not_found(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NotFound):
            await cluster.get(Ref(CONFIG_MAP, namespace, "nobody"))
        with pytest.raises(NotFound):
            await cluster.delete(Ref(CONFIG_MAP, namespace, "nobody"))
        with pytest.raises(NotFound):
            await cluster.patch_status(Ref(PR, namespace, "nobody"), {"url": "http://pr7.localhost"})

    async def test_an_object_needs_its_namespace_to_exist(self, cluster: Cluster) -> None:
        with pytest.raises(NotFound):
            await cluster.apply(config_map("greenroom-contract-nowhere"), manager=MANAGER)

    async def test_the_callers_copy_is_its_own(self, cluster: Cluster, namespace: str) -> None:
        data: dict[str, Json] = {"color": "green"}
        await cluster.apply({**config_map(namespace), "data": data}, manager=MANAGER)
        data["color"] = "red"
        found = await cluster.get(Ref(CONFIG_MAP, namespace, "settings"))
        assert get(found, "data", "color") == "green"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "Not_A_Name"},
            {"name": "-dash"},
            {"name": "x" * 254},
            {"labels": {"team": "no spaces"}},
            {"labels": {"team": "x" * 64}},
            {"labels": {"no/two/slashes": "x"}},
            {"labels": {"team": 7}},
            {"annotations": {"note": "x" * 300_000}},
            {"finalizers": [""]},
            {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "no-uid"}]},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_wrong_metadata_is_invalid(self, cluster: Cluster, namespace: str, wrong: Mapping[str, Json]) -> None:
        with pytest.raises(Invalid):
            await cluster.apply(with_metadata(config_map(namespace), **wrong), manager=MANAGER)

    async def test_an_object_that_is_too_large_is_invalid(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(Invalid):
            await cluster.apply(config_map(namespace, much="x" * 1_600_000), manager=MANAGER)

    async def test_two_containers_of_one_name_are_invalid(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(Invalid):
            await cluster.apply(deployment(namespace, container("app"), container("app")), manager=MANAGER)

    # Kinds

    async def test_it_tells_how_kinds_are_served(self, cluster: Cluster) -> None:
        served = {resource.kind: resource for resource in await cluster.resources()}
        assert {CONFIG_MAP, SECRET, SERVICE, DEPLOYMENT, POD, NAMESPACE, REVIEW_APP, PR} <= served.keys()
        assert (served[PR].plural, served[PR].namespaced) == ("prs", True)
        assert (served[NAMESPACE].plural, served[NAMESPACE].namespaced) == ("namespaces", False)
        assert "deploy" in served[DEPLOYMENT].short_names
        assert await cluster.resource(DEPLOYMENT) == served[DEPLOYMENT]

    @pytest.mark.parametrize("kind", [Kind("apps", "v1", "Deploymnt"), Kind("apps", "v9", "Deployment")], ids=str)
    async def test_a_kind_that_is_not_served_is_unknown(self, cluster: Cluster, namespace: str, kind: Kind) -> None:
        manifest = {**deployment(namespace, container("app")), "apiVersion": kind.api_version, "kind": kind.name}
        with pytest.raises(UnknownKind):
            await cluster.resource(kind)
        with pytest.raises(UnknownKind):
            await cluster.apply(manifest, manager=MANAGER)
        with pytest.raises(UnknownKind):
            await cluster.list(kind, namespace=namespace)

    async def test_whoever_may_do_everything_is_told_so(self, cluster: Cluster, namespace: str) -> None:
        await cluster.authorize("create", SECRET, namespace)
        with pytest.raises(UnknownKind):
            await cluster.authorize("create", Kind("apps", "v1", "Deploymnt"), namespace)

    # Lists

    async def test_a_list_holds_one_namespace_or_all(self, cluster: Cluster, namespace: str) -> None:
        other = f"{namespace}-other"
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}, manager=MANAGER)
        try:
            await cluster.apply(secret(namespace, "here"), manager=MANAGER)
            await cluster.apply(secret(other, "there"), manager=MANAGER)
            one = await cluster.list(SECRET, namespace=namespace)
            both = await cluster.list(SECRET)
            assert [name_of(item) for item in one.items] == ["here"]
            assert {Ref(SECRET, namespace, "here"), Ref(SECRET, other, "there")} <= {
                ref_of(item) for item in both.items
            }
        finally:
            await cluster.delete(Ref(NAMESPACE, "", other))

    @pytest.mark.parametrize(
        ("selector", "names"),
        [
            ("", ["blue", "green", "plain"]),
            ("color=green", ["green"]),
            ("color==green", ["green"]),
            ("color!=green", ["blue", "plain"]),
            ("color", ["blue", "green"]),
            ("!color", ["plain"]),
            ("size=l,color=blue", ["blue"]),
            ("size=l,color=red", []),
            ("color in (green, blue),size=l", ["blue", "green"]),
            ("color notin (green)", ["blue", "plain"]),
        ],
    )
    async def test_a_list_holds_what_the_selector_selects(
        self, cluster: Cluster, namespace: str, selector: str, names: list[str]
    ) -> None:
        await cluster.apply(secret(namespace, "green", {"color": "green", "size": "l"}), manager=MANAGER)
        await cluster.apply(secret(namespace, "blue", {"color": "blue", "size": "l"}), manager=MANAGER)
        await cluster.apply(secret(namespace, "plain"), manager=MANAGER)
        listing = await cluster.list(SECRET, namespace=namespace, labels=selector)
        assert sorted(name_of(item) for item in listing.items) == names

    async def test_listed_objects_name_their_kind(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(secret(namespace, "green"), manager=MANAGER)
        listing = await cluster.list(SECRET, namespace=namespace)
        assert [ref_of(item) for item in listing.items] == [Ref(SECRET, namespace, "green")]

    async def test_a_selector_that_makes_no_sense_is_invalid(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(Invalid):
            await cluster.list(SECRET, namespace=namespace, labels="color=green=blue")

    # Watches

    async def test_a_watch_from_a_list_misses_nothing_and_repeats_nothing(
        self, cluster: Cluster, namespace: str
    ) -> None:
        await cluster.apply(secret(namespace, "before"), manager=MANAGER)
        listing = await cluster.list(SECRET, namespace=namespace)
        await cluster.apply(secret(namespace, "early"), manager=MANAGER)
        async with watching(cluster, SECRET, since=listing.resource_version, namespace=namespace) as following:
            assert seen(await following()) == (Change.ADDED, "early")
            await cluster.apply(secret(namespace, "late"), manager=MANAGER)
            await cluster.apply(secret(namespace, "before", key="dmFsdWU="), manager=MANAGER)
            await cluster.delete(Ref(SECRET, namespace, "early"))
            assert seen(await following()) == (Change.ADDED, "late")
            modified = await following()
            assert seen(modified) == (Change.MODIFIED, "before")
            assert get(modified.object, "data", "key") == "dmFsdWU="
            assert seen(await following()) == (Change.DELETED, "early")

    async def test_a_watch_resumes_after_the_last_event_seen(self, cluster: Cluster, namespace: str) -> None:
        listing = await cluster.list(SECRET, namespace=namespace)
        for name in ("one", "two", "three"):
            await cluster.apply(secret(namespace, name), manager=MANAGER)
        async with watching(cluster, SECRET, since=listing.resource_version, namespace=namespace) as following:
            last = await following()
        async with watching(cluster, SECRET, since=version_of(last.object), namespace=namespace) as following:
            assert [seen(await following()), seen(await following())] == [
                (Change.ADDED, "two"),
                (Change.ADDED, "three"),
            ]

    async def test_a_watch_resumes_after_a_deletion(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(secret(namespace, "one"), manager=MANAGER)
        listing = await cluster.list(SECRET, namespace=namespace)
        await cluster.delete(Ref(SECRET, namespace, "one"))
        await cluster.apply(secret(namespace, "two"), manager=MANAGER)
        async with watching(cluster, SECRET, since=listing.resource_version, namespace=namespace) as following:
            deleted = await following()
        assert seen(deleted) == (Change.DELETED, "one")
        async with watching(cluster, SECRET, since=version_of(deleted.object), namespace=namespace) as following:
            assert seen(await following()) == (Change.ADDED, "two")

    async def test_a_watch_with_a_selector_sees_objects_come_and_leave(self, cluster: Cluster, namespace: str) -> None:
        since = (await cluster.list(SECRET, namespace=namespace)).resource_version
        async with watching(cluster, SECRET, since=since, namespace=namespace, labels="color=green") as following:
            await cluster.apply(secret(namespace, "paint", {"color": "blue"}), manager=MANAGER)
            await cluster.apply(secret(namespace, "paint", {"color": "green"}), manager=MANAGER)
            assert seen(await following()) == (Change.ADDED, "paint")
            await cluster.apply(secret(namespace, "paint", {"color": "green", "size": "l"}), manager=MANAGER)
            assert seen(await following()) == (Change.MODIFIED, "paint")
            last = await cluster.apply(secret(namespace, "paint", {"color": "red"}), manager=MANAGER)
            left = await following()
            assert seen(left) == (Change.DELETED, "paint")
            assert labels_of(left.object)["color"] == "green"
            assert version_of(left.object) == version_of(last)

    async def test_a_watch_of_all_namespaces_sees_each(self, cluster: Cluster, namespace: str) -> None:
        since = (await cluster.list(PR)).resource_version
        async with watching(cluster, PR, since=since, namespace="") as following:
            await cluster.apply(pull_request(namespace), manager=MANAGER)
            assert ref_of((await following()).object) == Ref(PR, namespace, "shop-pr7")

    async def test_a_watch_from_forgotten_history_is_expired(self, cluster: Cluster, compact: Compact) -> None:
        ancient = await compact()
        with pytest.raises(Expired):
            async with watching(cluster, SECRET, since=ancient, namespace="") as following:
                await following()

    # Server-side apply

    async def test_applying_the_same_again_changes_nothing(self, cluster: Cluster, namespace: str) -> None:
        created = await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        again = await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        assert version_of(again) == version_of(created)

    async def test_a_field_no_longer_given_is_removed(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, color="green", size="l"), manager=MANAGER)
        updated = await cluster.apply(config_map(namespace, color="red"), manager=MANAGER)
        assert get(updated, "data") == {"color": "red"}

    async def test_fields_of_another_manager_are_kept(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, color="green"), manager="one")
        await cluster.apply(config_map(namespace, size="l"), manager="two")
        updated = await cluster.apply(config_map(namespace, color="red"), manager="one")
        assert get(updated, "data") == {"color": "red", "size": "l"}

    async def test_a_field_of_two_managers_stays_until_both_let_go(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, color="green", one="1"), manager="one")
        await cluster.apply(config_map(namespace, color="green", two="2"), manager="two", force=False)
        kept = await cluster.apply(config_map(namespace, one="1"), manager="one")
        assert get(kept, "data", "color") == "green"
        removed = await cluster.apply(config_map(namespace, two="2"), manager="two")
        assert get(removed, "data") == {"one": "1", "two": "2"}

    async def test_adopting_is_applying_where_nobody_wrote_otherwise(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, theirs="1", both="1"), manager="another")
        for given in ({"ours": "1", "both": "2"}, {"both": "2"}):
            adopted = await cluster.adopt(config_map(namespace, **given), manager=MANAGER, former="another")
            assert adopted["data"] == {"theirs": "1", **given}
        again = await cluster.adopt(config_map(namespace, both="2"), manager=MANAGER, former="another")
        assert version_of(again) == version_of(adopted)

    async def test_another_managers_field_is_a_conflict_without_force(self, cluster: Cluster, namespace: str) -> None:
        created = await cluster.apply(config_map(namespace, color="green"), manager="one")
        with pytest.raises(Conflict):
            await cluster.apply(config_map(namespace, color="red"), manager="two", force=False)
        assert await cluster.get(Ref(CONFIG_MAP, namespace, "settings")) == created

    async def test_force_takes_a_field_over(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, color="green", size="l"), manager="one")
        taken = await cluster.apply(config_map(namespace, color="red"), manager="two", force=True)
        assert get(taken, "data") == {"color": "red", "size": "l"}
        with pytest.raises(Conflict):
            await cluster.apply(config_map(namespace, color="green", size="l"), manager="one", force=False)
        await cluster.apply(config_map(namespace, color="blue"), manager="two", force=False)
        given_up = await cluster.apply(config_map(namespace, size="l"), manager="one")
        assert get(given_up, "data") == {"color": "blue", "size": "l"}
        removed = await cluster.apply(config_map(namespace), manager="two")
        assert get(removed, "data") == {"size": "l"}

    async def test_a_stale_resource_version_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        first = await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        second = await cluster.apply(config_map(namespace, color="red"), manager=MANAGER)
        wanted = config_map(namespace, color="blue")
        with pytest.raises(Conflict):
            await cluster.apply(with_metadata(wanted, resourceVersion=version_of(first)), manager=MANAGER)
        third = await cluster.apply(with_metadata(wanted, resourceVersion=version_of(second)), manager=MANAGER)
        assert get(third, "data") == {"color": "blue"}

    async def test_a_uid_of_another_object_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        other = with_metadata(config_map(namespace, color="red"), uid="00000000-0000-0000-0000-000000000000")
        with pytest.raises(Conflict):
            await cluster.apply(other, manager=MANAGER)

    async def test_only_a_uid_keeps_an_object_from_being_created_anew(self, cluster: Cluster, namespace: str) -> None:
        ref = ref_of(created := await cluster.apply(config_map(namespace), manager=MANAGER))
        await cluster.delete(ref)
        by_version = with_metadata(config_map(namespace), resourceVersion=version_of(created))
        with pytest.raises(Conflict):
            await cluster.apply(with_metadata(by_version, uid=uid_of(created)), manager=MANAGER)
        assert not await exists(cluster, ref)
        await cluster.apply(by_version, manager=MANAGER)
        assert await exists(cluster, ref)

    async def test_environment_variables_merge_by_name(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(deployment(namespace, container("app", {"A": "1", "B": "2"})), manager="one")
        await cluster.apply(deployment(namespace, container("app", {"C": "3"})), manager="two")
        updated = await cluster.apply(deployment(namespace, container("app", {"B": "9"})), manager="one")
        assert environment_of(updated) == {"B": "9", "C": "3"}

    async def test_of_what_a_container_is_given_twice_the_last_counts(self, cluster: Cluster, namespace: str) -> None:
        def given(*values: str) -> dict[str, Json]:
            env: Json = [{"name": "A", "value": value} for value in values]
            ports: Json = [{"name": f"p{value}", "containerPort": 80} for value in values]
            return deployment(namespace, {**container("app"), "env": env, "ports": ports})

        stored = await cluster.apply(given("1", "2"), manager=MANAGER)
        assert environment_of(stored) == {"A": "2"}
        ports = items(stored, "spec", "template", "spec", "containers", 0, "ports")
        assert [text(port, "name") for port in ports] == ["p2"]
        again = await cluster.apply(given("1", "2"), manager=MANAGER)
        assert generation_of(again) == generation_of(stored)  # the version may count a controller's write between
        changed = await cluster.apply(given("2", "1"), manager=MANAGER)
        assert environment_of(changed) == {"A": "1"}

    async def test_containers_merge_by_name(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(deployment(namespace, container("app")), manager="one")
        both = await cluster.apply(deployment(namespace, container("sidecar")), manager="two")
        containers = items(both, "spec", "template", "spec", "containers")
        assert sorted(text(each, "name") for each in containers) == ["app", "sidecar"]
        left = await cluster.apply(deployment(namespace, container("app"), container("extra")), manager="one")
        containers = items(left, "spec", "template", "spec", "containers")
        assert sorted(text(each, "name") for each in containers) == ["app", "extra", "sidecar"]

    async def test_service_ports_merge_by_port_and_protocol(self, cluster: Cluster, namespace: str) -> None:
        def service(*ports: Json) -> dict[str, Json]:
            metadata = {"name": "web", "namespace": namespace}
            return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}

        await cluster.apply(service({"name": "http", "port": 80, "targetPort": 8080}), manager=MANAGER)
        await cluster.apply(
            service(
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 9090},
                {"name": "dns", "port": 80, "protocol": "UDP"},
            ),
            manager=MANAGER,
        )
        found = await cluster.get(Ref(SERVICE, namespace, "web"))
        ports = {text(port, "name"): number(port, "targetPort", default=80) for port in items(found, "spec", "ports")}
        assert ports == {"http": 9090, "dns": 80}

    async def test_lists_of_custom_resources_are_replaced_as_a_whole(self, cluster: Cluster, namespace: str) -> None:
        def review_app(*names: str) -> dict[str, Json]:
            resources = [config_map(namespace, name) for name in names]
            return {
                "apiVersion": REVIEW_APP.api_version,
                "kind": REVIEW_APP.name,
                "metadata": {"name": "shop", "namespace": namespace},
                "spec": {"githubRepository": "https://github.com/acme/shop", "resources": resources},
            }

        await cluster.apply(review_app("one", "two"), manager="one")
        replaced = await cluster.apply(review_app("three"), manager="two")
        assert [text(each, "metadata", "name") for each in items(replaced, "spec", "resources")] == ["three"]

    async def test_managers_that_apply_at_once_all_succeed(self, cluster: Cluster, namespace: str) -> None:
        await cluster.apply(config_map(namespace), manager=MANAGER)
        managers = ("one", "two", "three", "four")
        applied = (cluster.apply(config_map(namespace, **{name: name}), manager=name) for name in managers)
        await asyncio.gather(*applied)
        found = await cluster.get(Ref(CONFIG_MAP, namespace, "settings"))
        assert get(found, "data") == {name: name for name in managers}

    # Generation and status

    async def test_the_generation_counts_changes_of_the_spec_only(self, cluster: Cluster, namespace: str) -> None:
        created = await cluster.apply(pull_request(namespace), manager=MANAGER)
        assert generation_of(created) == 1
        labelled = with_metadata(pull_request(namespace), labels={"team": "shop"})
        assert generation_of(await cluster.apply(labelled, manager=MANAGER)) == 1
        pushed = with_metadata(pull_request(namespace, "def5678"), labels={"team": "shop"})
        assert generation_of(await cluster.apply(pushed, manager=MANAGER)) == 2
        assert generation_of(await cluster.apply(pushed, manager=MANAGER)) == 2

    async def test_status_is_written_by_patch_status_alone(self, cluster: Cluster, namespace: str) -> None:
        wanted = {**pull_request(namespace), "status": {"url": "http://forged.example"}}
        created = await cluster.apply(wanted, manager=MANAGER)
        assert get(created, "status", "url") is None
        patched = await cluster.patch_status(ref_of(created), {"url": "http://pr7.localhost", "commit": "abc1234"})
        assert table(patched, "status") == {"url": "http://pr7.localhost", "commit": "abc1234"}
        assert generation_of(patched) == generation_of(created)
        assert version_of(patched) != version_of(created)
        applied = await cluster.apply(pull_request(namespace, "def5678"), manager=MANAGER)
        assert table(applied, "status") == table(patched, "status")

    async def test_a_status_patch_merges_and_null_removes(self, cluster: Cluster, namespace: str) -> None:
        ref = ref_of(await cluster.apply(pull_request(namespace), manager=MANAGER))
        await cluster.patch_status(ref, {"url": "http://pr7.localhost", "commit": "abc1234"})
        patched = await cluster.patch_status(ref, {"url": None, "shownCommit": "abc1234"})
        assert table(patched, "status") == {"commit": "abc1234", "shownCommit": "abc1234"}
        again = await cluster.patch_status(ref, {"url": None, "commit": "abc1234"})
        assert version_of(again) == version_of(patched)

    async def test_a_status_patch_of_another_version_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        """As is one that would change nothing, and one of an object that another has taken the place of."""
        first = await cluster.apply(pull_request(namespace), manager=MANAGER)
        ref, commit = ref_of(first), {"commit": "abc1234"}
        second = await cluster.patch_status(ref, commit, resource_version=version_of(first))
        for status in ({"commit": "def5678"}, commit):
            with pytest.raises(Conflict):
                await cluster.patch_status(ref, status, resource_version=version_of(first))
        assert await cluster.get(ref) == second
        await cluster.delete(ref)
        with pytest.raises(NotFound):
            await cluster.patch_status(ref, commit, resource_version=version_of(second))
        successor = await cluster.apply(pull_request(namespace), manager=MANAGER)
        with pytest.raises(Conflict):
            await cluster.patch_status(ref, commit, resource_version=version_of(second))
        assert await cluster.get(ref) == successor

    # Deletion

    async def test_a_deleted_object_is_gone_and_cannot_be_deleted_again(self, cluster: Cluster, namespace: str) -> None:
        ref = ref_of(await cluster.apply(secret(namespace, "green"), manager=MANAGER))
        await cluster.delete(ref)
        assert not await exists(cluster, ref)
        with pytest.raises(NotFound):
            await cluster.delete(ref)

    async def test_a_recreated_object_is_another_one(self, cluster: Cluster, namespace: str) -> None:
        first = await cluster.apply(secret(namespace, "green", key="dmFsdWU="), manager=MANAGER)
        await cluster.delete(ref_of(first))
        second = await cluster.apply(secret(namespace, "green"), manager=MANAGER)
        assert uid_of(second) != uid_of(first)
        assert get(second, "data", "key") is None
        with pytest.raises(Conflict):
            await cluster.delete(ref_of(first), uid=uid_of(first))
        await cluster.delete(ref_of(second), uid=uid_of(second))
        assert not await exists(cluster, ref_of(second))

    async def test_what_has_changed_is_not_deleted_in_the_version_before(
        self, cluster: Cluster, namespace: str
    ) -> None:
        first = await cluster.apply(secret(namespace, "green"), manager=MANAGER)
        second = await cluster.apply(secret(namespace, "green", key="dmFsdWU="), manager=MANAGER)
        with pytest.raises(Conflict):
            await cluster.delete(ref_of(first), resource_version=version_of(first))
        assert await cluster.get(ref_of(first)) == second
        await cluster.delete(ref_of(second), uid=uid_of(second), resource_version=version_of(second))
        assert not await exists(cluster, ref_of(second))

    async def test_a_finalizer_holds_an_object(self, cluster: Cluster, namespace: str) -> None:
        held = with_metadata(config_map(namespace, color="green"), finalizers=[FINALIZER])
        ref = ref_of(await cluster.apply(held, manager=MANAGER))
        await cluster.delete(ref)
        assert is_deleting(await cluster.get(ref))
        await cluster.apply(config_map(namespace, color="green"), manager=MANAGER)
        assert not await exists(cluster, ref)

    async def test_no_finalizer_can_be_added_to_an_object_being_deleted(self, cluster: Cluster, namespace: str) -> None:
        held = with_metadata(config_map(namespace), finalizers=[FINALIZER])
        ref = ref_of(await cluster.apply(held, manager=MANAGER))
        await cluster.delete(ref)
        more = with_metadata(config_map(namespace), finalizers=[FINALIZER, f"{FINALIZER}-more"])
        with pytest.raises(ClusterError):
            await cluster.apply(more, manager=MANAGER)
        await cluster.apply(config_map(namespace), manager=MANAGER)

    async def test_finalizers_are_taken_away_whoever_set_them(self, cluster: Cluster, namespace: str) -> None:
        dead, other = f"{FINALIZER}-dead", f"{FINALIZER}-other"
        held = with_metadata(config_map(namespace), finalizers=[dead, other])
        stored = await cluster.apply(held, manager="somebody-else")
        await cluster.delete(ref_of(stored))
        await cluster.release(await cluster.get(ref_of(stored)), [dead])
        left = await cluster.get(ref_of(stored))
        assert items(left, "metadata", "finalizers") == [other]
        await cluster.release(left, [dead, other])
        assert not await exists(cluster, ref_of(stored))
        with pytest.raises(NotFound):
            await cluster.release(left, [other])

    async def test_finalizers_stay_on_an_object_that_is_not_the_one_that_was_read(
        self, cluster: Cluster, namespace: str
    ) -> None:
        held = with_metadata(config_map(namespace), finalizers=[FINALIZER])
        stored = await cluster.apply(held, manager=MANAGER)
        await cluster.apply(with_metadata(held, labels={"color": "green"}), manager=MANAGER)
        with pytest.raises(Conflict):
            await cluster.release(stored, [FINALIZER])
        present = await cluster.get(ref_of(stored))
        assert items(present, "metadata", "finalizers") == [FINALIZER]
        await cluster.release(present, [FINALIZER])

    async def test_a_pod_is_marked_until_its_end_is_confirmed(self, cluster: Cluster, namespace: str) -> None:
        pod: dict[str, Json] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"nodeName": "greenroom-contract", "containers": [container("app")]},
        }
        ref = ref_of(await cluster.apply(pod, manager=MANAGER))
        await cluster.delete(ref)
        marked = await cluster.get(ref)
        assert is_deleting(marked)
        assert number(marked, "metadata", "deletionGracePeriodSeconds") == 30
        await cluster.delete(ref, grace_seconds=0)
        assert not await exists(cluster, ref)

    async def test_what_an_object_owns_goes_with_it(self, cluster: Cluster, namespace: str) -> None:
        owner = await cluster.apply(pull_request(namespace), manager=MANAGER)
        child = with_metadata(config_map(namespace, "child"), ownerReferences=[owner_reference(owner)])
        stored = await cluster.apply(child, manager=MANAGER)
        grandchild = with_metadata(config_map(namespace, "grandchild"), ownerReferences=[owner_reference(stored)])
        last = await cluster.apply(grandchild, manager=MANAGER)
        bystander = await cluster.apply(config_map(namespace, "bystander"), manager=MANAGER)
        await cluster.delete(ref_of(owner))
        await gone(cluster, ref_of(stored))
        await gone(cluster, ref_of(last))
        assert await exists(cluster, ref_of(bystander))

    async def test_an_object_of_two_owners_stays_with_the_other(self, cluster: Cluster, namespace: str) -> None:
        one = await cluster.apply(config_map(namespace, "one"), manager=MANAGER)
        two = await cluster.apply(config_map(namespace, "two"), manager=MANAGER)
        references: list[Json] = [{**owner_reference(owner), "controller": False} for owner in (one, two)]
        child = with_metadata(config_map(namespace, "child"), ownerReferences=references)
        ref = ref_of(await cluster.apply(child, manager=MANAGER))
        await cluster.delete(ref_of(one))

        async def one_owner_left() -> bool:
            owners = items(await cluster.get(ref), "metadata", "ownerReferences")
            return [text(owner, "uid") for owner in owners] == [uid_of(two)]

        await eventually("the reference to the deleted owner is gone", one_owner_left)
        await cluster.delete(ref_of(two))
        await gone(cluster, ref)

    async def test_an_object_has_one_controller_whoever_applies_another(self, cluster: Cluster, namespace: str) -> None:
        one = await cluster.apply(config_map(namespace, "one"), manager=MANAGER)
        two = await cluster.apply(config_map(namespace, "two"), manager=MANAGER)
        child = with_metadata(config_map(namespace, "child"), ownerReferences=[owner_reference(one)])
        stored = await cluster.apply(child, manager=MANAGER)
        taken = with_metadata(config_map(namespace, "child"), ownerReferences=[owner_reference(two)])
        with pytest.raises(Invalid):
            await cluster.apply(taken, manager="another")
        assert await cluster.get(ref_of(stored)) == stored

    async def test_an_object_whose_owner_is_already_gone_goes_too(self, cluster: Cluster, namespace: str) -> None:
        owner = await cluster.apply(pull_request(namespace), manager=MANAGER)
        await cluster.delete(ref_of(owner))
        late = with_metadata(config_map(namespace, "late"), ownerReferences=[owner_reference(owner)])
        await gone(cluster, ref_of(await cluster.apply(late, manager=MANAGER)))

    async def test_a_deleted_namespace_takes_everything_in_it(self, cluster: Cluster, namespace: str) -> None:
        doomed = f"{namespace}-doomed"
        manifest: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": doomed}}
        await cluster.apply(manifest, manager=MANAGER)
        inside = ref_of(await cluster.apply(config_map(doomed), manager=MANAGER))
        outside = ref_of(await cluster.apply(config_map(namespace), manager=MANAGER))
        await cluster.delete(Ref(NAMESPACE, "", doomed))
        await gone(cluster, Ref(NAMESPACE, "", doomed))
        assert not await exists(cluster, inside)
        assert await exists(cluster, outside)

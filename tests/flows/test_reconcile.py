"""What an environment becomes, and stays, whatever happens to its objects."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    World,
    config_map,
    deployment,
    event,
    gateway_route,
    pr_object,
    review_app,
    settled,
    world,
)
from tests.virtual import run, virtual_time

from greenroom.flows.reconcile import CLOSING_SECONDS
from greenroom.local.storage.store import Store
from greenroom.model.errors import Invalid, NotFound, Unavailable
from greenroom.model.manifest import CONFIG_MAP, DEPLOYMENT, PR, REVIEW_APP, Manifest, Ref, kind_of, name_of, ref_of

CHILD = Ref(CONFIG_MAP, NAMESPACE, "pr7")


async def made(here: World, manifest: Any = None) -> None:
    """A PR object, and what comes of it."""
    await here.apply(manifest or pr_object())
    await settled()


async def push(here: World, commit: str) -> None:
    await here.apply(pr_object(commit))
    await settled()


async def names(here: World) -> set[str]:
    return set(await here.objects("ConfigMap"))


@virtual_time
async def test_a_pr_object_gets_the_objects_of_the_template(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
        child = (await here.objects("ConfigMap"))["pr7"]
        pr = await here.pr()
        assert child["data"] == {"commit": A}
        assert child["metadata"]["ownerReferences"][0]["uid"] == pr["metadata"]["uid"]
        assert child["metadata"]["labels"] == {"greenroom.dev/environment": "shop-pr7"}
        assert set(await here.objects("Deployment", "apps/v1")) == {"pr7"}
        assert {(each["kind"], each["name"]) for each in pr["status"]["inventory"]} == {
            ("ConfigMap", "pr7"),
            ("Deployment", "pr7"),
        }


@virtual_time
async def test_a_push_updates_objects_that_have_no_spec(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        await push(here, B)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}
        assert (await here.condition())["status"] == "True"


@virtual_time
async def test_an_edited_template_reaches_live_environments(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), config_map("old-{{PR_NUMBER}}")), running=True) as here:
        await made(here)
        assert await names(here) == {"pr7", "old-7"}
        await here.apply(review_app(config_map(text="new"), config_map("new-{{PR_NUMBER}}")))
        await settled()
        assert await names(here) == {"pr7", "new-7"}
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"text": "new"}


@virtual_time
async def test_a_kind_that_left_the_template_is_pruned_by_another_process(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
    async with world(tmp_path, review_app(deployment()), running=True) as here:
        await settled()
        assert await names(here) == set()


@virtual_time
async def test_what_somebody_deletes_or_changes_is_put_right(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), config_map("b")), running=True) as here:
        await made(here)
        await here.store.delete(CHILD)
        await here.apply(config_map("b", commit="?"))
        await settled()
        assert {name: each["data"] for name, each in (await here.objects("ConfigMap")).items()} == {
            "pr7": {"commit": A},
            "b": {"commit": A},
        }


@virtual_time
async def test_objects_of_others_are_never_touched(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map("mine"), config_map("theirs")), running=True) as here:
        await here.apply(config_map("lonely"))
        await here.apply(pr_object(number=8, parentReviewApp="none"))
        other = await here.pr(8)
        owner = {"apiVersion": PR.api_version, "kind": "PR", "name": "shop-pr8", "controller": True}
        theirs = config_map("theirs")
        theirs["metadata"]["ownerReferences"] = [{**owner, "uid": other["metadata"]["uid"]}]
        before = await here.apply(theirs)
        await made(here)
        assert (await here.objects("ConfigMap"))["theirs"] == before
        assert (await here.condition())["reason"] == "NameTaken"
        assert "ConfigMap/theirs belongs to PR/shop-pr8" in (await here.condition())["message"]
        await here.store.delete(here.pr_ref())
        await settled()
        assert await names(here) == {"lonely", "theirs"}


@virtual_time
async def test_a_pr_object_that_goes_takes_its_objects_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment()), running=True) as here:
        await made(here)
        await made(here, pr_object(number=8))
        await here.store.delete(here.pr_ref())
        await settled()
        assert await names(here) == {"pr8"}
        assert set(await here.objects("Deployment", "apps/v1")) == {"pr8"}
        assert not [each for each in await here.objects("Event") if each.startswith("shop-pr7")]


@virtual_time
async def test_a_pull_request_that_is_closed_and_reopened_at_once_gets_a_new_environment(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        for second, action in enumerate(("opened", "closed", "reopened", "closed", "reopened")):
            await here.intake.handle(event(action, second=second))
        await settled()
        pr = await here.pr()
        child = (await here.objects("ConfigMap"))["pr7"]
        assert child["metadata"]["ownerReferences"][0]["uid"] == pr["metadata"]["uid"]
        assert (await here.condition())["status"] == "True"


@virtual_time
async def test_when_all_is_well_another_look_writes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(), deployment(), gateway_route()), running=True) as here:
        await made(here)
        assert await here.writes(lambda: here.reconcile.reconcile(here.pr_ref())) == 0


class Failing(Store):
    """A store that refuses to apply some objects by name, with the error given."""

    refused: dict[str, Exception] = {}  # noqa: RUF012
    asked = 0

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if manager == "greenroom" and name_of(manifest) in self.refused:
            self.asked += 1
            raise self.refused[name_of(manifest)]
        return await super().apply(manifest, manager=manager, force=force)


async def with_refusal(tmp_path: Path, error: Exception) -> tuple[int, Any, Any]:
    """Answers how often it was tried, the Applied condition, and that condition once the cause was gone."""
    async with world(tmp_path, review_app(config_map("bad"), config_map()), running=True, opened=Failing.open) as here:
        assert isinstance(here.store, Failing)
        here.store.refused = {"bad": error}
        await made(here)
        assert await names(here) == {"pr7"}
        asked, applied = here.store.asked, await here.condition("Applied")
        here.store.refused = {}
        await here.apply(pr_object(B))
        await settled()
        assert await names(here) == {"pr7", "bad"}
        return asked, applied, await here.condition("Applied")


def test_one_object_that_fails_is_named_and_tried_again_while_the_others_go_on(tmp_path: Path) -> None:
    asked, during, after = run(with_refusal(tmp_path, Unavailable("the API server is down")))
    assert asked > 3
    assert (during["status"], during["reason"]) == ("False", "ApplyFailed")
    assert during["message"] == "ConfigMap/bad: the API server is down"
    assert after["status"] == "True"


def test_an_object_that_is_wrong_is_not_tried_again_and_again(tmp_path: Path) -> None:
    asked, during, after = run(with_refusal(tmp_path, Invalid("data: must be a mapping")))
    assert asked < 4
    assert during["message"] == "ConfigMap/bad: data: must be a mapping"
    assert after["status"] == "True"


@virtual_time
async def test_an_api_server_that_is_down_for_a_while_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Failing.open) as here:
        assert isinstance(here.store, Failing)
        here.store.refused = {"pr7": Unavailable("down", retry_after=60)}
        await made(here)
        assert here.store.asked == 1
        here.store.refused = {}
        for _ in range(13):
            await settled()
        assert await names(here) == {"pr7"}
        assert (await here.condition())["status"] == "True"


@pytest.mark.parametrize(
    ("app", "pr", "reason", "part"),
    [
        (None, pr_object(), "ReviewAppNotFound", "has no ReviewApp 'shop'"),
        (review_app({"kind": "x"}), pr_object(), "InvalidTemplate", "spec.resources[0].apiVersion: is missing"),
        (review_app(config_map()), pr_object(commit=""), "InvalidTemplate", "names no commit"),
        (review_app(config_map()), pr_object(prNumber=7), "InvalidPR", "spec.prNumber"),
        (
            review_app({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr{{PR_NUMBER}}"}}),
            pr_object(),
            "InvalidTemplate",
            "belongs to no namespace",
        ),
    ],
    ids=["no ReviewApp", "wrong template", "no commit", "wrong PR object", "cluster-scoped"],
)
def test_what_is_wrong_is_told_in_the_status(tmp_path: Path, app: Any, pr: Any, reason: str, part: str) -> None:
    async def look() -> Any:
        async with world(tmp_path, *([app] if app else []), running=True) as here:
            await made(here, pr)
            return await here.condition()

    condition = run(look())
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert part in condition["message"]


@virtual_time
async def test_an_environment_keeps_running_while_its_template_is_wrong(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        await here.apply(review_app({"kind": "x"}))
        await push(here, B)
        assert (await here.condition())["reason"] == "InvalidTemplate"
        assert await names(here) == {"pr7"}
        await here.apply(review_app(config_map()))
        await settled()
        assert (await here.condition())["status"] == "True"
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}


@virtual_time
async def test_braces_of_other_tools_are_a_warning(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map(text="{{ .Values.a }}")), running=True) as here:
        await made(here)
        assert (await here.condition())["status"] == "True"
        assert "{{ .Values.a }}" in (await here.condition("TemplateWarning"))["message"]


@virtual_time
async def test_a_kind_that_the_cluster_does_not_serve_stops_no_other(tmp_path: Path) -> None:
    unserved = {"apiVersion": "apps/v2", "kind": "Deployment", "metadata": {"name": "pr7"}}
    async with world(tmp_path, review_app(unserved, config_map()), running=True) as here:
        await made(here)
        assert await names(here) == {"pr7"}
        assert (await here.condition("Applied"))["reason"] == "ApplyFailed"


@virtual_time
async def test_the_death_of_an_intake_between_remembering_and_deleting_is_made_good(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await here.intake.handle(event("opened"))
        await settled()
        closed = {"7": f"2026-01-31T12:00:01Z closed::{A}"}
        await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": closed})
        await asyncio.sleep(CLOSING_SECONDS + 1)
        with pytest.raises(NotFound):
            await here.pr()
        assert await names(here) == set()


@virtual_time
async def test_a_pull_request_that_was_reopened_a_moment_ago_is_not_deleted_for_its_earlier_close(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, review_app(config_map())) as here:
        await here.intake.handle(event("opened"))
        closed = {"7": f"2026-01-31T12:00:01Z closed::{A}"}
        await here.report(Ref(REVIEW_APP, NAMESPACE, "shop"), {"closed": closed})
        await settled()
        await here.intake.handle(event("reopened", second=2))
        await here.reconcile.reconcile(here.pr_ref())  # the informers have not heard of it yet
        assert await here.prs() == {"shop-pr7": A}


class Overtaken(Store):
    """A store from which somebody else deletes, always a moment before us."""

    async def delete(self, ref: Ref, *, uid: str = "", grace_seconds: int | None = None) -> None:
        await super().delete(ref)
        await super().delete(ref, uid=uid, grace_seconds=grace_seconds)


@virtual_time
async def test_what_somebody_else_deleted_first_is_as_good_as_deleted(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True, opened=Overtaken.open) as here:
        await made(here)
        await here.apply(review_app())
        await settled()
        assert await names(here) == set()
        assert (await here.condition("Applied"))["message"] == "0 objects"
        assert {each["reason"] for each in (await here.objects("Event")).values()} == {"Created", "Ready"}


class Watching(Store):
    """A store that is slow with ConfigMaps, and remembers how many there were when a Deployment came."""

    seen = 0

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        if kind_of(manifest) == CONFIG_MAP:
            await asyncio.sleep(1)
        if kind_of(manifest) == DEPLOYMENT:
            self.seen = len((await self.list(CONFIG_MAP)).items)
        return await super().apply(manifest, manager=manager, force=force)


@virtual_time
async def test_a_program_starts_when_what_it_reads_is_there(tmp_path: Path) -> None:
    app = review_app(deployment(), config_map("a"), config_map("b"))
    async with world(tmp_path, app, running=True, opened=Watching.open) as here:
        assert isinstance(here.store, Watching)
        await made(here)
        assert here.store.seen == 2


@virtual_time
async def test_a_pr_object_made_by_hand_for_a_closed_pull_request_stays(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await here.intake.handle(event("closed"))
        await made(here)
        assert await names(here) == {"pr7"}


async def roll(here: World, commit: str, *, ready: bool, reason: str = "") -> None:
    """What the cluster's controllers and a kubelet would write for the commit's pod."""
    child = (await here.objects("Deployment", "apps/v1"))["pr7"]
    name, annotations = f"pr7-{commit[:4]}", {"greenroom.dev/commit": commit}
    replica_set = await here.apply(_owned(child, "apps/v1", "ReplicaSet", name, annotations))
    await here.apply(_owned(replica_set, "v1", "Pod", f"{name}-x", {}))
    waiting = {"waiting": {"reason": reason, "message": "it is being built"}}
    container = {"name": "app", "image": f"shop:{commit[:7]}", "state": {} if ready else waiting}
    for kind, owned_name, status in (
        ("Pod", f"{name}-x", {"containerStatuses": [container]}),
        ("ReplicaSet", name, {"readyReplicas": int(ready)}),
    ):
        found = (await here.objects(kind, "v1" if kind == "Pod" else "apps/v1"))[owned_name]
        await here.report(ref_of(found), status)
    generation = child["metadata"]["generation"]
    numbers = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": int(ready)}
    await here.report(Ref(DEPLOYMENT, NAMESPACE, "pr7"), {"observedGeneration": generation, **numbers})
    await settled()


def _owned(owner: Any, api_version: str, kind: str, name: str, annotations: dict[str, str]) -> dict[str, Any]:
    meta = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    metadata = {"name": name, "annotations": annotations, "ownerReferences": [{**reference, "controller": True}]}
    spec = {"containers": [{"name": "app", "image": "shop"}]}
    content = spec if kind == "Pod" else {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": _POD}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": content}


_POD = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "app", "image": "shop"}]}}


@virtual_time
async def test_the_status_follows_the_pods_from_the_missing_image_to_the_next_commit(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(deployment(), gateway_route()), running=True) as here:
        await made(here)
        assert (await here.condition())["reason"] == "RollingOut"
        await roll(here, A, ready=False, reason="ImagePullBackOff")
        assert (await here.condition())["reason"] == "WaitingForImage"
        assert (await here.condition())["message"] == "pr7: waiting for image shop:aaaaaaa: it is being built"

        await roll(here, A, ready=True)
        assert (await here.condition())["reason"] == "WaitingForRoute"
        route = (await here.objects("GatewayRoute", "appmesh.k8s.aws/v1beta2"))["pr7"]
        await here.report(ref_of(route), {"conditions": [{"type": "GatewayRouteActive", "status": "True"}]})
        await settled()
        assert (await here.condition())["message"] == "http://pr7.localhost:8080 shows commit aaaaaaa"

        await push(here, B)
        await roll(here, B, ready=False, reason="CrashLoopBackOff")
        status = (await here.pr())["status"]
        assert (status["commit"], status["shownCommit"], status["url"]) == (B, A, "http://pr7.localhost:8080")
        assert (await here.condition())["reason"] == "CrashLoopBackOff"
        assert (await here.condition())["message"].endswith("; commit aaaaaaa keeps serving")

        await roll(here, B, ready=True)
        assert (await here.condition())["message"] == "http://pr7.localhost:8080 shows commit bbbbbbb"
        reasons = {each["reason"] for each in (await here.objects("Event")).values()}
        assert {
            "Created",
            "CommitChanged",
            "WaitingForImage",
            "WaitingForRoute",
            "CrashLoopBackOff",
            "Ready",
        } <= reasons


@virtual_time
async def test_owners_that_own_each_other_end_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        first = await here.apply(_owned(await here.pr(), "apps/v1", "ReplicaSet", "a", {}))
        second = await here.apply(_owned(first, "apps/v1", "ReplicaSet", "b", {}))
        await here.apply(_owned(second, "apps/v1", "ReplicaSet", "a", {}))
        await push(here, B)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}

"""What is told of an environment while its pods come up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from tests.flows.world import (
    NAMESPACE,
    A,
    B,
    World,
    config_map,
    deployment,
    gateway_route,
    made,
    push,
    review_app,
    settled,
    world,
)
from tests.virtual import virtual_time

from greenroom.model.gateway import CONTROLLER, GATEWAY, HTTP_ROUTE
from greenroom.model.manifest import DEPLOYMENT, Ref, ref_of


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
async def test_the_log_has_a_line_for_each_time_that_readiness_changes(tmp_path: Path) -> None:
    with capture_logs([merge_contextvars]) as logs:
        async with world(tmp_path, review_app(deployment()), running=True) as here:
            await made(here)
            await roll(here, A, ready=False, reason="CrashLoopBackOff")
            await here.reconcile.reconcile(here.pr_ref())
            await roll(here, A, ready=True)
            message = (await here.condition())["message"]
    told = [line for line in logs if line["event"] == "readiness changed"]
    assert [(line["log_level"], line["reason"]) for line in told] == [
        ("info", "RollingOut"),
        ("warning", "CrashLoopBackOff"),
        ("info", "Ready"),
    ]
    assert {line["environment"] for line in told} == {f"{NAMESPACE}/shop-pr7"}
    assert told[-1]["message"] == message


@virtual_time
async def test_owners_that_own_each_other_end_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, review_app(config_map()), running=True) as here:
        await made(here)
        first = await here.apply(_owned(await here.pr(), "apps/v1", "ReplicaSet", "a", {}))
        second = await here.apply(_owned(first, "apps/v1", "ReplicaSet", "b", {}))
        await here.apply(_owned(second, "apps/v1", "ReplicaSet", "a", {}))
        await push(here, B)
        assert (await here.objects("ConfigMap"))["pr7"]["data"] == {"commit": B}


@virtual_time
async def test_an_http_route_is_waited_for_until_its_gateway_serves(tmp_path: Path) -> None:
    api = HTTP_ROUTE.api_version
    route = {"apiVersion": api, "kind": "HTTPRoute", "metadata": {"name": "pr{{PR_NUMBER}}"}}
    gateway = {"apiVersion": api, "kind": "Gateway", "metadata": {"name": "web"}, "spec": {}}
    said = [{"type": each, "status": "True", "observedGeneration": 1} for each in ("Accepted", "ResolvedRefs")]
    parent = {"controllerName": CONTROLLER, "parentRef": {"name": "web"}, "conditions": said}
    spec = {"spec": {"parentRefs": [{"name": "web"}], "hostnames": ["pr{{PR_NUMBER}}.example.com"]}}
    async with world(tmp_path, review_app({**route, **spec}), running=True) as here:
        await here.apply(gateway)
        await made(here)
        await here.report(Ref(HTTP_ROUTE, NAMESPACE, "pr7"), {"parents": [parent]})
        await asyncio.sleep(5)
        assert "Gateway web: no Envoy serves it yet" in (await here.condition())["message"]
        for status in ("True", "False"):
            programmed = {"type": "Programmed", "status": status}
            await here.report(Ref(GATEWAY, NAMESPACE, "web"), {"conditions": [programmed]})
            await here.until(status, within=5)
        assert (await here.pr())["status"]["url"] == "http://pr7.example.com:8080"

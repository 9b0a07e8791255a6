"""What is found out about a pod before it is judged, and that nobody waits for an answer that does not come."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.flows.world import VirtualClock
from tests.virtual import now, virtual_time

from greenroom.core.bootstrap import ControlPlane
from greenroom.core.injection import GATEWAY_NAME, INJECT, Injection
from greenroom.flows.admission import PodAdmission
from greenroom.local.storage.store import Store
from greenroom.model.errors import Forbidden, Unavailable, UnknownKind
from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS
from greenroom.model.manifest import Kind, Ref
from greenroom.model.mesh import VIRTUAL_GATEWAY

PUBLISHED = Path(__file__).parents[1] / "data" / "published" / "gateway.yaml"
INJECTION = Injection("registry.example.com/envoy:1", ControlPlane("greenroom-ads.greenroom.svc", 18000))


def request(image: str | None = None) -> Any:
    """To create a pod of the published Deployment."""
    template = next(each for each in yaml.safe_load_all(PUBLISHED.read_text()) if each["kind"] == "Deployment")
    pod = template["spec"]["template"]
    if image:
        pod["spec"]["containers"][0]["image"] = image
    return {"uid": "1", "namespace": "pr-env", "object": pod}


class Cluster:
    """A store, of which each answer takes a while, and some fail."""

    def __init__(self, store: Store, *, seconds: float = 0.0, failure: Exception | None = None) -> None:
        self._store = store
        self._seconds = seconds
        self._failure = failure

    async def get(self, ref: Ref) -> Any:
        await asyncio.sleep(self._seconds)
        return await self._store.get(ref)

    async def list(self, kind: Kind, **options: Any) -> Any:
        await asyncio.sleep(self._seconds)
        if self._failure is not None:
            raise self._failure
        return await self._store.list(kind, **options)


async def reviewed(folder: Path, asked: Any, *, mode: str = "enabled", **options: Any) -> Any:
    with closing(Store.open(folder / "cluster.db", clock=VirtualClock())) as store:
        metadata: Any = {"name": "pr-env", "labels": {INJECT: mode}}
        await store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, manager="test")
        gateway = next(each for each in yaml.safe_load_all(PUBLISHED.read_text()) if each["kind"] == "VirtualGateway")
        named = {**gateway["metadata"], "namespace": "pr-env"}
        await store.apply({**gateway, "metadata": named}, manager="test")
        cluster: Any = Cluster(store, **options)
        return await PodAdmission(cluster, INJECTION).review(asked)


@virtual_time
async def test_a_gateway_that_was_applied_just_before_is_known(tmp_path: Path) -> None:
    assert (await reviewed(tmp_path, request())).patch


@virtual_time
async def test_the_label_of_the_namespace_counts(tmp_path: Path) -> None:
    answer = await reviewed(tmp_path, request(), mode="disabled")
    assert (answer.allowed, answer.patch, answer.warnings) == (True, (), ())


@virtual_time
async def test_an_api_server_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    answer = await reviewed(tmp_path, request(image="registry.example.com/envoy:1"), seconds=3600.0)
    assert now() < 1
    assert answer.allowed
    assert answer.warnings


@pytest.mark.parametrize("failure", [Unavailable("gone"), Forbidden("no")])
def test_a_gateway_whose_gateway_cannot_be_found_out_is_tried_again(tmp_path: Path, failure: Exception) -> None:
    @virtual_time
    async def is_refused() -> None:
        answer = await reviewed(tmp_path, request(), failure=failure)
        assert not answer.allowed
        assert "cannot find out now" in answer.message

    is_refused()


@virtual_time
async def test_where_there_are_no_virtual_gateways_no_pod_is_one(tmp_path: Path) -> None:
    answer = await reviewed(tmp_path, request(), failure=UnknownKind(str(VIRTUAL_GATEWAY)))
    assert "no VirtualGateway in this namespace" in answer.message


@virtual_time
@pytest.mark.parametrize(
    ("controller", "is_ours"),
    [(CONTROLLER, True), ("example.com/other", False), ("", False)],
    ids=["ours", "other", "no"],
)
async def test_a_gateway_that_a_pod_names_serves_it_if_its_class_is_ours(
    tmp_path: Path, controller: str, is_ours: bool
) -> None:
    with closing(Store.open(tmp_path / "cluster.db", clock=VirtualClock())) as store:
        metadata: Any = {"name": "pr-env", "labels": {INJECT: "enabled"}}
        await store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, manager="test")
        await store.apply(
            {
                "apiVersion": GATEWAY.api_version,
                "kind": "Gateway",
                "metadata": {"name": "web", "namespace": "pr-env"},
                "spec": {"gatewayClassName": "mine", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]},
            },
            manager="test",
        )
        if controller:
            named: Any = {"apiVersion": GATEWAY_CLASS.api_version, "kind": "GatewayClass", "metadata": {"name": "mine"}}
            await store.apply({**named, "spec": {"controllerName": controller}}, manager="test")
        asked = request("envoy")
        asked["object"]["metadata"]["labels"] = {GATEWAY_NAME: "web"}
        answer = await PodAdmission(store, INJECTION).review(asked)
    assert answer.allowed
    assert bool(answer.patch) is is_ours

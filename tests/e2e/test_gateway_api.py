"""A pull request whose template has an HTTPRoute, seen from outside: nothing of App Mesh is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.e2e.shop import Shop, eventually, settings_in, shop_in

from greenroom.app import manifests
from greenroom.app.example_repository import free_port, make_example
from greenroom.model.gateway import GATEWAY, HTTP_ROUTE
from greenroom.model.manifest import DEPLOYMENT, REVIEW_APP, SERVICE, Json, Kind, Manifest, condition_of, text
from greenroom.model.mesh import VIRTUAL_GATEWAY

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: "pr{{PR_NUMBER}}" }
spec:
  parentRefs: [{ name: web }]
  hostnames: ["pr{{PR_NUMBER}}.localhost"]
  rules: [{ backendRefs: [{ name: "pr{{PR_NUMBER}}", port: 80 }] }]
"""


def objects(shop: Path, port: int) -> list[Manifest]:
    """A Gateway of the class that is there by itself, and the example's ReviewApp with an HTTPRoute."""
    [loaded] = manifests.load([str(shop / "reviewapp.yaml")])
    app: Any = loaded.manifest
    assert Kind.of(app["apiVersion"], app["kind"]) == REVIEW_APP
    kept = [each for each in app["spec"]["resources"] if each["kind"] in {SERVICE.name, DEPLOYMENT.name}]
    spec = {**app["spec"], "resources": [yaml.safe_load(ROUTE), *kept]}
    listener: Json = {"name": "http", "port": port, "protocol": "HTTP"}
    gateway: Manifest = {
        "apiVersion": GATEWAY.api_version,
        "kind": GATEWAY.name,
        "metadata": {"name": "web"},
        "spec": {"gatewayClassName": "greenroom", "listeners": [listener]},
    }
    return [gateway, {**app, "spec": spec}]


async def test_an_environment_with_an_http_route_comes_changes_and_goes(tmp_path: Path) -> None:
    repository = await make_example(tmp_path / "shop")
    port = free_port(0)
    given = objects(repository.path, port)
    async with shop_in(tmp_path, settings_in(tmp_path, repository), objects=given) as shop:
        assert shop.machine.gateway_port == port
        assert not (await shop.machine.cluster.list(VIRTUAL_GATEWAY)).items
        pull = await shop.forge.open("blue-title")
        page = await shop.until_status("pr1.localhost", 503)
        assert pull.head[:7] in page.body, "visitors are told what they wait for"
        assert (await shop.until_shown(1, pull.head)).commit == pull.head
        await until_ready(shop)
        assert text(shop.pr(1), "status", "url") == f"http://pr1.localhost:{port}"
        commit = await shop.change("blue-title", "The shop", "The new shop")
        await shop.forge.push(1)
        assert (await shop.until_shown(1, commit)).commit == commit
        await shop.forge.close(1)
        await shop.until_status("pr1.localhost", 404)
        assert not (await shop.machine.cluster.list(HTTP_ROUTE)).items


async def until_ready(shop: Shop) -> None:
    async def is_ready() -> bool:
        return text(condition_of(shop.pr(1), "Ready"), "status") == "True"

    await eventually(is_ready)

"""`greenroom doctor`: what a person reads, what a script gets, and the exit codes that both go by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.terminal import NAME_SPACE, Terminal, made, terminal

from greenroom.cli.doctor import SHOWN
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.model.mesh import GROUP as MESH_GROUP


async def examined(person: Terminal, *options: str) -> tuple[int, str, str]:
    return await person.run("doctor", "--kubeconfig", str(person.state.kubeconfig), *options)


def route(name: str) -> Any:
    target = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}}
    metadata = {"name": name, "namespace": NAME_SPACE}
    return {"apiVersion": GATEWAY_ROUTE.api_version, "kind": "GatewayRoute", "metadata": metadata, "spec": spec}


async def test_a_cluster_in_order(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        assert await examined(person) == (0, "Nothing to cure.\n", "")
        code, output, _ = await examined(person, "-o", "json")
        assert (code, json.loads(output)) == (0, {"findings": [], "unread": [], "skipped": []})


async def test_what_is_wrong_is_told_with_its_cure(tmp_path: Path) -> None:
    count = SHOWN + 2
    async with terminal(tmp_path) as person:
        for number in range(count):
            await person.store.apply(route(f"route-{number}"), manager="test")
        before = (await person.store.list(GATEWAY_ROUTE)).resource_version
        code, output, errors = await examined(person)
        assert (code, errors) == (1, "")
        title, message, cure, _, last = output.splitlines()
        assert title.startswith(f"NoVirtualGateway: GatewayRoute {NAME_SPACE}/route-0, ")
        assert title.endswith(f"/route-{SHOWN - 1} and 2 more")
        assert message == "  no VirtualGateway's selectors match this route"
        assert cure == f"  $ kubectl get virtualgateway.{MESH_GROUP} -A -o yaml"
        assert last == "1 to cure."
        code, output, _ = await examined(person, "-o", "json")
        (finding,) = json.loads(output)["findings"]
        assert (code, len(finding["objects"]), finding["harmless"]) == (1, count, False)
        assert finding["cure"] == [cure.removeprefix("  $ ")]
        assert (await person.store.list(GATEWAY_ROUTE)).resource_version == before


async def test_what_is_harmless_needs_nobody(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        spec = {"meshRef": {"name": "gone", "uid": "1"}}
        service = {**made("old"), "apiVersion": GATEWAY_ROUTE.api_version, "kind": "VirtualService", "spec": spec}
        await person.store.apply(service, manager="test")
        code, output, _ = await examined(person)
        assert code == 0
        assert output.startswith(f"StaleReference (harmless): VirtualService {NAME_SPACE}/old\n")
        assert output.endswith("\nNothing to cure.\n")


async def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        wrong = route("wrong")
        wrong["spec"]["httpRoute"]["\x1b[2J"] = True
        await person.store.apply(wrong, manager="test")
        _, output, _ = await examined(person)
        assert "spec.httpRoute.?[2J: not supported" in output


async def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        code, output, errors = await person.run("doctor", "--kubeconfig", str(tmp_path / "none"))
        assert (code, output) == (1, "")
        assert errors.startswith(f"greenroom: {tmp_path / 'none'}: ")

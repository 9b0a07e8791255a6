"""What is planned for the published ReviewApp over the life of a pull request, in ``golden/<step>.yaml``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.world import load
from tests.golden import expected, orphans

from greenroom.core.plan import Action, Apply, Delete, Record, plan
from greenroom.core.template import render
from greenroom.model.environment import Environment
from greenroom.model.manifest import PR, Json, Manifest, Ref, ref_of
from greenroom.model.reviewapp import ReviewApp

GOLDEN = Path(__file__).parent / "golden"
OPENED = Environment(
    Ref(PR, "pr-env", "reviewapp-pr7"), "uid-7", 1, "reviewapp", "7", "a" * 40, (("LOG", "{{PR_NUMBER}}"),)
)
PUSHED = replace(OPENED, commit="b" * 40)
OWNER: Manifest = {
    "apiVersion": PR.api_version,
    "kind": "PR",
    "name": "reviewapp-pr7",
    "uid": "uid-7",
    "controller": True,
}


class Life:
    """A cluster that keeps what it is told, and what was planned at each step."""

    def __init__(self) -> None:
        published: Any = load("reviewapp.yaml")[0]
        published["spec"]["githubRepository"] = "https://github.com/acme/shop"  # "<Owner>/<Repository>", filled in
        self.app = ReviewApp.parse(published)
        self.objects: dict[Ref, Manifest] = {}
        self.inventory: dict[Ref, Record] = {}

    def step(self, environment: Environment) -> list[Json]:
        wanted = render(environment, self.app, OWNER, lambda _: True).manifests
        owned = list(self.objects.values())
        actions = plan(wanted, self.objects.get, owned, self.inventory)
        for action in actions:
            if isinstance(action, Apply):
                self.objects[action.ref] = stored(action.manifest)
                self.inventory[action.ref] = Record.of(action.manifest, self.objects[action.ref])
            elif isinstance(action, Delete):
                del self.objects[action.ref]
        return [readable(action) for action in actions]


def stored(manifest: Manifest) -> Manifest:
    metadata: Any = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "uid": f"uid-of-{ref_of(manifest)}"}}


def readable(action: Action) -> Json:
    match action:
        case Apply(manifest):
            return {"apply": manifest}
        case Delete(ref, uid):
            return {"delete": str(ref), "uid": uid}
        case _:
            return {"blocked": str(action.ref)}


def life() -> dict[str, list[Json]]:
    """Every step, in order; each begins with what the one before left."""
    cluster = Life()
    steps = {"opened": cluster.step(OPENED), "looked_at_again": cluster.step(OPENED), "pushed": cluster.step(PUSHED)}
    service = next(ref for ref in cluster.objects if ref.kind.name == "Service")
    touched: Any = cluster.objects[service]
    cluster.objects[service] = {**touched, "spec": {**touched["spec"], "ports": []}}
    steps["somebody_changed_the_service"] = cluster.step(PUSHED)
    del cluster.objects[service]
    steps["somebody_deleted_the_service"] = cluster.step(PUSHED)
    cluster.app = replace(cluster.app, resources=cluster.app.resources[1:])
    steps["the_template_lost_its_route"] = cluster.step(PUSHED)
    return steps


@pytest.mark.parametrize("step", life())
def test_the_plan_is(step: str, rewrite_golden: bool) -> None:
    shown, golden = expected(GOLDEN / f"{step}.yaml", life()[step], rewrite=rewrite_golden)
    assert shown == golden


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, life().keys(), rewrite=rewrite_golden)

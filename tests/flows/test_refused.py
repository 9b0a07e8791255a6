"""An object that is refused, a template that is wrong: what is told, and what goes on all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.flows.world import (
    B,
    config_map,
    made,
    names,
    pr_object,
    push,
    review_app,
    settled,
    world,
)
from tests.virtual import run, virtual_time

from greenroom.local.storage.store import Store
from greenroom.model.errors import Invalid, Unavailable
from greenroom.model.manifest import Manifest, name_of


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

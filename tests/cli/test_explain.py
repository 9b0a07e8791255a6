"""`greenroom explain`: what a person reads of a pull request, and of a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.terminal import NAME_SPACE, Terminal, terminal

from greenroom.model.manifest import PR, REVIEW_APP, Manifest, ref_of

URL, HEAD = "https://github.com/acme/shop", "a" * 40
OBSERVED = f"2026-01-31T12:00:00Z opened::{HEAD}"


async def given(person: Terminal, name: str, *, gate: Any = None, refused: Any = None) -> None:
    metadata = {"name": name, "namespace": NAME_SPACE}
    spec = {"githubRepository": URL, "resources": [], **({"gate": gate} if gate else {})}
    app: Manifest = {"apiVersion": REVIEW_APP.api_version, "kind": REVIEW_APP.name, "metadata": metadata, "spec": spec}
    found = await person.store.apply(app, manager="test")
    if refused:
        await person.store.patch_status(ref_of(found), {"refused": refused})


async def given_pr(person: Terminal, name: str) -> None:
    metadata: Manifest = {"name": name, "namespace": NAME_SPACE, "annotations": {"greenroom.dev/observed": OBSERVED}}
    spec = {"parentReviewApp": name.partition("-")[0], "prNumber": "7", "headCommitRef": HEAD}
    pr: Manifest = {"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata, "spec": spec}
    await person.store.apply(pr, manager="test")


async def test_every_review_app_of_the_namespace_is_asked_or_the_one_that_is_named(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await given(person, "docs", gate={"labels": {"any": ["docs"]}}, refused={"7": {"observed": OBSERVED}})
        await given(person, "shop")
        await given_pr(person, "shop-pr7")
        code, output, errors = await person.run("explain", "#7")
        assert (code, errors) == (0, "")
        told = [line for line in output.splitlines() if line.startswith("ReviewApp")]
        assert told == [
            "ReviewApp docs: pull request 7 has no environment for now (Unknown)",
            "ReviewApp shop: pull request 7 gets an environment (NoGate)",
        ]
        for named in ("shop", "reviewapp/shop"):
            code, output, _ = await person.run("explain", named, "7")
            assert (code, output.splitlines()[0]) == (0, told[1])


async def test_a_cluster_can_be_named_in_place_of_this_machines(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await given(person, "shop")
        away = {"GREENROOM_STATE": str(tmp_path / "nowhere")}
        named = await person.run("explain", "7", "--kubeconfig", str(person.state.kubeconfig), **away)
        in_use = await person.run("explain", "7", KUBECONFIG=str(person.state.kubeconfig), GREENROOM_STATE="")
        for code, output, errors in (named, in_use):
            assert (code, errors) == (0, "")
            assert output.startswith("ReviewApp shop: nothing is known of pull request 7\n")


async def test_what_cannot_be_asked_is_answered_with_a_cure(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        code, _, errors = await person.run("explain", "7")
        assert (code, "there is no ReviewApp" in errors, "apply -f" in errors) == (1, True, True)
        code, _, errors = await person.run("explain", "shop", "7")
        assert (code, "not found" in errors) == (1, True)
        for words in (["seven"], ["0"], ["shop", "other", "7"], ["7", "shop"]):
            code, _, errors = await person.run("explain", *words)
            assert (code, "greenroom explain [REVIEWAPP] NUMBER" in errors) == (2, True)


async def test_a_description_of_a_review_app_lists_the_pull_requests_that_it_refuses(tmp_path: Path) -> None:
    refused = {
        str(number): {"reason": "Title", "message": "its title\x1b[2J", "observed": OBSERVED} for number in (10, 9)
    }
    async with terminal(tmp_path) as person:
        await given(person, "shop", refused=refused)
        code, output, _ = await person.run("describe", "reviewapp/shop")
        assert code == 0
        assert output.partition("Pull requests without an environment:\n")[2].splitlines()[:3] == [
            "  PR   REASON   MESSAGE",
            "  9    Title    its title?[2J",
            "  10   Title    its title?[2J",
        ]
        assert "observed" not in output
        assert "\x1b" not in output

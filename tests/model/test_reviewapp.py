"""What is said of a ReviewApp or a PR object that is wrong."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from greenroom.model.environment import Environment, label_value, pr_name
from greenroom.model.errors import InvalidInput
from greenroom.model.reviewapp import ReviewApp

CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a-{{PR_NUMBER}}"},
    "data": {"any": "thing"},
}
APP: dict[str, Any] = {
    "apiVersion": "kubetempura.mercari.com/v1",
    "kind": "ReviewApp",
    "metadata": {"name": "shop", "namespace": "pr-env"},
    "spec": {"githubRepository": "https://github.com/Shop/web", "resources": [CONFIG_MAP]},
}


def app(**spec: Any) -> dict[str, Any]:
    return {**APP, "spec": {**APP["spec"], **spec}}


def resource(**changes: Any) -> dict[str, Any]:
    return {**CONFIG_MAP, **changes}


def test_resources_keep_every_field_they_came_with() -> None:
    found = ReviewApp.parse(APP)
    assert (found.namespace, found.name, found.repository) == ("pr-env", "shop", "https://github.com/Shop/web")
    assert found.resources == (CONFIG_MAP,)


@pytest.mark.parametrize(
    ("manifest", "path", "part"),
    [
        ({**APP, "spec": None}, "spec", "githubRepository"),
        ({**APP, "metadata": {}}, "metadata.name", "missing"),
        (app(githubRepostory="x"), "spec.githubRepostory", "did you mean githubRepository?"),
        (app(unheardOf="x"), "spec.unheardOf", "the fields are"),
        (app(githubRepository=None), "spec.githubRepository", "is missing"),
        (app(githubRepository=7), "spec.githubRepository", "must be text, not 7"),
        (app(githubRepository="Shop/web"), "spec.githubRepository", "https://github.com/OWNER/REPOSITORY"),
        (app(githubRepository="https://github.com/<Owner>/web"), "spec.githubRepository", "without < and >"),
        (app(resources=None), "spec.resources", "must be a list"),
        (app(resources="x"), "spec.resources", "must be a list"),
        (app(resources=[CONFIG_MAP, "x"]), "spec.resources[1]", "must be a Kubernetes object"),
        (app(resources=[resource(apiVersion=None)]), "spec.resources[0].apiVersion", "is missing"),
        (app(resources=[resource(kind="")]), "spec.resources[0].kind", "is empty"),
        (app(resources=[resource(metadata=[])]), "spec.resources[0].metadata.name", "is missing"),
        (app(resources=[resource(metadata={"name": 7})]), "spec.resources[0].metadata.name", "put it in quotes"),
        (app(serviceAccountName=7), "spec.serviceAccountName", "must be text, not 7"),
        (app(serviceAccountName=["a"]), "spec.serviceAccountName", "must be text, not a list"),
        (app(serviceAccountName=""), "spec.serviceAccountName", "is empty"),
        (app(serviceAccountName="Previews"), "spec.serviceAccountName", "lower case letters"),
        (app(serviceAccountName="previews\n"), "spec.serviceAccountName", "lower case letters"),
        (app(serviceAccountName="pr-env:previews"), "spec.serviceAccountName", "of the same namespace"),
        (app(serviceAccountName="a" * 254), "spec.serviceAccountName", "cannot be the name"),
        (
            app(resources=[resource(metadata={"name": "a", "labels": []})]),
            "spec.resources[0].metadata.labels",
            "must be a mapping",
        ),
        (app(resources=[CONFIG_MAP, CONFIG_MAP]), "spec.resources[1].metadata.name", "in spec.resources[0] already"),
        (
            app(resources=[resource(apiVersion="kubetempura.mercari.com/v1", kind="PR")]),
            "spec.resources[0].kind",
            "cannot make a PR",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_a_cure(manifest: Any, path: str, part: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ReviewApp.parse(manifest, source="reviewapp.yaml:3")
    assert caught.value.path == path
    assert caught.value.cure
    assert str(caught.value).startswith(f"reviewapp.yaml:3: {path}: ")
    assert part in str(caught.value)


def test_the_account_that_makes_the_objects_is_one_of_the_same_namespace() -> None:
    found = ReviewApp.parse(app(serviceAccountName="previews.team-a"))
    assert found.service_account == "previews.team-a"
    assert found.user == "system:serviceaccount:pr-env:previews.team-a"


@pytest.mark.parametrize("manifest", [APP, app(serviceAccountName=None)])
def test_without_an_account_greenroom_makes_them_itself(manifest: Any) -> None:
    found = ReviewApp.parse(manifest)
    assert (found.service_account, found.user) == ("", "")


def test_objects_of_one_name_and_other_kinds_are_fine() -> None:
    ReviewApp.parse(app(resources=[CONFIG_MAP, resource(kind="Secret")]))


PR: dict[str, Any] = {
    "apiVersion": "kubetempura.mercari.com/v1",
    "kind": "PR",
    "metadata": {"name": "shop-pr7", "namespace": "pr-env", "uid": "u", "generation": 3},
    "spec": {"parentReviewApp": "shop", "prNumber": "7"},
}


def test_a_pr_object_by_hand_needs_no_commit_and_no_variables() -> None:
    found = Environment.parse(PR)
    assert (found.review_app, found.number, found.commit, found.variables) == ("shop", "7", "", ())


def test_a_variable_without_a_value_is_empty() -> None:
    manifest = deepcopy(PR)
    manifest["spec"]["envVars"] = [{"name": "A", "value": "1"}, {"name": "B"}]
    assert Environment.parse(manifest).variables == (("A", "1"), ("B", ""))


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"parentReviewApp": None}, "spec.parentReviewApp"),
        ({"prNumber": 7}, "spec.prNumber"),
        ({"prNumber": ""}, "spec.prNumber"),
        ({"headCommitRef": 1234567}, "spec.headCommitRef"),
        ({"envVars": {"A": "1"}}, "spec.envVars"),
        ({"envVars": ["A"]}, "spec.envVars[0].name"),
        ({"envVars": [{"name": "A=B", "value": "1"}]}, "spec.envVars[0].name"),
        ({"envVars": [{"name": "A", "value": 1}]}, "spec.envVars[0].value"),
    ],
)
def test_a_wrong_field_of_a_pr_object_is_named(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Environment.parse({**PR, "spec": {**PR["spec"], **spec}})
    assert caught.value.path == path
    assert caught.value.cure


def test_pr_objects_are_named_as_kubetempura_names_them() -> None:
    assert pr_name("reviewapp", 7) == "reviewapp-pr7"


def test_a_long_name_still_makes_a_label_of_its_own() -> None:
    first, second = (label_value("x" * 70 + end) for end in ("-pr1", "-pr2"))
    assert first != second
    assert len(first) == 63
    assert label_value("shop-pr7") == "shop-pr7"

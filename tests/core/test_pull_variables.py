"""What strangers write, in templates: it is text where text is text, and cannot be anything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_template import ENVIRONMENT, config_map, one, rendered

from greenroom.core.pull_variables import NAMES, slug
from greenroom.model.environment import LABEL_LIMIT, Environment
from greenroom.model.errors import InvalidInput

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HOSTILE = ("$(SECRET)", "$$(SECRET)", "$", "$(", ")", "$$$(SECRET)", "{{PR_NUMBER}}", "${{ x }}", "../..", "🌿", "a\nb")
TEXTS = st.text("$(){}SECRET a", max_size=12) | st.sampled_from(HOSTILE)


def titled(title: str, **more: Any) -> Environment:
    pull = {"title": title, "branch": "feat/cart", "base": "main", "author": "alice", "labels": ["a", "b"]}
    return replace(ENVIRONMENT, pull={**pull, **more})


def workload(**pod: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "app", "image": "shop:1"}], **pod}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}


def container(**fields: Any) -> dict[str, Any]:
    return workload(containers=[{"name": "app", "image": "shop:1", **fields}])


def environment_of(manifest: Any) -> str:
    value: str = manifest["spec"]["template"]["spec"]["containers"][0]["env"][-1]["value"]
    return value


# Where


def at_template_annotation(value: str) -> Any:
    found = workload()
    found["spec"]["template"]["metadata"] = {"annotations": {"example.com/title": value}}
    return found


LET_THROUGH: Mapping[str, Callable[[str], Any]] = {
    "data of a ConfigMap": lambda value: config_map(title=value),
    "a file with a dot in its name": lambda value: config_map(**{"title.txt": value}),
    "text of a Secret": lambda value: {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "stringData": {"title": value},
    },
    "annotation": lambda value: {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "annotations": {"example.com/title": value}},
    },
    "annotation of pods": at_template_annotation,
    "variable": lambda value: container(env=[{"name": "TITLE", "value": value}]),
    "variable of an init container": lambda value: workload(
        initContainers=[{"name": "i", "env": [{"name": "TITLE", "value": value}]}]
    ),
}
REFUSED: Mapping[str, Callable[[str], Any]] = {
    "name": lambda value: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": value}},
    "label": lambda value: {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "labels": {"title": value}},
    },
    "image": lambda value: container(image=value),
    "command": lambda value: container(command=["sh", "-c", value]),
    "arguments": lambda value: container(args=[value]),
    "name of a variable": lambda value: container(env=[{"name": value, "value": "x"}]),
    "variable from a Secret": lambda value: container(
        env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": value}}}]
    ),
    "probe": lambda value: container(readinessProbe={"exec": {"command": [value]}}),
    "working folder": lambda value: container(workingDir=value),
    "account": lambda value: workload(serviceAccountName=value),
    "host": lambda value: {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "a"},
        "spec": {"hostnames": [value]},
    },
    "host path": lambda value: workload(volumes=[{"name": "v", "hostPath": {"path": value}}]),
    "data within data": lambda value: config_map(title=[value]),
    "something called value": lambda value: workload(tolerations=[{"key": "a", "value": value}]),
}


@pytest.mark.parametrize("place", LET_THROUGH)
@pytest.mark.parametrize("name", NAMES)
def test_where_text_is_text_a_variable_is_put_in(place: str, name: str) -> None:
    assert "{{" not in str(rendered(LET_THROUGH[place](f"{{{{ {name} }}}}"), environment=titled("T")).manifests)


@pytest.mark.parametrize("place", LET_THROUGH)
@pytest.mark.parametrize("title", HOSTILE)
def test_what_is_put_in_is_not_looked_at_again(place: str, title: str) -> None:
    found = rendered(LET_THROUGH[place]("{{PR_TITLE}}"), environment=titled(title))
    assert found.left == ()
    assert one(config_map(title="{{PR_TITLE}}"), titled(title))["data"]["title"] == title


@pytest.mark.parametrize("place", REFUSED)
@pytest.mark.parametrize("name", NAMES)
def test_where_it_could_mean_something_it_is_refused_with_a_cure(place: str, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered(REFUSED[place](f"x{{{{{name}}}}}"), environment=titled("T"))
    assert caught.value.path.startswith("spec.resources[0].")
    assert f"{{{{{name} | slug}}}}" in caught.value.cure


@pytest.mark.parametrize("place", REFUSED)
def test_as_a_slug_it_can_be_put_in_everywhere(place: str) -> None:
    assert "rm-rf" in str(rendered(REFUSED[place]("{{PR_TITLE | slug}}"), environment=titled("$(rm -rf /)")).manifests)


def test_what_a_pr_object_does_not_tell_cannot_be_used() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.pullRequest"):
        rendered(config_map(title="{{PR_TITLE}}"))


# References of Kubernetes


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """As k8s.io/kubernetes third_party/forked/golang/expansion has it: what a container gets for a value."""
    found, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            found, at = found + text[at], at + 1
        elif text[at + 1] == "$":
            found, at = found + "$", at + 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) >= 0:
            name = text[at + 2 : end]
            found, at = found + variables.get(name, f"$({name})"), end + 1
        else:
            found, at = found + text[at : at + 2], at + 2
    return found


def test_the_rules_of_kubernetes_are_those_of_its_own_tests() -> None:
    """Some of the table in expand_test.go."""
    variables = {"VAR_A": "A", "VAR_REF": "$(VAR_A)"}
    table = {
        "$(VAR_A)-1": "A-1",
        "$$(VAR_A)": "$(VAR_A)",
        "$$$(VAR_A)": "$A",
        "$$$$(VAR_A)": "$$(VAR_A)",
        "$(VAR_REF)": "$(VAR_A)",
        "$VAR_A": "$VAR_A",
        "foo$(VAR_A": "foo$(VAR_A",
        "$(VAR_B)_$(VAR_A)": "$(VAR_B)_A",
        "$": "$",
        "$(VAR_A)$": "A$",
        "f00-$(VAR_A": "f00-$(VAR_A",
        "$?_boo_$!": "$?_boo_$!",
        "$(": "$(",
    }
    assert {text: expanded(text, variables) for text in table} == table


SURROUNDINGS = st.text("$() aS", max_size=5)


@given(TEXTS, SURROUNDINGS, SURROUNDINGS)
def test_in_a_variable_a_title_stays_what_it_is_for_the_container(title: str, before: str, after: str) -> None:
    template = container(env=[{"name": "X", "value": f"{before}{{{{PR_TITLE}}}}{after}"}])
    variables = dict.fromkeys(("SECRET", "S", "a", "", *[f"{x}{y}" for x in "aS" for y in "aS"]), "A SECRET")
    try:
        value = environment_of(one(template, titled(title)))
    except InvalidInput:
        assert "$" in before, "refused for what comes before, whatever the title is"
        return
    assert expanded(value, variables) == expanded(before, variables) + title + expanded(after, variables)


@pytest.mark.parametrize("before", ["$", "$$", "$(", "x$(PREFIX_", "$()$(", "{{PR_NUMBER}}$("])
def test_a_title_cannot_choose_the_variable_of_a_reference(before: str) -> None:
    with pytest.raises(InvalidInput, match="could make a reference of it"):
        one(container(env=[{"name": "X", "value": before + "{{PR_TITLE}})"}]), titled("SECRET"))


@pytest.mark.parametrize("before", ["", "$(A)", "$(A) ", "$$x", "(", "$(A)("])
def test_a_reference_that_is_complete_is_no_danger(before: str) -> None:
    value = environment_of(one(container(env=[{"name": "X", "value": before + "{{PR_TITLE}})"}]), titled("SECRET")))
    assert value == before + "SECRET)"


def test_a_variable_of_the_pr_object_is_a_place_like_others() -> None:
    told = replace(titled("$(SECRET)"), variables=(("X", "a {{PR_TITLE}}"),))
    assert environment_of(one(workload(), told)) == "a $$(SECRET)"
    with pytest.raises(InvalidInput, match="could make a reference"):
        one(workload(), replace(told, variables=(("X", "${{PR_TITLE}}"),)))


# Slugs


@given(st.text(max_size=300), st.integers(1, LABEL_LIMIT))
def test_a_slug_is_a_label_and_never_empty(text: str, limit: int) -> None:
    found = slug(text, limit)
    assert LABEL.fullmatch(found)
    assert len(found) <= limit
    assert slug(text, limit) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("feat/Cart_2", "feat-cart-2"),
        ("--x--", "x"),
        ("Ünïcödé", "unicode"),
        ("", "e3b0c442"),
        ("🌿", "05a5b5ca"),
        ("a" * 64, "a" * 54 + "-ffe054fe"),
        ("dependabot/npm_and_yarn/a", "dependabot-npm-and-yarn-a"),
    ],
)
def test_slugs_can_be_foretold(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_long_branches_that_begin_alike_stay_apart() -> None:
    assert slug("a" * 64 + "b", 20) != slug("a" * 64 + "c", 20)


@pytest.mark.parametrize(
    "filtered", ["slugs", "slug 0", "slug 64", "slug 99", "slug -1", "slug 7 7", "upper", "slug|slug"]
)
def test_an_unknown_filter_is_told_with_its_place_and_a_cure(filtered: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered(config_map(title=f"{{{{PR_TITLE | {filtered}}}}}"), environment=titled("T"))
    assert caught.value.path == "spec.resources[0].data.title"
    assert caught.value.cure


@pytest.mark.parametrize("spaces", ["{{PR_BRANCH|slug}}", "{{ PR_BRANCH | slug }}", "{{PR_BRANCH | slug  9}}"])
def test_spaces_in_a_filter_make_no_difference(spaces: str) -> None:
    assert one(config_map(x=spaces), titled("T"))["data"]["x"] == "feat-cart"


@pytest.mark.parametrize(
    "braces", ["{{ .Values.x | quote }}", "{{ title | slug }}", "{{ PR | slug }}", "{{|}}", "{{ | slug }}"]
)
def test_braces_with_pipes_of_other_tools_stay(braces: str) -> None:
    found = rendered(config_map(x=braces), environment=titled("T"))
    assert found.manifests[0]["data"] == {"x": braces}
    assert found.left == (f"spec.resources[0].data.x: {braces}",)


@pytest.mark.parametrize("braces", ["{{PR_NUMBER | slug}}", "{{COMMIT_REF | slug}}"])
def test_a_filter_on_what_needs_none_is_left_and_told(braces: str) -> None:
    assert rendered(config_map(x=braces), environment=titled("T")).left

"""What a person is told of a missing permission, and the rule that is to cure it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from greenroom.model.errors import MESSAGE_LIMIT
from greenroom.model.permission import Permission, explained, rules

GREENROOM = "system:serviceaccount:greenroom:greenroom"
PREVIEWS = "system:serviceaccount:pr-env:previews"
READ = ["get", "list", "watch"]
MANAGE = ["create", "delete", "get", "list", "patch", "watch"]


def missing(verb: str, group: str, resource: str, namespace: str = "pr-env", name: str = "") -> Permission:
    return Permission(GREENROOM, verb, group, resource, namespace, name)


def test_a_person_is_told_who_may_not_do_what_where_and_the_rule_to_add() -> None:
    assert explained([missing("patch", "apps", "deployments")]) == (
        "system:serviceaccount:greenroom:greenroom may not patch deployments.apps in namespace pr-env"
        " (is it in the chart's environments.namespaces?); add to a Role bound to it there:"
        " {apiGroups: [apps], resources: [deployments], verbs: [create, delete, get, list, patch, watch]}"
    )


def test_what_is_missing_everywhere_takes_a_cluster_role() -> None:
    assert explained([missing("list", "", "secrets", namespace="")]) == (
        "system:serviceaccount:greenroom:greenroom may not list secrets at cluster scope;"
        ' add to a ClusterRole bound to it: {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}'
    )


def test_a_subresource_is_named_with_its_resource() -> None:
    told = explained([missing("patch", "kubetempura.mercari.com", "prs/status")])
    assert "may not patch prs.kubetempura.mercari.com/status in namespace pr-env " in told


def test_an_account_that_may_not_be_impersonated_is_named() -> None:
    told = explained([missing("impersonate", "", "serviceaccounts", name="previews")], writer=PREVIEWS)
    assert 'may not impersonate serviceaccounts "previews" in namespace pr-env ' in told


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [
        (missing("create", "apps", "deployments"), MANAGE),
        (missing("list", "apps", "deployments"), MANAGE),
        (missing("delete", "", "secrets"), MANAGE),
        (missing("create", "", "pods"), MANAGE),
        (missing("list", "", "pods"), READ),
        (missing("watch", "apps", "replicasets"), READ),
        (missing("list", "discovery.k8s.io", "endpointslices"), READ),
        (missing("list", "apps", "deployments", namespace=""), READ),
        (missing("update", "apps", "deployments"), [*MANAGE[:5], "update", "watch"]),
        (missing("patch", "kubetempura.mercari.com", "prs/status"), ["patch"]),
        (missing("get", "", "pods/log"), ["get"]),
    ],
)
def test_the_rule_has_every_verb_that_is_needed_and_no_more(permission: Permission, verbs: list[str]) -> None:
    assert granted(permission) == {
        "apiGroups": [permission.group],
        "resources": [permission.resource],
        "verbs": verbs,
    }


@pytest.mark.parametrize("name", ["previews", "on", "7", "1.5"])
def test_the_rule_to_impersonate_is_for_that_account_only(name: str) -> None:
    assert granted(missing("impersonate", "", "serviceaccounts", name=name)) == {
        "apiGroups": [""],
        "resources": ["serviceaccounts"],
        "resourceNames": [name],
        "verbs": ["impersonate"],
    }


@pytest.mark.parametrize("verb", READ)
@pytest.mark.parametrize(("group", "resource"), [("apps", "deployments"), ("", "secrets"), ("", "pods")])
def test_where_another_account_writes_greenroom_is_to_be_granted_no_more_than_to_look(
    verb: str, group: str, resource: str
) -> None:
    told = explained([missing(verb, group, resource)], writer=PREVIEWS)
    assert rules_in(told) == [{"apiGroups": [group], "resources": [resource], "verbs": READ}]


def test_the_account_that_writes_is_to_be_granted_all_that_it_needs() -> None:
    told = explained([Permission(PREVIEWS, "patch", "apps", "deployments", "pr-env")], writer=PREVIEWS)
    assert rules_in(told) == [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": MANAGE}]


@pytest.mark.parametrize(
    ("user", "writer", "value"),
    [(GREENROOM, "", "namespaces"), (GREENROOM, PREVIEWS, "serviceAccounts"), (PREVIEWS, PREVIEWS, "")],
)
def test_the_value_of_the_chart_that_is_usually_wrong_is_named(user: str, writer: str, value: str) -> None:
    told = explained([Permission(user, "patch", "apps", "deployments", "pr-env")], writer=writer)
    assert ("chart" in told) == bool(value)
    assert f"environments.{value}" in told or not value


def test_the_rule_is_whole_whatever_the_names() -> None:
    plural, group = "x" * 63, "g" * 189  # a CRD's name, the two with a dot between, has 253 characters at most
    permission = Permission("u" * 2000, "deletecollection", group, f"{plural}/status", "n" * 63)
    told = explained([permission])
    assert len(told) <= MESSAGE_LIMIT
    assert told.endswith(rules([permission])[0])


def test_what_one_role_is_to_grant_is_told_together() -> None:
    mesh = "appmesh.k8s.aws"
    told = explained(
        [
            missing("list", mesh, "virtualnodes"),
            missing("list", mesh, "gatewayroutes"),
            missing("list", "", "pods"),
            missing("create", "", "pods", name="one"),
            missing("create", "", "pods", name="two"),
            missing("list", "", "services"),
        ]
    )
    deeds = (
        "list virtualnodes.appmesh.k8s.aws, list gatewayroutes.appmesh.k8s.aws, list pods, create pods, list services"
    )
    before = told.partition(": {")[0]
    assert before.startswith(f"{GREENROOM} may not {deeds} in namespace pr-env (")
    assert before.endswith("); add to a Role bound to it there")
    assert rules_in(told) == [
        {"apiGroups": [mesh], "resources": ["gatewayroutes", "virtualnodes"], "verbs": MANAGE},
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": MANAGE},
    ]


def test_of_what_there_is_no_room_for_the_number_is_told() -> None:
    everything = [missing("list", f"group-{number}.example.com", "widgets") for number in range(20)]
    told = explained(everything)
    assert len(told) <= MESSAGE_LIMIT
    whole = [count for count in range(1, 20) if told.endswith(": " + ", ".join(rules(everything[:count])))]
    assert whole
    assert told.count("list widgets.") == whole[0] > 3
    assert f" and {20 - whole[0]} more in namespace pr-env " in told
    assert "more" not in explained(everything[:2])


def test_each_account_is_told_with_its_own_rule() -> None:
    accounts = [missing("impersonate", "", "serviceaccounts", name=name) for name in ("one", "two")]
    assert [yaml.safe_load(rule)["resourceNames"] for rule in rules(accounts)] == [["one"], ["two"]]


def rules_in(told: str) -> Any:
    return yaml.safe_load(f"[{{{told.partition(': {')[2]}]")


def granted(permission: Permission) -> Any:
    (rule,) = rules([permission])
    return yaml.safe_load(rule)


def test_where_nobody_said_what_our_account_is_called_it_is_greenroom() -> None:
    unnamed = Permission("", "update", "kubetempura.mercari.com", "prs/finalizers", "pr-env", "shop-pr7")
    assert explained([unnamed]) == (
        "Greenroom may not update prs.kubetempura.mercari.com/finalizers in namespace pr-env; add to a Role bound to it"
        " there: {apiGroups: [kubetempura.mercari.com], resources: [prs/finalizers], verbs: [update]}"
    )

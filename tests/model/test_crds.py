"""The CRDs as files: up to date, complete, and of one mind with the parsers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from greenroom.cli.crds import HEADER, serialised
from greenroom.core.status import FIELDS as STATUS_FIELDS
from greenroom.model.crds import definitions
from greenroom.model.environment import Environment
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, Manifest, get, items, name_of, table, text
from greenroom.model.reviewapp import SPEC_FIELDS, ReviewApp

FOLDER = Path(__file__).parents[2] / "deploy" / "chart" / "crds"
CRDS = {text(crd, "spec", "names", "kind"): crd for crd in definitions()}


def schema(kind: str, *path: str) -> Mapping[str, Json]:
    steps = [step for field in path for step in ("properties", field)]
    return table(CRDS[kind], "spec", "versions", 0, "schema", "openAPIV3Schema", *steps)


def fields(kind: str, *path: str) -> set[str]:
    return set(table(schema(kind, *path), "properties"))


def undescribed(node: Json, path: str) -> Iterator[str]:
    if not text(node, "description"):
        yield path
    for name, below in table(node, "properties").items():
        yield from undescribed(below, f"{path}.{name}")
    for step in ("items", "additionalProperties"):
        if step in table(node):
            yield from undescribed(get(node, step), f"{path}.{step}")


def test_the_files_in_deploy_are_what_the_model_says() -> None:
    expected = {f"{name_of(crd)}.yaml": HEADER + serialised(crd) for crd in definitions()}
    assert {file.name: file.read_text() for file in FOLDER.iterdir()} == expected, "run `make crds`"


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_is_explained(kind: str) -> None:
    assert not list(undescribed(schema(kind), kind))


@pytest.mark.parametrize("kind", CRDS)
def test_every_column_is_explained(kind: str) -> None:
    columns = items(CRDS[kind], "spec", "versions", 0, "additionalPrinterColumns")
    assert all(text(column, "description") for column in columns)


def test_the_schema_has_the_fields_that_the_program_reads_and_writes() -> None:
    assert fields("ReviewApp", "spec") == set(SPEC_FIELDS)
    assert fields("PR", "spec") == {"parentReviewApp", "prNumber", "headCommitRef", "envVars"}
    assert fields("PR", "status") == set(STATUS_FIELDS)
    assert fields("ReviewApp", "status") == {"closed"}


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/acme/shop",
        "HTTP://ghe.example.com/acme/shop.git/",
        "https://github.com/<Owner>/shop",
        "https://github.com/acme/shop>",
        "https://github.com/acme/shop\n",
        "https://",
        "acme/shop",
        "git@github.com:acme/shop.git",
        " https://github.com/acme/shop",
    ],
)
def test_schema_and_parser_agree_on_addresses(address: str) -> None:
    spec: Manifest = {"githubRepository": address, "resources": []}
    app: Manifest = {"metadata": {"name": "shop"}, "spec": spec}
    assert holds(schema("ReviewApp", "spec", "githubRepository"), address) == parses(ReviewApp.parse, app)


@pytest.mark.parametrize(
    "name", ["previews", "a", "7", "a.b-c", "Previews", "-a", "a-", "a..b", ".a", "a b", "a\n", "", "ﬁ"]
)
def test_schema_and_parser_agree_on_names_of_accounts(name: str) -> None:
    spec: Manifest = {"githubRepository": "https://x", "resources": [], "serviceAccountName": name}
    app: Manifest = {"metadata": {"name": "shop"}, "spec": spec}
    assert holds(schema("ReviewApp", "spec", "serviceAccountName"), name) == parses(ReviewApp.parse, app)


@pytest.mark.parametrize("name", ["LOG_LEVEL", "my.variable-1", "1ST", "a b", "", "A=B", "ﬁ"])
def test_schema_and_parser_agree_on_names_of_variables(name: str) -> None:
    spec: Manifest = {"parentReviewApp": "shop", "prNumber": "7", "envVars": [{"name": name}]}
    variable = table(schema("PR", "spec", "envVars"), "items", "properties", "name")
    assert holds(variable, name) == parses(Environment.parse, {"spec": spec})


def holds(field: Mapping[str, Json], value: str) -> bool:
    """Whether the ``matches`` rule of a field lets a value through. CEL's syntax (RE2) has no more than Python's."""
    found = re.fullmatch(r"self\.matches\(r'(.*)'\)", text(field, "x-kubernetes-validations", 0, "rule"))
    assert found is not None
    return re.search(found[1].replace("$", r"\Z"), value) is not None


def parses(parse: Callable[[Manifest], object], manifest: Manifest) -> bool:
    try:
        parse(manifest)
    except InvalidInput:
        return False
    return True

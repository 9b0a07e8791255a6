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
from greenroom.model.gateway_route import _GATEWAY_ROUTE
from greenroom.model.manifest import Json, Manifest, get, items, name_of, table, text
from greenroom.model.mesh import _VIRTUAL_SERVICE, Shape, check_supported
from greenroom.model.report import Report, Told
from greenroom.model.reviewapp import SPEC_FIELDS, ReviewApp
from greenroom.model.virtual_gateway import _VIRTUAL_GATEWAY
from greenroom.model.virtual_node import _VIRTUAL_NODE
from greenroom.model.virtual_router import _VIRTUAL_ROUTER

FOLDER = Path(__file__).parents[2] / "deploy" / "chart" / "crds"
SHAPES: Mapping[str, Shape] = {
    "VirtualGateway": _VIRTUAL_GATEWAY,
    "GatewayRoute": _GATEWAY_ROUTE,
    "VirtualService": _VIRTUAL_SERVICE,
    "VirtualNode": _VIRTUAL_NODE,
    "VirtualRouter": _VIRTUAL_ROUTER,
}
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


@pytest.mark.parametrize(("kind", "shape"), SHAPES.items())
def test_the_schema_has_every_field_that_the_gateway_understands(kind: str, shape: Shape) -> None:
    missing = set(understood(shape)) - set(explained(schema(kind, "spec")))
    # What listeners have in common is one shape, and only VirtualNodes can speak TCP.
    assert {path for path in missing if kind != "VirtualGateway" or "tcp" not in path} == set()


@pytest.mark.parametrize(("kind", "shape"), SHAPES.items())
def test_the_gateway_understands_every_field_that_is_explained(kind: str, shape: Shape) -> None:
    for path in explained(schema(kind, "spec")):
        written: Json = {}
        for step in reversed(path):
            written = [written] if step == "[*]" else {step: written}
        check_supported({"spec": written}, shape)  # raises Refused


def understood(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for step, below in shape.items():
        yield (*path, step)
        yield from understood(below or {}, (*path, step))


def explained(node: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    steps = dict(table(node, "properties"))
    if get(node, "items") is not None:
        steps["[*]"] = get(node, "items")
    for step, below in steps.items():
        yield (*path, step)
        yield from explained(below, (*path, step))


def test_the_schema_has_the_fields_that_the_program_reads_and_writes() -> None:
    assert fields("ReviewApp", "spec") == set(SPEC_FIELDS)
    assert fields("PR", "spec") == {"parentReviewApp", "prNumber", "headCommitRef", "envVars", "pullRequest"}
    assert fields("PR", "status") == set(STATUS_FIELDS) | Report().patch().keys()
    for told in ("comment", "deployment"):
        assert fields("PR", "status", "report", told) == Told().fields().keys()
    assert fields("ReviewApp", "status") == {"closed", "refused", "repository", "conditions"}


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

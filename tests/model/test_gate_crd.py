"""What the CRD's schema takes for a gate, and what the parser takes, are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from greenroom.model.crds.gate import gate
from greenroom.model.errors import InvalidInput
from greenroom.model.gate import EXPRESSION_LIMIT, FIELDS, PATTERN_LIMIT, PATTERNS_LIMIT, Forks, Gate


def closed(schema: Any) -> Any:
    """Refusing fields that are not named, as ``kubectl apply`` does; the API server drops them."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    more = {"additionalProperties": False} if "properties" in schema else {}
    return {**{name: closed(value) for name, value in schema.items()}, **more}


SCHEMA: Any = gate()
VALIDATOR = Draft202012Validator(closed(SCHEMA))
RULES = [cel.compile(rule["rule"]) for rule in SCHEMA["x-kubernetes-validations"]]


def schema_takes(found: Any) -> bool:
    return VALIDATOR.is_valid(found) and all(rule.execute({"self": found}) for rule in RULES)


def parser_takes(found: Any) -> bool:
    try:
        Gate.parse(found)
    except InvalidInput as error:
        # A refusal that does not say where and what to do is none.
        return not (error.path.startswith("gate") and error.cure)
    return True


WORDS = st.sampled_from(
    [
        "pr-env",
        "*",
        " ",
        "",
        "\n",
        "\u00a0",
        "\u2003 x",
        "x" * PATTERN_LIMIT,
        "x" * (PATTERN_LIMIT + 1),
        "🌿" * PATTERN_LIMIT,
    ]
)
OTHER = st.sampled_from([7, True, "text", [], {}, ["x"], {"any": ["x"]}, {"some": ["x"]}])
LISTS = st.lists(WORDS | st.just(7), max_size=3) | st.sampled_from(
    [["x"] * PATTERNS_LIMIT, ["x"] * (PATTERNS_LIMIT + 1)]
)
CHOICES = st.dictionaries(st.sampled_from(["any", "none", "all"]), LISTS | OTHER, max_size=2)
VALUES = {
    **dict.fromkeys(("labels", "authors", "baseBranches", "title", "paths"), CHOICES),
    **dict.fromkeys(("drafts", "bots"), st.booleans()),
    "forks": st.sampled_from([*(each.value for each in Forks), "sometimes", ""]),
    "approvalLabel": WORDS,
    # That it is CEL, and of which variables, only the parser knows.
    "expression": st.sampled_from(["draft", " draft", "", " ", "draft" + " " * EXPRESSION_LIMIT]),
}
FIELD = st.sampled_from(FIELDS).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))
GATES = st.lists(FIELD, max_size=4).map(dict)


@given(GATES)
def test_schema_and_parser_agree(found: Any) -> None:
    assert schema_takes(found) == parser_takes(found), found


@given(st.sampled_from([*FIELDS, "label", ""]), OTHER)
def test_schema_and_parser_agree_on_values_of_other_types(name: str, value: Any) -> None:
    if name == "expression" and isinstance(value, str):
        return
    assert schema_takes({name: value}) == parser_takes({name: value}), (name, value)


@pytest.mark.parametrize("found", [[], "text", 7, {}])
def test_schema_and_parser_agree_on_what_is_no_gate(found: Any) -> None:
    assert (schema_takes(found), parser_takes(found)) == (False, False)


def test_the_schema_has_the_fields_of_the_parser_and_its_examples_are_good() -> None:
    assert set(SCHEMA["properties"]) == set(FIELDS)
    assert schema_takes({"forks": "approved", "approvalLabel": "safe-to-preview"})
    assert not schema_takes({"forks": "always", "approvalLabel": "safe-to-preview"})
    assert not schema_takes({"approvalLabel": "safe-to-preview"})


def test_an_expression_that_is_none_is_refused_by_the_parser_alone() -> None:
    for expression in ("draft &&", "drafts", "1", "title.matches('(')"):
        assert schema_takes({"expression": expression})
        assert not parser_takes({"expression": expression}), expression

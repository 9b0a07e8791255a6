"""docs/gate.md: its examples are good, and it tells of every field, reason and variable there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from greenroom.core.gate import ALWAYS, BY_GATE, Reason
from greenroom.core.pull_variables import NAMES
from greenroom.core.template import render
from greenroom.model.environment import Environment
from greenroom.model.gate import FIELDS, VARIABLES, Forks
from greenroom.model.manifest import PR, Ref
from greenroom.model.reviewapp import ReviewApp

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "gate.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]


def parsed(block: Any) -> ReviewApp:
    spec = {"githubRepository": "https://github.com/acme/shop", "resources": [], **block}
    return ReviewApp.parse({"metadata": {"name": "shop", "namespace": "pr-env"}, "spec": spec})


def test_every_example_of_a_gate_is_one() -> None:
    gates = [parsed(block).gate for block in BLOCKS if "gate" in block]
    assert len(gates) == 5
    assert all(gates)


def test_the_example_of_a_template_makes_objects() -> None:
    (block,) = (block for block in BLOCKS if "resources" in block)
    pull = {"title": "Add $(SECRET)", "branch": "feat/Cart", "base": "main", "author": "alice", "labels": []}
    environment = Environment(Ref(PR, "pr-env", "shop-pr7"), "u", 1, "shop", "7", "a" * 40, (), pull)
    found = render(environment, parsed(block), {"kind": "PR", "name": "shop-pr7", "uid": "u"}, lambda _: True)
    config_map, deployment = (dict(each) for each in found.manifests)
    assert config_map["metadata"]["name"] == "about-pr7-feat-cart"  # type: ignore[index,call-overload]
    assert "Preview of Add $$(SECRET)" in str(deployment)
    assert found.left == ()


def test_every_field_reason_and_variable_is_told() -> None:
    fields = {field for field in FIELDS if f"`{field}`" not in TEXT and f"`{field}." not in TEXT}
    reasons = {reason.value for reason in Reason if f"`{reason.value}`" not in TEXT}
    variables = {name for name in VARIABLES if f"`{name}`" not in TEXT}
    names = {name for name in NAMES if f"`{{{{{name}}}}}`" not in TEXT}
    forks = {each.value for each in Forks if f"`forks: {each.value}`" not in TEXT}
    assert (fields, reasons, variables, names, forks) == (set(), set(), set(), set(), set())


def test_the_order_is_that_of_the_program() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    asked, reasons = zip(*rows[: len(ALWAYS) + len(BY_GATE)], strict=True)
    assert list(asked[len(ALWAYS) :]) == list(BY_GATE)
    assert list(reasons) == [reason.value for reason in Reason]


def test_the_links_of_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
    assert "docs/gate.md" in (ROOT / "README.md").read_text()

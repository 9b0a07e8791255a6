"""The payloads that stand for GitHub's have what GitHub's have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.local.forge import payload

REQUIRED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "pull_request.required.json").read_text(encoding="utf-8")
)


def sent(action: str) -> Any:
    return payload(
        action,
        html_url="https://github.com/Shop/web",
        number=7,
        title="A title",
        branch="feature",
        head="a" * 40,
        state="closed" if action == "closed" else "open",
        updated_at="2026-01-31T12:00:00Z",
        before="b" * 40,
    )


def at(content: Any, place: str) -> Any:
    for step in filter(None, place.split(".")):
        content = content[step]
    return content


@pytest.mark.parametrize("action", ["opened", "reopened", "synchronize", "closed"])
def test_every_field_that_githubs_schema_requires_is_there(action: str) -> None:
    content = sent(action)
    assert set(content) == set(REQUIRED["fields of the event"][action].split())
    for place, fields in REQUIRED["fields within"].items():
        missing = set(fields.split()) - set(at(content, place))
        assert not missing, place


def test_a_payload_is_plain_json_and_always_the_same() -> None:
    assert json.dumps(sent("opened")) == json.dumps(sent("opened"))


def test_repositories_and_people_are_named_after_the_address() -> None:
    content = sent("synchronize")
    assert content["repository"]["full_name"] == "Shop/web"
    assert content["repository"]["html_url"] == "https://github.com/Shop/web"
    assert content["sender"]["login"] == "Shop"
    assert content["pull_request"]["head"]["label"] == "Shop:feature"
    assert (content["before"], content["after"]) == ("b" * 40, "a" * 40)
    assert sent("closed")["pull_request"]["closed_at"] == "2026-01-31T12:00:00Z"

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
        labels=["pr-env", "a/b c"],
        draft=action == "converted_to_draft",
        label="a/b c",
        former_title="An older title",
    )


def at(content: Any, place: str) -> Any:
    for step in filter(None, place.split(".")):
        content = content[step]
    return content


@pytest.mark.parametrize("action", REQUIRED["fields of the event"])
def test_every_field_that_githubs_schema_requires_is_there(action: str) -> None:
    content = sent(action)
    assert set(content) == set(REQUIRED["fields of the event"][action].split())
    for place, fields in REQUIRED["fields within"].items():
        if place.partition(".")[0] in content:
            missing = set(fields.split()) - set(at(content, place))
            assert not missing, place


def test_labels_and_drafts_are_told_as_github_tells_them() -> None:
    content = sent("labeled")
    assert [label["name"] for label in content["pull_request"]["labels"]] == ["pr-env", "a/b c"]
    assert content["label"] == content["pull_request"]["labels"][1], "the same label, wherever it is named"
    assert content["label"]["url"].endswith("/labels/a%2Fb%20c")
    assert sent("converted_to_draft")["pull_request"]["draft"] is True
    assert sent("ready_for_review")["pull_request"]["draft"] is False
    assert sent("edited")["changes"] == {"title": {"from": "An older title"}}


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

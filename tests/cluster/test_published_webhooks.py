"""Every webhook that GitHub published as an example, of all events and versions, sent to the real webhook endpoint.

They come from npm, and so are tested here. scripts/webhook-examples fetches them.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.flows.world import config_map, review_app, world

from greenroom.core.payloads import EVENTS, IMAGE_EVENT, Ignored
from greenroom.core.webhook import Malformed, parse, signature
from greenroom.web.app import make_app

ROOT = Path(__file__).parents[2]
SECRET = b"a secret"
REPOSITORY = "https://github.com/Codertocat/Hello-World"
"""What most of them are about."""
GATE = {
    "labels": {"none": ["wontfix"]},
    "forks": "approved",
    "approvalLabel": "safe",
    "title": {"none": ["WIP*"]},
    "baseBranches": {"any": ["ma*"]},
    "expression": "number > 0 && !labels.exists(l, l == 'no-preview')",
}
NOT_WHOLE = {"4.0.2/api.github.com workflow_run[0]": "workflow_run"}
"""The field that its contributor left out. By the event's schema GitHub always sends it, and later versions have it."""
READ = EVENTS.keys() - {IMAGE_EVENT}


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder with all versions. It fails where they cannot be had: npm is one of the things that the tests need."""
    run = subprocess.run(
        [ROOT / "scripts" / "webhook-examples"], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    if run.returncode:
        pytest.fail(run.stderr)
    return Path(run.stdout.strip())


def published(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Where each is, its event and its body; those that several versions have in common once."""
    seen = set()
    for file in sorted(folder.glob("*/*/index.json")):
        for each in json.loads(file.read_bytes()):
            for index, example in enumerate(each["examples"]):
                body = json.dumps(example).encode()
                if (each["name"], body) not in seen:
                    seen.add((each["name"], body))
                    yield f"{file.parent.relative_to(folder)} {each['name']}[{index}]", each["name"], body


@pytest.mark.timeout(300)
def test_the_examples_are_there(examples: Path) -> None:
    events = Counter(event for _, event, _ in published(examples))
    assert len(events) > 50
    assert sum(events.values()) > 500
    assert {event: events[event] for event in READ if not events[event]} == {}


@pytest.mark.timeout(300)
async def test_every_published_webhook_is_understood_or_ignored_with_a_reason(examples: Path, tmp_path: Path) -> None:
    open_to_all = review_app(config_map(), repository=REPOSITORY)
    gated: Any = review_app(config_map(), name="gated", repository=REPOSITORY)
    gated["spec"]["gate"] = GATE
    async with (
        world(tmp_path, open_to_all, gated) as here,
        TestClient(TestServer(make_app(here.intake, here.commands, here.builds, secrets=[SECRET]))) as client,
    ):
        results: Counter[str] = Counter()
        for place, event, body in published(examples):
            headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": signature(SECRET, body)}
            headers["Content-Type"] = "application/json"
            async with client.post("/webhooks", data=body, headers=headers) as answer:
                content = await answer.json()
            if place in NOT_WHOLE:
                assert (answer.status, content["path"]) == (400, NOT_WHOLE[place])
                continue
            assert answer.status == 200, f"{place}: {answer.status} {content}"
            assert content.get("results") or content["ignored"], place
            results.update(each["result"] for each in content.get("results", []))
    assert results["created"] > 0, "some of them were acted on"


@pytest.mark.timeout(300)
def test_of_the_events_that_are_read_some_are_understood(examples: Path) -> None:
    """So that a field read wrongly does not make all of them ignored."""
    understood = set()
    for place, event, body in published(examples):
        found = parse({"X-GitHub-Event": event, "Content-Type": "application/json"}, body)
        assert isinstance(found, Malformed) is (place in NOT_WHOLE), f"{place}: {found}"
        if not isinstance(found, Ignored | Malformed):
            understood.add(event)
        assert (event in READ) or isinstance(found, Ignored), place
    # None of the comments begins with /preview.
    assert understood == READ - {"issue_comment"}

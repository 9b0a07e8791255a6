"""deploy/github and the gate that goes with it are of one mind: no image for nothing, no environment without one."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.deploy.test_workflows import ACTIONS
from tests.deploy.workflow_rule import builds

from greenroom.core.gate import Admission, decide, question
from greenroom.core.ordering import Knowledge
from greenroom.core.payloads import Ignored
from greenroom.core.told import asks_anew
from greenroom.core.webhook import parse
from greenroom.local.forge import payload
from greenroom.model.gate import Gate
from greenroom.model.pull import Action, PullEvent

LABEL, OTHER = "pr-env", "bug"
GATE = Gate.parse({"labels": {"any": [LABEL]}})
ROWS = list(
    itertools.product(ACTIONS, (LABEL, "PR-Env", OTHER), (True, False), (True, False), (True, False), (True, False))
)
BRINGS_A_COMMIT = {Action.OPENED, Action.REOPENED, Action.SYNCHRONIZE}


def event(action: str, touched: str, *, on: bool, fork: bool, draft: bool, is_open: bool) -> dict[str, Any]:
    """As GitHub sends it. ``touched`` is the label that was just put on or taken off, ``on`` whether ours is on now."""
    labels = [*([LABEL] if on else []), *([OTHER] if action == "labeled" and touched == OTHER else [])]
    content: dict[str, Any] = payload(
        action,
        html_url="https://github.com/acme/shop",
        number=7,
        title="A title",
        branch="feature",
        head="a" * 40,
        state="open" if is_open else "closed",
        updated_at="2026-01-31T12:00:00Z",
        labels=labels,
        label=touched,
        draft=draft,
    )
    if fork:
        head = content["pull_request"]["head"]
        head["repo"] = {**head["repo"], "id": 1, "full_name": "mallory/shop"}
    return content


def contradicts_itself(action: str, touched: str, *, on: bool, is_open: bool) -> bool:
    """GitHub tells what is so after the action: a label put on is on, one taken off is not, what is closed is so."""
    is_ours = touched != OTHER
    return (
        (action == "labeled" and is_ours and not on)
        or (action == "unlabeled" and is_ours and on)
        or (action == "closed" and is_open)
        or (action in {"opened", "reopened"} and not is_open)
    )


def told(content: dict[str, Any]) -> PullEvent | None:
    found = parse({"X-GitHub-Event": "pull_request"}, json.dumps(content).encode())
    assert isinstance(found, PullEvent | Ignored)
    return found if isinstance(found, PullEvent) else None


def admits(found: PullEvent) -> bool:
    known = Knowledge.of(found).with_marks(wish=asks_anew(found, GATE))
    pull = replace(found.pull, open=known.is_open, traits=known.traits)
    return isinstance(decide(question(pull, GATE, known)), Admission)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_workflow_builds_exactly_what_the_gate_admits_anew(action: str) -> None:
    """For every event of GitHub's that does not contradict itself:

    the workflow builds  ⇔  the gate ``{labels: {any: [pr-env]}}`` admits the pull request, by this event alone, and
    the event brings a commit (opened, reopened, synchronize) or the admission itself (labeled, with that label).

    So (⇒) no image is built that nobody runs, and (⇐) whatever the gate admits has its image: every other event that
    finds the pull request admitted comes after one of those, of the same commit. Drafts and the letter case of the
    label make no difference to either, and an action that Greenroom does not read builds nothing.
    """
    rows = [row[1:] for row in ROWS if row[0] == action]
    assert len(rows) == 48
    for touched, on, fork, draft, is_open in rows:
        if contradicts_itself(action, touched, on=on, is_open=is_open):
            continue
        content = event(action, touched, on=on, fork=fork, draft=draft, is_open=is_open)
        found = told(content)
        is_new = found is not None and (
            found.action in BRINGS_A_COMMIT or (found.action is Action.LABELED and touched != OTHER)
        )
        expected = found is not None and is_new and admits(found)
        assert builds(content, LABEL) is expected, (action, touched, on, fork, draft, is_open)


def test_the_table_has_both_answers() -> None:
    good = [event(*row[:2], on=row[2], fork=row[3], draft=row[4], is_open=row[5]) for row in ROWS]
    built = [content["action"] for content in good if builds(content, LABEL)]
    assert set(built) == {"opened", "reopened", "synchronize", "labeled"}

"""What a person is told of a pull request and a gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.explanation import LABELS_SHOWN, explanation
from greenroom.core.gate import PREVIEW, Reason, Refusal, decide, question
from greenroom.core.ordering import OBSERVED, Knowledge
from greenroom.core.remembered import Decided, change
from greenroom.model.manifest import PR, REVIEW_APP, Json, Manifest
from greenroom.model.pull import APPROVED, Action, Mark, PullEvent, PullRequest, Traits
from greenroom.model.reviewapp import gate_of

URL, HEAD, OTHER = "https://github.com/acme/shop", "a" * 40, "b" * 40
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
TRAITS = Traits("Add a cart", "feat/cart", "main", "alice", "MEMBER", labels=frozenset({"size/L"}))
LABELED = {"labels": {"any": ["pr-env"]}}


def review_app(gate: Any = None, **status: Json) -> Manifest:
    spec: dict[str, Json] = {"githubRepository": URL, "resources": [], **({"gate": gate} if gate is not None else {})}
    metadata: Manifest = {"name": "shop", "namespace": "pr-env"}
    app: Manifest = {"apiVersion": REVIEW_APP.api_version, "kind": REVIEW_APP.name, "metadata": metadata, "spec": spec}
    return {**app, "status": status}


def known(traits: Traits | None = TRAITS, *, action: str = "opened", **marks: Mark) -> Knowledge:
    pull = PullRequest(URL, 7, HEAD, action != "closed", traits)
    return Knowledge.of(PullEvent(Action(action), pull, START)).with_marks(**marks)


def refused(gate: Any, knowledge: Knowledge) -> Manifest:
    """The ReviewApp after it has refused, or closed, pull request 7."""
    app = review_app(gate)
    pull = PullRequest(URL, 7, knowledge.head, knowledge.is_open, knowledge.traits)
    answer = decide(question(pull, gate_of(app), knowledge))
    return review_app(gate, **change(app, [Decided(7, knowledge, answer)]))


def pr_object(knowledge: Knowledge | None = None, **status: Json) -> Manifest:
    annotations: Manifest = {OBSERVED: str(knowledge)} if knowledge is not None else {}
    metadata: Manifest = {"name": "shop-pr7", "namespace": "pr-env", "annotations": annotations}
    return {"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata, "status": status}


def test_a_pull_request_without_an_environment_is_told_why_and_what_else_was_asked() -> None:
    assert explanation(refused({**LABELED, "drafts": False}, known()), None, 7) == (
        "ReviewApp shop: pull request 7 gets no environment (Labels)",
        "  it needs the label pr-env",
        "",
        "  What is known of it:",
        "    state   open, by what was told of 2026-01-31T12:00:00Z",
        f"    head    {HEAD}",
        "    title   Add a cart",
        "    branch  feat/cart, to be merged into main",
        "    author  alice, MEMBER",
        "    labels  size/L",
        "    draft   no",
        "    fork    no",
        "",
        "  What the gate says:",
        "    open           ok",
        "    not destroyed  ok",
        "    known          ok",
        "    forks          ok",
        "    drafts         ok",
        "    bots           ok",
        "    labels         NO: it needs the label pr-env",
        "    authors        ok",
        "    baseBranches   ok",
        "    title          ok",
        "    expression     ok",
        "    paths          ok",
    )


def test_an_environment_that_is_there_is_named() -> None:
    lines = explanation(review_app(), pr_object(known()), 7)
    assert lines[:3] == (
        "ReviewApp shop: pull request 7 gets an environment (NoGate)",
        "  every open pull request gets an environment",
        "  `greenroom describe pr/shop-pr7` shows how it is.",
    )
    assert "  What is asked without a gate:" in lines


def test_an_environment_that_is_missing_is_said_to_be() -> None:
    on = replace(TRAITS, labels=frozenset({"pr-env"}))
    asked = review_app(LABELED, **change(review_app(LABELED), [Decided(7, known(on), Refusal(Reason.DRAFT, "before"))]))
    assert "shop-pr7 is not there" in explanation(asked, None, 7)[2]


def test_one_that_is_closed_is_asked_nothing_else() -> None:
    lines = explanation(refused(LABELED, known(action="closed")), None, 7)
    assert lines[0].endswith("gets no environment (Closed)")
    assert lines[-1] == f"    head   {HEAD}"


def test_a_request_lifts_what_is_a_matter_of_taste_and_is_told_with_its_author() -> None:
    told = known(wish=Mark(START, PREVIEW, HEAD, "bob"))
    lines = explanation(review_app(LABELED), pr_object(told), 7)
    assert lines[1] == "  bob asked for it with /preview"
    assert "    wish    preview of aaaaaaa by bob, 2026-01-31T12:00:00Z" in lines
    assert lines[-1] == "    forks          ok"


def test_an_approval_of_another_commit_is_told_next_to_the_head() -> None:
    fork = replace(TRAITS, is_fork=True, association="NONE", author="mallory")
    told = known(fork, approval=Mark(START - timedelta(hours=1), APPROVED, OTHER, "bob"))
    lines = explanation(refused({"forks": "approved"}, told), None, 7)
    assert lines[0].endswith("gets no environment (Fork)")
    assert "    approval  approved of bbbbbbb by bob, 2026-01-31T11:00:00Z" in lines
    assert "    fork      yes" in lines


def test_paths_that_are_not_known_here_are_answered_with_what_was_decided_where_they_were() -> None:
    app = review_app({"paths": {"any": ["app/**"]}}, refused={"7": {"observed": str(known()), "message": "it changes"}})
    lines = explanation(app, None, 7)
    assert lines[0].endswith("has no environment for now (Unknown)")
    assert lines[2] == "  When it was last asked, the answer was: it changes"
    conditions: Json = [{"type": "Admitted", "status": "True", "message": "the gate has no objection"}]
    lines = explanation(review_app({"paths": {"any": ["app/**"]}}), pr_object(known(), conditions=conditions), 7)
    assert lines[0].endswith("has an environment, which stays for now (Unknown)")
    assert lines[2].endswith("the gate has no objection")


def test_a_gate_that_cannot_be_asked_is_told_with_the_field_and_the_cure() -> None:
    app = review_app({"label": {}}, refused={"7": {"observed": str(known()), "message": ""}})
    lines = explanation(app, None, 7)
    assert lines[0].endswith("cannot be asked of pull request 7, and no environment is made")
    assert "spec.gate.label" in lines[1]
    assert "did you mean labels?" in lines[1]
    assert "    title   Add a cart" in lines


def test_what_is_not_known_is_said_with_what_to_do() -> None:
    lines = explanation(review_app(), None, 7)
    assert lines[0] == "ReviewApp shop: nothing is known of pull request 7"
    assert "put a label on it" in lines[2]
    assert "by hand" in explanation(review_app(LABELED), pr_object(), 7)[0]


def test_many_labels_are_not_all_told() -> None:
    traits = replace(TRAITS, labels=frozenset(f"label-{n:03}" for n in range(LABELS_SHOWN + 5)))
    (line,) = [line for line in explanation(review_app(), pr_object(known(traits)), 7) if "labels  " in line]
    assert line.endswith("label-019, and 5 more")


HOSTILE = st.text(max_size=40) | st.sampled_from(
    ["\x1b]0;title\x07", "\x1b[2J", "a\r\nb", "\u202e", "\x9b31m", "\ud800"]
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_that_a_stranger_writes_gives_a_terminal_orders(title: str, label: str, author: str) -> None:
    traits = Traits(title, label, label, author, author, labels=frozenset({label}))
    gate = {"title": {"none": ["*"]}, "authors": {"none": ["*"]}, "labels": {"none": [label or "x"]}}
    for app in (review_app(), review_app(gate if label.strip() else None)):
        try:
            pr = pr_object(known(traits))
        except UnicodeEncodeError:
            return  # no JSON can carry it
        assert all(line.isprintable() for line in explanation(app, pr, 7))

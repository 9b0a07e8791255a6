"""Deliveries: who may speak, and what is understood."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.core.payloads import Content, Ignored
from greenroom.core.webhook import BadSignature, Malformed, Secrets, parse, signature, verify
from greenroom.local.forge import payload
from greenroom.model.errors import InvalidInput
from greenroom.model.pull import Action, PullEvent, PullRequest, Traits

SECRET = b"green"
HEADERS = {"X-GitHub-Event": "pull_request", "Content-Type": "application/json"}
COMMIT = "1234567890abcdef1234567890abcdef12345678"
BEFORE = "b" * 40


def delivery(action: str = "synchronize", **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "html_url": "https://github.com/Shop/web",
        "number": 7,
        "title": "A title",
        "branch": "feature",
        "head": COMMIT,
        "state": "closed" if action == "closed" else "open",
        "updated_at": "2026-01-31T12:00:00Z",
        "before": BEFORE,
    }
    return payload(action, **{**fields, **changes})


def parsed(content: object, headers: dict[str, str] = HEADERS) -> Content | Malformed:
    return parse(headers, json.dumps(content).encode())


def changed(path: str, value: object) -> dict[str, Any]:
    """A good delivery in which the field at ``path`` is ``value``, or missing when that is ``...``."""
    content = delivery()
    target: Any = content
    *parents, last = path.split(".")
    for step in parents:
        target[step] = dict(target[step])
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return content


@pytest.mark.parametrize("name", ["X-Hub-Signature-256", "x-hub-signature-256"])
def test_a_delivery_signed_with_our_secret_is_let_in(name: str) -> None:
    verify(Secrets((SECRET,)), {name: signature(SECRET, b"body")}, b"body")


def test_while_a_secret_is_replaced_both_are_good() -> None:
    secrets = Secrets((b"new", b"old"))
    for secret in (b"new", b"old"):
        verify(secrets, {"X-Hub-Signature-256": signature(secret, b"body")}, b"body")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": signature(b"another", b"body")},
        {"X-Hub-Signature-256": signature(SECRET, b"another body")},
        {"X-Hub-Signature-256": signature(SECRET, b"body")[:-1]},
        {"X-Hub-Signature-256": signature(SECRET, b"body").removeprefix("sha256=")},
        {"X-Hub-Signature-256": signature(SECRET, b"body").upper()},
        {"X-Hub-Signature-256": "sha256=\udcff"},
        {"X-Hub-Signature": "sha1=4bd2ef9ca9a9d7a1e5b2a8b4f4f3dd4e1dd7a3e3"},
    ],
    ids=["none", "empty", "secret", "body", "truncated", "no prefix", "upper case", "not text", "only sha1"],
)
def test_a_delivery_that_is_not_signed_with_our_secret_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify(Secrets((SECRET,)), headers, b"body")


@pytest.mark.parametrize("secrets", [(), (b"",), (b"good", b"")])
def test_it_does_not_start_without_a_secret(secrets: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidInput):
        Secrets(secrets)


def test_a_secret_is_in_no_printed_object() -> None:
    assert "green" not in repr(Secrets((SECRET,)))


@pytest.mark.parametrize("action", ["opened", "reopened", "synchronize", "closed"])
def test_a_delivery_of_github_is_understood(action: str) -> None:
    before = BEFORE if action == "synchronize" else ""
    assert parsed(delivery(action)) == PullEvent(
        action=Action(action),
        pull=PullRequest(
            "https://github.com/Shop/web",
            7,
            COMMIT,
            open=action != "closed",
            traits=Traits("A title", "feature", "main", "Shop", "OWNER"),
        ),
        at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        before=before,
        sender="Shop",
    )


def test_a_form_says_the_same_as_json() -> None:
    headers = {**HEADERS, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    content = delivery(title="ä & = %41 🌿")
    body = urlencode({"payload": json.dumps(content)}).encode()
    assert parse(headers, body) == parsed(content)


def test_a_time_in_another_zone_is_the_same_time() -> None:
    found = parsed(changed("pull_request.updated_at", "2026-01-31T13:00:00.75+01:00"))
    assert isinstance(found, PullEvent)
    assert found.at == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_what_the_pull_request_says_of_itself_beats_the_action() -> None:
    found = parsed(changed("pull_request.state", "closed"))
    assert isinstance(found, PullEvent)
    assert not found.pull.open


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({**HEADERS, "X-GitHub-Event": "ping"}, {"zen": "Keep it logically awesome.", "hook_id": 1}),
        ({**HEADERS, "X-GitHub-Event": "push"}, {}),
        ({**HEADERS, "X-GitHub-Event": "\x1b[31m" * 50}, {}),
        (HEADERS, {"action": "assigned"}),
        (HEADERS, {"action": "CLOSED"}),
    ],
)
def test_other_events_and_actions_are_ignored_and_the_reason_is_told(headers: dict[str, str], content: object) -> None:
    found = parsed(content, headers)
    assert isinstance(found, Ignored)
    assert found.reason.isprintable()
    assert len(found.reason) < 300


@pytest.mark.parametrize(
    "path",
    [
        "action",
        "number",
        "repository",
        "repository.html_url",
        "pull_request",
        "pull_request.state",
        "pull_request.head",
        "pull_request.head.sha",
        "pull_request.updated_at",
    ],
)
@pytest.mark.parametrize("value", [None, ..., [], {"a": 1}, True, 1.5, ""])
def test_a_wrong_field_is_named(path: str, value: object) -> None:
    found = parsed(changed(path, value))
    if path == "action" and value == "":
        assert isinstance(found, Ignored)
        return
    assert isinstance(found, Malformed)
    assert found.path == path or (value == {"a": 1} and found.path.startswith(path))
    assert found.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("number", 0),
        ("number", -1),
        ("number", 2**31),
        ("number", 10**400),
        ("number", "7"),
        ("pull_request.head.sha", COMMIT.upper()),
        ("pull_request.head.sha", COMMIT + "\n"),
        ("pull_request.head.sha", COMMIT[:7]),
        ("pull_request.head.sha", COMMIT + "a"),
        ("pull_request.head.sha", "$(reboot)"),
        ("pull_request.state", "merged"),
        ("pull_request.updated_at", "yesterday"),
        ("pull_request.updated_at", "2026-01-31T12:00:00"),
        ("pull_request.updated_at", "0001-01-01T00:00:00+10:00"),
        ("before", "{{PR_NUMBER}}"),
        ("before", None),
    ],
)
def test_a_value_that_github_never_sends_is_refused(path: str, value: object) -> None:
    assert isinstance(parsed(changed(path, value)), Malformed)


def test_a_commit_may_be_of_sha256() -> None:
    found = parsed(changed("pull_request.head.sha", "c" * 64))
    assert isinstance(found, PullEvent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"action": "opened", "x": ' + b"[" * 200_000,
        b"payload={}",
        b"null",
        b"[]",
    ],
    ids=["empty", "cut off", "not UTF-8", "deep", "deep inside", "form", "null", "list"],
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    assert isinstance(parse(HEADERS, body), Malformed)


@pytest.mark.parametrize("body", [b"", b"payload=", b"other=1", b"payload=%7B", b"\xff", b"&".join([b"a=1"] * 100)])
def test_a_form_without_a_payload_is_malformed(body: bytes) -> None:
    headers = {**HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    assert isinstance(parse(headers, body), Malformed)


def test_the_event_must_be_named() -> None:
    assert parsed(delivery(), {}) == Malformed("X-GitHub-Event", "the header is missing")


@pytest.mark.parametrize("text", ["$(reboot)", "{{COMMIT_REF}}", "../../etc", "🌿" * 300, "\x00\x1b[0m", "<script>"])
def test_what_anybody_can_write_is_kept_as_text_and_no_longer_than_it_may_be(text: str) -> None:
    found = parsed(delivery(title=text, branch=text))
    assert isinstance(found, PullEvent)
    assert found.pull.traits is not None
    assert (found.pull.traits.title, found.pull.traits.branch) == (text[:256], text[:255])


@given(st.binary())
def test_no_body_breaks_it(body: bytes) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        parse({**HEADERS, "Content-Type": content_type}, body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["number", "pull_request", "repository", "pull_request.head", "before"]), json_values)
def test_any_value_in_any_field_is_understood_or_refused(path: str, value: object) -> None:
    assert isinstance(parsed(changed(path, value)), PullEvent | Malformed)

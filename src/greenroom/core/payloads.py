"""What GitHub's webhooks say of pull requests, in its own words ("Webhook events and payloads").

Only the fields that are used are looked at, and of them those that anybody can write (titles, branches, labels, logins)
are cut to what GitHub allows them to be. ``core.webhook`` verifies a delivery before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from greenroom.model.pull import (
    APPROVED,
    TEAM,
    WITHDRAWN,
    Action,
    Build,
    Command,
    Mark,
    Move,
    PullEvent,
    PullRequest,
    Traits,
)

COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
"""A commit's name in full, of SHA-1 or SHA-256."""
TITLE_LIMIT = 256
NAME_LIMIT = 255
"""Characters: of a branch, a login, a label. GitHub has no longer ones."""
LABELS_LIMIT = 100
COMMAND = "/preview"
IMAGE_EVENT = "greenroom_image"
"""The event of a build that tells of itself, for those who cannot have GitHub send ``workflow_run``."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A good delivery that asks for nothing."""

    reason: str


Content: TypeAlias = "PullEvent | Command | Build | Move | Ignored"

_Address = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
_Commit = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{COMMIT})\Z")]
_Number = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]

_ACTIONS = {action.value: action for action in Action if action not in {Action.REVIEWED, Action.SEEN}}
_CONCLUSIONS = {"success": True, "failure": False, "timed_out": False, "startup_failure": False}
"""Of a workflow. One that was cancelled was superseded, mostly."""
_REVIEWS = {"approved": APPROVED, "changes_requested": WITHDRAWN, "dismissed": WITHDRAWN}


class _Action(msgspec.Struct):
    action: str


class _Repository(msgspec.Struct):
    html_url: _Address


class _User(msgspec.Struct):
    """Null where the account is gone."""

    login: str = ""
    type: str | None = None


class _Label(msgspec.Struct):
    name: str


class _Origin(msgspec.Struct):
    """A repository as a side of a pull request; null where it is gone."""

    id: int | None = None
    full_name: str | None = None


class _Side(msgspec.Struct):
    ref: str | None = None
    repo: _Origin | None = None


class _Head(_Side, kw_only=True):
    sha: _Commit


class _Pull(msgspec.Struct, kw_only=True):
    state: Literal["open", "closed"]
    head: _Head
    updated_at: _Time
    base: _Side | None = None
    merged: bool | None = None
    merged_at: datetime | None = None
    title: str | None = None
    user: _User | None = None
    author_association: str | None = None
    draft: bool | None = None
    labels: list[_Label] | None = None


class _Numbered(_Pull, kw_only=True):
    """As a pull request stands in the payloads of other events than its own."""

    number: _Number


class _PullPayload(msgspec.Struct, kw_only=True):
    number: _Number
    repository: _Repository
    pull_request: _Pull
    before: Annotated[str, msgspec.Meta(pattern=rf"\A(?:{COMMIT}|)\Z")] = ""
    label: _Label | None = None
    sender: _User | None = None


class _Review(msgspec.Struct):
    state: str
    commit_id: str | None = None
    submitted_at: datetime | None = None
    author_association: str | None = None
    user: _User | None = None


class _ReviewPayload(msgspec.Struct):
    repository: _Repository
    pull_request: _Numbered
    review: _Review
    sender: _User | None = None


class _Comment(msgspec.Struct):
    id: int
    created_at: _Time
    body: str | None = None
    user: _User | None = None
    author_association: str | None = None


class _Issue(msgspec.Struct):
    number: _Number
    pull_request: Mapping[str, object] | None = None


class _CommentPayload(msgspec.Struct):
    repository: _Repository
    issue: _Issue
    comment: _Comment


class _Run(msgspec.Struct):
    head_sha: _Commit
    updated_at: _Time
    conclusion: str | None = None
    html_url: str | None = None
    name: str | None = None
    path: str | None = None


class _RunPayload(msgspec.Struct):
    repository: _Repository
    workflow_run: _Run


class _Image(msgspec.Struct):
    repository: _Repository
    commit: _Commit
    conclusion: Literal["success", "failure"]
    url: str | None = None
    at: datetime | None = None


class _Renamed(msgspec.Struct):
    former: str = msgspec.field(name="from")


class _NameChange(msgspec.Struct):
    name: _Renamed | None = None


class _FormerOwner(msgspec.Struct):
    user: _User | None = None
    organization: _User | None = None


class _FromOwner(msgspec.Struct):
    former: _FormerOwner = msgspec.field(name="from")


class _Changes(msgspec.Struct):
    repository: _NameChange | None = None
    owner: _FromOwner | None = None


class _MovePayload(msgspec.Struct):
    repository: _Repository
    changes: _Changes | None = None


def _pull_event(payload: bytes) -> PullEvent | Ignored:
    name = msgspec.json.decode(payload, type=_Action).action
    action = _ACTIONS.get(name)
    if action is None:
        return Ignored(f"the action is {name[:40]!r}; only {', '.join(_ACTIONS)} matter here")
    found = msgspec.json.decode(payload, type=_PullPayload)
    pull = found.pull_request
    is_open = pull.state == "open" and action is not Action.CLOSED
    return PullEvent(
        action=action,
        pull=_pull_request(found.repository.html_url, found.number, pull, is_open=is_open),
        at=_second(pull.updated_at),
        before=found.before,
        merged=bool(pull.merged),
        label=found.label.name[:NAME_LIMIT] if found.label else "",
        sender=_login(found.sender),
    )


def _review_event(payload: bytes) -> PullEvent | Ignored:
    found = msgspec.json.decode(payload, type=_ReviewPayload)
    review, pull = found.review, found.pull_request
    what = _REVIEWS.get(review.state.lower())
    if what is None or not review.commit_id:
        return Ignored(f"the review is {review.state[:40]!r}")
    # Only who may push can dismiss a review, whatever its author may do by now.
    if review.state.lower() != "dismissed" and (review.author_association or "") not in TEAM:
        return Ignored("the reviewer may not push to the repository")
    by = _login(review.user)
    # What a review withdraws, it does when it is written, or dismissed, of which only the pull request has the time.
    at = pull.updated_at if what == WITHDRAWN else review.submitted_at or pull.updated_at
    return PullEvent(
        action=Action.REVIEWED,
        pull=_pull_request(found.repository.html_url, pull.number, pull, is_open=pull.state == "open"),
        at=_second(pull.updated_at),
        merged=bool(pull.merged or pull.merged_at),
        sender=_login(found.sender),
        approval=Mark(at=_second(at), what=what, commit=review.commit_id, by=by),
    )


def _command(payload: bytes) -> Command | Ignored:
    action = msgspec.json.decode(payload, type=_Action).action
    if action != "created":
        return Ignored(f"the comment was {action[:40]}; only new ones are read")
    found = msgspec.json.decode(payload, type=_CommentPayload)
    if found.issue.pull_request is None:
        return Ignored("the comment is on an issue")
    words = _words(found.comment.body or "")
    if words is None:
        return Ignored(f"the comment does not begin with {COMMAND}")
    comment = found.comment
    return Command(
        repository=found.repository.html_url,
        number=found.issue.number,
        id=comment.id,
        word=words[0],
        argument=words[1],
        author=_login(comment.user),
        association=comment.author_association or "",
        at=_second(comment.created_at),
    )


def _words(body: str) -> tuple[str, str] | None:
    """The command of a comment's first line: its word, by default ``""``, and what follows that."""
    line = next((line.strip() for line in body.splitlines() if line.strip()), "")
    command, _, rest = line.partition(" ")
    if command != COMMAND:
        return None
    word, _, argument = rest.strip().partition(" ")
    return word.lower()[:NAME_LIMIT], argument.strip()[:NAME_LIMIT]


def _run(payload: bytes) -> Build | Ignored:
    action = msgspec.json.decode(payload, type=_Action).action
    if action != "completed":
        return Ignored(f"the workflow was {action[:40]}; only its end matters here")
    found = msgspec.json.decode(payload, type=_RunPayload)
    run = found.workflow_run
    succeeded = _CONCLUSIONS.get(run.conclusion or "")
    if succeeded is None:
        return Ignored(f"the workflow ended as {(run.conclusion or '')[:40]!r}, which says nothing of its image")
    return Build(
        repository=found.repository.html_url,
        commit=run.head_sha,
        succeeded=succeeded,
        at=_second(run.updated_at),
        url=_link(run.html_url),
        workflow=((run.name or "")[:NAME_LIMIT], (run.path or "").partition("@")[0][:NAME_LIMIT]),
    )


def _image(payload: bytes) -> Build:
    found = msgspec.json.decode(payload, type=_Image)
    at = found.at or datetime.fromtimestamp(0, UTC)
    return Build(found.repository.html_url, found.commit, found.conclusion == "success", _second(at), _link(found.url))


def _move(payload: bytes) -> Move | Ignored:
    action = msgspec.json.decode(payload, type=_Action).action
    if action not in {"renamed", "transferred"}:
        return Ignored(f"the repository was {action[:40]}")
    found = msgspec.json.decode(payload, type=_MovePayload)
    address = urlsplit(found.repository.html_url)
    owner, _, name = address.path.strip("/").rpartition("/")
    changes = found.changes or _Changes()
    if changes.repository and changes.repository.name:
        name = changes.repository.name.former
    if changes.owner:
        owner = _login(changes.owner.former.user) or _login(changes.owner.former.organization) or owner
    return Move(address._replace(path=f"/{owner}/{name}").geturl(), found.repository.html_url)


EVENTS: Mapping[str, Callable[[bytes], Content]] = {
    "pull_request": _pull_event,
    "pull_request_review": _review_event,
    "issue_comment": _command,
    "workflow_run": _run,
    "repository": _move,
    IMAGE_EVENT: _image,
}
"""How the payload of each event is read. Each raises msgspec.MsgspecError."""


def _pull_request(repository: str, number: int, pull: _Pull, *, is_open: bool) -> PullRequest:
    user, base = pull.user or _User(), pull.base or _Side()
    traits = Traits(
        title=(pull.title or "")[:TITLE_LIMIT],
        branch=(pull.head.ref or "")[:NAME_LIMIT],
        base=(base.ref or "")[:NAME_LIMIT],
        author=_login(user),
        association=(pull.author_association or "")[:NAME_LIMIT],
        is_bot=user.type == "Bot",
        is_draft=bool(pull.draft),
        is_fork=_is_fork(pull.head.repo, base.repo),
        labels=frozenset(label.name[:NAME_LIMIT] for label in (pull.labels or [])[:LABELS_LIMIT]),
    )
    return PullRequest(repository, number, pull.head.sha, is_open, traits)


def _is_fork(head: _Origin | None, base: _Origin | None) -> bool:
    """What is not said to be the same repository is another one."""
    if head is None or base is None:
        return True
    return (head.id, head.full_name) != (base.id, base.full_name) or head == _Origin()


def _login(user: _User | None) -> str:
    return user.login[:NAME_LIMIT] if user else ""


def _link(url: str | None) -> str:
    """Only what a person can click on without harm."""
    return url if url and len(url) <= 2048 and re.fullmatch(r"https?://[^\s<>\"'`()\[\]\\]+", url) else ""


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)

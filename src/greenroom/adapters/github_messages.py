"""GitHub's answers, in the fields that are used, and what they are in the words of ``model``.

"REST API endpoints for pull requests" and its neighbours have the shapes. Fields that are not named here are skipped,
so that texts that anybody can write go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from greenroom.core.payloads import COMMIT
from greenroom.model.forge import Comment
from greenroom.model.pull import Action, PullEvent, PullRequest, Traits

MARKER = "<!-- greenroom"
"""What our comments begin with, so that they are found where GitHub does not tell who we are."""

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Commit = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{COMMIT})\Z")]
_JUDGEMENTS = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
_MAY_WRITE = ("admin", "maintain", "write")


class User(msgspec.Struct):
    login: str
    type: str = "User"


class _Repository(msgspec.Struct):
    id: int
    html_url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class _Head(msgspec.Struct):
    sha: _Commit
    ref: str
    repo: _Repository | None = None


class _Base(msgspec.Struct):
    ref: str
    repo: _Repository


class _Label(msgspec.Struct):
    name: str | None = None


class Pull(msgspec.Struct):
    """A pull request, from a listing or by itself; only then ``changed_files`` is more than 0."""

    number: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    state: Literal["open", "closed"]
    title: str
    head: _Head
    base: _Base
    updated_at: _Time
    user: User | None = None
    author_association: str = ""
    draft: bool | None = None
    labels: list[_Label] = []
    merged_at: datetime | None = None
    changed_files: int = 0


class File(msgspec.Struct):
    filename: str
    previous_filename: str | None = None


class Review(msgspec.Struct):
    state: str
    user: User | None = None
    commit_id: str | None = None


class Permission(msgspec.Struct):
    """What a user may do. ``permission`` has the roles of old, ``role_name`` those that came later, too."""

    permission: str
    role_name: str = ""

    @property
    def may_write(self) -> bool:
        return self.permission in _MAY_WRITE or self.role_name in _MAY_WRITE


class IssueComment(msgspec.Struct):
    id: int
    body: str | None = None
    user: User | None = None


class Made(msgspec.Struct):
    """Something that was made, or is there, by its id."""

    id: int


class Deployed(msgspec.Struct):
    id: int
    sha: _Commit
    created_at: _Time


class Named(msgspec.Struct):
    name: str


class Environments(msgspec.Struct):
    environments: list[Named] = []

    @property
    def entries(self) -> Sequence[Named]:
        return self.environments


class AppItself(msgspec.Struct):
    slug: str = ""


class Delivery(msgspec.Struct):
    """One attempt to deliver one event. Attempts to deliver the same one share ``guid``."""

    id: int
    guid: str
    delivered_at: _Time
    status_code: int
    status: str = ""


class HookConfig(msgspec.Struct):
    url: str = ""


class Hook(msgspec.Struct):
    id: int
    active: bool = True
    config: HookConfig = msgspec.field(default_factory=HookConfig)


def event_of(pull: Pull) -> PullEvent:
    """The pull request as it is."""
    return PullEvent(
        action=Action.SEEN,
        pull=PullRequest(
            repository=pull.base.repo.html_url,
            number=pull.number,
            head=pull.head.sha,
            open=pull.state == "open",
            traits=_traits(pull),
        ),
        at=pull.updated_at.astimezone(UTC).replace(microsecond=0),
        merged=pull.merged_at is not None,
    )


def _traits(pull: Pull) -> Traits:
    author = pull.user or User("")
    return Traits(
        title=pull.title,
        branch=pull.head.ref,
        base=pull.base.ref,
        author=author.login,
        association=pull.author_association,
        is_bot=author.type == "Bot",
        is_draft=bool(pull.draft),
        is_fork=pull.head.repo is None or pull.head.repo.id != pull.base.repo.id,
        labels=frozenset(label.name for label in pull.labels if label.name),
    )


def paths_of(files: Iterable[File]) -> frozenset[str]:
    """Every path that is concerned, also those that files are moved from."""
    return frozenset(path for file in files for path in (file.filename, file.previous_filename) if path)


def approvals(reviews: Iterable[Review]) -> Sequence[tuple[str, str]]:
    """The login of each reviewer whose last word is that it is good, and the commit that was approved.

    ``reviews`` are in the order they were written. Mere comments are no word, and take none back.
    """
    last = {review.user.login.lower(): review for review in reviews if review.user and review.state in _JUDGEMENTS}
    return [
        (review.user.login, review.commit_id)
        for review in last.values()
        if review.user and review.commit_id and review.state == "APPROVED"
    ]


def comments_of(found: Iterable[IssueComment], login: str) -> Sequence[Comment]:
    """Those by ``login``, oldest first; where that is ``""``, those that look like ours."""
    by_id = {comment.id: comment for comment in found if _is_ours(comment, login)}
    return [Comment(comment.id, comment.body or "") for _, comment in sorted(by_id.items())]


def _is_ours(comment: IssueComment, login: str) -> bool:
    if not login:
        return MARKER in (comment.body or "")
    return comment.user is not None and comment.user.login.lower() == login.lower()

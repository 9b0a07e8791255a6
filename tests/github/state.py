"""What the GitHub stand-in knows, and what people do there. ``tests.github.answers`` tells it to those who ask."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


def system_time() -> datetime:
    return datetime.now(UTC)


@dataclass
class User:
    login: str
    is_bot: bool = False


@dataclass
class Comment:
    id: int
    author: User
    body: str
    reactions: list[tuple[str, str]] = field(default_factory=list)
    """Who, and what."""


@dataclass
class Review:
    id: int
    reviewer: User | None
    state: str
    commit: str


@dataclass
class File:
    path: str
    former: str = ""


@dataclass
class Pull:
    number: int
    repository: Repository
    title: str
    branch: str
    base: str
    author: User
    head: str
    created_at: datetime
    updated_at: datetime
    association: str = "CONTRIBUTOR"
    labels: list[str] = field(default_factory=list)
    is_draft: bool = False
    is_open: bool = True
    is_merged: bool = False
    fork: Repository | None = None
    fork_is_gone: bool = False
    files: list[File] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)


@dataclass
class Deployment:
    id: int
    commit: str
    environment: str
    description: str
    statuses: list[dict[str, str]] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.statuses[-1]["state"] if self.statuses else "pending"


@dataclass
class Delivery:
    id: int
    guid: str
    delivered_at: datetime
    status_code: int
    redelivery: bool = False
    status: str = "OK"


@dataclass
class Hook:
    """A webhook. ``receive`` is asked what its receiver answers to what is sent again."""

    id: int
    url: str
    active: bool = True
    deliveries: list[Delivery] = field(default_factory=list)
    receive: Callable[[Delivery], int] = lambda _: 202


@dataclass
class Repository:
    id: int
    owner: str
    name: str
    pulls: dict[int, Pull] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    permissions: dict[str, str] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


@dataclass
class App:
    """A GitHub App; ``key`` is its public key as PEM text."""

    id: int
    client_id: str
    slug: str
    key: str
    hook: Hook
    installations: dict[int, set[int]] = field(default_factory=dict)
    """The ids of the repositories of each."""
    tokens: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    """Whose installation, and until when."""


class World:
    """``now`` tells the time; what was not done by somebody stays as it is."""

    def __init__(self, now: Callable[[], datetime] = system_time) -> None:
        self.now = now
        self.repositories: dict[int, Repository] = {}
        self.tokens: dict[str, User | None] = {}
        """Whose they are; None for a workflow's."""
        self.app: App | None = None
        self._former: dict[str, int] = {}
        self._ids = itertools.count(1001)

    # Things that are set up

    def token(self, secret: str, login: str = "greenroom-ci") -> str:
        """Make a token good; for nobody in particular where ``login`` is ``""``."""
        self.tokens[secret] = User(login) if login else None
        return secret

    def revoke(self, secret: str) -> None:
        self.tokens.pop(secret, None)
        if self.app is not None:
            self.app.tokens.pop(secret, None)

    def repository(self, full_name: str = "acme/shop") -> Repository:
        """The one of this name, new if it is not there."""
        found = self.find(full_name)
        if found is None:
            owner, _, name = full_name.partition("/")
            found = Repository(next(self._ids), owner, name)
            self.repositories[found.id] = found
        return found

    def find(self, full_name: str) -> Repository | None:
        wanted = full_name.lower()
        return next((found for found in self.repositories.values() if found.full_name.lower() == wanted), None)

    def moved(self, full_name: str) -> Repository | None:
        """The one that had this name before."""
        return self.repositories.get(self._former.get(full_name.lower(), 0))

    def allow(self, repository: Repository, login: str, permission: str) -> None:
        repository.permissions[login.lower()] = permission

    def hook(self, repository: Repository, url: str) -> Hook:
        repository.hooks.append(Hook(next(self._ids), url))
        return repository.hooks[-1]

    def install_app(self, key: str, *repositories: Repository, hook: str = "https://hooks.example.com/") -> App:
        """A GitHub App with this public key, installed on ``repositories`` by one installation."""
        self.app = App(next(self._ids), "Iv23client", "greenroom", key, Hook(next(self._ids), hook))
        self.app.installations[next(self._ids)] = {repository.id for repository in repositories}
        return self.app

    # What people do

    def open_pull(
        self,
        repository: Repository,
        *,
        title: str = "A change",
        branch: str = "",
        base: str = "main",
        author: str = "mona",
        is_bot: bool = False,
        association: str = "CONTRIBUTOR",
        labels: tuple[str, ...] = (),
        draft: bool = False,
        fork: Repository | None = None,
        files: tuple[File, ...] = (),
    ) -> Pull:
        number = max(repository.pulls, default=0) + 1
        pull = Pull(
            number=number,
            repository=repository,
            title=title,
            branch=branch or f"change-{number}",
            base=base,
            author=User(author, is_bot),
            head=self._commit(),
            created_at=self.time(),
            updated_at=self.time(),
            association=association,
            labels=list(labels),
            is_draft=draft,
            fork=fork,
            files=list(files),
        )
        repository.pulls[number] = pull
        return pull

    def push(self, pull: Pull) -> str:
        """Answers the new head."""
        pull.head = self._commit()
        self._touch(pull)
        return pull.head

    def label(self, pull: Pull, label: str) -> None:
        pull.labels.append(label)
        self._touch(pull)

    def unlabel(self, pull: Pull, label: str) -> None:
        pull.labels.remove(label)
        self._touch(pull)

    def close(self, pull: Pull, *, merged: bool = False) -> None:
        pull.is_open, pull.is_merged = False, merged
        self._touch(pull)

    def reopen(self, pull: Pull) -> None:
        pull.is_open = True
        self._touch(pull)

    def edit(self, pull: Pull, *, title: str = "", base: str = "", draft: bool | None = None) -> None:
        pull.title, pull.base = title or pull.title, base or pull.base
        pull.is_draft = pull.is_draft if draft is None else draft
        self._touch(pull)

    def review(self, pull: Pull, login: str, state: str = "APPROVED", commit: str = "") -> Review:
        pull.reviews.append(Review(next(self._ids), User(login), state, commit or pull.head))
        self._touch(pull)
        return pull.reviews[-1]

    def comment(self, pull: Pull, author: User, body: str) -> Comment:
        pull.comments.append(Comment(next(self._ids), author, body))
        self._touch(pull)
        return pull.comments[-1]

    def delete_comment(self, pull: Pull, comment: int) -> None:
        pull.comments = [kept for kept in pull.comments if kept.id != comment]

    def rename(self, repository: Repository, full_name: str) -> None:
        """Or transfer; who asks by the old name is led to the new one."""
        self._former[repository.full_name.lower()] = repository.id
        repository.owner, _, repository.name = full_name.partition("/")

    # What GitHub does

    def deploy(self, repository: Repository, commit: str, environment: str, description: str) -> Deployment:
        made = Deployment(next(self._ids), commit, environment, description)
        repository.deployments.append(made)
        if environment not in repository.environments:
            repository.environments.append(environment)
        return made

    def deliver(
        self, hook: Hook, status_code: int, *, guid: str = "", ago: timedelta = timedelta(), status: str = "OK"
    ) -> Delivery:
        """An attempt to deliver something, made ``ago``, and what the receiver answered."""
        number = next(self._ids)
        delivery = Delivery(number, guid or f"guid-{number}", self.now() - ago, status_code, status=status)
        hook.deliveries.append(delivery)
        return delivery

    def redeliver(self, hook: Hook, delivery: Delivery) -> None:
        again = Delivery(next(self._ids), delivery.guid, self.now(), 0, redelivery=True)
        again.status_code = hook.receive(again)
        hook.deliveries.append(again)

    def installation_token(self, installation: int) -> tuple[str, datetime]:
        assert self.app is not None
        ends = self.time() + timedelta(hours=1)
        secret = f"ghs_installation{next(self._ids)}"
        self.app.tokens[secret] = installation, ends
        return secret, ends

    def next_id(self) -> int:
        return next(self._ids)

    def time(self) -> datetime:
        """As GitHub tells it: in whole seconds."""
        return self.now().replace(microsecond=0)

    def _touch(self, pull: Pull) -> None:
        pull.updated_at = self.time()

    def _commit(self) -> str:
        return hashlib.sha1(str(next(self._ids)).encode(), usedforsecurity=False).hexdigest()

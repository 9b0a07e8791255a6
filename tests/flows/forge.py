"""A forge in memory, for tests of the flows: plain state, requests that are counted, and faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.flows.world import VirtualClock

from greenroom.core.gate import canonical
from greenroom.model.errors import ForgeForbidden, ForgeInvalid, ForgeNotFound
from greenroom.model.forge import Comment, Deployment, DeploymentState, Reaction
from greenroom.model.pull import PullEvent


@dataclass
class Said:
    """A comment. ``history`` are its bodies, the newest last; ``ours`` tells that these credentials wrote it."""

    repository: str
    number: int
    history: list[str]
    ours: bool = True

    @property
    def body(self) -> str:
        return self.history[-1]


@dataclass
class Deployed:
    """A deployment. ``history`` are its states, the newest last."""

    repository: str
    environment: str
    commit: str
    at: datetime
    description: str
    history: list[DeploymentState] = field(default_factory=list)
    url: str = ""

    @property
    def state(self) -> str:
        return self.history[-1].value if self.history else ""


@dataclass
class Fault:
    """What becomes of the next ``times`` requests: ``error`` is raised, or the answer never comes when it is None.

    ``after`` it was done, or else before.
    """

    error: Exception | None
    times: int
    after: bool


class FakeForge:
    """A ``ports.Forge``. Tests put ``pulls``, ``paths``, ``writers`` and ``approved`` there, and look at the rest.

    Repositories are written in their canonical way. ``latency`` is in seconds. ``hidden`` pull requests are in no
    listing, though they are found by their number; who asks for a repository of ``moved`` is led to where it is now.
    """

    def __init__(self, *, latency: float = 0.05) -> None:
        self.latency = latency
        self.repositories: set[str] | None = None  # those with credentials; None: all
        self.pulls: dict[tuple[str, int], PullEvent] = {}
        self.hidden: set[tuple[str, int]] = set()
        self.moved: dict[str, str] = {}
        self.paths: dict[tuple[str, int], frozenset[str]] = {}
        self.writers: dict[str, set[str]] = {}
        self.approved: dict[tuple[str, int], frozenset[str]] = {}
        self.comments_: dict[int, Said] = {}
        self.reactions: list[tuple[int, Reaction]] = []
        self.deployments_: dict[int, Deployed] = {}
        self.environments_: dict[str, set[str]] = {}
        self.undelivered: dict[str, int] = {}
        self.requests: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self._faults: dict[str, list[Fault]] = {}
        self._ids = 0

    def fail(self, name: str, error: Exception | None, *, times: int = 1_000_000, after: bool = False) -> None:
        """See Fault; ``name`` is a method's, or ``*`` for every one."""
        self._faults.setdefault(name, []).append(Fault(error, times, after))

    def mend(self) -> None:
        """All works again."""
        self._faults.clear()

    def delete_comment(self) -> None:
        """Somebody deletes the only comment."""
        self.comments_.clear()

    def has_credentials(self, repository: str) -> bool:
        return self.repositories is None or canonical(repository) in self.repositories

    async def pull(self, repository: str, number: int) -> PullEvent:
        async with self._request("pull", repository) as here:
            if (here, number) not in self.pulls:
                raise ForgeNotFound(f"no pull request {number}")
            return self.pulls[here, number]

    async def open_pulls(self, repository: str) -> Sequence[PullEvent]:
        async with self._request("open_pulls", repository) as here:
            found = [event for (place, _), event in sorted(self.pulls.items()) if place == here]
            return [event for event in found if event.pull.open and (here, event.pull.number) not in self.hidden]

    async def changed_paths(self, repository: str, number: int) -> frozenset[str]:
        async with self._request("changed_paths", repository) as here:
            return self.paths.get((here, number), frozenset())

    async def may_write(self, repository: str, user: str) -> bool:
        async with self._request("may_write", repository) as here:
            return user in self.writers.get(here, ())

    async def approved_commits(self, repository: str, number: int) -> frozenset[str]:
        async with self._request("approved_commits", repository) as here:
            return self.approved.get((here, number), frozenset())

    async def comments(self, repository: str, number: int) -> Sequence[Comment]:
        async with self._request("comments", repository) as here:
            return [
                Comment(id_, said.body)
                for id_, said in sorted(self.comments_.items())
                if (said.repository, said.number, said.ours) == (here, number, True)
            ]

    async def comment(self, repository: str, number: int, body: str) -> int:
        async with self._request("comment", repository, writes=True) as here:
            _check_length(body)
            id_ = self._new_id()
            self.comments_[id_] = Said(here, number, [body])
        return id_

    async def edit_comment(self, repository: str, comment: int, body: str) -> None:
        async with self._request("edit_comment", repository, writes=True):
            _check_length(body)
            if comment not in self.comments_:
                raise ForgeNotFound(f"no comment {comment}")
            self.comments_[comment].history.append(body)

    async def react(self, repository: str, comment: int, reaction: Reaction) -> None:
        async with self._request("react", repository, writes=True):
            self.reactions.append((comment, reaction))

    async def deploy(self, repository: str, commit: str, environment: str, description: str) -> int:
        async with self._request("deploy", repository, writes=True) as here:
            id_ = self._new_id()
            self.deployments_[id_] = Deployed(here, environment, commit, VirtualClock().now(), description)
            self.environments_.setdefault(here, set()).add(environment)
        return id_

    async def deployments(self, repository: str, environment: str) -> Sequence[Deployment]:
        async with self._request("deployments", repository) as here:
            return [
                Deployment(id_, each.commit, each.at)
                for id_, each in sorted(self.deployments_.items(), reverse=True)
                if (each.repository, each.environment) == (here, environment)
            ]

    async def set_deployment(
        self, repository: str, deployment: int, state: DeploymentState, *, url: str = "", description: str = ""
    ) -> None:
        async with self._request("set_deployment", repository, writes=True):
            found = self.deployments_.get(deployment)
            if found is None:
                raise ForgeNotFound(f"no deployment {deployment}")
            found.history.append(state)
            found.url, found.description = url, description
            if state is DeploymentState.SUCCESS:
                self._supersede(deployment, found)

    async def environments(self, repository: str) -> Sequence[str]:
        async with self._request("environments", repository) as here:
            return sorted(self.environments_.get(here, ()))

    async def remove_environment(self, repository: str, environment: str) -> None:
        async with self._request("remove_environment", repository, writes=True) as here:
            self.environments_.get(here, set()).discard(environment)

    async def redeliver(self, repository: str, webhook: str, within: timedelta) -> int:
        async with self._request("redeliver", repository, writes=True) as here:
            return self.undelivered.pop(here, 0)

    def _supersede(self, newest: int, of: Deployed) -> None:
        for id_, each in self.deployments_.items():
            same = (each.repository, each.environment) == (of.repository, of.environment)
            if id_ != newest and same and each.state == "success":
                each.history.append(DeploymentState.INACTIVE)

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    @asynccontextmanager
    async def _request(self, name: str, repository: str, *, writes: bool = False) -> AsyncIterator[str]:
        if not self.has_credentials(repository):
            raise ForgeForbidden("there are no credentials")
        self.requests[name] += 1
        await asyncio.sleep(self.latency)
        await self._fail(name, after=False)
        here = canonical(repository)
        yield self.moved.get(here, here)
        if writes:
            self.writes[name] += 1
        await self._fail(name, after=True)

    async def _fail(self, name: str, *, after: bool) -> None:
        for fault in (*self._faults.get(name, ()), *self._faults.get("*", ())):
            if fault.times and fault.after is after:
                fault.times -= 1
                if fault.error is None:
                    await asyncio.Event().wait()
                else:
                    raise fault.error


def _check_length(body: str) -> None:
    if not body or len(body) > 65_536:
        raise ForgeInvalid("body is too long (maximum is 65536 characters)")

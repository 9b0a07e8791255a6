"""A ``ports.Forge`` over GitHub's REST API: github.com, or a GitHub Enterprise Server.

Connection, encoding and errors are in ``adapters.github_http``, who asks in ``adapters.github_identity``, what answers
mean in ``adapters.github_messages``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

from greenroom.adapters.github_address import Server, segment
from greenroom.adapters.github_credentials import App, Credentials, Token
from greenroom.adapters.github_deliveries import redeliver
from greenroom.adapters.github_errors import Answer, told_in
from greenroom.adapters.github_http import Api
from greenroom.adapters.github_identity import AppIdentity, Holder, Identity
from greenroom.adapters.github_limits import WriteBudget
from greenroom.adapters.github_messages import (
    Deployed,
    Environments,
    File,
    IssueComment,
    Made,
    Permission,
    Pull,
    Review,
    approvals,
    comments_of,
    event_of,
    paths_of,
)
from greenroom.model.errors import ForgeInvalid, ForgeNotFound, ForgeUnavailable
from greenroom.model.forge import Comment, Deployment, DeploymentState, Reaction
from greenroom.model.pull import PullEvent
from greenroom.ports import Clock

T = TypeVar("T")

FILES = 3000
"""How many files of a pull request GitHub lists at most ("List pull requests files")."""

DESCRIPTION = 140
"""Characters that GitHub takes as the description of a deployment's status ("Create a deployment status")."""

READINGS = 4
"""How often a listing of several pages is read at most, until two readings agree."""


class GitHub:
    """Use as ``async with GitHub(Token(path), clock) as forge``. Repositories of other servers are refused.

    ``server`` is the address people open. ``timeout`` bounds each request, in seconds. Raises InvalidInput when
    ``server`` is no server's address.
    """

    def __init__(
        self,
        credentials: Token | App,
        clock: Clock,
        *,
        server: str = "https://github.com",
        timeout: float = 30.0,
        budget: WriteBudget | None = None,
    ) -> None:
        self._clock = clock
        self._server = Server(server)
        self._api = Api(self._server, clock, timeout=timeout, budget=budget or WriteBudget())
        self._identity: Identity = (
            Holder(self._api, credentials)
            if isinstance(credentials, Token)
            else AppIdentity(self._api, credentials, clock)
        )

    async def __aenter__(self) -> GitHub:
        await self._api.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.__aexit__(kind, error, trace)

    def has_credentials(self, repository: str) -> bool:
        return self._server.serves(repository)

    async def pull(self, repository: str, number: int) -> PullEvent:
        return event_of(await self._pull(repository, number))

    async def open_pulls(self, repository: str) -> Sequence[PullEvent]:
        """A pull request that is closed while pages are read moves the others up, and one of them out of sight. So
        several pages are read until two readings agree; GitHub does not count what has not changed."""
        found = await self._open_pulls(repository)
        for _ in range(READINGS - 1):
            if len(found) <= 1:
                return [event_of(pull) for page in found for pull in page]
            before, found = found, await self._open_pulls(repository)
            if _numbers(before) == _numbers(found):
                return [event_of(pull) for pull in {pull.number: pull for page in found for pull in page}.values()]
        raise ForgeUnavailable(f"{repository}: the listing of pull requests changes faster than it can be read")

    async def changed_paths(self, repository: str, number: int) -> frozenset[str]:
        expected = (await self._pull(repository, number)).changed_files
        if expected > FILES:
            raise ForgeInvalid(f"{repository}#{number} changes {expected} files, of which GitHub tells {FILES}")
        found = [file for page in await self._pages(repository, f"/pulls/{number}/files", list[File]) for file in page]
        if len(found) >= FILES:
            raise ForgeInvalid(f"{repository}#{number} changes {FILES} files or more, of which GitHub tells no others")
        if len({file.filename for file in found}) < expected:
            raise ForgeUnavailable(f"{repository}#{number} changes {expected} files, of which only {len(found)} came")
        return paths_of(found)

    async def may_write(self, repository: str, user: str) -> bool:
        path = f"/collaborators/{segment(user)}/permission"
        try:
            return (await self._get(repository, path, Permission)).may_write
        except ForgeNotFound:
            return False

    async def approved_commits(self, repository: str, number: int) -> frozenset[str]:
        pages = await self._pages(repository, f"/pulls/{number}/reviews", list[Review])
        given = approvals(review for page in pages for review in page)
        return frozenset([commit for reviewer, commit in given if await self.may_write(repository, reviewer)])

    async def comments(self, repository: str, number: int) -> Sequence[Comment]:
        pages = await self._pages(repository, f"/issues/{number}/comments", list[IssueComment])
        login = await self._identity.login()  # after, for credentials may have been renewed
        return comments_of((comment for page in pages for comment in page), login)

    async def comment(self, repository: str, number: int, body: str) -> int:
        return await self._make(repository, f"/issues/{number}/comments", {"body": body})

    async def edit_comment(self, repository: str, comment: int, body: str) -> None:
        await self._write("PATCH", repository, f"/issues/comments/{comment}", {"body": body})

    async def react(self, repository: str, comment: int, reaction: Reaction) -> None:
        await self._write("POST", repository, f"/issues/comments/{comment}/reactions", {"content": reaction.value})

    async def deploy(self, repository: str, commit: str, environment: str, description: str) -> int:
        """Neither is the base branch merged first, nor are other checks waited for: what runs is ``commit`` itself.

        It is not called transient: GitHub makes earlier deployments inactive by itself for those that are not, only.
        """
        body = {
            "ref": commit,
            "environment": environment,
            "description": description[:DESCRIPTION],
            "auto_merge": False,
            "required_contexts": [],
            "production_environment": False,
            "transient_environment": False,
        }
        return await self._make(repository, "/deployments", body)

    async def deployments(self, repository: str, environment: str) -> Sequence[Deployment]:
        pages = await self._pages(repository, "/deployments", list[Deployed], {"environment": environment})
        by_id = {each.id: each for page in pages for each in page}
        return [Deployment(id_, by_id[id_].sha, by_id[id_].created_at) for id_ in sorted(by_id, reverse=True)]

    async def set_deployment(
        self, repository: str, deployment: int, state: DeploymentState, *, url: str = "", description: str = ""
    ) -> None:
        body: dict[str, object] = {
            "state": state.value,
            "description": description[:DESCRIPTION],
            "auto_inactive": True,
            **({"environment_url": url} if url else {}),
        }
        await self._write("POST", repository, f"/deployments/{deployment}/statuses", body)

    async def environments(self, repository: str) -> Sequence[str]:
        pages = await self._pages(repository, "/environments", Environments)
        return list(dict.fromkeys(environment.name for page in pages for environment in page.entries))

    async def remove_environment(self, repository: str, environment: str) -> None:
        try:
            await self._write("DELETE", repository, f"/environments/{segment(environment)}")
        except ForgeNotFound:
            return

    async def redeliver(self, repository: str, webhook: str, within: timedelta) -> int:
        since = self._clock.now() - within
        logs = await self._identity.logs(self._server.repository(repository), webhook)
        return sum([await redeliver(self._api, log, since) for log in logs])

    async def _pull(self, repository: str, number: int) -> Pull:
        return await self._get(repository, f"/pulls/{number}", Pull)

    async def _open_pulls(self, repository: str) -> Sequence[Sequence[Pull]]:
        # Oldest first, so that one that is opened meanwhile comes last, and moves no other.
        wanted = {"state": "open", "sort": "created", "direction": "asc"}
        return await self._pages(repository, "/pulls", list[Pull], wanted)

    async def _get(self, repository: str, path: str, shape: type[T]) -> T:
        where, credentials = self._asked(repository, path)
        return await self._api.get(where, shape, credentials)

    async def _pages(
        self, repository: str, path: str, shape: type[T], params: Mapping[str, str] | None = None
    ) -> Sequence[T]:
        where, credentials = self._asked(repository, path)
        return await self._api.pages(where, shape, credentials, params=params)

    async def _write(self, method: str, repository: str, path: str, body: object = None) -> Answer:
        where, credentials = self._asked(repository, path)
        return await self._api.write(method, where, credentials, body)

    async def _make(self, repository: str, path: str, body: object) -> int:
        """Answers the id of what was made."""
        answer = await self._write("POST", repository, path, body)
        if answer.status != 201:  # such as 202, by which a deployment is put off until the base branch is merged
            raise ForgeInvalid(f"{repository}: {path}: GitHub made nothing: {told_in(answer.body)}")
        return self._api.decoded(answer, Made).id

    def _asked(self, repository: str, path: str) -> tuple[str, Credentials]:
        """The path below a repository's, and what to show there."""
        found = self._server.repository(repository)
        return found.path + path, self._identity.shown(found)


def _numbers(pages: Sequence[Sequence[Pull]]) -> frozenset[int]:
    return frozenset(pull.number for page in pages for pull in page)

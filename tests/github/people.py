"""People who work on pull requests at the GitHub stand-in, and the webhooks that tell of what they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from tests.github.shapes import time_of
from tests.github.standin import StandIn
from tests.github.state import Pull, Repository, User

LABEL = "pr-env"
WORKFLOW = "pull-request.yml"


@dataclass(frozen=True, slots=True)
class People:
    """``deliver`` sends an event and its payload to Greenroom."""

    github: StandIn
    repository: Repository
    deliver: Callable[[str, bytes], Awaitable[object]]

    async def open(self, branch: str, head: str) -> Pull:
        pull = self.github.open_pull(self.repository, branch=branch)
        pull.head = head
        await self._tell(pull, "opened")
        return pull

    async def push(self, pull: Pull, commit: str) -> None:
        before = pull.head
        self.github.push(pull)
        pull.head = commit
        await self._tell(pull, "synchronize", before=before, after=commit)

    async def label(self, pull: Pull) -> None:
        self.github.label(pull, LABEL)
        await self._tell(pull, "labeled", label={"name": LABEL})

    async def unlabel(self, pull: Pull) -> None:
        self.github.unlabel(pull, LABEL)
        await self._tell(pull, "unlabeled", label={"name": LABEL})

    async def say(self, pull: Pull, body: str, *, author: str = "mona") -> list[str]:
        """A comment; answers the reactions to it."""
        comment = self.github.comment(pull, User(author), body)
        told: dict[str, Any] = {
            "id": comment.id,
            "created_at": time_of(self.github.time()),
            "body": body,
            "user": {"login": author},
            "author_association": "NONE",
        }
        issue = {"number": pull.number, "pull_request": {}}
        await self._send("issue_comment", action="created", issue=issue, comment=told)
        return [content for _, content in comment.reactions]

    async def built(self, commit: str, conclusion: str = "success") -> None:
        """A workflow came to its end."""
        run = {"head_sha": commit, "updated_at": time_of(self.github.time()), "conclusion": conclusion}
        run |= {"name": "Preview", "path": f".github/workflows/{WORKFLOW}"}
        url = f"{self.github.address(self.repository)}/actions/runs/1"
        await self._send("workflow_run", action="completed", workflow_run={**run, "html_url": url})

    def answers(self, pull: Pull) -> list[str]:
        """The comments that Greenroom wrote."""
        return [each.body for each in pull.comments if each.author.login == "greenroom-ci"]

    def answer(self, pull: Pull, *words: str) -> str:
        """The one that there is, if all of these words are in it."""
        written = self.answers(pull)
        assert len(written) <= 1
        return next((body for body in written if all(word in body for word in words)), "")

    async def _tell(self, pull: Pull, action: str, **fields: Any) -> None:
        await self.deliver("pull_request", msgspec.json.encode(self.github.event(pull, action, **fields)))

    async def _send(self, event: str, **content: Any) -> None:
        named = {"repository": {"html_url": self.github.address(self.repository)}}
        await self.deliver(event, msgspec.json.encode({**content, **named}))

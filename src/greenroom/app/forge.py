"""A forge for a local git repository: pull requests kept in a file, and their webhooks sent as GitHub sends them.

It stands in for GitHub on one machine. What it sends goes over HTTP with GitHub's payload and signature, so that the
receiving side cannot tell the difference.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec

from greenroom.core.webhook import EVENT_HEADER, SIGNATURE_HEADER, signature
from greenroom.local.files import write_private
from greenroom.local.forge import payload
from greenroom.model.errors import GreenroomError, InvalidInput
from greenroom.model.manifest import timestamp

ANSWER_SECONDS = 10.0
"""How long the answer to a delivery is waited for, as GitHub does."""


LABEL_LIMIT = 50
"""Characters of a label's name. GitHub has no longer ones."""


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request of a local repository. Files of before there were labels and drafts have neither."""

    number: int
    branch: str
    title: str
    head: str
    state: str
    updated_at: str
    labels: tuple[str, ...] = ()
    draft: bool = False


class GitFailed(GreenroomError):
    """Git refused; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository on this machine."""

    path: Path

    @classmethod
    async def find(cls, folder: Path) -> Repository:
        """The repository that ``folder`` is in; it may be a bare one. Raises InvalidInput when it is in none."""
        here = cls(folder.absolute())
        try:
            bare = await here.git("rev-parse", "--is-bare-repository") == "true"
            return cls(Path(await here.git("rev-parse", "--absolute-git-dir" if bare else "--show-toplevel")))
        except GitFailed as error:
            raise InvalidInput(
                f"{here.path} is not in a git repository", cure="name one with --repo, or make one with `git init`"
            ) from error

    async def git(self, *arguments: str) -> str:
        """What git prints. Raises GitFailed, and InvalidInput when there is no git."""
        try:
            process = await asyncio.create_subprocess_exec(
                "git", "-C", str(self.path), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise InvalidInput(f"git cannot be started: {error.strerror}", cure="install it") from error
        output, errors = await process.communicate()
        if process.returncode:
            raise GitFailed(f"git {arguments[0]}: {(errors or output).decode(errors='replace').strip()}")
        return output.decode().strip()

    async def head_of(self, branch: str) -> str:
        """The commit that a branch points at. Raises InvalidInput when there is no such branch."""
        try:
            return await self.git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}")
        except GitFailed as error:
            raise InvalidInput(
                f"{self.path} has no branch {branch!r}", cure=f"git -C {self.path} branch --list shows them"
            ) from error

    async def commit(self, file: str, old: str, new: str, *, branch: str) -> None:
        """Check out a branch and commit to it that ``old`` became ``new`` in a file."""
        await self.git("checkout", "--quiet", branch)
        path = self.path / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        await self.git("commit", "--quiet", "--all", f"--message=Change {old} to {new}")

    async def current_branch(self) -> str:
        """The branch that is checked out. Raises InvalidInput when it is a commit and no branch."""
        try:
            return await self.git("symbolic-ref", "--quiet", "--short", "HEAD")
        except GitFailed as error:
            raise InvalidInput(f"{self.path} has no branch checked out", cure="name the branch") from error


class Webhook:
    """Sends signed deliveries."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._secret = secret

    async def deliver(self, event: str, body: bytes) -> None:
        """Raises GreenroomError when the receiver does not answer 2xx."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/local",
            EVENT_HEADER: event,
            "X-GitHub-Delivery": str(uuid.uuid4()),
            SIGNATURE_HEADER: signature(self._secret, body),
        }
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, data=body, headers=headers) as answer,
            ):
                text = await answer.text()
        except aiohttp.ClientConnectorError as error:
            raise GreenroomError(
                f"{self._url} does not answer, so the webhook was not delivered and nothing was changed;"
                " is `greenroom up` running?"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GreenroomError(
                f"{self._url} took the webhook, but did not answer; it may have been handled all the same,"
                " and the same command can be given again"
            ) from error
        if answer.status >= 300:
            raise GreenroomError(f"the webhook was refused with {answer.status}: {text.strip()}; nothing was changed")


class LocalForge:
    """Opens, pushes to, labels, edits and closes the pull requests of one repository."""

    def __init__(self, file: Path, repository: Repository, html_url: str, webhook: Webhook) -> None:
        self._file = file
        self.repository = repository
        self._html_url = html_url
        self._webhook = webhook

    def pulls(self) -> list[Pull]:
        """Every pull request there was, by number."""
        if not self._file.exists():
            return []
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Pull])
        except (OSError, msgspec.DecodeError) as error:
            raise GreenroomError(f"{self._file} cannot be read: {error}; move it away to start anew") from error

    def pull(self, number: int) -> Pull:
        found = next((pull for pull in self.pulls() if pull.number == number), None)
        if found is None:
            raise InvalidInput(f"there is no pull request {number}", cure="`greenroom pr list` shows them")
        return found

    async def open(self, branch: str, title: str = "", *, labels: Sequence[str] = (), draft: bool = False) -> Pull:
        """Open a pull request for a branch, and put the labels on it, one after the other, as GitHub's own command
        does. Raises InvalidInput when the branch is missing or has one already, and when a label is none."""
        for name in labels:
            _check_label(name)
        pull = await self._open(branch, title, draft=draft)
        for name in _once_each(labels):
            try:
                pull = await self.label(pull.number, name)
            except GreenroomError as error:
                cure = f"`greenroom pr label {pull.number} {shlex.quote(name)}` puts it on"
                problem = f"pull request {pull.number} is open, without its label: {error}"
                raise GreenroomError(f"{problem}; {cure}") from error
        return pull

    async def _open(self, branch: str, title: str, *, draft: bool) -> Pull:
        head = await self.repository.head_of(branch)
        async with self._alone():
            pulls = self.pulls()
            for pull in pulls:
                if pull.branch == branch and pull.state == "open":
                    raise InvalidInput(
                        f"pull request {pull.number} is open for {branch!r} already",
                        cure=f"`greenroom pr push {pull.number}` sends its new commits",
                    )
            number = max((pull.number for pull in pulls), default=0) + 1
            title = title or branch
            pull = Pull(
                number=number, branch=branch, title=title, head=head, state="open", updated_at=_now(""), draft=draft
            )
            return await self._tell("opened", pull)

    async def push(self, number: int) -> Pull:
        """Tell of the branch's present commit. Raises InvalidInput when there is none that is new."""
        async with self._alone():
            pull = self._open_pull(number)
            try:
                head = await self.repository.head_of(pull.branch)
            except InvalidInput as error:
                raise InvalidInput(
                    f"the branch {pull.branch!r} of pull request {number} is gone; its environment keeps running",
                    cure=f"push the branch again, or `greenroom pr close {number}`",
                ) from error
            if head == pull.head:
                raise InvalidInput(
                    f"the branch {pull.branch!r} is still at {head[:7]}",
                    cure=f"commit something to it; or `pr close {number}` and `pr reopen {number}`, to begin anew",
                )
            return await self._tell("synchronize", _changed(pull, head=head), before=pull.head)

    async def close(self, number: int) -> Pull:
        async with self._alone():
            return await self._tell("closed", _changed(self._open_pull(number), state="closed"))

    async def reopen(self, number: int) -> Pull:
        async with self._alone():
            pull = self.pull(number)
            if pull.state == "open":
                raise InvalidInput(
                    f"pull request {number} is open", cure=f"`greenroom pr push {number}` sends its new commits"
                )
            head = await self.repository.head_of(pull.branch)
            return await self._tell("reopened", _changed(pull, state="open", head=head))

    async def label(self, number: int, name: str) -> Pull:
        """Put a label on, also on what is closed. Raises InvalidInput when it is on already."""
        _check_label(name)
        async with self._alone():
            pull = self.pull(number)
            if _on(pull, name):
                raise InvalidInput(f"the label {name!r} is on pull request {number} already", cure=_LIST_CURE)
            return await self._tell("labeled", _changed(pull, labels=(*pull.labels, name)), label=name)

    async def unlabel(self, number: int, name: str) -> Pull:
        """Take a label off. Raises InvalidInput when it is not on."""
        async with self._alone():
            pull = self.pull(number)
            on = _on(pull, name)
            if not on:
                raise InvalidInput(f"the label {name!r} is not on pull request {number}", cure=_LIST_CURE)
            left = tuple(each for each in pull.labels if each != on)
            return await self._tell("unlabeled", _changed(pull, labels=left), label=on)

    async def draft(self, number: int, *, is_draft: bool) -> Pull:
        """Make a draft of an open pull request, or what is ready for review. Raises InvalidInput when it is that."""
        action, named = ("converted_to_draft", "a draft") if is_draft else ("ready_for_review", "ready for review")
        async with self._alone():
            pull = self._open_pull(number)
            if pull.draft == is_draft:
                raise InvalidInput(f"pull request {number} is {named} already", cure=_LIST_CURE)
            return await self._tell(action, _changed(pull, draft=is_draft))

    async def edit(self, number: int, title: str) -> Pull:
        """Give it another title. Raises InvalidInput when that is empty, or the one it has."""
        async with self._alone():
            pull = self.pull(number)
            if not title.strip() or title == pull.title:
                problem = f"that is the title of pull request {number}" if title.strip() else "the title is empty"
                raise InvalidInput(problem, cure="write another one")
            return await self._tell("edited", _changed(pull, title=title), former_title=pull.title)

    def _open_pull(self, number: int) -> Pull:
        pull = self.pull(number)
        if pull.state != "open":
            raise InvalidInput(f"pull request {number} is closed", cure=f"`greenroom pr reopen {number}`")
        return pull

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One command at a time: two at once would give a number twice, or forget what the other one wrote."""
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            await asyncio.to_thread(fcntl.flock, folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    async def _tell(
        self, action: str, pull: Pull, *, before: str = "", label: str = "", former_title: str = ""
    ) -> Pull:
        """Deliver first, remember then: a delivery that failed must leave everything as it was."""
        content = payload(
            action,
            html_url=self._html_url,
            number=pull.number,
            title=pull.title,
            branch=pull.branch,
            head=pull.head,
            state=pull.state,
            updated_at=pull.updated_at,
            before=before,
            labels=pull.labels,
            draft=pull.draft,
            label=label,
            former_title=former_title,
        )
        await self._webhook.deliver("pull_request", msgspec.json.encode(content))
        others = [known for known in self.pulls() if known.number != pull.number]
        pulls = sorted([*others, pull], key=lambda known: known.number)
        write_private(self._file, msgspec.json.format(msgspec.json.encode(pulls)).decode())
        return pull


_LIST_CURE = "`greenroom pr list` shows what is on each"


def _check_label(name: str) -> None:
    """Raises InvalidInput."""
    if not name.strip() or len(name) > LABEL_LIMIT or not name.isprintable():
        raise InvalidInput(f"{name[:LABEL_LIMIT]!r} is no label", cure=f"1 to {LABEL_LIMIT} characters, on one line")


def _once_each(labels: Sequence[str]) -> list[str]:
    """GitHub knows no two labels that differ in letter case only."""
    names: dict[str, str] = {}
    for name in labels:
        names.setdefault(name.casefold(), name)
    return list(names.values())


def _on(pull: Pull, name: str) -> str:
    """The label as it was put on, whatever its letter case; ``""`` when it is not on."""
    return next((each for each in pull.labels if each.casefold() == name.casefold()), "")


def _changed(pull: Pull, **changes: str | bool | tuple[str, ...]) -> Pull:
    return msgspec.structs.replace(pull, updated_at=_now(pull.updated_at), **changes)


def _now(after: str) -> str:
    """GitHub's timestamp of whole seconds, and later than ``after``: two changes within a second must stay in order."""
    now = datetime.now(UTC).replace(microsecond=0)
    if after:
        now = max(now, datetime.fromisoformat(after) + timedelta(seconds=1))
    return timestamp(now)

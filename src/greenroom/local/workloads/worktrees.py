"""Commits of a git repository as folders, without touching the user's checkout, index or branches.

A worktree keeps its commit alive, so a branch may be deleted or force-pushed meanwhile. Git is called with hooks off
and without any ``GIT_*`` variable of the environment that Greenroom was started from (a git hook, perhaps).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from greenroom.local.instance import base_environment
from greenroom.model.errors import GreenroomError

GIT_SECONDS = 300.0
"""A checkout may run filters that wait for a network; it must not hold up the others for ever."""

_COMPLAINT_LENGTH = 300


class GitError(GreenroomError):
    """Git refused; the message is what it said."""


class Worktrees:
    """Detached worktrees of ``repository`` in ``folder``, each named for its full commit."""

    def __init__(self, repository: Path, folder: Path, *, instance: str) -> None:
        self.repository = repository
        self._folder = folder.absolute()
        # A git that lists worktrees fails when it meets one which another git is about to add.
        self._turn = asyncio.Lock()
        self._environment = {**base_environment(instance), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}

    def path(self, commit: str) -> Path:
        return self._folder / commit

    async def resolve(self, commit: str) -> str:
        """The full name of a commit of the repository. Raises GitError when it has none of that name."""
        full = await self._git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
        if not full.startswith(commit):
            raise GitError(f"{commit} is the name of a branch or tag there, and not of a commit")
        return full

    async def add(self, commit: str) -> None:
        """Check the commit out, in place of whatever a killed attempt left there. Raises GitError."""
        if self.path(commit).exists():
            await self.remove(commit)
        self._folder.mkdir(parents=True, exist_ok=True)
        async with self._turn:
            # Forced twice: once for a folder that git thinks is there, once for one locked by a killed git.
            await self._git("worktree", "add", "--detach", "--force", "--force", str(self.path(commit)), commit)

    async def remove(self, commit: str) -> None:
        """Remove the folder and what git remembers of it. It need not exist."""
        # Not by `git worktree remove`: it would have the turn for as long as it takes to delete all files.
        await asyncio.to_thread(shutil.rmtree, self.path(commit), ignore_errors=True)
        async with self._turn:
            try:
                await self._git("worktree", "prune")
            except GitError:  # the repository is gone, and with it all that could be pruned
                return

    async def _git(self, *arguments: str) -> str:
        settings = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")
        try:
            git = await asyncio.create_subprocess_exec(
                *("git", "-C", str(self.repository), *settings, *arguments),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal is for Greenroom to handle
            )
        except OSError as error:
            raise GitError(f"git cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(GIT_SECONDS):
                answer, complaint = await git.communicate()
        except TimeoutError:
            raise GitError(f"git {arguments[0]} was still running after {GIT_SECONDS:g} s") from None
        finally:
            if git.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(git.pid, signal.SIGKILL)
                await git.wait()
        if git.returncode != 0:
            raise GitError(_shortened(complaint) or f"git ended with exit code {git.returncode}")
        return answer.decode().strip()


def _shortened(complaint: bytes) -> str:
    """From the first error on, in one line. The first often tells the cause ("No space left on device") of the last."""
    lines = complaint.decode(errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith(("error:", "fatal:"))), 0)
    return " ".join(" ".join(lines[first:]).split())[:_COMPLAINT_LENGTH]

"""Images of one machine: an image is a commit of a git repository that was checked out and built.

The commit is the end of the tag (``…:pr7-<commit>``). Asking for an image starts its build: a git worktree
(``workloads.worktrees``), then the ``build:`` line of its Procfile. The tree is built at its final place, because
builds write absolute paths, and counts as built when a marker beside it says so; whoever kills Greenroom in between
leaves a tree without a marker, which the next attempt replaces.

All containers of an image share one tree as their working folder. What they write there they write for each other.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from weakref import WeakValueDictionary

import structlog

from greenroom.local.instance import INSTANCE, base_environment
from greenroom.local.workloads import procfile
from greenroom.local.workloads.broadcast import Broadcast
from greenroom.local.workloads.logs import LogWriter
from greenroom.local.workloads.process import Process
from greenroom.local.workloads.timing import Timing
from greenroom.local.workloads.worktrees import GitError, Worktrees
from greenroom.model.errors import GreenroomError

log = structlog.get_logger(__name__)

CONCURRENT_BUILDS = 2
BUILD_MARKER = "GREENROOM_BUILD"

_REFERENCE = re.compile(
    r"""
    (?: [A-Za-z0-9] (?: [A-Za-z0-9.-]* [A-Za-z0-9] )? (?: :\d+ )? / )?  # registry
    [a-z0-9]+ (?: [._/-]+ [a-z0-9]+ )*                                  # repository
    (?: : (?P<tag> \w [\w.-]{0,127} ) )?
    (?: @ [a-z0-9]+ : [0-9a-f]+ )?                                      # digest
    """,
    re.ASCII | re.VERBOSE,
)
_COMMIT = re.compile(r"(?:^|-)([0-9a-f]{7,64})$")
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Built:
    """The folder to run in, and the shell command line that starts it, ``""`` when its Procfile has none."""

    path: Path
    web: str


@dataclass(frozen=True, slots=True)
class Asked:
    """It was asked for just now."""


@dataclass(frozen=True, slots=True)
class Building:
    message: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The commit is not there, or its build failed. It is tried again; ``attempts`` were made."""

    message: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """No image that could ever run here: ``reason`` is the container's waiting reason."""

    reason: str
    message: str


ImageState: TypeAlias = Built | Asked | Building | Missing | Unusable


@dataclass(slots=True)
class _Wanted:
    state: ImageState
    task: asyncio.Task[None]


class Images:
    """The images of ``repository``, built in ``folder``. ``changed`` is notified whenever a state may be another."""

    def __init__(
        self,
        repository: Path,
        folder: Path,
        *,
        instance: str,
        timing: Timing,
    ) -> None:
        self.changed = Broadcast()
        self._worktrees = Worktrees(repository, folder, instance=instance)
        self._folder = folder
        self._instance = instance
        self._timing = timing
        self._wanted: dict[str, _Wanted] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Apart, so that builds which hang do not hold up commits that have nothing to build.
        self._checkouts = asyncio.Semaphore(CONCURRENT_BUILDS)
        self._builds = asyncio.Semaphore(CONCURRENT_BUILDS)
        self._poked = Broadcast()
        self._removals: dict[str, asyncio.Task[None]] = {}

    def state(self, image: str) -> ImageState:
        """What there is of ``image`` now. Asking for the first time starts its build."""
        reference = _REFERENCE.fullmatch(image)
        if reference is None:
            return Unusable("InvalidImageName", f'"{image}" is not an image reference')
        commit = _commit_of(image)
        if not commit:
            message = f'"{image}" is not an image that one machine can run: its tag does not end in a commit'
            return Unusable("ImagePullBackOff", message)
        wanted = self._wanted.get(commit)
        if wanted is None or _was_removed(wanted.state):
            task = asyncio.create_task(self._provide(commit), name=f"image-{commit[:_SHORT]}")
            self._wanted[commit] = _Wanted(Asked(), task)
        return self._wanted[commit].state

    def poke(self) -> None:
        """Look for missing commits again at once: something was fetched or committed."""
        self._poked.notify()

    def keep(self, images: Iterable[str]) -> None:
        """Stop building and remove all but these. They must cover every container that still runs."""
        kept = {_commit_of(image) for image in images}
        dropped = self._wanted.keys() - kept
        for commit in dropped:
            self._wanted.pop(commit).task.cancel()
        for commit in self._on_disk() | dropped:  # of what was just being checked out nothing may be on disk yet
            if not self._is_wanted(commit) and commit not in self._removals:
                self._removals[commit] = asyncio.create_task(self._remove(commit), name=f"remove-{commit[:_SHORT]}")

    async def close(self) -> None:
        """Stop building. What is built stays."""
        tasks = [*(wanted.task for wanted in self._wanted.values()), *self._removals.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _provide(self, commit: str) -> None:
        """Try until it is built."""
        for attempts in itertools.count(1):
            try:
                full = await self._worktrees.resolve(commit)
            except GitError as error:
                self._publish(commit, Missing(self._not_there(commit, error), attempts))
                await self._poked.wait(self._timing.missing.delay(attempts))
                continue
            self._publish(commit, Building(f"commit {commit[:_SHORT]} is being built"))
            try:
                self._publish(commit, await self._built(full))
            except (GreenroomError, OSError) as error:
                log.info("image cannot be built", commit=commit[:_SHORT], error=str(error))
                self._publish(commit, Missing(str(error), attempts))
                await asyncio.sleep(self._timing.failed.delay(attempts))
            else:
                return

    async def _built(self, commit: str) -> Built:
        """Check out and build, once for whoever asks. Raises GreenroomError and OSError."""
        path = self._worktrees.path(commit)
        async with self._lock(commit):
            if not (self._marker(commit).exists() and path.is_dir()):
                self._marker(commit).unlink(missing_ok=True)
                async with self._checkouts:
                    await self._worktrees.add(commit)
                if command := _procfile(path).build:
                    async with self._builds:
                        await self._build(commit, command)
                self._marker(commit).touch()
        return Built(path, _procfile(path).web)

    async def _build(self, commit: str, command: str) -> None:
        output = self._log(commit)
        output.unlink(missing_ok=True)
        writer = LogWriter(output)
        process = await Process.start(
            ["sh", "-c", command],
            cwd=self._worktrees.path(commit),
            env=base_environment(self._instance),
            markers={INSTANCE: self._instance, BUILD_MARKER: commit},
            log=writer,
        )
        try:
            async with asyncio.timeout(self._timing.build):
                await process.wait()
        except TimeoutError:
            raise _failed(commit, f"`{command}` was still running after {self._timing.build:g} s", output) from None
        finally:
            code = await process.end(grace=0)
        if code != 0:
            said = f": {writer.last_line()}" if writer.last_line() else ""
            raise _failed(commit, f"`{command}` ended with exit code {code}{said}", output)

    async def _remove(self, commit: str) -> None:
        try:
            async with self._lock(commit):
                if not self._is_wanted(commit):
                    # The marker goes first: a tree without one is never taken for an image.
                    self._marker(commit).unlink(missing_ok=True)
                    await self._worktrees.remove(commit)
                    for file in self._folder.glob(f"{commit}.*"):
                        file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("image cannot be removed", commit=commit[:_SHORT], error=str(error))
        finally:
            del self._removals[commit]

    def _publish(self, commit: str, state: ImageState) -> None:
        if commit in self._wanted:
            self._wanted[commit].state = state
        self.changed.notify()

    def _lock(self, commit: str) -> asyncio.Lock:
        return self._locks.setdefault(commit, asyncio.Lock())

    def _is_wanted(self, commit: str) -> bool:
        # Mostly the name is asked for as it is; to try all of them for each of hundreds would take its time.
        return commit in self._wanted or any(commit.startswith(wanted) for wanted in self._wanted)

    def _on_disk(self) -> set[str]:
        return {entry.name.partition(".")[0] for entry in self._folder.iterdir()} if self._folder.is_dir() else set()

    def _marker(self, commit: str) -> Path:
        return self._folder / f"{commit}.built"

    def _log(self, commit: str) -> Path:
        return self._folder / f"{commit}.log"

    def _not_there(self, commit: str, error: GitError) -> str:
        cure = f'fetch it there, for example with "git -C {self._worktrees.repository} fetch"'
        return f"commit {commit[:_SHORT]} is not in {self._worktrees.repository}: {cure} (git: {error})"


def _commit_of(image: str) -> str:
    reference = _REFERENCE.fullmatch(image)
    commit = _COMMIT.search(reference["tag"] or "") if reference else None
    return commit[1] if commit else ""


def _was_removed(state: ImageState) -> bool:
    """Whether somebody deleted the folder of a built image."""
    return isinstance(state, Built) and not state.path.is_dir()


def _failed(commit: str, what: str, output: Path) -> GreenroomError:
    return GreenroomError(f"the build of commit {commit[:_SHORT]} failed: {what} (log: {output})")


def _procfile(path: Path) -> procfile.Procfile:
    file = path / "Procfile"
    return procfile.parse(file.read_text(errors="replace")) if file.is_file() else procfile.Procfile()

"""What containers print: one bounded file each, which can be read and followed while it is written.

A log is ``logs/<namespace>/<pod>/<container>.log`` and at most one older file beside it. A process that prints without
end is read only as fast as a log may grow, so its pipe fills and it slows down itself and nobody else. When the disk is
full, output is dropped and the process goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import structlog

log = structlog.get_logger(__name__)

ROTATE_BYTES = 5 * 1024 * 1024
BYTES_PER_SECOND = 1024 * 1024
BURST_BYTES = 4 * 1024 * 1024

_TAIL_BYTES = 4096
_CHUNK = 64 * 1024
_POLL_SECONDS = 0.1


class LogWriter:
    """The log of one container, across its restarts."""

    def __init__(self, path: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._tail = b""
        self._failing = False
        self._allowance = float(BURST_BYTES)
        self._asked_at = 0.0

    def write(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > _TAIL_BYTES:  # cut at a line, for half of one would defeat who looks for secrets in it
            self._tail = self._tail[-_TAIL_BYTES:].partition(b"\n")[2]
        try:
            self._append(data)
        except OSError as error:
            if not self._failing:  # once, not for each line of a chatty process
                log.warning("log output is dropped", path=str(self._path), error=error.strerror)
            self._failing = True
        else:
            self._failing = False

    async def copy(self, reader: asyncio.StreamReader) -> None:
        """Write what comes until the end of the stream, no faster than a log may grow."""
        while data := await reader.read(_CHUNK):
            self.write(data)
            await asyncio.sleep(self._pause(len(data)))

    def last_line(self) -> str:
        """The last line with anything on it; ``""`` when there is none, or none that is shorter than 4 KiB."""
        lines = [line for line in self._tail.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def forget(self) -> None:
        """Let ``last_line`` tell of what is printed from now on only."""
        self._tail = b""

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(data)
            full = file.tell() >= self._rotate_bytes
        if full:
            self._path.replace(older(self._path))

    def _pause(self, size: int) -> float:
        """Seconds to wait after ``size`` bytes: a token bucket, so that a start may be chatty."""
        now = asyncio.get_running_loop().time()
        earned = (now - self._asked_at) * BYTES_PER_SECOND
        self._allowance = min(BURST_BYTES, self._allowance + earned) - size
        self._asked_at = now
        return max(0.0, -self._allowance / BYTES_PER_SECOND)


def older(path: Path) -> Path:
    """Where a full log goes, in place of the one that was there."""
    return path.with_name(path.name + ".1")


def remove(folder: Path) -> None:
    """Remove the logs of a pod, and the namespace's folder with its last pod."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.rmdir()
    except OSError:  # other pods have logs there
        return


async def read(path: Path, *, tail: int | None, writing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """What the log holds, or its last ``tail`` lines; then what is added, while ``writing`` says that there is more."""
    file = _open(path)
    try:
        if start := _last_lines(_content(path, file), tail):
            yield start
        while True:
            more = writing()  # asked before reading, so that nothing is missed that came before the end
            while file is not None and (data := file.read(_CHUNK)):
                yield data
            if (newer := _rotated(path, file)) is not None:
                if file is not None:
                    file.close()
                file = newer
            elif more:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return
    finally:
        if file is not None:
            file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _content(path: Path, file: BinaryIO | None) -> bytes:
    """The older file and the present one, read to its end."""
    rotated = older(path)
    earlier = rotated.read_bytes() if rotated.exists() else b""
    return earlier + (file.read() if file is not None else b"")


def _rotated(path: Path, file: BinaryIO | None) -> BinaryIO | None:
    """The file that took the place of ``file``, opened, or None when it is still the same."""
    present = _open(path)
    if present is None or file is None:
        return present
    if os.fstat(present.fileno()).st_ino != os.fstat(file.fileno()).st_ino:
        return present
    present.close()
    return None


def _last_lines(content: bytes, tail: int | None) -> bytes:
    if tail is None:
        return content
    lines = content.splitlines(keepends=True)
    return b"".join(lines[len(lines) - min(tail, len(lines)) :])

"""One Greenroom for one state folder: a lock that its process holds, and that the kernel releases when it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from greenroom.model.errors import GreenroomError


class StateLock:
    """Holds the file ``lock`` of ``folder``, which names the process, until it is released."""

    def __init__(self, folder: Path) -> None:
        """Raises GreenroomError when another process holds it, or the folder cannot be written to."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GreenroomError(f"{folder}: cannot be used as state folder: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise GreenroomError(
                f"{folder} is in use by another Greenroom (process {holder}): stop that one first, "
                "or choose another folder with --state"
            ) from error
        os.truncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)

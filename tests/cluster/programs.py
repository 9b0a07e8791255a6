"""Programs that run beside the tests, each with its log in a file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 40.0  # seconds that a program has to come up

END_WITH_US = ("setpriv", "--pdeathsig", "KILL") if sys.platform == "linux" else ()
"""Before a command: it is ended with the thread that started it, even if this process is killed."""


class Programs:
    """Logs are in ``folder``. A program that ``binaries`` lacks is looked for on the PATH."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: str, *arguments: str, within: tuple[str, ...] = ()) -> int:
        """Start it, by the command ``within`` if there is one, and answer the id of the process.

        It is ended when the thread ends that called this.
        """
        built = self._binaries / program
        command = [*END_WITH_US, *within, str(built) if built.exists() else program, *arguments]
        with self._log(program).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which need the programs to clean up
            )
        self._running[program] = process
        return process.pid

    def wait(self, program: str, is_up: Callable[[], bool]) -> None:
        """Wait until ``is_up``. Raises RuntimeError with the end of the log when the program ends, or after a while."""
        deadline = time.monotonic() + DEADLINE
        while not is_up():
            if self._running[program].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{program} did not come up:\n{self.said(program)}")
            time.sleep(0.1)

    @contextmanager
    def suspended(self, program: str) -> Iterator[None]:
        """A block in which it does nothing, and its connections stay."""
        process = self._running[program]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def said(self, program: str) -> str:
        """The end of its log."""
        return self._log(program).read_text(errors="replace")[-3000:]

    def end(self, program: str) -> None:
        process = self._running.pop(program)
        process.kill()  # asked to end, kube-apiserver would wait a minute for its watches
        process.wait()

    def end_all(self) -> None:
        """The first one first, with which others may end by themselves."""
        for program in tuple(self._running):
            self.end(program)

    def _log(self, program: str) -> Path:
        return self._folder / f"{program}.log"

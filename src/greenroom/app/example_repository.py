"""The example that the demo, the benchmarks and the end-to-end tests run: a small shop in a git repository."""

from __future__ import annotations

import shutil
import socket
from importlib.resources import as_file, files
from pathlib import Path

from greenroom.app.forge import Repository
from greenroom.model.errors import InvalidInput

EXAMPLE = files("greenroom.app") / "example"


async def make_example(folder: Path) -> Repository:
    """A git repository of a small web application with three branches, and with the ReviewApp for it."""
    with as_file(EXAMPLE) as example:
        shutil.copytree(example, folder, ignore=shutil.ignore_patterns("__pycache__"))
    repository = Repository(folder)
    await repository.git("init", "--quiet", "--initial-branch=main")
    await repository.git("config", "user.name", "Greenroom demo")
    await repository.git("config", "user.email", "demo@example.com")
    await repository.git("add", ".")
    await repository.git("commit", "--quiet", "--message=A small shop")
    await repository.git("branch", "blue-title")
    await repository.git("branch", "big-title")
    await repository.commit("app.py", "#7a5c2e", "#2e5c9a", branch="blue-title")
    await repository.commit("app.py", "color:", "font-size: 5em; color:", branch="big-title")
    return repository


def free_port(preferred: int) -> int:
    """The preferred port of 127.0.0.1, or one the system chooses when another program has it."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise InvalidInput("no free port on 127.0.0.1")

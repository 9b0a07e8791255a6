"""A cluster that the ``greenroom`` command finds in a state folder, without anything that runs in it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from greenroom.app.lifecycle import SystemClock
from greenroom.app.settings import StateFolder
from greenroom.local.api.server import make_app, running, write_kubeconfig
from greenroom.local.storage.store import Store
from greenroom.model.errors import NotFound
from greenroom.model.manifest import CONFIG_MAP, NAMESPACE, Json, Manifest

NAME_SPACE = "pr-env"
TOKEN = "token-of-the-test"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A person with the command and a cluster: ``store`` is the same cluster, from inside."""

    store: Store
    state: StateFolder

    async def start(self, *arguments: str, **variables: str) -> Process:
        command = (sys.executable, "-m", "greenroom.cli", *arguments)
        environment = {**os.environ, "GREENROOM_STATE": str(self.state.root), **variables}
        # Not in the checkout, where `make demo` may have left a state folder.
        where = self.state.root.parent
        return await asyncio.create_subprocess_exec(
            *command, cwd=where, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )

    async def run(self, *arguments: str, stdin: str = "", **variables: str) -> tuple[int, str, str]:
        """Exit code, output, and what went to the error output."""
        process = await self.start(*arguments, **variables)
        output, errors = await process.communicate(stdin.encode())
        return process.returncode or 0, output.decode(), errors.decode()


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Terminal]:
    """A terminal, and the cluster until the block ends."""
    state = StateFolder(folder / "state")
    state.create()
    with closing(Store.open(state.database, clock=SystemClock(), history=20)) as store:
        await store.apply(made(NAME_SPACE, kind=NAMESPACE.name), manager="test")
        async with running(make_app(store, token=TOKEN, logs=_logs)) as url:
            write_kubeconfig(state.kubeconfig, server=url, token=TOKEN, namespace=NAME_SPACE)
            yield Terminal(store, state)


def made(name: str, *, kind: str = CONFIG_MAP.name, **content: Json) -> Manifest:
    """An object of the core group."""
    place: Manifest = {} if kind == NAMESPACE.name else {"namespace": NAME_SPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **place}, **content}


async def _logs(namespace: str, pod: str, container: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
    """Without ``follow`` two lines, with it a line and then nothing until the server stops."""
    if container == "nobody":
        raise NotFound(f"container {container} is not valid for pod {pod}")
    yield f"{pod} starts\n".encode()
    if follow:
        await asyncio.Event().wait()
    yield b"and ends"

"""A machine for tests: a store, its workloads and a git repository, with everything real but the patience."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from greenroom.local.storage.store import Store
from greenroom.local.workloads.controllers import Workloads
from greenroom.local.workloads.timing import Timing
from greenroom.model.manifest import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Json,
    Kind,
    Manifest,
    Ref,
    get,
    items,
    labels_of,
    table,
    text,
)
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.informer import Informers

T = TypeVar("T")

QUICK = Backoff(base=0.02, cap=0.2)
TIMING = Timing(drain=0.05, patience=0.3, restart=QUICK, missing=QUICK, failed=QUICK, build=10.0)
DEADLINE = 20.0
INSTANCE = f"test-instance-{os.getpid()}"

SERVER = """
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"VERSION")
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Repository:
    """A git repository of a small application."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ("git", "-C", str(self.path), *identity, *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True, env=_clean()).stdout.strip()

    def commit(self, **files: str) -> str:
        """Commit exactly these files: ``Procfile="web: ..."``, ``app="..."`` is app.py. Answers the commit."""
        self.git("rm", "-rqf", "--ignore-unmatch", ".")
        for name, content in files.items():
            (self.path / (name if name == "Procfile" else f"{name}.py")).write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a commit")
        return self.git("rev-parse", "HEAD")

    def server(self, version: str) -> str:
        """Commit a web server that answers ``version``."""
        return self.commit(Procfile=f"web: {sys.executable} app.py", app=SERVER.replace("VERSION", version))

    def script(self, source: str, **more: str) -> str:
        """Commit a program."""
        return self.commit(Procfile=f"web: {sys.executable} app.py", app=source, **more)


class Machine:
    """``cluster`` with its workloads, and ways to look at them."""

    def __init__(self, cluster: Store, informers: Informers, workloads: Workloads, state: Path) -> None:
        self.cluster, self.informers, self.workloads, self.state = cluster, informers, workloads, state

    async def apply(self, manifest: Manifest) -> Manifest:
        return await self.cluster.apply(manifest, manager="test")

    async def pods(self, name: str = "") -> list[Manifest]:
        listing = await self.cluster.list(POD, namespace="default")
        return [pod for pod in listing.items if name in ("", labels_of(pod).get("app"))]

    async def the_pod(self, name: str = "web") -> Manifest:
        (pod,) = await until(lambda: self.pods(name))
        return pod

    async def replica_sets(self) -> list[Manifest]:
        return list((await self.cluster.list(REPLICA_SET, namespace="default")).items)

    async def get(self, kind: Kind, name: str) -> Manifest:
        return await self.cluster.get(Ref(kind, "default", name))

    async def ready(self, name: str = "web", count: int = 1) -> list[Manifest]:
        """Wait until that many pods of the Deployment are ready."""
        ready: list[Manifest] = []

        async def enough() -> bool:
            ready[:] = [pod for pod in await self.pods(name) if is_ready(pod)]
            return len(ready) == count

        await until(enough)
        return ready

    async def waiting(self, reason: str, name: str = "web") -> str:
        """Wait until a container of the Deployment waits for that reason; answers its message."""

        async def told() -> str:
            for pod in await self.pods(name):
                for field in ("initContainerStatuses", "containerStatuses"):
                    for status in items(pod, "status", field):
                        if text(status, "state", "waiting", "reason") == reason:
                            return text(status, "state", "waiting", "message") or reason
            return ""

        return await until(told)

    async def log(self, pod: Manifest, container: str = "", *, tail: int | None = None) -> str:
        name = text(pod, "metadata", "name")
        chunks = self.workloads.logs("default", name, container, follow=False, tail=tail)
        return b"".join([chunk async for chunk in chunks]).decode()

    async def logged(self, content: str, name: str = "web") -> str:
        """Wait until the pod's log contains that."""

        async def told() -> str:
            log = "".join([await self.log(pod) for pod in await self.pods(name)])
            return log if content in log else ""

        return await until(told)


@asynccontextmanager
async def machine(folder: Path, repository: Repository, timing: Timing = TIMING) -> AsyncIterator[Machine]:
    """Run the workloads of the state in ``folder``; everything has ended afterwards."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    store = Store.open(state / "cluster.db", clock=WallClock())
    informers = Informers(store)
    workloads = Workloads(
        store,
        informers,
        state=state,
        repository=repository.path,
        instance=INSTANCE,
        clock=WallClock(),
        timing=timing,
    )
    keeping = asyncio.create_task(informers.run())
    working = asyncio.create_task(workloads.run())
    try:
        yield Machine(store, informers, workloads, state)
    finally:
        for task in (working, keeping):  # the workloads end first: what became of them is still written
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        store.close()


def deployment(
    commit: str, *, name: str = "web", spec: Mapping[str, Json] | None = None, **container: Json
) -> Manifest:
    """A Deployment of that commit. ``spec`` goes to the Deployment, the rest to its container."""
    app: dict[str, Json] = {"name": "app", "image": image(commit), "ports": [{"containerPort": 80}], **container}
    pod = {"terminationGracePeriodSeconds": 5, **table(spec, "pod"), "containers": [app]}
    template: dict[str, Json] = {"metadata": {"labels": {"app": name}}, "spec": pod}
    rest = {key: value for key, value in (spec or {}).items() if key != "pod"}
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **rest},
    }


def named(kind: Kind, name: str, **fields: Json) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": "default"},
        **fields,
    }


def image(commit: str) -> str:
    return f"registry.example.com/team/shop:pr7-{commit}"


def is_ready(pod: Manifest) -> bool:
    return any(
        text(condition, "type") == "Ready" and text(condition, "status") == "True"
        for condition in items(pod, "status", "conditions")
    )


def state_of(pod: Manifest, container: int = 0) -> Mapping[str, Json]:
    return table(pod, "status", "containerStatuses", container, "state")


def last_end(pod: Manifest, container: int = 0) -> Mapping[str, Json]:
    return table(pod, "status", "containerStatuses", container, "lastState", "terminated")


def restarts(pod: Manifest, container: int = 0) -> Json:
    return get(pod, "status", "containerStatuses", container, "restartCount")


async def until(look: Callable[[], Awaitable[T | None]], deadline: float = DEADLINE) -> T:
    """Look again and again until there is something to see, and answer it."""
    async with asyncio.timeout(deadline):
        while not (seen := await look()):  # noqa: ASYNC110 - the outside world notifies nobody
            await asyncio.sleep(0.01)
        return seen


async def true(condition: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - the outside world notifies nobody
            await asyncio.sleep(0.01)


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


async def answer(here: Machine, name: str = "web") -> str:
    """Wait until the ready pod of the Deployment answers, and say what."""

    async def said() -> str:
        (pod,) = await here.ready(name)
        try:
            return await asyncio.to_thread(fetch, port_of(pod))
        except OSError:  # it was ready before a restart, and is not yet again
            return ""

    return await until(said)


def port_of(pod: Manifest, declared: int = 80) -> int:
    return int(json.loads(text(pod, "metadata", "annotations", "greenroom.dev/ports"))[str(declared)])


def _clean() -> dict[str, str]:
    """Git must not hear of the repository that the tests themselves are in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

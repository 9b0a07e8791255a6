"""How commands find the running cluster, and what a user's words (``prs``, ``deploy/pr1``) mean in it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from greenroom.app.settings import DEMO_FOLDER, STATE_FOLDER, StateFolder
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Ref, name_of
from greenroom.ports import Resource

if TYPE_CHECKING:
    from greenroom.adapters.kube import KubeCluster

P = ParamSpec("P")
T = TypeVar("T")

ALL = ("prs", "deployments", "pods", "services", "gatewayroutes")
_COMPLETION_SECONDS = 3.0
"""How long a person waits for a completion, at most, on a machine that is busy."""
"""What ``get all`` means: what a person wants to see of an environment."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connection to the cluster, and the namespace that the user means."""

    cluster: KubeCluster
    namespace: str
    state: StateFolder

    async def kinds(self, words: str) -> list[Resource]:
        """The kinds behind ``prs``, ``deploy,svc`` or ``all``. Raises InvalidInput with the nearest name."""
        known = await self.cluster.resources()
        wanted = [name for word in words.split(",") for name in (ALL if word == "all" else (word,))]
        return [_kind(known, word) for word in wanted if word]

    async def refs(self, words: Sequence[str]) -> list[Ref]:
        """The objects behind ``pr/one deploy/two`` or ``pr one two``."""
        if all("/" in word for word in words):
            pairs = [(word.split("/", 1)[0], word.split("/", 1)[1]) for word in words]
        elif words and not any("/" in word for word in words):
            pairs = [(words[0], name) for name in words[1:]]
        else:
            raise click.UsageError("write either KIND NAME ... or KIND/NAME ...")
        if not pairs or not all(name for _, name in pairs):
            raise click.UsageError("name the object: KIND NAME or KIND/NAME")
        return [self.ref((await self.kinds(kind))[0], name) for kind, name in pairs]

    def ref(self, resource: Resource, name: str) -> Ref:
        return Ref(resource.kind, self.namespace if resource.namespaced else "", name)


def are_names(words: Sequence[str]) -> bool:
    """Whether the words name objects, and not just a kind or kinds."""
    return len(words) > 1 or "/" in words[0]


def named(ref: Ref) -> str:
    """As the commands print and understand it: ``pr.kubetempura.mercari.com/reviewapp-pr1``."""
    return str(ref).lower()


def _kind(known: Iterable[Resource], word: str) -> Resource:
    names: dict[str, Resource] = {}
    for resource in known:
        for name in (resource.plural, resource.kind.name.lower(), *resource.short_names):
            names.setdefault(name, resource)
            names.setdefault(f"{name}.{resource.kind.group}", resource)
    found = names.get(word.lower())
    if found is None:
        near = difflib.get_close_matches(word.lower(), names, n=1)
        cure = f"did you mean {near[0]!r}?" if near else "`greenroom get all` shows the usual kinds"
        raise InvalidInput(f"the cluster has no kind {word!r}", cure=cure)
    return found


def find_state(given: str | None) -> StateFolder:
    """The state folder: the one named, else the nearest ``.greenroom`` or demo folder at or above this one."""
    if given:
        return StateFolder(Path(given))
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in (STATE_FOLDER, DEMO_FOLDER):
            if (folder / name / "kubeconfig").exists():
                return StateFolder(folder / name)
    return StateFolder(here / STATE_FOLDER)


@asynccontextmanager
async def connect(state: str | None, namespace: str | None = None) -> AsyncIterator[Session]:
    """A session with the running Greenroom. Raises InvalidInput when none runs."""
    from greenroom.adapters import kubeconfig
    from greenroom.adapters.kube import KubeCluster
    from greenroom.model.errors import Unavailable

    folder = find_state(state)
    if not folder.kubeconfig.exists():
        raise InvalidInput(
            f"no Greenroom has been started here: there is no {folder.root}",
            cure="start one with `greenroom up -f reviewapp.yaml`, or name its folder with --state",
        )
    connection = kubeconfig.load(folder.kubeconfig)
    try:
        async with KubeCluster(connection) as cluster:
            yield Session(cluster, namespace or connection.namespace, folder)
    except Unavailable as error:
        cure = "if it is not running, `greenroom up` starts it"
        raise InvalidInput(str(error), source=f"the Greenroom of {folder.root}", cure=cure) from error


async def together(*runs: Coroutine[None, None, None]) -> None:
    """All at once. The first error ends the others, and is raised as itself: commands know nothing of groups."""
    try:
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(run)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def asynchronous(function: Callable[P, Coroutine[None, None, T]]) -> Callable[P, T]:
    """Let a click command be a coroutine."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(function(*args, **kwargs))

    return run


state_option = click.option(
    "--state",
    envvar="GREENROOM_STATE",
    type=click.Path(file_okay=False),
    help="Folder of the running Greenroom; by default the nearest .greenroom.",
)


def cluster_options(function: Callable[P, T]) -> Callable[P, T]:
    """``--state`` and ``--namespace``."""
    help_ = "The namespace; by default the one that `greenroom up` was started with."
    return state_option(click.option("-n", "--namespace", help=help_)(function))


def complete_words(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion of kinds, and of names once the kind is known. Answers nothing when Greenroom is not running."""
    words: Sequence[str] = ctx.params.get("words") or ()

    async def candidates() -> list[str]:
        async with connect(ctx.params.get("state"), ctx.params.get("namespace")) as session:
            kind, slash, _ = incomplete.partition("/")
            if not words and not slash:
                return [*(resource.plural for resource in await session.cluster.resources()), "all"]
            resource = (await session.kinds(words[0] if words else kind))[0]
            listing = await session.cluster.list(
                resource.kind, namespace=session.namespace if resource.namespaced else ""
            )
            prefix = f"{kind}/" if slash else ""
            return [prefix + name_of(item) for item in listing.items]

    try:
        found = asyncio.run(asyncio.wait_for(candidates(), _COMPLETION_SECONDS))
    except Exception:  # noqa: BLE001 - a completion that fails must stay silent: it would garble the user's prompt
        return []
    return [word for word in found if word.startswith(incomplete)]

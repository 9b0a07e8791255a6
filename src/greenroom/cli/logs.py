"""``logs``: what the processes of an environment print, as kubectl has it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable

import click

from greenroom.cli.client import Session, are_names, asynchronous, cluster_options, complete_words, connect, together
from greenroom.model.errors import InvalidInput, NotFound
from greenroom.model.manifest import (
    DEPLOYMENT,
    POD,
    PR,
    REPLICA_SET,
    Manifest,
    Ref,
    controller_of,
    name_of,
    ref_of,
    text,
    uid_of,
)


@click.command()
@click.argument("words", nargs=-1, required=True, shell_complete=complete_words)
@cluster_options
@click.option("-c", "--container", default="", help="The container; by default the first.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("--tail", type=click.IntRange(min=0), help="Only this many of the last lines.")
@asynchronous
async def logs(
    words: tuple[str, ...], state: str | None, namespace: str | None, container: str, follow: bool, tail: int | None
) -> None:
    """Print what processes print: `logs pr/NAME -f`, `logs deploy/NAME`, `logs POD`."""
    async with connect(state, namespace) as session:
        words = words if are_names(words) else ("pod", *words)
        pods = [pod for ref in await session.refs(words) for pod in await _pods_behind(session, ref)]
        if not pods:
            raise InvalidInput(f"{' '.join(words)} has no pod yet", cure="`greenroom get all` shows what it waits for")
        emit = _emitter(prefixes=len(pods) > 1)
        runs = []
        for pod in pods:
            ref = ref_of(pod)
            name = container or text(pod, "spec", "containers", 0, "name")
            chunks = session.cluster.logs(ref.namespace, ref.name, name, follow=follow, tail=tail)
            runs.append(_copy(ref.name, chunks, emit))
        await together(*runs)


async def _pods_behind(session: Session, ref: Ref) -> list[Manifest]:
    """The pods that an object owns, however many owners are between them."""
    found = await session.cluster.get(ref)
    if ref.kind == POD:
        return [found]
    if ref.kind not in (PR, DEPLOYMENT, REPLICA_SET):
        raise InvalidInput(f"{ref} has no log", cure="name a pod, a deployment or a pr")
    owners = {uid_of(found)}
    pods: list[Manifest] = []
    for kind in (DEPLOYMENT, REPLICA_SET, POD):
        listing = await session.cluster.list(kind, namespace=ref.namespace)
        owned = [item for item in listing.items if text(controller_of(item), "uid") in owners]
        owners |= {uid_of(item) for item in owned}
        pods += owned if kind == POD else []
    return sorted(pods, key=name_of)


def _emitter(*, prefixes: bool) -> Callable[[str, bytes], None]:
    def emit(pod: str, line: bytes) -> None:
        sys.stdout.buffer.write((f"[{pod}] ".encode() if prefixes else b"") + line)
        sys.stdout.buffer.flush()

    return emit


async def _copy(pod: str, chunks: AsyncIterator[bytes], emit: Callable[[str, bytes], None]) -> None:
    """Print whole lines, so that several pods do not write into each other's."""
    rest = b""
    try:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                emit(pod, line + b"\n")
    except NotFound as error:
        click.echo(f"{pod}: {error}", err=True)
    if rest:
        emit(pod, rest + b"\n")

"""``apply`` and ``delete``: as kubectl has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import click

from greenroom.app.settings import USER_MANAGER
from greenroom.cli.client import Session, asynchronous, cluster_options, complete_words, connect, named
from greenroom.model.errors import GreenroomError, NotFound, Unavailable
from greenroom.model.manifest import Manifest, Ref, kind_of, ref_of, text, uid_of

files = click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    type=click.Path(allow_dash=True),
    help="A file, a folder, or - for standard input. May be given several times.",
)


class Failures:
    """One bad object does not keep the others back: each error is told when it happens, and counts at the end."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Tell of an error in the block, about ``what``. That Greenroom does not answer ends it all."""
        try:
            yield
        except Unavailable:
            raise
        except GreenroomError as error:
            self._count += 1
            click.secho(f"{what}: {error}", fg="red", err=True)

    def end(self) -> None:
        """Exit with 1 if there was an error."""
        if self._count:
            raise click.exceptions.Exit(1)


async def _placed(session: Session, manifest: Manifest) -> Manifest:
    """The manifest in the namespace that the user means."""
    from greenroom.app.manifests import placed

    return placed(manifest, await session.cluster.resource(kind_of(manifest)), session.namespace)


async def _apply_one(session: Session, manifest: Manifest) -> str:
    """Apply, and say what came of it: ``created``, ``configured`` or ``unchanged``."""
    try:
        before = text(await session.cluster.get(ref_of(manifest)), "metadata", "resourceVersion")
    except NotFound:
        before = ""
    after = await session.cluster.apply(manifest, manager=USER_MANAGER)
    if not before:
        return "created"
    return "unchanged" if text(after, "metadata", "resourceVersion") == before else "configured"


@click.command()
@files
@cluster_options
@asynchronous
async def apply(filenames: tuple[str, ...], state: str | None, namespace: str | None) -> None:
    """Create or change objects from files: `apply -f reviewapp.yaml`."""
    from greenroom.app import manifests

    if not filenames:
        raise click.UsageError("name a file with -f")
    documents = manifests.load(filenames)
    failures = Failures()
    async with connect(state, namespace) as session:
        for document in documents:
            name = named(ref_of(document.manifest))
            with failures.told(f"{document.at('')}: {name}"):
                manifest = await _placed(session, document.manifest)
                click.echo(f"{name} {await _apply_one(session, manifest)}")
    failures.end()


@click.command()
@click.argument("words", nargs=-1, shell_complete=complete_words)
@files
@cluster_options
@click.option("--wait/--no-wait", default=True, help="Wait until it is gone.  [default: wait]")
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait.")
@click.option("--ignore-not-found", is_flag=True, help="An object that is not there is no error.")
@asynchronous
async def delete(
    words: tuple[str, ...],
    filenames: tuple[str, ...],
    state: str | None,
    namespace: str | None,
    wait: bool,
    timeout: float,
    ignore_not_found: bool,
) -> None:
    """Delete objects: `delete pr/NAME`, `delete -f reviewapp.yaml`."""
    from greenroom.app import manifests

    if bool(words) == bool(filenames):
        raise click.UsageError("name the objects, or a file with -f")
    documents = manifests.load(filenames) if filenames else []
    failures = Failures()
    async with connect(state, namespace) as session:
        placed = [await _placed(session, document.manifest) for document in documents]
        refs = [ref_of(manifest) for manifest in placed] or await session.refs(words)
        going: dict[Ref, str] = {}
        for ref in refs:
            with failures.told(named(ref)):
                if uid := await _delete_one(session, ref, ignore_not_found=ignore_not_found):
                    going[ref] = uid
        for ref, uid in going.items() if wait else ():
            with failures.told(named(ref)):
                await _until_gone(session, ref, uid, timeout)
    failures.end()


async def _delete_one(session: Session, ref: Ref, *, ignore_not_found: bool) -> str:
    """Answers the UID of what is being deleted now; ``""`` when it was not there, which was no error."""
    try:
        uid = uid_of(await session.cluster.get(ref))
        await session.cluster.delete(ref, uid=uid)
    except NotFound:
        if ignore_not_found:
            return ""
        raise
    click.echo(f'{str(ref.kind).lower()} "{ref.name}" deleted')
    return uid


async def _until_gone(session: Session, ref: Ref, uid: str, timeout: float) -> None:
    """Until this very object is gone: what belongs to an environment is made again at once, under the same name."""
    try:
        async with asyncio.timeout(timeout):
            while uid_of(await session.cluster.get(ref)) == uid:  # noqa: ASYNC110 - a watch costs more than it saves
                await asyncio.sleep(0.1)
    except NotFound:
        return
    except TimeoutError as error:
        raise GreenroomError(
            f"still being deleted after {timeout:g} s; `greenroom get {named(ref)} -o yaml` shows what holds it"
        ) from error

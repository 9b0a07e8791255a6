"""``apply`` and ``delete``: as kubectl has them."""

from __future__ import annotations

import asyncio

import click

from greenroom.cli.client import Session, asynchronous, cluster_options, complete_words, connect
from greenroom.cli.look import named
from greenroom.model.errors import GreenroomError, NotFound
from greenroom.model.manifest import Manifest, Ref, kind_of, ref_of, table, text

MANAGER = "greenroom-cli"

files = click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    type=click.Path(allow_dash=True),
    help="A file, a folder, or - for standard input. May be given several times.",
)


async def placed(session: Session, manifest: Manifest) -> Manifest:
    """The manifest with its namespace: its own, else the user's; none for a cluster-scoped kind."""
    resource = await session.cluster.resource(kind_of(manifest))
    metadata = {key: value for key, value in table(manifest, "metadata").items() if key != "namespace"}
    namespace = text(manifest, "metadata", "namespace") or session.namespace
    return {**manifest, "metadata": {**metadata, **({"namespace": namespace} if resource.namespaced else {})}}


async def apply_one(session: Session, manifest: Manifest) -> str:
    """Apply, and say what came of it: ``created``, ``configured`` or ``unchanged``."""
    manifest = await placed(session, manifest)
    try:
        before = text(await session.cluster.get(ref_of(manifest)), "metadata", "resourceVersion")
    except NotFound:
        before = ""
    after = await session.cluster.apply(manifest, manager=MANAGER)
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
    failures = 0
    async with connect(state, namespace) as session:
        for document in documents:
            try:
                outcome = await apply_one(session, document.manifest)
                click.echo(f"{named(document.manifest)} {outcome}")
            except GreenroomError as error:  # one bad object does not keep the others back
                failures += 1
                click.secho(f"{document.at('')}: {named(document.manifest)}: {error}", fg="red", err=True)
    if failures:
        raise click.exceptions.Exit(1)


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
    async with connect(state, namespace) as session:
        placed_documents = [await placed(session, document.manifest) for document in documents]
        refs = [ref_of(manifest) for manifest in placed_documents] or await session.refs(words)
        for ref in refs:
            await _delete_one(session, ref, wait=wait, timeout=timeout, ignore_not_found=ignore_not_found)


async def _delete_one(session: Session, ref: Ref, *, wait: bool, timeout: float, ignore_not_found: bool) -> None:
    try:
        await session.cluster.delete(ref)
    except NotFound:
        if not ignore_not_found:
            raise
        return
    click.echo(f'{str(ref.kind).lower()} "{ref.name}" deleted')
    if not wait:
        return
    try:
        async with asyncio.timeout(timeout):
            while True:
                await session.cluster.get(ref)
                await asyncio.sleep(0.1)
    except NotFound:
        return
    except TimeoutError as error:
        raise GreenroomError(f"{ref} is still being deleted after {timeout:g} s") from error

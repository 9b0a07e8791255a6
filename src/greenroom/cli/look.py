"""``get``, ``describe`` and ``logs``: as kubectl has them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from greenroom.cli import printers
from greenroom.cli.client import Session, asynchronous, cluster_options, complete_words, connect
from greenroom.cli.describing import describe_object
from greenroom.model.errors import Expired, InvalidInput, NotFound
from greenroom.model.manifest import (
    DEPLOYMENT,
    EVENT,
    POD,
    PR,
    REPLICA_SET,
    SECRET,
    Kind,
    Manifest,
    Ref,
    controller_of,
    kind_of,
    name_of,
    ref_of,
    text,
    uid_of,
)
from greenroom.ports import Change, Resource

if TYPE_CHECKING:
    from greenroom.adapters.kube import KubeCluster

OUTPUTS = ("wide", "yaml", "json", "name")


def _now() -> datetime:
    return datetime.now(UTC)


@click.command()
@click.argument("words", nargs=-1, required=True, shell_complete=complete_words)
@cluster_options
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@click.option("-l", "--selector", default="", help="Only objects with these labels (a=b,c).")
@click.option("-o", "--output", type=click.Choice(OUTPUTS), help="Another form.")
@click.option("-w", "--watch", is_flag=True, help="Go on and show every change.")
@click.option("--no-headers", is_flag=True, help="No line of titles.")
@asynchronous
async def get(
    words: tuple[str, ...],
    state: str | None,
    namespace: str | None,
    all_namespaces: bool,
    selector: str,
    output: str | None,
    watch: bool,
    no_headers: bool,
) -> None:
    """Show objects: `get prs`, `get all -o wide`, `get pod/NAME -o yaml`, `get prs -w`."""
    async with connect(state, namespace) as session:
        printer = _Printer(output, namespaces=all_namespaces, headers=not no_headers)
        if "/" in words[0] or len(words) > 1:
            refs = await session.refs(words)
            printer.show([await session.cluster.get(ref) for ref in refs])
            if watch:
                await _watch_all(session, [(ref.kind, ref.namespace, ref.name) for ref in refs], "", printer)
            return
        kinds = await session.kinds(words[0])
        places = [(kind, "" if all_namespaces or not kind.namespaced else session.namespace) for kind in kinds]
        listings = [await session.cluster.list(kind.kind, namespace=place, labels=selector) for kind, place in places]
        found = [item for listing in listings for item in listing.items]
        if output in ("yaml", "json"):
            printer.show(found, always_list=True)
        else:
            _show_kinds(printer, kinds, [listing.items for listing in listings])
        if not found and not watch:
            click.echo(_nothing(places, all_namespaces), err=True)
        if watch:
            starts = [listing.resource_version for listing in listings]
            await _watch_all(session, [(k.kind, place, "") for k, place in places], selector, printer, starts)


def _nothing(places: Sequence[tuple[Resource, str]], all_namespaces: bool) -> str:
    kinds = ", ".join(resource.plural for resource, _ in places)
    namespaced = any(resource.namespaced for resource, _ in places) and not all_namespaces
    return f"No {kinds} found" + (f" in namespace {places[0][1]}." if namespaced else ".")


def _show_kinds(printer: _Printer, kinds: Sequence[Resource], found: Sequence[Sequence[Manifest]]) -> None:
    several = sum(1 for group in found if group) > 1
    for index, group in enumerate(group for group in found if group):
        if several and index and printer.tabular:
            click.echo()
        printer.show(group, prefix=several)


class _Printer:
    """Prints objects in the form the user asked for; a table's columns keep their width while it is watched."""

    def __init__(self, output: str | None, *, namespaces: bool, headers: bool) -> None:
        self._output = output
        self._namespaces = namespaces
        self._headers = headers
        self._widths: dict[Kind, list[int]] = {}

    @property
    def tabular(self) -> bool:
        return self._output in (None, "wide")

    def show(self, manifests: Sequence[Manifest], *, prefix: bool = False, always_list: bool = False) -> None:
        if self._output == "name":
            for manifest in manifests:
                click.echo(named(manifest))
        elif self._output in ("yaml", "json"):
            single = len(manifests) == 1 and not always_list
            everything: Manifest = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
            content = manifests[0] if single else everything
            click.echo(_serialised(content, self._output), nl=False)
        else:
            for kind in dict.fromkeys(kind_of(manifest) for manifest in manifests):
                self._table(kind, [m for m in manifests if kind_of(m) == kind], prefix)

    def _table(self, kind: Kind, manifests: Sequence[Manifest], prefix: bool) -> None:
        columns = printers.columns_for(kind, wide=self._output == "wide", namespaces=self._namespaces, now=_now)
        if prefix:
            columns = [printers.Column(c.title, named if c.title == "NAME" else c.cell, c.wide) for c in columns]
        header = self._headers and kind not in self._widths
        ordered = sorted(manifests, key=printers.when) if kind == EVENT else manifests
        lines, self._widths[kind] = printers.align(
            printers.rows(ordered, columns, header=header),
            self._widths.get(kind, [column.width for column in columns]),
        )
        click.echo("\n".join(lines))


def named(manifest: Manifest) -> str:
    """``pr.kubetempura.mercari.com/reviewapp-pr1``."""
    return str(ref_of(manifest)).lower()


def _serialised(content: Manifest, form: str | None) -> str:
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    import yaml

    text_: str = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return text_


async def _watch_all(
    session: Session,
    places: Sequence[tuple[Kind, str, str]],
    selector: str,
    printer: _Printer,
    starts: Sequence[str] = (),
) -> None:
    async with asyncio.TaskGroup() as group:
        for index, (kind, namespace, name) in enumerate(places):
            start = starts[index] if starts else ""
            group.create_task(_watch(session.cluster, kind, namespace, name, selector, start, printer))


async def _watch(
    cluster: KubeCluster, kind: Kind, namespace: str, name: str, selector: str, since: str, printer: _Printer
) -> None:
    while True:
        since = since or (await cluster.list(kind, namespace=namespace, labels=selector)).resource_version
        try:
            async for event in cluster.watch(kind, since=since, namespace=namespace, labels=selector):
                since = text(event.object, "metadata", "resourceVersion")
                if event.change is not Change.BOOKMARK and name in ("", name_of(event.object)):
                    printer.show([event.object])
        except Expired:
            since = ""


@click.command()
@click.argument("words", nargs=-1, required=True, shell_complete=complete_words)
@cluster_options
@asynchronous
async def describe(words: tuple[str, ...], state: str | None, namespace: str | None) -> None:
    """Tell all about objects: `describe pr/NAME`."""
    async with connect(state, namespace) as session:
        if len(words) == 1 and "/" not in words[0]:
            kind = (await session.kinds(words[0]))[0]
            place = session.namespace if kind.namespaced else ""
            found = (await session.cluster.list(kind.kind, namespace=place)).items
        else:
            found = [await session.cluster.get(ref) for ref in await session.refs(words)]
        events = (await session.cluster.list(EVENT, namespace=session.namespace)).items
        click.echo("\n\n".join(describe_object(_safe(m), _events_of(m, events), _now()) for m in found))


def _safe(manifest: Manifest) -> Manifest:
    """A Secret's values are shown by their length, as kubectl does."""
    if kind_of(manifest) != SECRET:
        return manifest
    hidden = {
        field: {key: f"{len(str(value))} characters" for key, value in values.items()}
        for field in ("data", "stringData")
        if isinstance(values := manifest.get(field), dict)
    }
    return {**manifest, **hidden}


def _events_of(manifest: Manifest, events: Iterable[Manifest]) -> list[Manifest]:
    mine = [event for event in events if text(event, "involvedObject", "uid") == uid_of(manifest)]
    return sorted(mine, key=printers.when)


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
        words = words if "/" in words[0] or len(words) > 1 else ("pod", *words)
        pods = [pod for ref in await session.refs(words) for pod in await _pods_behind(session, ref)]
        if not pods:
            raise InvalidInput(f"{' '.join(words)} has no pod yet", cure="`greenroom get all` shows what it waits for")
        emit = _emitter(prefixes=len(pods) > 1)
        async with asyncio.TaskGroup() as group:
            for pod in pods:
                ref = ref_of(pod)
                name = container or text(pod, "spec", "containers", 0, "name")
                lines = session.cluster.logs(ref.namespace, ref.name, name, follow=follow, tail=tail)
                group.create_task(_copy(ref.name, lines, emit))


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

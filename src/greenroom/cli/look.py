"""``get`` and ``describe``: as kubectl has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from greenroom.cli import printers
from greenroom.cli.client import (
    Session,
    are_names,
    asynchronous,
    cluster_options,
    complete_words,
    connect,
    named,
    together,
)
from greenroom.model.errors import Expired
from greenroom.model.manifest import (
    EVENT,
    SECRET,
    Kind,
    Manifest,
    Ref,
    kind_of,
    name_of,
    ref_of,
    text,
    uid_of,
)
from greenroom.model.watch import Change, Listing, Resource

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
        if are_names(words):
            if selector or all_namespaces:
                raise click.UsageError("-l and -A choose among objects: leave out either them or the names")
            starts = await _show_named(session, await session.refs(words), printer, watch=watch)
        else:
            kinds = await session.kinds(words[0])
            places = [
                _Place(kind, "" if all_namespaces or not kind.namespaced else session.namespace, selector)
                for kind in kinds
            ]
            starts = await _show_listed(session, places, printer, watch=watch)
        if watch:
            await together(*(_watch(session.cluster, place, since, printer) for place, since in starts))


@dataclass(frozen=True, slots=True)
class _Place:
    """What to look at: a kind in a namespace (``""``: in all), or there the object of one name."""

    resource: Resource
    namespace: str
    selector: str = ""
    name: str = ""

    async def listing(self, cluster: KubeCluster) -> Listing:
        return await cluster.list(self.resource.kind, namespace=self.namespace, labels=self.selector)

    def covers(self, manifest: Manifest) -> bool:
        return self.name in ("", name_of(manifest))


async def _show_named(
    session: Session, refs: Sequence[Ref], printer: _Printer, *, watch: bool
) -> list[tuple[_Place, str]]:
    """Answers where to watch, and from which version: one from before the objects were read, to miss no change."""
    starts = []
    for ref in refs if watch else ():
        place = _Place(await session.cluster.resource(ref.kind), ref.namespace, name=ref.name)
        starts.append((place, (await place.listing(session.cluster)).resource_version))
    printer.show([await session.cluster.get(ref) for ref in refs])
    return starts


async def _show_listed(
    session: Session, places: Sequence[_Place], printer: _Printer, *, watch: bool
) -> list[tuple[_Place, str]]:
    """Answers where to watch, and from which version."""
    listings = [await place.listing(session.cluster) for place in places]
    printer.show_groups([listing.items for listing in listings])
    if not watch and not any(listing.items for listing in listings):
        click.echo(_nothing(places), err=True)
    return [(place, listing.resource_version) for place, listing in zip(places, listings, strict=True)]


def _nothing(places: Sequence[_Place]) -> str:
    kinds = ", ".join(place.resource.plural for place in places)
    namespace = next((place.namespace for place in places if place.namespace), "")
    return f"No {kinds} found" + (f" in namespace {namespace}." if namespace else ".")


class _Printer:
    """Prints objects in the form the user asked for; a table's columns keep their width while it is watched."""

    def __init__(self, output: str | None, *, namespaces: bool, headers: bool) -> None:
        self._output = output
        self._namespaces = namespaces
        self._headers = headers
        self._widths: dict[Kind, list[int]] = {}
        self._documents = 0

    def show(self, manifests: Sequence[Manifest]) -> None:
        """One object stands for itself, several are a List."""
        self._print(manifests, manifests[0] if len(manifests) == 1 else _list_of(manifests))

    def show_groups(self, groups: Sequence[Sequence[Manifest]]) -> None:
        """The objects of several kinds, each kind in a table of its own."""
        if self._output in ("yaml", "json"):
            found = [manifest for group in groups for manifest in group]
            self._print(found, _list_of(found))
            return
        filled = [group for group in groups if group]
        for index, group in enumerate(filled):
            if index and self._output != "name":
                click.echo()
            self._print(group, {}, prefix=len(filled) > 1)

    def _print(self, manifests: Sequence[Manifest], document: Manifest, *, prefix: bool = False) -> None:
        if self._output == "name":
            for manifest in manifests:
                click.echo(_named(manifest))
        elif self._output == "json":
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        elif self._output == "yaml":
            click.echo(("---\n" if self._documents else "") + printers.to_yaml(document), nl=False)
            self._documents += 1
        else:
            for kind in dict.fromkeys(kind_of(manifest) for manifest in manifests):
                self._table(kind, [m for m in manifests if kind_of(m) == kind], prefix)

    def _table(self, kind: Kind, manifests: Sequence[Manifest], prefix: bool) -> None:
        columns = printers.columns_for(kind, wide=self._output == "wide", namespaces=self._namespaces, now=_now)
        if prefix:
            columns = [printers.Column(c.title, _named if c.title == "NAME" else c.cell, c.wide) for c in columns]
        header = self._headers and kind not in self._widths
        ordered = sorted(manifests, key=printers.when) if kind == EVENT else manifests
        lines, self._widths[kind] = printers.align(
            printers.rows(ordered, columns, header=header),
            self._widths.get(kind, [column.width for column in columns]),
        )
        click.echo("\n".join(lines))


def _named(manifest: Manifest) -> str:
    return named(ref_of(manifest))


def _list_of(manifests: Sequence[Manifest]) -> Manifest:
    return {"apiVersion": "v1", "kind": "List", "items": list(manifests)}


async def _watch(cluster: KubeCluster, place: _Place, since: str, printer: _Printer) -> None:
    """Show every change after the version ``since``."""
    kind = place.resource.kind
    while True:
        try:
            async for event in cluster.watch(kind, since=since, namespace=place.namespace, labels=place.selector):
                since = text(event.object, "metadata", "resourceVersion")
                if event.change is not Change.BOOKMARK and place.covers(event.object):
                    printer.show([event.object])
        except Expired:  # the single changes are not known any more, so show how everything is now
            listing = await place.listing(cluster)
            since = listing.resource_version
            printer.show_groups([[item for item in listing.items if place.covers(item)]])


@click.command()
@click.argument("words", nargs=-1, required=True, shell_complete=complete_words)
@cluster_options
@asynchronous
async def describe(words: tuple[str, ...], state: str | None, namespace: str | None) -> None:
    """Tell all about objects: `describe pr/NAME`."""
    from greenroom.cli.describing import describe_object

    async with connect(state, namespace) as session:
        if are_names(words):
            found: Sequence[Manifest] = [await session.cluster.get(ref) for ref in await session.refs(words)]
        else:
            kind = (await session.kinds(words[0]))[0]
            place = _Place(kind, session.namespace if kind.namespaced else "")
            found = (await place.listing(session.cluster)).items
            if not found:
                click.echo(_nothing([place]), err=True)
                return
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

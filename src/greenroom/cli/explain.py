"""``explain``: whether a pull request gets an environment, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from greenroom.cli.client import asynchronous, cluster_options, connect, find_state
from greenroom.model.environment import pr_name
from greenroom.model.errors import InvalidInput, NotFound
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, ref_of

if TYPE_CHECKING:
    from greenroom.adapters.kube import KubeCluster


@click.command(options_metavar="[OPTIONS]")
@click.argument("words", nargs=-1, required=True, metavar="[REVIEWAPP] NUMBER")
@cluster_options
@click.option(
    "--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="Of a cluster, not of this machine."
)
@click.option("--context", default="", help="Of the kubeconfig; by default its current one.")
@asynchronous
async def explain(
    words: tuple[str, ...], state: str | None, namespace: str | None, kubeconfig: Path | None, context: str
) -> None:
    """Tell whether a pull request gets an environment, and why: `explain 7`, `explain shop 7`.

    It asks the Greenroom of this machine where there is one, else the cluster of the kubeconfig in use.
    """
    app, number = _understood(words)
    from greenroom.core.explanation import explanation

    async with _cluster(state, namespace, kubeconfig, context) as (cluster, place):
        found = await _apps(cluster, place, app)
        pages = [explanation(each, await _pr_of(cluster, each, number), number) for each in found]
    click.echo("\n\n".join("\n".join(page) for page in pages))


def _understood(words: Sequence[str]) -> tuple[str, int]:
    """The name of a ReviewApp, ``""`` for all, and the number. Raises UsageError."""
    *names, last = words
    number = last.removeprefix("#")
    if len(names) > 1 or not (number.isascii() and number.isdigit() and int(number)):
        raise click.UsageError("name the pull request by its number: `greenroom explain [REVIEWAPP] NUMBER`")
    return (names[0].rpartition("/")[2] if names else ""), int(number)


@asynccontextmanager
async def _cluster(
    state: str | None, namespace: str | None, kubeconfig: Path | None, context: str
) -> AsyncIterator[tuple[KubeCluster, str]]:
    """A cluster, and the namespace that is meant."""
    is_named = kubeconfig is not None or bool(context)
    if not is_named and (state or find_state(state).kubeconfig.exists()):
        async with connect(state, namespace) as session:
            yield session.cluster, session.namespace
        return
    from greenroom.adapters import kube_default
    from greenroom.adapters.kube import KubeCluster

    connection = kube_default.default(kubeconfig_path=kubeconfig, context=context)
    async with KubeCluster(connection) as cluster:
        yield cluster, namespace or connection.namespace


async def _apps(cluster: KubeCluster, namespace: str, name: str) -> Sequence[Manifest]:
    if name:
        return [await cluster.get(Ref(REVIEW_APP, namespace, name))]
    found = (await cluster.list(REVIEW_APP, namespace=namespace)).items
    if not found:
        cure = "`greenroom apply -f reviewapp.yaml` brings one, or name another namespace with -n"
        raise InvalidInput(f"there is no ReviewApp in namespace {namespace}", cure=cure)
    return found


async def _pr_of(cluster: KubeCluster, app: Manifest, number: int) -> Manifest | None:
    ref = ref_of(app)
    try:
        return await cluster.get(Ref(PR, ref.namespace, pr_name(ref.name, number)))
    except NotFound:
        return None

"""``cleanup``: deletes environments that wait for an image in vain, in place of the published CronJob's program."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from greenroom.cli.client import asynchronous

if TYPE_CHECKING:
    from greenroom.core.cleanup import Outcome

NAMESPACE, AGE = "pr-env", 100
"""Where it looks, and how old a pod has to be, in minutes, when nobody says: as the program that it replaces."""
_OLDEST = 100 * 365 * 24 * 60
"""Minutes. More than Python's time intervals hold would be a traceback."""


def _named(_: click.Context, __: click.Parameter, namespace: str) -> str:
    if not namespace:  # which would mean all namespaces
        raise click.BadParameter("name a namespace")
    return namespace


@click.command()
@click.option(
    "-n",
    "--namespace",
    envvar="NAMESPACE",
    show_envvar=True,
    default=NAMESPACE,
    show_default=True,
    callback=_named,
    help="Look at the pods of this namespace.",
)
@click.option(
    "--age",
    envvar="AGE",
    show_envvar=True,
    type=click.IntRange(0, _OLDEST),
    default=AGE,
    show_default=True,
    metavar="MINUTES",
    help="Of pods that are at least so old.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@click.option(
    "--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="By default that of the home folder."
)
@click.option("--context", default="", help="Of the kubeconfig; by default its current one.")
@asynchronous
async def cleanup(namespace: str, age: int, dry_run: bool, kubeconfig: Path | None, context: str) -> None:
    """Delete environments whose pods wait for an image that does not come.

    It looks once, and ends. Exit code 0: all is well, also when there was nothing to do. 1: something could not be read
    or deleted; the rest was done.
    """
    from greenroom.adapters import kube_default
    from greenroom.adapters.kube import KubeCluster
    from greenroom.app.lifecycle import SystemClock
    from greenroom.core.cleanup import Result, summary
    from greenroom.flows.cleanup import Cleanup

    minimum = timedelta(minutes=age)
    connection = kube_default.default(kubeconfig_path=kubeconfig, context=context, home_first=True)
    async with KubeCluster(connection) as cluster:
        job = Cleanup(cluster, SystemClock(), _say, namespace=namespace, age=minimum, dry_run=dry_run)
        tally = await job.run()
    click.echo(summary(tally, namespace, minimum), err=True)
    sys.exit(1 if tally.of(Result.FAILED) else 0)


def _say(outcome: Outcome) -> None:
    """Scripts read the standard output: it has the lines of the program that this replaces, and no others."""
    from greenroom.core.cleanup import Result

    deeds = {Result.DELETED: "Deleted pr", Result.WOULD_DELETE: "Would delete pr"}
    if deed := deeds.get(outcome.result):
        click.echo(f"{deed}: {outcome.ref.name}")
    else:
        told = f"{outcome.ref.kind.name.lower()} {outcome.ref.name} {outcome.result.value}: {outcome.why}"
        click.echo("".join(letter if letter.isprintable() else "?" for letter in told), err=True)

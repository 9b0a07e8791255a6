"""``demo``: the first minute."""

from __future__ import annotations

from pathlib import Path

import click

from greenroom.app.settings import DEMO_FOLDER
from greenroom.cli.client import asynchronous


@click.command()
@click.option("--once", is_flag=True, help="End when it has been shown, with exit code 0 when all of it worked.")
@click.option(
    "--state",
    type=click.Path(file_okay=False),
    default=DEMO_FOLDER,
    show_default=True,
    help="Folder for the demo's repository and state; it is emptied first.",
)
@asynchronous
async def demo(once: bool, state: str) -> None:
    """Watch two pull requests come to life, change, and vanish.

    Nothing is simulated but GitHub: a git repository, signed webhooks, processes and an Envoy, all on 127.0.0.1.
    """
    from greenroom.cli.tour import run_demo

    await run_demo(Path(state).absolute(), once=once)

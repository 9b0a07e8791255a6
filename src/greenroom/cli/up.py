"""``up``: Greenroom on one machine, for one's own repository and templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from greenroom.app.settings import STATE_FOLDER
from greenroom.cli.client import asynchronous
from greenroom.cli.forge_options import forge_options


@click.command()
@click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    type=click.Path(),
    help="ReviewApps and whatever they need: a file or a folder. Applied at each start. May be given several times.",
)
@click.option("--repo", type=click.Path(file_okay=False), default=".", help="The git repository; by default this one.")
@click.option(
    "--state",
    envvar="GREENROOM_STATE",
    type=click.Path(file_okay=False),
    default=STATE_FOLDER,
    show_default=True,
    help="Folder for objects, logs and worktrees.",
)
@click.option("-n", "--namespace", default="pr-env", show_default=True, help="Where objects without one go.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Where visitors ask.")
@click.option(
    "--webhook-port",
    type=click.IntRange(0, 65535),
    default=3000,
    show_default=True,
    help="Where the forge's webhooks are taken; 0: any free port.",
)
@forge_options
@asynchronous
async def up(
    filenames: tuple[str, ...], repo: str, state: str, namespace: str, port: int, webhook_port: int, **github: Any
) -> None:
    """Run environments for a local repository: `up -f reviewapp.yaml`.

    State is kept: the next `up` carries on where this one stopped. Ctrl-C stops it and every process it started.
    """
    from greenroom.app import manifests
    from greenroom.app.forge import Repository
    from greenroom.app.forging import ForgeSettings
    from greenroom.app.settings import OneMachineSettings, StateFolder
    from greenroom.app.wiring import one_machine
    from greenroom.cli.feed import follow

    documents = manifests.load(filenames) if filenames else []
    repository = await Repository.find(Path(repo))
    settings = OneMachineSettings(
        state=StateFolder(Path(state).absolute()),
        repository=repository.path,
        namespace=namespace,
        gateway_port=port,
        webhook_port=webhook_port,
        forge=ForgeSettings.of(**github),
    )
    async with one_machine(settings, [document.manifest for document in documents]) as machine:
        click.secho("Greenroom is up.", fg="green", bold=True)
        click.echo(f"  environments  http://<host of the route>:{machine.gateway_port}")
        click.echo(f"  webhook       {machine.webhook_url} (secret in {settings.state.root / 'webhook-secret'})")
        click.echo(f"  repository    {repository.path}")
        click.echo(f"  log           {settings.state.log}")
        click.echo("Try `greenroom pr open BRANCH` in another terminal. Ctrl-C stops it.\n")
        await follow(machine.informers, click.echo)

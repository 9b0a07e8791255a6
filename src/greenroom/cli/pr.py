"""``pr``: plays the forge for a local git repository, so that no GitHub is needed to try Greenroom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from greenroom.cli.client import asynchronous, connect, find_state, state_option
from greenroom.cli.printers import align, short
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import REVIEW_APP, text

if TYPE_CHECKING:
    from greenroom.app.forge import LocalForge, Pull


@asynccontextmanager
async def forge(state: str | None) -> AsyncIterator[LocalForge]:
    """The forge of the running Greenroom's repository, under the address that its ReviewApps name."""
    from greenroom.app.forge import LocalForge, Repository, Webhook

    folder = find_state(state)
    async with connect(state) as session:
        apps = (await session.cluster.list(REVIEW_APP)).items
    running = folder.running()
    if running is None:
        raise InvalidInput("Greenroom is not running here", cure="start it with `greenroom up -f reviewapp.yaml`")
    addresses = sorted({text(app, "spec", "githubRepository") for app in apps})
    if not addresses:
        raise InvalidInput("there is no ReviewApp yet", cure="`greenroom apply -f reviewapp.yaml` brings one")
    if len(addresses) > 1:
        raise InvalidInput(
            f"the ReviewApps name {len(addresses)} repositories, and a local repository can stand for one only",
            cure="`greenroom get reviewapps` shows them; apply or delete until one is left",
        )
    repository = Repository(Path(running.repository))
    yield LocalForge(folder.pulls, repository, addresses[0], Webhook(running.webhook, folder.webhook_secret()))


@click.group()
def pr() -> None:
    """Open, push to, label, edit and close pull requests of the local repository.

    Each command sends the signed webhook that GitHub would send.
    """


@pr.command("open")
@click.argument("branch", required=False)
@click.option("--title", default="", help="By default the branch's name.")
@click.option("--label", "labels", multiple=True, help="Put this label on. May be given several times.")
@click.option("--draft", is_flag=True, help="Open it as a draft.")
@state_option
@asynchronous
async def open_(branch: str | None, title: str, labels: tuple[str, ...], draft: bool, state: str | None) -> None:
    """Open a pull request for BRANCH (by default the one checked out)."""
    async with forge(state) as local:
        branch = branch or await local.repository.current_branch()
        _say("opened", await local.open(branch, title, labels=labels, draft=draft))


@pr.command()
@click.argument("number", type=int)
@state_option
@asynchronous
async def push(number: int, state: str | None) -> None:
    """Tell of the new commits of a pull request's branch."""
    async with forge(state) as local:
        _say("pushed", await local.push(number))


@pr.command()
@click.argument("number", type=int)
@state_option
@asynchronous
async def close(number: int, state: str | None) -> None:
    """Close a pull request: its environment goes."""
    async with forge(state) as local:
        _say("closed", await local.close(number))


@pr.command()
@click.argument("number", type=int)
@state_option
@asynchronous
async def reopen(number: int, state: str | None) -> None:
    """Reopen a pull request: its environment comes back."""
    async with forge(state) as local:
        _say("reopened", await local.reopen(number))


@pr.command()
@click.argument("number", type=int)
@click.argument("label")
@state_option
@asynchronous
async def label(number: int, label: str, state: str | None) -> None:
    """Put a label on a pull request."""
    async with forge(state) as local:
        await local.label(number, label)
    _say_changed(number, f"has the label {label}")


@pr.command()
@click.argument("number", type=int)
@click.argument("label")
@state_option
@asynchronous
async def unlabel(number: int, label: str, state: str | None) -> None:
    """Take a label off a pull request."""
    async with forge(state) as local:
        await local.unlabel(number, label)
    _say_changed(number, f"has the label {label} no more")


@pr.command()
@click.argument("number", type=int)
@state_option
@asynchronous
async def draft(number: int, state: str | None) -> None:
    """Make a draft of a pull request."""
    async with forge(state) as local:
        await local.draft(number, is_draft=True)
    _say_changed(number, "is a draft")


@pr.command()
@click.argument("number", type=int)
@state_option
@asynchronous
async def ready(number: int, state: str | None) -> None:
    """Say that a draft is ready for review."""
    async with forge(state) as local:
        await local.draft(number, is_draft=False)
    _say_changed(number, "is ready for review")


@pr.command()
@click.argument("number", type=int)
@click.option("--title", required=True, help="The new title.")
@state_option
@asynchronous
async def edit(number: int, title: str, state: str | None) -> None:
    """Give a pull request another title."""
    async with forge(state) as local:
        await local.edit(number, title)
    _say_changed(number, "has another title")


@pr.command("list")
@state_option
@asynchronous
async def list_(state: str | None) -> None:
    """List the pull requests of the local repository."""
    async with forge(state) as local:
        pulls = local.pulls()
    if not pulls:
        click.echo("No pull requests yet: `greenroom pr open BRANCH` opens one.", err=True)
        return
    lines, _ = align([["PR", "STATE", "BRANCH", "COMMIT", "LABELS", "TITLE"], *map(_row, pulls)])
    click.echo("\n".join(lines))


def _row(pull: Pull) -> list[str]:
    state = "draft" if pull.draft and pull.state == "open" else pull.state
    return [str(pull.number), state, pull.branch, short(pull.head), ",".join(pull.labels) or "-", pull.title]


def _say(done: str, pull: Pull) -> None:
    click.echo(f"pull request {pull.number} {done}: {pull.branch} at {short(pull.head)}")
    if done != "closed":
        click.echo("`greenroom get prs -w` shows how its environment comes to life,", err=True)
        click.echo(f"and `greenroom explain {pull.number}` why there is none, should a gate object", err=True)


def _say_changed(number: int, how: str) -> None:
    click.echo(f"pull request {number} {how}")
    click.echo(f"`greenroom explain {number}` tells whether it gets an environment", err=True)

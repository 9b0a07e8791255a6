"""The options that say how GitHub is reached: those of ``serve`` and of ``up``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--github-token-file",
        "token_file",
        envvar="GREENROOM_GITHUB_TOKEN_FILE",
        type=_FILE,
        help="File with a token of GitHub's: then no delivery that is lost matters, and pull requests are answered.",
    ),
    click.option(
        "--github-app-id",
        "app_id",
        envvar="GREENROOM_GITHUB_APP_ID",
        default="",
        help="In place of a token: the id, or client id, of a GitHub App.",
    ),
    click.option(
        "--github-app-key-file",
        "key_file",
        envvar="GREENROOM_GITHUB_APP_KEY_FILE",
        type=_FILE,
        help="File with the App's private key.",
    ),
    click.option(
        "--github-url",
        "server",
        envvar="GREENROOM_GITHUB_URL",
        default="https://github.com",
        show_default=True,
        help="Of the GitHub that the credentials are for; another one for GitHub Enterprise Server.",
    ),
    click.option(
        "--webhook-url",
        "webhook",
        envvar="GREENROOM_WEBHOOK_URL",
        default="",
        help="The address that GitHub delivers to: then failed deliveries are sent again.",
    ),
    click.option(
        "--visit-via",
        "via",
        envvar="GREENROOM_VISIT_VIA",
        default="",
        metavar="HOST:PORT",
        help="The gateway through which environments are visited, where their addresses cannot be reached from here.",
    ),
)


def forge_options(command: F) -> F:
    """Credentials are files: what stands on a command line is read by everybody on the machine."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

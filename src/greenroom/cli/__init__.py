"""The command line. Thin: commands parse their arguments, call ``app``, and print.

Commands import what they need when they run: ``greenroom --help`` and shell completion have to be quick.
"""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

import click

from greenroom import __version__
from greenroom.cli.cleanup import cleanup
from greenroom.cli.crds import crds
from greenroom.cli.demo import demo
from greenroom.cli.doctor import doctor
from greenroom.cli.edit import apply, delete
from greenroom.cli.explain import explain
from greenroom.cli.logs import logs
from greenroom.cli.look import describe, get
from greenroom.cli.pr import pr
from greenroom.cli.serve import serve
from greenroom.cli.up import up
from greenroom.model.errors import GreenroomError

SHELLS = ("bash", "zsh", "fish")


class _Sections(click.Group):
    """A group that lists its commands by what they are for, in the order a newcomer needs them."""

    sections: ClassVar[dict[str, tuple[str, ...]]] = {
        "Run": ("demo", "up", "serve"),
        "Pull requests": ("pr",),
        "Look": ("get", "describe", "explain", "logs", "doctor"),
        "Change": ("apply", "delete", "cleanup"),
        "Other": ("crds", "completion"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in self.sections.items():
            commands = [(name, self.commands[name]) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in commands])


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="greenroom")
def greenroom() -> None:
    """Every pull request gets a running environment of its own, at its own address.

    Start with `greenroom demo`. Then, in the folder of your own repository, `greenroom up -f reviewapp.yaml`.
    """


@greenroom.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(greenroom completion bash)      # in ~/.bashrc
    zsh:   source <(greenroom completion zsh)       # in ~/.zshrc
    fish:  greenroom completion fish | source       # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click.Choice lets no other through
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(greenroom, {}, "greenroom", "_GREENROOM_COMPLETE").source())


for _command in (demo, up, serve, pr, get, describe, explain, logs, doctor, apply, delete, cleanup, crds):
    greenroom.add_command(_command)


def main() -> None:
    """The ``greenroom`` command. Exits with 1 for an error told in one line, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        sys.exit(greenroom(prog_name="greenroom", standalone_mode=False))  # click answers the code of its Exit
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except GreenroomError as error:
        click.secho(f"greenroom: {error}", fg="red", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "greenroom":
            raise
        told = f"this needs {error.name}, which an operator alone does without: install 'greenroom[one-machine]'"
        click.secho(f"greenroom: {told}", fg="red", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except asyncio.CancelledError:  # ended by SIGTERM or SIGHUP, in order
        sys.exit(143)
    except BrokenPipeError:  # `greenroom get prs | head -1`
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # of this machine: a full disk, a file that cannot be read
        click.secho(f"greenroom: {error}", fg="red", err=True)
        sys.exit(1)

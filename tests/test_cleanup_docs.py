"""docs/cleanup.md tells of every option and variable of the command, and why a container may wait."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from greenroom.cli.cleanup import AGE, NAMESPACE, cleanup
from greenroom.core.cleanup import NO_IMAGE

TEXT = (Path(__file__).parents[1] / "docs" / "cleanup.md").read_text()
OPTIONS = [parameter for parameter in cleanup.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_in_the_table_with_its_variable(option: click.Option) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `--")]
    (row,) = (row for row in rows if f"`{option.opts[-1]}`" in row)
    assert option.envvar is None or f"| `{option.envvar}` |" in row


def test_the_defaults_and_the_reasons_are_told() -> None:
    assert f"| `{NAMESPACE}` |" in TEXT
    assert f"| {AGE} |" in TEXT
    assert all(f"`{reason}`" in TEXT for reason in NO_IMAGE)

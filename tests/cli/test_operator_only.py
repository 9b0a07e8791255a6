"""The installation in the operator's image, which leaves out what only one machine needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

ONE_MACHINE = ("psutil", "rich")
"""What the packages of the extra `one-machine` are imported as, but for Envoy, which is a program."""

WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({ONE_MACHINE}))  # None there: importing it fails as if it were not installed
from greenroom.cli import main
main()
"""


def errors_of(*arguments: str) -> str:
    """What the command says when it fails, with exit code 1."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], check=False, capture_output=True, text=True, env={}
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_the_operator_needs_none_of_it() -> None:
    assert "the webhook has no secret" in errors_of("serve")  # which it says when all is imported


@pytest.mark.parametrize("command", ["up", "demo"])
def test_another_command_says_what_it_lacks(command: str) -> None:
    errors = errors_of(command)
    assert "install 'greenroom[one-machine]'" in errors
    assert "Traceback" not in errors

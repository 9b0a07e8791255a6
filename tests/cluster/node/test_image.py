"""The operator's image, built as `make image` builds it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STORAGE = {"CONTAINERS_STORAGE_CONF": str(ROOT / ".cache" / "images" / "storage.conf"), "BUILDAH_ISOLATION": "chroot"}
IMAGE = "localhost/greenroom:test"
OWN_MEGABYTES = 140
"""What Greenroom and its packages may add to the base. Envoy alone would be more than a hundred."""

pytestmark = pytest.mark.timeout(600)  # its base is made once


def buildah(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **STORAGE}
    return subprocess.run(["buildah", *arguments], check=False, capture_output=True, text=True, env=environment)


class Container:
    """One of the image, in which commands are run as the user that the image names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, *command: str) -> str:
        """What it printed, errors too."""
        done = buildah("run", self._name, "--", *command)
        return done.stdout + done.stderr

    def shell(self, script: str) -> str:
        return self.run("sh", "-c", f"{script}; true")  # else buildah would add what it thinks of the exit code


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    subprocess.run([ROOT / "scripts" / "test-image", IMAGE], check=True, cwd=ROOT)
    name = buildah("from", "--pull-never", IMAGE).stdout.strip()
    yield Container(name)
    buildah("rm", name)


def test_it_is_the_operator(container: Container) -> None:
    assert "the webhook has no secret" in container.run("greenroom", "serve")


def test_it_runs_the_operator_when_nobody_says_what(container: Container) -> None:
    assert buildah("inspect", "--type=image", "--format={{.OCIv1.Config.Cmd}}", IMAGE).stdout.strip() == "[serve]"


def test_it_is_not_root_and_can_change_nothing_of_the_program(container: Container) -> None:
    assert container.run("id", "-u").strip() == "65532"
    assert container.shell("find /opt /usr /etc -writable -not -type l 2>/dev/null | head").strip() == ""


def test_nothing_in_it_compiles_or_installs(container: Container) -> None:
    tools = ("pip", "pip3", "cc", "gcc", "make", "git")
    assert container.shell("; ".join(f"command -v {tool}" for tool in tools)).strip() == ""
    assert "No module named pip" in container.run("python3", "-m", "pip")
    assert "No module named ensurepip" in container.run("python3", "-m", "ensurepip")


def test_it_is_small(container: Container) -> None:
    megabytes = int(container.shell("du -sm /opt/greenroom").split()[0])
    assert 0 < megabytes < OWN_MEGABYTES

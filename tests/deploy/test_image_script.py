"""scripts/image: which images it builds, and what they are called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def built(folder: Path, *arguments: str, **variables: str) -> list[tuple[str, str]]:
    """Target and name of each image, in order; the builder only notes what it is told."""
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = info ] || echo "$*" >>{folder}/told\n')
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
    subprocess.run(["scripts/image", *arguments], check=True, cwd=ROOT, env=environment, capture_output=True)
    words = [line.split() for line in (folder / "told").read_text().splitlines()]
    return [(line[line.index("--target") + 1], line[line.index("--tag") + 1]) for line in words]


@pytest.mark.parametrize(
    ("name", "cleanup"),
    [
        ("registry.example.com/greenroom:0.1.0", "registry.example.com/greenroom:0.1.0-cleanup"),
        ("greenroom", "greenroom:cleanup"),
        ("localhost:5000/greenroom", "localhost:5000/greenroom:cleanup"),
    ],
)
def test_the_clean_up_job_has_an_image_of_its_own_next_to_the_operators(
    tmp_path: Path, name: str, cleanup: str
) -> None:
    assert built(tmp_path, name, "--quiet") == [("operator", name), ("cleanup", cleanup)]


def test_one_of_them_can_be_asked_for(tmp_path: Path) -> None:
    assert built(tmp_path, "greenroom:1", TARGETS="cleanup") == [("cleanup", "greenroom:1-cleanup")]


def test_who_names_no_target_gets_the_operator() -> None:
    """Which is what a builder makes of a Dockerfile's last stage."""
    stages = [line.split()[-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM")]
    assert stages[-1] == "operator"

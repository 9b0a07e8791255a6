"""deploy/github, as actionlint judges it. It is written in Go, which is there where Kubernetes is built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = Path(__file__).parent / "actionlint"
PAGE = ROOT / "docs" / "github-actions.md"
FILES = sorted((ROOT / "deploy" / "github").glob("*.yml"))


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.fail("actionlint is to be built, and there is no Go: https://go.dev/doc/install")
    folder = tmp_path_factory.mktemp("actionlint")
    subprocess.run(
        ["go", "build", "-C", MODULE, "-trimpath", "-o", f"{folder}/", "tool"],
        env={**os.environ, "CGO_ENABLED": "0"},
        timeout=280,
        check=True,
    )
    return folder / "actionlint"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository into which a team has copied them."""
    subprocess.run(["git", "init", "--quiet", tmp_path], timeout=20, check=True)
    shutil.copytree(ROOT / "deploy" / "github", tmp_path / ".github" / "workflows")
    return tmp_path


def judged(actionlint: Path, repository: Path) -> tuple[int, str]:
    run = subprocess.run(
        [actionlint, "-no-color", "-oneline"], cwd=repository, capture_output=True, text=True, timeout=50, check=False
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.timeout(300)
def test_actionlint_finds_nothing(actionlint: Path, repository: Path) -> None:
    assert len(FILES) == 3
    assert judged(actionlint, repository) == (0, "")


@pytest.mark.timeout(300)
def test_it_finds_nothing_either_when_greenroom_is_told(actionlint: Path, repository: Path) -> None:
    (telling,) = re.findall(r"^```yaml\n(      greenroom-url: .*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for file in FILES:
        if file.name.startswith("pull-request"):
            (repository / ".github" / "workflows" / file.name).write_text(file.read_text() + telling)
    assert judged(actionlint, repository) == (0, "")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("file", "right", "wrong", "complaint"),
    [
        ("preview-image.yml", "inputs.label)", "inputs.labels)", 'property "labels" is not defined'),
        ("preview-image.yml", "steps.image.outputs.exists", "steps.images.outputs.exists", '"images" is not defined'),
        ("pull-request.yml", "registry: ecr", "registri: ecr", 'input "registri" is not defined'),
        ("pull-request-ghcr.yml", "packages: write", "package: write", 'unknown permission scope "package"'),
    ],
)
def test_a_mistake_would_be_found(
    actionlint: Path, repository: Path, file: str, right: str, wrong: str, complaint: str
) -> None:
    path = repository / ".github" / "workflows" / file
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong))
    code, said = judged(actionlint, repository)
    assert code == 1
    assert complaint in said

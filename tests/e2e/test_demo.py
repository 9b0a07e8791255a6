"""``greenroom demo --once``, as `make demo ARGS=--once` runs it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path


async def demo(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "greenroom.cli", "demo", "--once", *arguments, cwd=folder, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_two_demos_at_a_time_do_all_they_should_on_ports_of_their_own(tmp_path: Path) -> None:
    ended = await asyncio.gather(*(demo(tmp_path, "--state", str(tmp_path / name)) for name in ("one", "two")))
    for code, said in ended:
        assert code == 0, said
        assert "0 failed" in said
        assert said.endswith("The demo did all it should.\n")


async def test_a_folder_that_is_not_a_demos_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    code, said = await demo(tmp_path, "--state", "mine")
    assert code == 1
    assert "is not a folder of an earlier demo" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


async def test_a_demo_that_fails_says_so_with_its_exit_code(tmp_path: Path) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "python3").write_text("#!/bin/sh\nexit 1\n")  # the application's interpreter does not start
    (folder / "python3").chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *(
            "timeout",
            "8",
            "env",
            f"PATH={folder}:/usr/bin:/bin",
            sys.executable,
            "-m",
            "greenroom.cli",
            "demo",
            "--once",
        ),
        cwd=tmp_path,
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode not in (0, None)
    assert b"did all it should" not in output

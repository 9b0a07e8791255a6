"""``greenroom demo --once``, as `make demo ARGS=--once` runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path


async def demo(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    command = (sys.executable, "-m", "greenroom.cli", "demo", "--once", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**os.environ, **environment}, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_it_does_all_it_should_also_where_its_usual_ports_are_taken(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for port in (8080, 3000):
            with contextlib.suppress(OSError):  # taken by somebody else: as good
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        code, said = await demo(tmp_path)
    assert code == 0, said
    assert "0 failed" in said
    assert ":8080" not in said
    assert said.endswith("The demo did all it should.\n")


async def test_a_folder_that_is_not_a_demos_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    code, said = await demo(tmp_path, "--state", "mine")
    assert code == 1
    assert "is not a folder of an earlier demo" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


async def test_a_demo_that_cannot_show_what_it_should_fails(tmp_path: Path) -> None:
    programs = tmp_path / "path"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\necho no git today >&2\nexit 1\n")
    (programs / "git").chmod(0o755)
    code, said = await demo(tmp_path, PATH=f"{programs}:{os.environ['PATH']}")
    assert code == 1
    assert "no git today" in said

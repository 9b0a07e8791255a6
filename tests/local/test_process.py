"""Processes, their marks and their ports."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from tests.local.machine import true

from greenroom.local import instance
from greenroom.local.workloads.logs import LogWriter
from greenroom.local.workloads.portpool import PortPool
from greenroom.local.workloads.process import Process
from greenroom.model.errors import Unavailable

MARKERS = {instance.INSTANCE: f"test-process-{os.getpid()}"}


async def start(folder: Path, source: str) -> Process:
    writer = LogWriter(folder / "log")
    environment = instance.base_environment("test")
    argv = [sys.executable, "-u", "-c", source]
    return await Process.start(argv, cwd=folder, env=environment, markers=MARKERS, log=writer)


async def test_all_that_was_printed_is_in_the_log_when_the_process_has_ended(tmp_path: Path) -> None:
    process = await start(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert await process.wait() == 3
    assert await process.end(grace=0) == 3
    assert (tmp_path / "log").read_text() == "out\nerr\n"


async def test_the_end_is_known_though_a_child_keeps_the_output_open(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    process = await start(tmp_path, f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])")
    assert await process.wait() == 0
    assert len(instance.marked(MARKERS)) == 1
    await process.end(grace=0)
    assert instance.marked(MARKERS) == []


async def test_children_are_asked_to_end_too(tmp_path: Path) -> None:
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('child is done')))\n"
        "print('up'); time.sleep(60)"
    )
    parent = (
        "import signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-u', '-c', {child!r}])\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "child.wait()"
    )
    process = await start(tmp_path, parent)
    await true((tmp_path / "log").exists)
    assert await process.end(grace=20) == 0
    assert (tmp_path / "log").read_text() == "up\nchild is done\n"


async def test_cancelling_the_end_kills_and_leaves_nothing(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = await start(tmp_path, stubborn)
    await true((tmp_path / "log").exists)
    ending = asyncio.create_task(process.end(grace=60))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    await true(lambda: not instance.marked(MARKERS))
    await process.end(grace=0)


async def test_leftovers_of_this_instance_are_ended_and_no_others(tmp_path: Path) -> None:
    process = await start(tmp_path, "import time; time.sleep(60)")
    assert await instance.end_leftovers("another-instance") == 0
    assert len(instance.marked(MARKERS)) == 1
    assert await instance.end_leftovers(MARKERS[instance.INSTANCE]) == 1
    assert await process.wait() == -15
    await process.end(grace=0)


async def test_a_leftover_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = await start(tmp_path, stubborn)
    await true((tmp_path / "log").exists)
    assert await instance.end_leftovers(MARKERS[instance.INSTANCE], grace=0.1) == 1
    assert await process.wait() == -9
    await process.end(grace=0)


def test_the_identity_of_a_folder_stays(tmp_path: Path) -> None:
    first = instance.instance_id(tmp_path / "state")
    assert instance.instance_id(tmp_path / "state") == first
    assert instance.instance_id(tmp_path / "other") != first


@pytest.mark.parametrize("damage", [b"", b"1b4e28ba-2fa1", b"\xff\xfe"])
def test_a_half_written_identity_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "instance").write_bytes(damage)
    assert instance.instance_id(tmp_path) == instance.instance_id(tmp_path) != ""


def test_ports_are_handed_out_once_and_reused_last() -> None:
    pool = PortPool("x", first=23000, last=23009)
    first = pool.take()
    pool.give_back([first])
    others = [pool.take() for _ in range(9)]
    assert first not in others
    assert pool.take() == first
    with pytest.raises(Unavailable, match="between 23000 and 23009"):
        pool.take()


def test_a_port_in_use_is_passed_over() -> None:
    pool = PortPool("x", first=23010, last=23011)
    with socket.create_server(("127.0.0.1", 23010)):
        assert pool.take(23010) == 23011
        with pytest.raises(Unavailable):
            pool.take()
    assert pool.take() == 23010


def test_a_port_that_was_had_before_is_had_again() -> None:
    pool = PortPool("x", first=23020, last=23029)
    assert pool.take(23025) == 23025
    assert pool.take(23025) != 23025
    assert 23020 <= pool.take(80) <= 23029


def test_all_ports_or_none() -> None:
    pool = PortPool("x", first=23030, last=23031)
    with pytest.raises(Unavailable):
        pool.take_all({"a": 0, "b": 0, "c": 0})
    assert set(pool.take_all({"a": 0, "b": 23030}).values()) == {23030, 23031}


def test_two_instances_begin_at_different_ports() -> None:
    assert PortPool("one").take() != PortPool("two").take()

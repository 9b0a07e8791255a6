"""Logs stay bounded, harm nobody, and can be read while they grow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.local.machine import true

from greenroom.local.workloads.logs import BURST_BYTES, LogWriter, older, read


async def everything(path: Path, tail: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in read(path, tail=tail, writing=lambda: False)])


async def test_a_log_keeps_the_newest_part_and_one_older_file(tmp_path: Path) -> None:
    path = tmp_path / "pod" / "app.log"
    writer = LogWriter(path, rotate_bytes=100)
    for number in range(100):
        writer.write(f"line {number:03}\n".encode())
    assert sorted(file.name for file in path.parent.iterdir()) == ["app.log", "app.log.1"]
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 300
    assert (await everything(path)).endswith(b"line 098\nline 099\n")
    assert await everything(path, tail=2) == b"line 098\nline 099\n"
    assert await everything(path, tail=0) == b""


async def test_the_tail_reaches_into_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    older(path).write_text("one\ntwo\n")
    path.write_text("three\n")
    assert await everything(path, tail=2) == b"two\nthree\n"


async def test_following_misses_nothing_across_rotations(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    writer = LogWriter(path, rotate_bytes=200)
    seen: list[bytes] = []
    writing = True

    async def follow() -> None:
        seen.extend([chunk async for chunk in read(path, tail=None, writing=lambda: writing)])

    following = asyncio.create_task(follow())
    for number in range(30):
        writer.write(f"line {number:03}\n".encode())
        await asyncio.sleep(0.12 if number % 20 == 19 else 0)  # fewer than one file between two looks
    writing = False
    await following
    assert b"".join(seen).decode().splitlines() == [f"line {number:03}" for number in range(30)]


async def test_following_begins_before_anything_was_written(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    writing, seen = True, bytearray()

    async def follow() -> None:
        async for chunk in read(path, tail=10, writing=lambda: writing):
            seen.extend(chunk)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    LogWriter(path).write(b"hello\n")
    await true(lambda: bytes(seen) == b"hello\n")
    writing = False
    await following


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_drops_output_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.symlink_to("/dev/full")
    writer = LogWriter(path)
    with capture_logs() as said:
        writer.write(b"one\n")
        writer.write(b"two\n")
    assert [each["event"] for each in said] == ["log output is dropped"]
    assert writer.last_line() == "two"


async def test_a_chatty_process_is_read_no_faster_than_its_log_may_grow(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "app.log")
    reader = asyncio.StreamReader(limit=2**30)
    reader.feed_data(b"x" * (BURST_BYTES * 3))
    reader.feed_eof()
    copying = asyncio.create_task(writer.copy(reader))
    await true(lambda: sum(file.stat().st_size for file in tmp_path.iterdir()) >= BURST_BYTES)
    assert not copying.done()
    copying.cancel()


def test_the_last_words_are_whole_lines_only(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "app.log")
    assert writer.last_line() == ""
    writer.write(b"first\n\n  last  \n\n")
    assert writer.last_line() == "last"
    writer.write(b"secret" * 1000)
    assert writer.last_line() == ""
    writer.write(b"\nagain\n")
    assert writer.last_line() == "again"
    writer.forget()
    assert writer.last_line() == ""

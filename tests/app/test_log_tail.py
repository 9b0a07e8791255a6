"""The end of a log, whatever is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from greenroom.app.log_tail import BYTES, LogSource, last_lines
from greenroom.core.excerpt import LINES


def source(*chunks: bytes) -> LogSource:
    async def read(namespace: str, pod: str, container: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        assert (namespace, pod, container, follow, tail) == ("pr-env", "web-1", "app", False, LINES)
        for chunk in chunks:
            yield chunk

    return read


async def test_lines_that_come_in_pieces_are_put_together() -> None:
    assert await last_lines(source(b"one\ntw", b"o\nth", b"ree"))("pr-env", "web-1", "app") == ["one", "two", "three"]


async def test_bytes_that_are_no_text_are_replaced() -> None:
    assert await last_lines(source(b"\xff\xfeboom\n"))("pr-env", "web-1", "app") == ["\ufffd\ufffdboom"]


async def test_a_line_whose_beginning_was_lost_is_not_shown_as_it_may_begin_within_a_secret() -> None:
    assert await last_lines(source(*[b"x" * 65536] * 100))("pr-env", "web-1", "app") == ["…"]
    assert await last_lines(source(b"x" * BYTES, b"\nboom\n"))("pr-env", "web-1", "app") == ["…", "boom"]


async def test_an_empty_log_has_no_lines() -> None:
    assert await last_lines(source())("pr-env", "web-1", "app") == []

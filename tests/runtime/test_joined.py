from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.virtual import now, virtual_time

from greenroom.model.errors import Unavailable
from greenroom.runtime.joined import Joined


class Book:
    """Whose pages take a second a write."""

    def __init__(self) -> None:
        self.written: list[tuple[float, str, str]] = []
        self.has_ink = True
        self.write: Joined[str, str, float] = Joined(self._write)

    async def _write(self, page: str, words: Sequence[str]) -> float:
        began = now()
        await asyncio.sleep(1)
        if not self.has_ink:
            raise Unavailable("no ink")
        self.written.append((began, page, "".join(words)))
        return now()


@virtual_time
async def test_what_comes_during_a_call_goes_together_in_the_next() -> None:
    book = Book()
    first = asyncio.create_task(book.write("1", "a"))
    await asyncio.sleep(0.5)
    assert await asyncio.gather(*(book.write("1", word) for word in "bcd")) == [2, 2, 2]
    assert await first == 1
    assert await book.write("1", "e") == 3
    assert book.written == [(0, "1", "a"), (1, "1", "bcd"), (2, "1", "e")]


@virtual_time
async def test_keys_do_not_wait_for_each_other() -> None:
    book = Book()
    assert await asyncio.gather(*(book.write(page, "a") for page in "123")) == [1, 1, 1]


@virtual_time
async def test_all_who_share_a_call_that_fails_are_told_and_the_next_is_made_anew() -> None:
    book = Book()
    book.has_ink = False
    first = asyncio.create_task(book.write("1", "a"))
    await asyncio.sleep(0)
    answers = await asyncio.gather(first, book.write("1", "b"), book.write("1", "c"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["no ink"] * 3
    assert now() == 2
    book.has_ink = True
    assert await book.write("1", "d") == 3
    assert book.written == [(2, "1", "d")]


@virtual_time
async def test_when_the_one_who_makes_the_call_goes_away_another_makes_it() -> None:
    book = Book()
    first = asyncio.create_task(book.write("1", "a"))
    await asyncio.sleep(0)
    second, third = (asyncio.create_task(book.write("1", word)) for word in "bc")
    await asyncio.sleep(1.5)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await third == 2.5
    assert await first == 1
    assert book.written == [(0, "1", "a"), (1.5, "1", "bc")]


@virtual_time
async def test_what_was_given_up_before_its_call_was_made_is_not_written_later() -> None:
    book = Book()
    first = asyncio.create_task(book.write("1", "a"))
    await asyncio.sleep(0)
    second = asyncio.create_task(book.write("1", "b"))
    await asyncio.sleep(0)
    second.cancel()
    await first
    await book.write("1", "c")
    assert [words for _, _, words in book.written] == ["a", "c"]

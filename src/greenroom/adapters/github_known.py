"""Answers that are kept to be asked for by their ETag: GitHub does not count what has not changed.

"Best practices for using the REST API", conditional requests. ``adapters.github_http`` asks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from yarl import URL

T_co = TypeVar("T_co", covariant=True)

LIMIT = 32 * 2**20
"""Bytes of answers that are kept, as they came. Comments are as long as anybody wants them to be."""

ENTRY = 1024
"""Bytes that an answer takes besides."""

Key = tuple[str, URL, object]
"""Whose credentials asked, for what, and what it was decoded as."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One decoded answer, and where the next page of it is."""

    value: T_co
    next_url: URL | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """``size`` is what it took to send, in bytes."""

    etag: str
    page: Page[object]
    size: int


class Memory:
    """The answers that were used last, of at most ``limit`` bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[Key, Known] = OrderedDict()

    def find(self, key: Key) -> Known | None:
        return self._known.get(key)

    def keep(self, key: Key, known: Known) -> None:
        """It was used now. What cannot be asked for by an ETag is not kept."""
        self._drop(key)
        if known.etag:
            self._known[key] = known
            self._size += known.size + ENTRY
        while self._size > self._limit:
            self._drop(next(iter(self._known)))

    def _drop(self, key: Key) -> None:
        former = self._known.pop(key, None)
        if former is not None:
            self._size -= former.size + ENTRY

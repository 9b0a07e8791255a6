"""Remembered answers of pure functions, so that a change costs what it changes, however much there is.

What is asked is compared with what was asked the last time. Parts that are the very same objects are equal to Python
without a look inside, so thousands of them are passed over in a millisecond. An answer that is equal to the one before
is that one, and whoever builds on it has nothing to do either.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")


class Each(Generic[K, V, T]):
    """``make``, asked about many things by their keys: again only about those that it is now told something else of."""

    def __init__(self, make: Callable[[V], T]) -> None:
        self._make = make
        self._asked: Mapping[K, V] = {}
        self._answers: Mapping[K, T] = {}

    def of(self, asked: Mapping[K, V]) -> Mapping[K, T]:
        """Its answers; the same mapping as before, if nothing that was asked is different. Others are forgotten."""
        before, self._asked = self._asked, asked
        if asked != before:
            answers = self._answers
            self._answers = {
                key: answers[key] if before.get(key) == what else _kept(answers.get(key), self._make(what))
                for key, what in asked.items()
            }
        return self._answers


class Last(Generic[V, T]):
    """``make``, asked about one thing."""

    def __init__(self, make: Callable[[V], T]) -> None:
        self._of = Each[None, V, T](make)

    def of(self, asked: V) -> T:
        return self._of.of({None: asked})[None]


def by_identity(limit: int) -> Callable[[Callable[[V], T]], Callable[[V], T]]:
    """For functions of values that are slow to hash: remembers answers for the last ``limit`` objects themselves."""

    def decorated(make: Callable[[V], T]) -> Callable[[V], T]:
        known: dict[int, tuple[V, T]] = {}  # which keeps the objects, so that no other gets the same id

        def remembered(value: V) -> T:
            found = known.get(id(value))
            if found is None:
                if len(known) >= limit:
                    del known[next(iter(known))]
                found = known[id(value)] = value, make(value)
            return found[1]

        return remembered

    return decorated


def _kept(old: T | None, new: T) -> T:
    return old if old is not None and old == new else new

"""An event loop with virtual time: sleeping costs nothing, and tests of back-off and timeouts are exact.

::

    @virtual_time
    async def test_the_back_off_reaches_its_cap() -> None: ...

When every task waits, time jumps to the next timer. When there is none either, nobody will ever go on, and the loop
raises Deadlock instead of hanging. A task or a timer that outlives the test fails it. Only for code without threads,
processes or sockets: from here they look like a deadlock.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Deadlock(AssertionError):
    """Every task waits, and no timer is set."""


class Leak(AssertionError):
    """A task or a timer outlived the coroutine that was run."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, in virtual time that begins at 0. Raises Deadlock and Leak."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        result = runner.run(main)
        loop = runner.get_loop()
        assert isinstance(loop, _VirtualLoop)
        loop.run_until_complete(asyncio.sleep(0))  # what was just cancelled may end
        if leaks := [*map(asyncio.Task.get_coro, asyncio.all_tasks(loop)), *loop.timers()]:
            raise Leak("; ".join(map(str, leaks)))
        return result


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test an ordinary one that runs in virtual time."""

    @functools.wraps(test)
    def synchronous(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return synchronous


def now() -> float:
    """Virtual seconds since the test began."""
    return asyncio.get_running_loop().time()


class _VirtualLoop(asyncio.SelectorEventLoop):
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jump(self._pass))
        self._clock_resolution = 1e-6  # asyncio's 1e-9 is lost in rounding after some months

    def time(self) -> float:
        return self._now

    def timers(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class _Jump(selectors.BaseSelector):
    """A selector that, instead of waiting, lets the time pass."""

    def __init__(self, pass_time: Callable[[float], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self._pass_time(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

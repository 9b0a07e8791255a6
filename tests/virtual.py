"""An event loop with virtual time: sleeping costs nothing, and tests of back-off and timeouts are exact.

::

    @virtual_time
    async def test_the_back_off_reaches_its_cap() -> None: ...

When every task waits, time jumps to the next timer. When there is none either, nobody will ever go on, and the loop
raises Deadlock instead of hanging. A task that outlives the test fails it. Only for code without threads, processes or
sockets: from here they look like a deadlock.
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
    """A task outlived the coroutine that was run."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, in virtual time that begins at 0. Raises Deadlock and Leak."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(_leaving_nothing_behind(main))


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test an ordinary one that runs in virtual time."""

    @functools.wraps(test)
    def synchronous(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return synchronous


def now() -> float:
    """Virtual seconds since the test began."""
    return asyncio.get_running_loop().time()


async def _leaving_nothing_behind(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    await asyncio.sleep(0)  # what was just cancelled may end
    if leaked := asyncio.all_tasks() - {asyncio.current_task()}:
        raise Leak(", ".join(sorted(str(task.get_coro()) for task in leaked)))
    return result


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jump(self._pass))
        self._clock_resolution = 1e-6  # asyncio's 1e-9 is lost in rounding after some months

    def time(self) -> float:
        return self._now

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

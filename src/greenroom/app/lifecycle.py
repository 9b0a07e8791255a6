"""What every way to run Greenroom shares: serving HTTP, parts in the background, ending in order, the clock."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import structlog
from aiohttp import web

from greenroom.model.errors import GreenroomError, InvalidInput

LOCAL = "127.0.0.1"
_COLLECTIONS = (20_000, 20, 20)

log = structlog.get_logger(__name__)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def collect_seldom() -> None:
    """Look for garbage less often than Python does by itself. For a whole program, once.

    Next to nothing here is in cycles. And each look at everything that the informers know stops the program, for a
    third of a second at 5,000 routes, after every third change of one.
    """
    gc.set_threshold(*_COLLECTIONS)


@asynccontextmanager
async def serving(
    app: web.Application,
    port: int,
    *,
    option: str,
    host: str | None = LOCAL,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve on ``host``, None for every address of the machine; answers the port, which the system chose for 0.

    Raises InvalidInput when that cannot be; ``option`` is how the user chooses another port.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
        except OSError as error:
            raise port_taken(port, option, error) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def port_taken(port: int, option: str, error: OSError) -> InvalidInput:
    reason = "another program listens on it" if error.errno == errno.EADDRINUSE else str(error.strerror)
    return InvalidInput(f"port {port} cannot be used: {reason}", cure=f"choose another with {option}")


@asynccontextmanager
async def background(*runs: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run these while the block runs. One that ends by itself ends the block: half a Greenroom must not go on.

    Raises GreenroomError then. (A TaskGroup would hide the block's own errors in a group.)
    """
    owner = asyncio.current_task()
    ended: list[asyncio.Task[None]] = []

    def note(task: asyncio.Task[None]) -> None:
        if owner is not None and not ended:
            ended.append(task)
            owner.cancel()

    tasks = [asyncio.create_task(run(), name=run.__qualname__) for run in runs]
    for task in tasks:
        task.add_done_callback(note)
    try:
        yield
    except asyncio.CancelledError:
        if not ended or owner is None or owner.uncancel() > 0:
            raise
        raise _unexpected(ended[0]) from None
    finally:
        for task in tasks:
            task.remove_done_callback(note)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unexpected(task: asyncio.Task[None]) -> GreenroomError:
    """What to tell of a part that ended; the log has where it happened."""
    error = None if task.cancelled() else task.exception()
    log.error("a part of Greenroom ended", part=task.get_name(), exc_info=error)
    why = "" if error is None else f": {type(error).__name__}: {error}"
    return GreenroomError(f"{task.get_name()} ended unexpectedly{why}; everything was stopped, start it again")


@contextmanager
def ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Let these signals end the block as Ctrl-C does, so that no process is left behind.

    Only the first one counts: a closing terminal sends both, and the second would cut the ending short.
    """
    loop, owner = asyncio.get_running_loop(), asyncio.current_task()

    def end() -> None:
        if owner is not None and not owner.cancelling():
            owner.cancel()

    for number_ in signals:
        loop.add_signal_handler(number_, end)
    try:
        yield
    finally:
        for number_ in signals:
            loop.remove_signal_handler(number_)

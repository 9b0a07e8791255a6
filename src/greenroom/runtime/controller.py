"""A controller: workers that call a reconcile with each key, and again until the world agrees.

The model is controller-runtime. A reconcile gets a key, reads the present state and makes it right; what happened to
the object is not told. It answers the seconds after which it wants to look again, or None. When it raises, or hangs
for longer than the timeout, its key is tried again with back-off, and no other key waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

from greenroom.model.errors import ClusterError, GreenroomError
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.cancellation import is_being_cancelled
from greenroom.runtime.queue import WorkQueue

__all__ = ["Backoff", "Controller"]

K = TypeVar("K", bound=Hashable)

log = structlog.get_logger(__name__)

_RETRY = Backoff()


class Controller(Generic[K]):
    """Reconciles the keys added to it, ``workers`` at a time; a single reconcile may take ``timeout`` seconds."""

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 4,
        backoff: Backoff = _RETRY,
        timeout: float = 120.0,
    ) -> None:
        self._name = name
        self._reconcile = reconcile
        self._workers = workers
        self._timeout = timeout
        self._queue: WorkQueue[K] = WorkQueue(backoff)

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Reconcile ``key``, ``after`` seconds from now. Waiting keys are not added twice; a sooner add wins.

        With ``after`` it must be called inside the event loop.
        """
        self._queue.add(key, after=after)

    async def run(self) -> None:
        """Work until cancelled; running reconciles are cancelled and awaited."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self._name}-{number}")
        finally:
            self._queue.close()

    async def _work(self) -> None:
        while True:
            async with self._queue.turn() as key:
                await self._handle(key)

    async def _handle(self, key: K) -> None:
        try:
            again = await self._within_timeout(key)
        except GreenroomError as error:
            self._retry(key, error)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            self._retry(key, error)
        except Exception:
            log.exception("reconcile crashed, trying again", controller=self._name, key=str(key))
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)
            if again is not None:
                self._queue.add(key, after=again)

    async def _within_timeout(self, key: K) -> float | None:
        try:
            async with asyncio.timeout(self._timeout) as timeout:
                return await self._reconcile(key)
        except TimeoutError as error:
            if timeout.expired():
                raise GreenroomError(f"gave up after {self._timeout:g} s") from error
            raise

    def _retry(self, key: K, error: BaseException) -> None:
        wait = error.retry_after if isinstance(error, ClusterError) else 0.0
        failures = self._queue.retry(key, at_least=wait)
        # One line tells a person; the repetitions of the same trouble are for those who look closer.
        report = log.info if failures == 1 else log.debug
        report(
            "reconcile failed, trying again",
            controller=self._name,
            key=str(key),
            error=str(error) or type(error).__name__,
            failures=failures,
        )

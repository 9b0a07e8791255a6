"""A controller: workers that call a reconcile with each key, and again until the world agrees.

The model is controller-runtime. A reconcile gets a key, reads the present state and makes it right; what happened to
the object is not told. It answers the seconds after which it wants to look again, or None. When it raises, or hangs
for longer than the timeout, its key is tried again with back-off, and no other key waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

import structlog

from greenroom.model.errors import ClusterError, GreenroomError
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.cancellation import is_being_cancelled
from greenroom.runtime.monitor import UNWATCHED, Monitor, Outcome
from greenroom.runtime.queue import WorkQueue

__all__ = ["Backoff", "Controller"]

K = TypeVar("K", bound=Hashable)

log = structlog.get_logger(__name__)

_RETRY = Backoff()


def _by_key(key: Hashable) -> Mapping[str, str]:
    return {"key": str(key)}


class Controller(Generic[K]):
    """Reconciles the keys added to it, ``workers`` at a time; a single reconcile may take ``timeout`` seconds.

    ``describe`` makes the fields that each log line about a key carries, those of the reconcile itself included.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 4,
        backoff: Backoff = _RETRY,
        timeout: float = 120.0,
        describe: Callable[[K], Mapping[str, str]] = _by_key,
        monitor: Monitor = UNWATCHED,
    ) -> None:
        self._name = name
        self._reconcile = reconcile
        self._workers = workers
        self._timeout = timeout
        self._describe = describe
        self._monitor = monitor
        self._queue: WorkQueue[K] = WorkQueue(backoff, monitor)

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Reconcile ``key``, ``after`` seconds from now. Waiting keys are not added twice; a sooner add wins."""
        self._queue.add(key, after=after)

    def is_stuck(self) -> bool:
        """Whether a reconcile goes on though its time is long over: one that cannot even be cancelled."""
        return self._queue.longest_turn() > 2 * self._timeout

    async def run(self) -> None:
        """Work until cancelled; running reconciles are cancelled and awaited."""
        try:
            with self._monitor.running(self.is_stuck):
                async with asyncio.TaskGroup() as group:
                    for number in range(self._workers):
                        group.create_task(self._work(), name=f"{self._name}-{number}")
        finally:
            self._queue.close()

    async def _work(self) -> None:
        while True:
            async with self._queue.turn() as key:
                with structlog.contextvars.bound_contextvars(controller=self._name, **self._describe(key)):
                    began = asyncio.get_running_loop().time()
                    outcome = await self._handle(key)
                    self._monitor.ended(asyncio.get_running_loop().time() - began, outcome)

    async def _handle(self, key: K) -> Outcome:
        try:
            again = await self._within_timeout(key)
        except GreenroomError as error:
            self._retry(key, error)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            self._retry(key, error)
        except Exception:
            log.exception("reconcile crashed, trying again")
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)
            if again is None:
                return Outcome.SUCCESS
            self._queue.add(key, after=again)
            return Outcome.REQUEUE_AFTER
        return Outcome.ERROR

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
        report("reconcile failed, trying again", error=str(error) or type(error).__name__, failures=failures)

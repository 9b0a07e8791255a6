"""A reflector: the task that lists and watches one scope.

The decisions are ``core.listwatch``'s; here is the talking: when to list or watch, how long to wait after a failure,
and when a stream that says nothing is no longer believed. ``runtime.informer`` has one for each scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from greenroom.core.listwatch import Delta, ListWatch
from greenroom.model.errors import ClusterError, Expired, UnknownKind
from greenroom.model.manifest import Manifest, table
from greenroom.model.watch import Listing, Scope, WatchEvent
from greenroom.ports import Cluster
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.cancellation import is_being_cancelled

log = structlog.get_logger(__name__)

RECONNECT = Backoff(base=0.1, cap=10.0)
UNKNOWN_KIND_SECONDS = 10.0
"""How often to look whether a kind that the cluster does not serve is served now, because its CRD was installed."""
ACCEPTED_SECONDS = 2.0
"""A watch that was not refused for this long is taken for accepted: until something changes it brings nothing."""


class Reflector:
    """``hand_out`` is called with what changed among the objects of ``scope``, in order; ``turned`` when the scope is
    refused though it was listed before, or listed though it was refused.

    A watch that brings nothing, not even a bookmark, for ``silence_seconds`` is taken for a half-open connection and
    made anew.
    """

    def __init__(
        self,
        cluster: Cluster,
        scope: Scope,
        hand_out: Callable[[Sequence[Delta]], None],
        turned: Callable[[], None],
        *,
        silence_seconds: float,
    ) -> None:
        self.has_listed = False
        self.synced = asyncio.Event()
        """Set once the scope was listed, or its kind is found not to be served."""
        self.answered = asyncio.Event()
        """Set once the cluster said something that stands: it listed the scope, or refused to."""
        self._cluster = cluster
        self._scope = scope
        self._hand_out = hand_out
        self._turned = turned
        self._silence_seconds = silence_seconds
        self._machine = ListWatch()
        self._error: ClusterError | None = None
        self._watching_since: float | None = None  # in seconds of the loop, as the next
        self._sign: float | None = None  # when the loop last showed that it lives
        self._heard = False  # whether the present watch has brought anything

    @property
    def failure(self) -> ClusterError | None:
        """Why the last connection ended, until one after it is accepted."""
        accepted = self._watching_since is not None and _now() - self._watching_since >= ACCEPTED_SECONDS
        return None if accepted else self._error

    @property
    def is_stuck(self) -> bool:
        """Whether the watch goes on though it should long have been made anew: it cannot even be cancelled."""
        return self._sign is not None and _now() - self._sign > 2 * self._silence_seconds

    def observe(self, manifest: Manifest) -> None:
        """Take what the cluster answered to a write. Before the scope was listed nothing is taken: the list has it."""
        self._hand_out(self._machine.observe(_trimmed(manifest)))

    def gone(self) -> Sequence[Delta]:
        """What changes when this reflector, which is not to run any more, is forgotten."""
        return [Delta(manifest, None) for manifest in self._machine.objects.values()]

    async def run(self) -> None:
        """Follow the scope until cancelled: at once when the last connection was of use, else after a back-off."""
        failures = 0
        while True:
            since, began = self._machine.since, _now()
            wait = await self._connect(first=failures == 0)
            # Getting nowhere means that the same list or watch would be asked again right after it was asked.
            useful = self._machine.since != since or _now() - began >= RECONNECT.cap
            failures = 0 if useful else failures + 1
            pause = max(wait, RECONNECT.delay(failures))
            self._sign = _now() + pause
            await asyncio.sleep(pause)

    async def _connect(self, *, first: bool) -> float:
        """One connection to its end, whatever ends it. Answers the seconds to wait before the next, at least."""
        # One line tells a person; the repetitions of the same trouble are for those who look closer.
        report = log.info if first else log.debug
        scope = str(self._scope)
        self._error, self._watching_since = self.failure, None
        try:
            await self._follow()
            self._error = None
        except Expired:
            self._machine.expired()
        except TimeoutError:
            # One that never brought anything may be of a kind that never changes, which gets no bookmarks.
            (report if self._heard else log.debug)("watch fell silent, connecting again", scope=scope)
        except ClusterError as error:
            if self._failed(error):
                report = log.warning
            report("watch failed, connecting again", scope=scope, error=str(error))
            return UNKNOWN_KIND_SECONDS if isinstance(error, UnknownKind) else error.retry_after
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            report("watch was cancelled elsewhere, connecting again", scope=scope)
        except Exception:
            log.exception("watch crashed, connecting again", scope=scope)
        return 0.0

    def _failed(self, error: ClusterError) -> bool:
        """Answers whether the cluster refuses, and did not before."""
        is_new = _is_refusal(error) and not _is_refusal(self._error)
        self._error, self._watching_since = error, None
        if isinstance(error, UnknownKind):
            self._machine.expired()
            self.synced.set()
        if _is_refusal(error):
            self.answered.set()
        if is_new and self.has_listed:
            self._turned()
        return is_new

    async def _follow(self) -> None:
        """List when needed, then watch to the end of the stream. Raises TimeoutError when nothing comes for long."""
        loop = asyncio.get_running_loop()
        self._sign, self._heard = loop.time(), False
        async with asyncio.timeout(self._silence_seconds) as silence:
            since = self._machine.since if self._machine.since is not None else await self._list()
            self._watching_since = loop.time()
            async for event in self._cluster.watch(
                self._scope.kind, since=since, namespace=self._scope.namespace, labels=self._scope.label
            ):
                self._sign, self._heard = loop.time(), True
                silence.reschedule(loop.time() + self._silence_seconds)
                self._hand_out(self._machine.event(WatchEvent(event.change, _trimmed(event.object))))

    async def _list(self) -> str:
        scope = self._scope
        listing = await self._cluster.list(scope.kind, namespace=scope.namespace, labels=scope.label)
        items = [_trimmed(item) for item in listing.items]
        was_refused, self._error = _is_refusal(self._error), None
        self._hand_out(self._machine.listing(Listing(items, listing.resource_version)))
        self.has_listed = True
        self.synced.set()
        self.answered.set()
        if was_refused:
            self._turned()
        return listing.resource_version


def _is_refusal(error: ClusterError | None) -> bool:
    """Whether it stands until somebody does something about it."""
    return error is not None and not error.retryable


def _now() -> float:
    return asyncio.get_running_loop().time()


def _trimmed(manifest: Manifest) -> Manifest:
    """Without ``managedFields``, which nobody here reads and which is often the larger part of an object."""
    metadata = table(manifest, "metadata")
    if "managedFields" not in metadata:
        return manifest
    return {**manifest, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}

"""Informers: one task a kind that lists, watches, and tells subscribers what changed.

The decisions are ``core.listwatch``'s, the copy is ``runtime.cache``'s; here is the talking: when to list or watch, how
long to wait after a failure, and when a stream that says nothing is no longer believed. Controllers
(``runtime.controller``) read the copy and are fed keys by handlers.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from greenroom.core.listwatch import Delta, ListWatch
from greenroom.model.errors import ClusterError, Expired, UnknownKind
from greenroom.model.manifest import Kind, Manifest, Ref, kind_of, table
from greenroom.model.watch import Listing, WatchEvent
from greenroom.ports import Cluster
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.cache import Cache
from greenroom.runtime.cancellation import is_being_cancelled

Handler: TypeAlias = "Callable[[Manifest | None, Manifest | None], None]"

log = structlog.get_logger(__name__)

RECONNECT = Backoff(base=0.1, cap=10.0)
UNKNOWN_KIND_SECONDS = 10.0
"""How often to look whether a kind that the cluster does not serve is served now, because its CRD was installed."""


class Informers:
    """An eventually consistent copy of the started kinds in ``namespace`` (by default in all), a ``ports.Reader``.

    A watch that brings nothing, not even a bookmark, for ``silence_seconds`` is taken for a half-open connection and
    made anew. Kubernetes sends a bookmark about once a minute.
    """

    def __init__(self, cluster: Cluster, *, namespace: str = "", silence_seconds: float = 300.0) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._silence_seconds = silence_seconds
        self._cache = Cache()
        self._synced: dict[Kind, asyncio.Event] = {}  # its keys are the started kinds
        self._listed: set[Kind] = set()
        self._handlers: dict[Kind, list[Handler]] = defaultdict(list)
        self._signs: dict[Kind, float] = {}  # when each kind's loop last showed that it lives, in seconds of the loop
        self._group: asyncio.TaskGroup | None = None

    def get(self, ref: Ref) -> Manifest | None:
        return self._cache.get(ref)

    def list(self, kind: Kind, *, namespace: str = "") -> Sequence[Manifest]:
        return self._cache.list(kind, namespace=namespace)

    def owned(self, uid: str) -> Sequence[Manifest]:
        return self._cache.owned(uid)

    def start(self, kind: Kind) -> None:
        """List and watch ``kind`` from now on, or once ``run`` begins. Starting it twice is starting it once."""
        if kind in self._synced:
            return
        self._synced[kind] = asyncio.Event()
        if self._group is not None:
            self._spawn(self._group, kind)

    def subscribe(self, kind: Kind, handler: Handler) -> None:
        """Start ``kind`` and call ``handler`` with (old, new) of each change, in order.

        ``old`` is None for an object that is new, ``new`` is None for one that is gone; an object replaced by another
        of its name goes before the other comes. What is known already is handed over at once. A handler must not
        block: it is the place to add a key to a queue.
        """
        self.start(kind)
        self._handlers[kind].append(handler)
        for manifest in self._cache.list(kind):
            _call(handler, Delta(None, manifest))

    def unsubscribe(self, handler: Handler) -> None:
        """Never call ``handler`` again, of whatever kind. The kinds go on being watched."""
        for handlers in self._handlers.values():
            while handler in handlers:
                handlers.remove(handler)

    def has_listed(self, *kinds: Kind) -> bool:
        """Whether each of ``kinds`` was listed once: not so one that the cluster does not serve, or not yet.

        A kube-apiserver that was just started answers before it serves the kinds of CRDs.
        """
        return self._listed.issuperset(kinds)

    def stuck(self) -> tuple[Kind, ...]:
        """The kinds whose watch goes on though it should long have been made anew: it cannot even be cancelled."""
        now = asyncio.get_running_loop().time()
        return tuple(kind for kind, sign in self._signs.items() if now - sign > 2 * self._silence_seconds)

    async def synced(self, *kinds: Kind) -> None:
        """Wait until each of ``kinds`` (by default all that are started) was listed once.

        A kind that the cluster does not serve counts as listed, and empty.
        """
        for kind in kinds or tuple(self._synced):
            self.start(kind)
            await self._synced[kind].wait()

    def observe(self, manifest: Manifest) -> None:
        """Take what the cluster answered to a write, so that the next read sees it.

        Before the kind was listed nothing is taken: the listing will have it.
        """
        kind = kind_of(manifest)
        self._hand_out(kind, self._cache.kind(kind).observe(_trimmed(manifest)))

    async def run(self) -> None:
        """Keep every started kind until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for kind in self._synced:
                self._spawn(group, kind)
            try:
                await asyncio.Event().wait()  # kinds are started at any time, so the group has to stay open
            finally:
                self._group = None  # a group that is shutting down takes no task

    def _spawn(self, group: asyncio.TaskGroup, kind: Kind) -> None:
        group.create_task(self._keep(kind), name=f"informer-{kind}")

    async def _keep(self, kind: Kind) -> None:
        """Follow ``kind`` for ever: at once when the last connection was of use, else after a back-off."""
        machine, loop = self._cache.kind(kind), asyncio.get_running_loop()
        failures = 0
        while True:
            since, began = machine.since, loop.time()
            wait = await self._connect(kind, machine, first=failures == 0)
            # Getting nowhere means that the same list or watch would be asked again right after it was asked.
            useful = machine.since != since or loop.time() - began >= RECONNECT.cap
            failures = 0 if useful else failures + 1
            pause = max(wait, RECONNECT.delay(failures))
            self._signs[kind] = loop.time() + pause
            await asyncio.sleep(pause)

    async def _connect(self, kind: Kind, machine: ListWatch, *, first: bool) -> float:
        """One connection to its end, whatever ends it. Answers the seconds to wait before the next, at least."""
        # One line tells a person; the repetitions of the same trouble are for those who look closer.
        report = log.info if first else log.debug
        try:
            await self._follow(kind, machine)
        except Expired:
            machine.expired()
        except TimeoutError:
            report("watch fell silent, connecting again", kind=str(kind))
        except UnknownKind as error:
            machine.expired()
            self._synced[kind].set()
            report("kind is not served, looking again later", kind=str(kind), error=str(error))
            return UNKNOWN_KIND_SECONDS
        except ClusterError as error:
            report("watch failed, connecting again", kind=str(kind), error=str(error))
            return error.retry_after
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            report("watch was cancelled elsewhere, connecting again", kind=str(kind))
        except Exception:
            log.exception("watch crashed, connecting again", kind=str(kind))
        return 0.0

    async def _follow(self, kind: Kind, machine: ListWatch) -> None:
        """List when needed, then watch to the end of the stream. Raises TimeoutError when nothing comes for long."""
        loop = asyncio.get_running_loop()
        self._signs[kind] = loop.time()
        async with asyncio.timeout(self._silence_seconds) as silence:
            since = machine.since if machine.since is not None else await self._list(kind, machine)
            async for event in self._cluster.watch(kind, since=since, namespace=self._namespace):
                self._signs[kind] = loop.time()
                silence.reschedule(loop.time() + self._silence_seconds)
                self._hand_out(kind, machine.event(WatchEvent(event.change, _trimmed(event.object))))

    async def _list(self, kind: Kind, machine: ListWatch) -> str:
        listing = await self._cluster.list(kind, namespace=self._namespace)
        items = [_trimmed(item) for item in listing.items]
        self._hand_out(kind, machine.listing(Listing(items, listing.resource_version)))
        self._listed.add(kind)
        self._synced[kind].set()
        return listing.resource_version

    def _hand_out(self, kind: Kind, deltas: Sequence[Delta]) -> None:
        self._cache.index(kind, deltas)
        for delta in deltas:
            for handler in tuple(self._handlers[kind]):
                _call(handler, delta)


def _call(handler: Handler, delta: Delta) -> None:
    try:
        handler(delta.old, delta.new)
    except Exception:
        log.exception("handler crashed", handler=getattr(handler, "__qualname__", repr(handler)))


def _trimmed(manifest: Manifest) -> Manifest:
    """Without ``managedFields``, which nobody here reads and which is often the larger part of an object."""
    metadata = table(manifest, "metadata")
    if "managedFields" not in metadata:
        return manifest
    return {**manifest, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}

"""Informers: a copy of parts of the cluster that follows it, and tells subscribers what changed.

What is followed is named by scopes, and ``runtime.reflector`` follows each; the copy is ``runtime.cache``'s.
Controllers (``runtime.controller``) read the copy and are fed keys by handlers.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from greenroom.core.listwatch import Delta
from greenroom.model.errors import ClusterError
from greenroom.model.manifest import Kind, Manifest, Ref, kind_of, text
from greenroom.model.watch import Scope
from greenroom.ports import Cluster
from greenroom.runtime.cache import Cache
from greenroom.runtime.reflector import Reflector

Handler: TypeAlias = "Callable[[Manifest | None, Manifest | None], None]"

SILENCE_SECONDS = 130.0
"""How long a watch may bring nothing. A kube-apiserver sends a bookmark a minute, so that one may be late or lost; and
it is less than the 240 s after which ``adapters.kube`` has every watch ended, which would leave nothing to notice. A
kind of which nothing has changed since the API server was started gets no bookmarks: its watch is made anew each time.
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Subscription:
    handler: Handler
    turned: Callable[[], None] | None


@dataclass(slots=True)
class _Followed:
    scope: Scope
    reflector: Reflector
    subscriptions: list[_Subscription] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Informers:
    """An eventually consistent copy of the started scopes, a ``ports.Reader`` over all of them.

    Scopes may overlap: an object is there once, and as long as one of them has it. A watch that brings nothing, not
    even a bookmark, for ``silence_seconds`` is made anew.
    """

    def __init__(self, cluster: Cluster, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._cluster = cluster
        self._silence_seconds = silence_seconds
        self._cache = Cache()
        self._followed: dict[Scope, _Followed] = {}
        self._by_place: dict[tuple[Kind, str], list[_Followed]] = defaultdict(list)  # by kind and namespace, or ""
        self._group: asyncio.TaskGroup | None = None

    def get(self, ref: Ref) -> Manifest | None:
        return self._cache.get(ref)

    def list(self, kind: Kind, *, namespace: str = "") -> Sequence[Manifest]:
        return self._cache.list(kind, namespace=namespace)

    def owned(self, uid: str) -> Sequence[Manifest]:
        return self._cache.owned(uid)

    def start(self, scope: Scope) -> None:
        """List and watch ``scope`` from now on, or once ``run`` begins. Starting it twice is starting it once."""
        if scope in self._followed:
            return

        def hand_out(deltas: Sequence[Delta]) -> None:
            if self._followed.get(scope) is followed:  # one that was stopped may take a while to end
                self._hand_out(scope.kind, deltas)

        def turned() -> None:
            for subscription in tuple(followed.subscriptions):
                if subscription.turned is not None:
                    subscription.turned()

        reflector = Reflector(self._cluster, scope, hand_out, turned, silence_seconds=self._silence_seconds)
        followed = self._followed[scope] = _Followed(scope, reflector)
        self._by_place[scope.kind, scope.namespace].append(followed)
        if self._group is not None:
            self._spawn(self._group, followed)

    def leave(self, scope: Scope, handler: Handler) -> None:
        """Never call ``handler`` again of ``scope``. When nobody else has subscribed to it, follow it no longer, and
        forget its objects but those that another scope has."""
        followed = self._followed.get(scope)
        if followed is None:
            return
        followed.subscriptions = [each for each in followed.subscriptions if each.handler != handler]
        if followed.subscriptions:
            return
        del self._followed[scope]
        if followed.task is not None:
            followed.task.cancel()
        neighbours = self._by_place[scope.kind, scope.namespace]
        neighbours.remove(followed)
        if not neighbours:
            del self._by_place[scope.kind, scope.namespace]
        self._hand_out(scope.kind, followed.reflector.gone())

    def subscribe(self, scope: Scope, handler: Handler, *, turned: Callable[[], None] | None = None) -> None:
        """Start ``scope`` and call ``handler`` with (old, new) of each change of what is, or was, in it, in order.

        ``old`` is None for an object that is new, ``new`` is None for one that is gone; an object replaced by another
        of its name goes before the other comes. What is known already is handed over at once. ``turned`` is called
        when ``failure`` begins to tell that the cluster refuses the scope, which was listed before, and when the scope
        is listed after all. A handler must not block: it is the place to add a key
        to a queue.
        """
        self.start(scope)
        self._followed[scope].subscriptions.append(_Subscription(handler, turned))
        for manifest in self._cache.list(scope.kind, namespace=scope.namespace):
            if scope.covers(manifest):
                _call(handler, Delta(None, manifest))

    def unsubscribe(self, handler: Handler) -> None:
        """Never call ``handler`` again, of whatever scope. The scopes go on being followed."""
        for followed in self._followed.values():
            followed.subscriptions = [each for each in followed.subscriptions if each.handler != handler]

    def has_listed(self, *scopes: Scope) -> bool:
        """Whether each of ``scopes`` was listed once: not so one whose kind the cluster does not serve, or not yet.

        A kube-apiserver that was just started answers before it serves the kinds of CRDs.
        """
        return all(scope in self._followed and self._followed[scope].reflector.has_listed for scope in scopes)

    def failure(self, scope: Scope) -> ClusterError | None:
        """What keeps a started scope from being listed or watched now. It is tried again until it succeeds."""
        followed = self._followed.get(scope)
        return followed.reflector.failure if followed is not None else None

    def stuck(self) -> tuple[Scope, ...]:
        """The scopes whose watch goes on though it should long have been made anew: it cannot even be cancelled."""
        return tuple(scope for scope, followed in self._followed.items() if followed.reflector.is_stuck)

    async def synced(self, *scopes: Scope) -> None:
        """Wait until each of ``scopes`` (by default all that are started) was listed once.

        One whose kind the cluster does not serve counts as listed, and empty.
        """
        for scope in scopes or tuple(self._followed):
            self.start(scope)
            await self._followed[scope].reflector.synced.wait()

    async def answered(self, scope: Scope) -> None:
        """Wait until a started scope was listed once, or the cluster refused: ``failure`` tells."""
        if scope in self._followed:
            await self._followed[scope].reflector.answered.wait()

    def observe(self, manifest: Manifest) -> None:
        """Take what the cluster answered to a write, so that the next read sees it.

        Before a scope was listed nothing is taken: the listing will have it.
        """
        for followed in self._around(kind_of(manifest), manifest):
            if followed.scope.covers(manifest):
                followed.reflector.observe(manifest)

    async def run(self) -> None:
        """Follow every started scope until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for followed in self._followed.values():
                self._spawn(group, followed)
            try:
                await asyncio.Event().wait()  # scopes are started at any time, so the group has to stay open
            finally:
                self._group = None  # a group that is shutting down takes no task

    def _spawn(self, group: asyncio.TaskGroup, followed: _Followed) -> None:
        # Its log lines are not about the key whose reconcile happens to start it.
        followed.task = group.create_task(
            followed.reflector.run(), name=f"reflector of {followed.scope}", context=Context()
        )

    def _hand_out(self, kind: Kind, deltas: Sequence[Delta]) -> None:
        for delta in self._cache.merge(kind, deltas):
            known = [manifest for manifest in delta if manifest is not None]
            for followed in self._around(kind, known[0]):
                if any(map(followed.scope.covers, known)):
                    for subscription in tuple(followed.subscriptions):
                        _call(subscription.handler, delta)

    def _around(self, kind: Kind, manifest: Manifest) -> Iterator[_Followed]:
        """The scopes of the kind that are about the object's namespace."""
        for namespace in dict.fromkeys(("", text(manifest, "metadata", "namespace"))):
            yield from tuple(self._by_place.get((kind, namespace), ()))


def _call(handler: Handler, delta: Delta) -> None:
    try:
        handler(delta.old, delta.new)
    except Exception:
        log.exception("handler crashed", handler=getattr(handler, "__qualname__", repr(handler)))

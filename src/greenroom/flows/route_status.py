"""What is to be said of routing objects -> their status: written only where it says something else.

At thousands of routes nearly all that is said anew was said before. It is compared with the last that was said, and
only what differs with the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from greenroom.core.gateways import Said, status_of
from greenroom.model.errors import Conflict, NotFound
from greenroom.model.gateway import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from greenroom.model.manifest import Manifest, Ref, ref_of, version_of
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import Monitors

_SHARED = (GATEWAY_CLASS, GATEWAY, HTTP_ROUTE)
"""Kinds into whose status other controllers write, too."""

PATIENCE_SECONDS = 10.0
"""How long what was said of an object stands while no Envoy answers: longer than an Envoy takes to start again."""
_SOON_SECONDS = 0.1


class RouteStatus:
    """Writes statuses. What is said of an object that has changed meanwhile is about what it was, and not written."""

    def __init__(self, cluster: Cluster, informers: Informers, clock: Clock, monitors: Monitors) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._verdicts: Mapping[Ref, Said | None] = {}
        self._said: Mapping[Ref, Said | None] = {}
        """The last verdict on each, whatever it is that is waited for now."""
        self._waiting_since: Mapping[Ref, float] = {}
        self._unrouted: set[Ref] = set()
        """Objects that were changed since everything was last routed."""
        self._unjudged: set[Ref] = set()
        """Objects that were changed, and routed since; there is no verdict on them yet."""
        self._writes = Controller("route-status", self._write, monitor=monitors("route-status"))

    async def run(self) -> None:
        await self._writes.run()

    def specified(self, ref: Ref) -> None:
        """Its user has changed it."""
        self._unrouted.add(ref)

    def stated(self, ref: Ref) -> None:
        """Its status was changed, by whomever."""
        self._writes.add(ref)

    def routed(self) -> None:
        """The next verdicts are about all objects as they are now."""
        self._unjudged |= self._unrouted
        self._unrouted.clear()

    def judged(self, verdicts: Mapping[Ref, Said | None], impatient: Callable[[Ref], Said | None]) -> float | None:
        """See to what is said of each object. ``impatient`` answers what is said of one that is waited for too long.

        Answers after how many seconds to ask again, if nothing happens; None when nothing is waited for.
        """
        now = asyncio.get_running_loop().time()
        since = {ref: self._waiting_since.get(ref, now) for ref, verdict in verdicts.items() if verdict is None}
        due = now - PATIENCE_SECONDS
        lost = {ref: impatient(ref) for ref, at in since.items() if at <= due}
        self._waiting_since, self._verdicts = since, {**verdicts, **lost} if lost else verdicts
        self._compare()
        left = min((at for at in since.values() if at > due), default=None)
        return None if left is None else max(left - due, _SOON_SECONDS)

    def _compare(self) -> None:
        before, self._said = self._said, {}
        said = self._said = {
            ref: before.get(ref) if verdict is None else verdict for ref, verdict in self._verdicts.items()
        }
        # Nearly all are the very same object as before, which is found sooner than that they are equal.
        changed = {ref for ref, each in said.items() if each is not before.get(ref) and each != before.get(ref)}
        for ref in changed | self._unjudged:
            verdict = self._verdicts.get(ref)
            if verdict is not None and ref not in self._unrouted:
                self._unjudged.discard(ref)
                self._writes.add(ref)
        self._unjudged &= self._verdicts.keys()

    async def _write(self, ref: Ref) -> None:
        manifest, verdict = self._informers.get(ref), self._verdicts.get(ref)
        if manifest is None or verdict is None or ref in self._unrouted or ref in self._unjudged:
            return
        status = status_of(manifest, verdict, self._clock.now())
        if status is not None:
            await self._patch(manifest, status)

    async def _patch(self, manifest: Manifest, status: Manifest) -> None:
        ref = ref_of(manifest)
        # A patch replaces whole lists, so it must not be of what another controller has changed meanwhile.
        version = version_of(manifest) if ref.kind in _SHARED else ""
        try:
            self._informers.observe(await self._cluster.patch_status(ref, status, resource_version=version))
        except NotFound:
            return  # deleted meanwhile; so is what there was to say
        except Conflict:
            return  # when the newer version comes, it is compared with what is to be said of it

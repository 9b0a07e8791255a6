"""Following what VirtualNodes lead to: Services, their endpoints and pods, in no more namespaces than they name.

So the operator needs no right to look at every pod of the cluster. ``flows.route`` makes routes of what is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from greenroom.core import clusters, commits
from greenroom.core.status import MISSING_PERMISSION
from greenroom.model.errors import Forbidden
from greenroom.model.mesh import Refused
from greenroom.model.permission import explained
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Handler, Informers

SYNC_SECONDS = 10.0
"""How long a namespace that is new may hold up all others, until it is known what is in it."""


class Backends:
    """``changed`` is called with the old and the new object whenever one that is followed here changes, ``turned`` when
    a namespace cannot be seen any more, or can be now."""

    def __init__(self, informers: Informers, *, changed: Handler, turned: Callable[[], None]) -> None:
        self._informers = informers
        self._changed = changed
        self._turned = turned
        self._namespaces: set[str] = set()

    async def follow(self, namespaces: Iterable[str]) -> Mapping[str, Refused]:
        """Follow these namespaces and no others, and wait until it is known what is in them.

        Answers why it is not, by namespace, for those of which nothing is known.
        """
        wanted = set(namespaces)
        for namespace in self._namespaces - wanted:
            self._leave(namespace)
        for namespace in sorted(wanted - self._namespaces):
            for scope in _scopes(namespace):
                self._informers.subscribe(scope, self._changed, turned=self._turned)
        self._namespaces = wanted
        unknown = [scope for each in sorted(wanted) for scope in _scopes(each) if not self._informers.has_listed(scope)]
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_SECONDS):
                await asyncio.gather(*map(self._informers.answered, unknown))
        needed = [scope for scope in unknown if scope.kind in clusters.KINDS]
        return {scope.namespace: self._trouble(scope) for scope in needed if not self._informers.has_listed(scope)}

    def close(self) -> None:
        """Follow nothing any more."""
        for namespace in self._namespaces:
            self._leave(namespace)
        self._namespaces = set()

    def _leave(self, namespace: str) -> None:
        for scope in _scopes(namespace):
            self._informers.leave(scope, self._changed)

    def _trouble(self, scope: Scope) -> Refused:
        error = self._informers.failure(scope)
        if isinstance(error, Forbidden) and error.permission is not None:
            return Refused(MISSING_PERMISSION, explained([error.permission]))
        return Refused("NotKnown", f"{scope}: {error or 'not listed yet'}")


def _scopes(namespace: str) -> list[Scope]:
    return [Scope(kind, namespace) for kind in (*clusters.KINDS, *commits.KINDS)]

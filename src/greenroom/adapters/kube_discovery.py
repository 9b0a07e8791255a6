"""Which kinds an API server serves, and under which URL: Kubernetes' aggregated discovery (v2, Kubernetes 1.30).

Two requests, to ``/api`` and ``/apis``, answer for every group. The answer is kept until a kind is asked for that is
not in it, because a CRD may have come since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import Json, Kind, items, text
from greenroom.model.watch import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
"""The media type to ask for. An older server would refuse it with 406; the second one lets it show what it is."""


def resources_of(groups: Json) -> Iterator[Resource]:
    """The resources of an ``APIGroupDiscoveryList``; the group of ``/api`` has no name."""
    for group in items(groups, "items"):
        for version in items(group, "versions"):
            for resource in items(version, "resources"):
                yield Resource(
                    kind=Kind(
                        text(group, "metadata", "name"),
                        text(version, "version"),
                        text(resource, "responseKind", "kind"),
                    ),
                    plural=text(resource, "resource"),
                    namespaced=text(resource, "scope") == "Namespaced",
                    short_names=tuple(name for name in items(resource, "shortNames") if isinstance(name, str)),
                )


class Discovery:
    """A cache over ``fetch``. A miss fetches again, but not more than once in ``interval`` seconds: a ReviewApp that
    names a kind nobody serves must not turn every retry into two requests."""

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[Resource]]], *, interval: float = 1.0) -> None:
        self._fetch = fetch
        self._interval = interval
        self._known: dict[Kind, Resource] = {}
        self._fresh_until = float("-inf")
        self._refreshing = asyncio.Lock()

    async def all(self) -> Sequence[Resource]:
        """Every resource, asked for now."""
        found = await self._fetch()
        self._known = {resource.kind: resource for resource in found}
        self._fresh_until = asyncio.get_running_loop().time() + self._interval
        return found

    async def find(self, kind: Kind) -> Resource:
        """How ``kind`` is served. Raises UnknownKind."""
        if kind not in self._known:
            async with self._refreshing:
                if kind not in self._known and asyncio.get_running_loop().time() >= self._fresh_until:
                    await self.all()
        resource = self._known.get(kind)
        if resource is None:
            raise UnknownKind(f"the cluster serves no {kind.name} of {kind.api_version}")
        return resource

    def forget(self, kind: Kind) -> None:
        """The server does not know this kind's path any more: look again when it is asked for."""
        self._known.pop(kind, None)

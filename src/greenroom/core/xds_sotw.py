"""State-of-the-world xDS on one stream: what an aws-appmesh-envoy speaks, and each Envoy that is not told otherwise.

A response with clusters or listeners has all of them, and what it leaves out is gone. One with endpoints or routes has
what changed of those that Envoy asked for, and leaving out means nothing. Every request names all that Envoy wants.
An Envoy that connects again does not tell what it still has, so it gets everything again, and a cluster that went in
the meantime goes before the routes that led to it: its visitors get a 503 for a moment, and a 404 then.
"""

from __future__ import annotations

from dataclasses import dataclass

from greenroom.core.xds import Request, Response, XdsResource
from greenroom.core.xds_channel import ALL, Channel, is_wildcard
from greenroom.core.xds_stream import Stream, channels


@dataclass(frozen=True, slots=True)
class SotwRequest(Request):
    """A DiscoveryRequest. Its version is of no use: an Envoy that refuses something says so by ``error``."""

    names: tuple[str, ...] = ()


class SotwStream(Stream[SotwRequest]):
    def __init__(self) -> None:
        super().__init__(channels(_SotwChannel))


class _SotwChannel(Channel[SotwRequest]):
    def __init__(self, type_url: str) -> None:
        super().__init__(type_url)
        self._is_complete = is_wildcard(type_url)
        self._begun = False
        self._last = ""

    def hear(self, request: SotwRequest) -> None:
        """A stale request is followed by one that answers the newer response, and names all that Envoy wants."""
        if request.nonce not in {"", self._last}:
            return
        self._answer(request.nonce, request.error)
        named = {name for name in request.names if name != ALL}
        if ALL in request.names or (not named and is_wildcard(self.type_url) and not self._begun):
            self._everything = True
        elif named:
            self._everything = False
        self._begun = True
        for name in self._names - named:
            self._set(name, None)
        self._names = named

    def _response(self, nonce: str, changed: tuple[XdsResource, ...], removed: tuple[str, ...]) -> Response | None:
        if not self._is_complete and not changed:
            return None
        self._last = nonce
        everything = (resource for resource in self._has.values() if resource.body)
        resources = tuple(everything) if self._is_complete else changed
        return Response(self.type_url, nonce, resources)

"""Incremental xDS on one stream: only what changed travels. An Envoy that connects again tells what it still has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from greenroom.core.xds import Request, Response, XdsResource
from greenroom.core.xds_channel import ALL, Channel, is_wildcard
from greenroom.core.xds_stream import Stream, channels


@dataclass(frozen=True, slots=True)
class DeltaRequest(Request):
    """A DeltaDiscoveryRequest."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


class DeltaStream(Stream[DeltaRequest]):
    def __init__(self) -> None:
        super().__init__(channels(_DeltaChannel))


class _DeltaChannel(Channel[DeltaRequest]):
    def __init__(self, type_url: str) -> None:
        super().__init__(type_url)
        self._begun = False
        self._forgotten: set[str] = set()

    def hear(self, request: DeltaRequest) -> None:
        names = {name for name in request.subscribe if name != ALL}
        if not self._begun:
            self._everything = not request.subscribe and is_wildcard(self.type_url)
            for name, version in request.initial_versions.items():
                self._set(name, XdsResource(name, version, b""))
        for name in names:
            # Asking for a name again means that Envoy lost it.
            if self._begun or name in self._forgotten or name not in request.initial_versions:
                self._doubt(name)
        self._begun = True
        self._everything = (self._everything or ALL in request.subscribe) and ALL not in request.unsubscribe
        self._names = (self._names | names) - {*request.unsubscribe}
        for name in request.unsubscribe:
            self._set(name, None)
        self._answer(request.nonce, request.error)

    def forget(self, names: Iterable[str]) -> None:
        if self._begun:
            super().forget(names)
        else:
            self._forgotten.update(names)

    def _response(self, nonce: str, changed: tuple[XdsResource, ...], removed: tuple[str, ...]) -> Response:
        return Response(self.type_url, nonce, changed, removed)

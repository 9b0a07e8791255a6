"""The order in which one Envoy gets what it is to have, sans I/O: fed with requests and snapshots it answers responses.

The rules are those of Envoy's ``xds_protocol.rst``, the order is our own. Envoy acknowledges clusters only when they
are warm, that is when their endpoints have come. So:

    clusters that are new -> their endpoints, as asked -> wait for the ACK -> listeners -> routes -> wait for the ACK
    -> take away the clusters that no route needs any more

and no request meets a route whose cluster is not ready. The wait is bounded: whoever drives the machine calls
``release`` after a while, so that one cluster that never warms up does not hold up all routes. Nothing is answered
before the first snapshot: a control plane that has just started must not take everything away from an Envoy that is
running. ``core.xds_channel`` keeps what is known of each type of resource, ``adapters.ads`` does the talking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Response, Snapshot, Standing
from greenroom.core.xds_channel import Channel, R


class Stream(Generic[R]):
    """One Envoy's stream, of either variant: ``R`` is what it asks with."""

    def __init__(self, channels: Mapping[str, Channel[R]]) -> None:
        self._channels = channels
        self._published = False
        self._nonces = 0

    def publish(self, snapshot: Snapshot) -> list[Response]:
        """From now on this is what Envoy is to have."""
        self._published = True
        for type_url, channel in self._channels.items():
            channel.want(snapshot.get(type_url, {}))
        return self._advance()

    def receive(self, request: R) -> list[Response]:
        """Envoy asked for something, took something or refused it. Types that we do not have are not answered."""
        channel = self._channels.get(request.type_url)
        if channel is None:
            return []
        channel.hear(request)
        return self._advance()

    @property
    def held_by(self) -> str:
        """The nonce of the clusters whose ACK the routes wait for, ``""`` when they do not."""
        return self._channels[CLUSTER].awaited

    def release(self, nonce: str) -> list[Response]:
        """Wait for the ACK of these clusters no longer, if it has not come yet."""
        self._channels[CLUSTER].release(nonce)
        return self._advance()

    def retry(self, type_url: str) -> list[Response]:
        """Send again what was refused of this type: what stood in its way, a port that was taken, may be gone."""
        self._channels[type_url].pardon()
        return self._advance()

    def standing(self) -> Standing:
        named = [(type_url, self._channels[type_url]) for type_url in TYPES]
        return Standing(
            frozenset((type_url, name) for type_url, channel in named for name in channel.missing()),
            {(type_url, name): why for type_url, channel in named for name, why in channel.refused().items()},
        )

    def _advance(self) -> list[Response]:
        if not self._published:
            return []
        responses = self._send(CLUSTER, removals=False)
        responses += self._send(ENDPOINTS)
        if self._channels[CLUSTER].is_ahead:
            responses += self._send(LISTENER)
            responses += self._send(ROUTES)
            # Nothing older may still lead to clusters that are to go.
            if self._channels[LISTENER].is_settled and self._channels[ROUTES].is_settled:
                responses += self._send(CLUSTER)
        return responses

    def _send(self, type_url: str, *, removals: bool = True) -> list[Response]:
        channel = self._channels[type_url]
        changed = channel.changed()
        removed = channel.removed() if removals else ()
        if not channel.is_free or not (changed or removed or channel.waits_for_any):
            return []
        if type_url == CLUSTER:
            # A cluster that changes warms up again, for which it needs its endpoints although they are the same.
            self._channels[ENDPOINTS].forget(resource.name for resource in changed)
        self._nonces += 1
        response = channel.send(str(self._nonces), changed, removed)
        return [] if response is None else [response]


def channels(make: type[Channel[R]]) -> dict[str, Channel[R]]:
    """One for each type of resource."""
    return {type_url: make(type_url) for type_url in TYPES}

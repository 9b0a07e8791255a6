"""One Envoy's stream: its machine, the responses on their way to it, and the timers that end a long wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic

import grpc
import structlog

from greenroom.core.xds import CLUSTER, LISTENER, Response, Snapshot, Standing
from greenroom.core.xds_channel import R
from greenroom.core.xds_stream import Stream

_WARMING_SECONDS = 2.0
"""How long routes wait for their clusters to warm up. Longer, and one broken environment would hold up all others."""
_RETRY_SECONDS = {LISTENER: 2.0, CLUSTER: 30.0}
"""How soon what was refused is offered again, by type. These are refused for what is not in them: a port that is
taken, a certificate's file that is missing. Routes wait for the answer to clusters, so these are offered less often."""
_REMEMBERED = 64
"""How many different refusals are remembered, so that each is logged once and not at each retry."""

log = structlog.get_logger(__name__)


class EnvoyStream(Generic[R]):
    """``refused`` is called with the type of what Envoy refuses, ``changed`` when its standing may have changed."""

    def __init__(
        self,
        machine: Stream[R],
        encode: Callable[[Response], bytes],
        *,
        changed: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._encode = encode
        self._changed = changed
        self._refused = refused
        self._outbox: asyncio.Queue[Response] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()
        self._held_by = ""
        self._complaints: deque[str] = deque(maxlen=_REMEMBERED)
        self._to_retry: set[str] = set()

    def publish(self, snapshot: Snapshot) -> None:
        self._send(self._machine.publish(snapshot))

    def receive(self, request: R) -> None:
        if request.error:
            self._complain(request)
        self._send(self._machine.receive(request))

    def standing(self) -> Standing:
        return self._machine.standing()

    async def write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Until cancelled."""
        while True:
            await context.write(self._encode(await self._outbox.get()))

    def close(self) -> None:
        """Nothing happens here any more."""
        for timer in self._timers:
            timer.cancel()

    def _complain(self, request: R) -> None:
        if request.error not in self._complaints:
            self._complaints.append(request.error)
            log.warning("Envoy refused configuration", type=request.type_url, error=request.error)
        self._refused(request.type_url)
        if request.type_url in _RETRY_SECONDS and request.type_url not in self._to_retry:
            self._to_retry.add(request.type_url)
            self._later(_RETRY_SECONDS[request.type_url], lambda: self._retry(request.type_url))

    def _retry(self, type_url: str) -> Iterable[Response]:
        self._to_retry.discard(type_url)
        return self._machine.retry(type_url)

    def _send(self, responses: Iterable[Response]) -> None:
        for response in responses:
            self._outbox.put_nowait(response)
        held_by = self._machine.held_by
        if held_by and held_by != self._held_by:
            self._later(_WARMING_SECONDS, lambda: self._machine.release(held_by))
        self._held_by = held_by
        self._changed()

    def _later(self, seconds: float, act: Callable[[], Iterable[Response]]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._send(act())

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

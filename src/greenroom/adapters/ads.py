"""The control plane's server: aggregated discovery, incremental and state of the world, over gRPC (``ports.Gateway``).

Here is nothing but talking and waiting. What to send, when, and what an answer means is the business of
``core.xds_stream``. An Envoy says which gateway it serves by its ``node.cluster`` (``core.gateway_names``).
With TLS its certificate must say so, too: otherwise whoever runs a pod could read the configuration of every other
gateway.

Of several replicas one serves, so that it knows the standing of every Envoy. The others refuse streams, and Envoys
look further; until they find the one that serves they keep what they have.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias

import grpc
import structlog

from greenroom.adapters import ads_messages as messages
from greenroom.adapters.ads_stream import EnvoyStream
from greenroom.adapters.ads_tls import AdsTls, may_have
from greenroom.core.xds import Response, Snapshot, Standing
from greenroom.core.xds_channel import R
from greenroom.core.xds_delta import DeltaStream
from greenroom.core.xds_sotw import SotwStream
from greenroom.core.xds_stream import Stream
from greenroom.runtime.cancellation import is_being_cancelled

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_GRACE_SECONDS = 0.5
_LARGEST_REQUEST = 64 * 1024 * 1024  # an Envoy that comes back names every resource that it has
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _LARGEST_REQUEST),
    ("grpc.max_send_message_length", -1),
    # An Envoy that hangs, or whose node vanished, is found gone, and forgotten, within ten seconds. One timeout is
    # the kernel's, for a packet that nobody confirms (TCP_USER_TIMEOUT), the other for a ping that nobody answers.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Envoys ask as often (``core.bootstrap``). One that asked more often than this would be sent away.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Variant(Generic[R]):
    """Incremental, or state of the world."""

    make: Callable[[], Stream[R]]
    encode: Callable[[Response], bytes]
    decode: Callable[[bytes], tuple[R, Any]]


class AdsServer:
    """Listens while it is entered (``async with AdsServer() as ads``), and takes Envoys while it is ``serving``.

    Without ``tls`` any process that reaches the port gets every gateway's configuration.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, tls: AdsTls | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._server: grpc.aio.Server | None = None
        self._encoder = messages.Encoder()
        self._snapshots: dict[str, Snapshot] = {}
        self._streams: dict[str, set[EnvoyStream[Any]]] = defaultdict(set)
        self._changed: Callable[[str], None] = lambda _: None
        self._talks: set[asyncio.Task[Any]] = set()
        self._serves = False
        self._refusals: Counter[tuple[str, str]] = Counter()

    @property
    def address(self) -> str:
        """``host:port``, the real port once entered; an address of IPv6 is in brackets."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def connected(self) -> Mapping[str, int]:
        """How many Envoys of each gateway are connected."""
        return {gateway: len(streams) for gateway, streams in self._streams.items()}

    @property
    def refusals(self) -> Mapping[tuple[str, str], int]:
        """How often Envoys refused something, by gateway and type URL."""
        return self._refusals

    @contextmanager
    def serving(self, changed: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Take Envoys. In the end all streams are ended, and what was published is forgotten."""
        self._serves, self._changed = True, changed
        try:
            yield
        finally:
            self._serves, self._changed = False, lambda _: None
            self._snapshots.clear()
            for talk in self._talks:
                talk.cancel()

    def publish(self, gateway: str, snapshot: Snapshot) -> None:
        self._snapshots[gateway] = snapshot
        for stream in self._streams.get(gateway, ()):
            stream.publish(snapshot)

    def withdraw(self, gateway: str) -> None:
        self._snapshots.pop(gateway, None)

    def standings(self, gateway: str) -> Sequence[Standing]:
        return [stream.standing() for stream in self._streams.get(gateway, ())]

    async def __aenter__(self) -> Self:
        """Raises OSError when the port cannot be had."""
        self._server = grpc.aio.server(options=_OPTIONS)
        methods = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        try:
            self._port = self._listen(self._server)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.address} for Envoy: {error}") from error
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)

    def _listen(self, server: grpc.aio.Server) -> int:
        if self._tls is None:
            return int(server.add_insecure_port(self.address))
        return int(server.add_secure_port(self.address, self._tls.credentials))

    async def _delta(self, _: object, context: _Context) -> None:
        await self._talk(context, _Variant(DeltaStream, self._encoder.delta, messages.delta_request))

    async def _sotw(self, _: object, context: _Context) -> None:
        await self._talk(context, _Variant(SotwStream, self._encoder.sotw, messages.sotw_request))

    async def _talk(self, context: _Context, variant: _Variant[R]) -> None:
        """Until Envoy goes away, or this server stops serving."""
        # Now, while nobody cancels it. Of a write that is cancelled gRPC does not know that the headers went with it:
        # it would send them again with the status, fail, and leave Envoy with a stream of which nothing more comes.
        await context.send_initial_metadata(())
        if not self._serves:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this replica does not serve Envoys")
        task = asyncio.ensure_future(self._converse(context, variant))
        self._talks.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this replica serves Envoys no longer")
        finally:
            self._talks.discard(task)

    async def _converse(self, context: _Context, variant: _Variant[R]) -> None:
        if (data := await context.read()) is grpc.aio.EOF:
            return
        request, node = variant.decode(data)
        gateway = node.cluster
        if self._tls is not None and not may_have(gateway, context):
            log.warning("refused an Envoy whose certificate is of another gateway", gateway=gateway, envoy=node.id)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the certificate does not name {gateway}")
        stream = self._connect(gateway, variant)
        log.info("an Envoy connected", gateway=gateway, envoy=node.id)
        writer = asyncio.create_task(stream.write(context), name="ads-writer")
        try:
            stream.receive(request)
            while (data := await context.read()) is not grpc.aio.EOF:
                stream.receive(variant.decode(data)[0])
        finally:
            # First what needs no waiting: gRPC may cancel this once more.
            self._disconnect(gateway, stream)
            log.info("an Envoy left", gateway=gateway, envoy=node.id)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _connect(self, gateway: str, variant: _Variant[R]) -> EnvoyStream[R]:
        stream = EnvoyStream(
            variant.make(),
            variant.encode,
            changed=lambda: self._changed(gateway),
            refused=lambda type_url: self._refusals.update([(gateway, type_url)]),
        )
        if gateway in self._snapshots:
            stream.publish(self._snapshots[gateway])
        self._streams[gateway].add(stream)
        return stream

    def _disconnect(self, gateway: str, stream: EnvoyStream[R]) -> None:
        stream.close()
        self._streams[gateway].discard(stream)
        if not self._streams[gateway]:
            del self._streams[gateway]
        self._changed(gateway)

"""The control plane's server: aggregated discovery, incremental, over gRPC (``ports.Gateway``).

Here is nothing but talking and waiting. What to send, when, and what an answer means is ``core.xds``'s business. An
Envoy says which gateway it serves by its ``node.cluster``: ``namespace/name`` of the VirtualGateway.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3 import discovery_pb2

from greenroom.core.xds import LISTENER, DeltaStream, Request, Response, Snapshot, Standing

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_WARMING_SECONDS = 2.0
"""How long routes wait for their clusters to warm up. Longer, and one broken environment would hold up all others."""
_RETRY_SECONDS = 2.0
"""How soon a refused listener is offered again. It alone is refused for what is not in it: a port that is taken."""
_GRACE_SECONDS = 0.5
_LARGEST_REQUEST = 64 * 1024 * 1024  # an Envoy that comes back names every resource that it has
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _LARGEST_REQUEST),
    ("grpc.max_send_message_length", -1),
    # A gateway behind a silent firewall is found gone, and forgotten, within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

log = structlog.get_logger(__name__)


class AdsServer:
    """Serves published snapshots to Envoys while it is entered: ``async with AdsServer() as ads``."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._server: grpc.aio.Server | None = None
        self._snapshots: dict[str, Snapshot] = {}
        self._streams: dict[str, set[_Stream]] = defaultdict(set)
        self._handlers: list[Callable[[str], None]] = []

    @property
    def address(self) -> str:
        """``host:port``, the real port once entered."""
        return f"{self._host}:{self._port}"

    def publish(self, gateway: str, snapshot: Snapshot) -> None:
        self._snapshots[gateway] = snapshot
        for stream in self._streams[gateway]:
            stream.publish(snapshot)

    def withdraw(self, gateway: str) -> None:
        self._snapshots.pop(gateway, None)

    def standings(self, gateway: str) -> Sequence[Standing]:
        return [stream.standing() for stream in self._streams[gateway]]

    def subscribe(self, handler: Callable[[str], None]) -> None:
        self._handlers.append(handler)

    async def __aenter__(self) -> AdsServer:
        """Raises OSError when the port cannot be had."""
        self._server = grpc.aio.server(options=_OPTIONS)
        talk = grpc.stream_stream_rpc_method_handler(
            self._talk,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        methods = {"DeltaAggregatedResources": talk}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        try:
            self._port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.address} for Envoy: {error}") from error
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)

    async def _talk(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        gateway = first.node.cluster
        stream = _Stream(lambda: self._changed(gateway))
        if gateway in self._snapshots:
            stream.publish(self._snapshots[gateway])
        self._streams[gateway].add(stream)
        log.info("an Envoy connected", gateway=gateway, envoy=first.node.id)
        try:
            stream.receive(first)
            await stream.run(context)
        finally:
            self._streams[gateway].discard(stream)
            self._changed(gateway)
            log.info("an Envoy left", gateway=gateway, envoy=first.node.id)

    def _changed(self, gateway: str) -> None:
        for handler in self._handlers:
            handler(gateway)


class _Stream:
    """One Envoy: its machine, the responses on their way to it, and the timer that ends a long wait."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._machine = DeltaStream()
        self._changed = changed
        self._outbox: asyncio.Queue[Response] = asyncio.Queue()
        self._held_by = ""
        self._complaint = ""

    def publish(self, snapshot: Snapshot) -> None:
        self._send(self._machine.publish(snapshot))

    def receive(self, message: Any) -> None:
        request = _request(message)
        if request.error:
            self._refused(request)
        self._send(self._machine.receive(request))

    def _refused(self, request: Request) -> None:
        if request.error != self._complaint:  # once, not at each retry
            log.warning("Envoy refused configuration", type=request.type_url, error=request.error)
        self._complaint = request.error
        if request.type_url == LISTENER:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, lambda: self._send(self._machine.retry()))

    def standing(self) -> Standing:
        return self._machine.standing()

    async def run(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Until Envoy goes away."""
        writer = asyncio.create_task(self._write(context), name="ads-writer")
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                self.receive(message)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while True:
            await context.write(_message(await self._outbox.get()))

    def _send(self, responses: Iterable[Response]) -> None:
        for response in responses:
            self._outbox.put_nowait(response)
        held_by = self._machine.held_by
        if held_by and held_by != self._held_by:
            asyncio.get_running_loop().call_later(_WARMING_SECONDS, self._release, held_by)
        self._held_by = held_by
        self._changed()

    def _release(self, nonce: str) -> None:
        self._send(self._machine.release(nonce))


def _request(message: Any) -> Request:
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=(message.error_detail.message or "refused without a reason") if message.HasField("error_detail") else "",
    )


def _message(response: Response) -> Any:
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url,
        nonce=response.nonce,
        resources=[
            discovery_pb2.Resource(
                name=resource.name,
                version=resource.version,
                resource={"type_url": response.type_url, "value": resource.body},
            )
            for resource in response.resources
        ],
        removed_resources=response.removed,
    )

"""Requests to an API server: one session, JSON in and out, and every failure as a ``ClusterError``.

``adapters.kube`` says what to ask for.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from greenroom import __version__
from greenroom.adapters.kube_status import decode_status, error_of
from greenroom.adapters.kubeconfig import Connection
from greenroom.model.errors import ClusterError, Unavailable
from greenroom.model.manifest import Json, Manifest

CONNECT_TIMEOUT = 5.0
"""Seconds to open a TCP connection."""

_decoder = msgspec.json.Decoder(dict[str, Any])


class ApiServer:
    """A session with the API server of ``connection``; ``timeout`` bounds a whole request, in seconds."""

    _session: aiohttp.ClientSession

    def __init__(self, connection: Connection, *, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def __aenter__(self) -> ApiServer:
        authority = self._connection.authority
        headers = {"User-Agent": f"greenroom/{__version__}", "Accept": "application/json"}
        if self._connection.token:
            headers["Authorization"] = f"Bearer {self._connection.token}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cadata=authority) if authority else True, socket_factory=_socket
            ),
            headers=headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON object that the server answers."""
        async with self.open(
            method, path, params=params, body=body, headers=headers, timeout=self._timeout
        ) as response:
            return decode(await response.read())

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None,
        params: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body is still to be read; reading it in the block is guarded, too.

        ``timeout`` is for all of it, in seconds; None is for a stream without end.
        """
        try:
            async with self._session.request(
                method,
                URL(self._connection.server + path, encoded=True),
                params=params,
                data=None if body is None else io.BytesIO(msgspec.json.encode(body)),  # bytes warn over 1 MiB
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT),
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    status = decode_status(await response.read())
                    raise self.error(response.status, status, retry_after=response.headers.get("Retry-After", ""))
                yield response
        except TimeoutError as error:
            raise Unavailable(f"the API server at {self._connection.server} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"no connection to the API server at {self._connection.server}: {error}") from error

    def error(self, code: int, status: Json, *, retry_after: str = "") -> ClusterError:
        """What ``model.errors`` calls this ``Status``, without the token."""
        return error_of(code, status, retry_after=retry_after, secret=self._connection.token)


def decode(body: bytes) -> dict[str, Any]:
    """A JSON object from the server. Raises Unavailable for anything else, which no API server would send."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable("the API server's answer is not a JSON object") from error


async def split_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream, of any length. Raises Unavailable when it ends within a line.

    aiohttp's own ``readline`` refuses lines over 512 KiB, and an object may be larger.
    """
    pending: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending.append(first)
        for part in others:
            yield b"".join(pending)
            pending = [part]
    if any(pending):
        raise Unavailable("the API server's answer ended in the middle of a line")


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within a minute when its peer is gone: a watch may have nothing to read for longer."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # not on macOS, whose defaults stay
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made

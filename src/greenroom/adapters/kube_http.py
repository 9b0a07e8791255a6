"""Requests to an API server: one session, JSON in and out, and every failure as a ``ClusterError``.

A server that is busy is asked again, one that refuses our credentials gets newer ones, if there are any; all else is
for the caller to decide. ``adapters.kube`` says what to ask for.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from greenroom import __version__
from greenroom.adapters.kube_connection import Connection, TlsContexts
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_secrecy import values_of
from greenroom.adapters.kube_status import decode_status, error_of
from greenroom.model.errors import ClusterError, Throttled, Unavailable
from greenroom.model.manifest import Json, Manifest

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT = 5.0
"""Seconds to open a TCP connection."""

IN_FLIGHT = 64
"""Requests at once, of those that end by themselves and are not ``apart``. There is no other limit: the server's
fairness decides."""

TRIES = 4
LONGEST_WAIT = 2.0
"""A server that is overloaded (429, 5xx) and asks to come again within so many seconds, as API priority and fairness
does, is asked again here, ``TRIES`` times in all. Longer waits are the caller's: a worker has other things to do."""

_decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, each time that it is tried. ``timeout`` is for one try and its answer, in seconds."""

    method: str
    path: str
    params: Mapping[str, str]
    body: bytes | None
    headers: Mapping[str, str]
    timeout: float | None


class ApiServer:
    """A session with the API server of ``connection``; ``timeout`` bounds each try of a request, in seconds.

    Every request must be one that does no harm when it is sent twice.
    """

    _session: aiohttp.ClientSession

    def __init__(self, connection: Connection, *, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._user = connection.impersonate
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._tls = TlsContexts(connection, warn=self._warn)
        self._credential = Credential()  # the one that was shown last

    async def __aenter__(self) -> ApiServer:
        headers = {"User-Agent": f"greenroom/{__version__}", "Accept": "application/json"}
        if not self._connection.verify:
            log.warning("the API server's certificate is not verified", server=self._connection.server)
        # Watches keep their connections for minutes, so those are not counted: see IN_FLIGHT.
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def impersonating(self, user: str) -> ApiServer:
        """The same session, asking in the name of ``user``; it ends with this one."""
        if not user:
            raise ValueError("without a name it would be us who ask")
        other: ApiServer = copy(self)
        other._user = user
        return other

    def apart(self, in_flight: int) -> ApiServer:
        """The same session, with so many requests of its own at once, which wait for no others. It ends with this."""
        other: ApiServer = copy(self)
        other._in_flight = asyncio.Semaphore(in_flight)
        return other

    @property
    def user(self) -> str:
        """In whose name it asks, ``""`` for our own."""
        return self._user

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
        async with (
            self._in_flight,
            self.open(method, path, params=params, body=body, headers=headers, timeout=self._timeout) as response,
        ):
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
        content = None if body is None else msgspec.json.encode(body)
        request = _Request(method, path, params or {}, content, headers or {}, timeout)
        with self._translated():
            response = await self._answer(request)
            async with response:
                yield response

    async def _answer(self, request: _Request) -> aiohttp.ClientResponse:
        """The successful answer, after as many tries as the server's refusals are worth."""
        for tried in range(1, TRIES + 1):
            try:
                return await self._answer_to_renewed(request)
            except (Throttled, Unavailable) as error:
                if tried == TRIES or not 0 < error.retry_after <= LONGEST_WAIT:
                    raise
                await asyncio.sleep(error.retry_after)
        raise AssertionError("the last try returns or raises")

    async def _answer_to_renewed(self, request: _Request) -> aiohttp.ClientResponse:
        """The successful answer; a 401 is taken back once when there are other credentials to show."""
        credential = await self._connection.credentials.current()
        response = await self._send(request, credential)
        if response.status == 401:
            refusal = await _refusal(response, credential, request)
            renewed = await self._connection.credentials.renewed(credential)
            if renewed is None:
                raise refusal
            credential, response = renewed, await self._send(request, renewed)
        if response.status >= 300:
            raise await _refusal(response, credential, request)
        return response

    async def _send(self, request: _Request, credential: Credential) -> aiohttp.ClientResponse:
        self._credential = credential
        server = self._connection.server
        identity = {"Authorization": f"Bearer {credential.token}"} if credential.token else {}
        if self._user:
            identity["Impersonate-User"] = self._user
        return await self._session.request(
            request.method,
            URL(server + request.path, encoded=True),
            params=request.params,
            data=None if request.body is None else io.BytesIO(request.body),  # bytes warn over 1 MiB
            headers={"Content-Type": "application/json", **request.headers, **identity},
            timeout=aiohttp.ClientTimeout(total=request.timeout, sock_connect=CONNECT_TIMEOUT),
            allow_redirects=False,
            ssl=self._tls.context(credential) if server.startswith("https:") else True,
            server_hostname=self._connection.server_name or None,
            proxy=self._connection.proxy or None,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Foreign errors as ours."""
        server = f"the API server at {self._connection.server}"
        try:
            yield
        except TimeoutError as error:
            raise Unavailable(f"{server} did not answer in time") from error
        except aiohttp.ClientHttpProxyError as error:
            # Its own text has the proxy's URL, with the password.
            raise Unavailable(f"no connection to {server}: the proxy answered {error.status}") from None
        except (aiohttp.ClientError, OSError) as error:
            # Of a failed connection aiohttp also tells the address again, and the name of an SSL context object.
            reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            raise Unavailable(f"no connection to {server}: {reason}") from error

    def _warn(self, trouble: str) -> None:
        log.warning("the client certificate, or the authority, cannot be used: keeping those before", error=trouble)

    def error(self, code: int, status: Json) -> ClusterError:
        """What ``model.errors`` calls this ``Status`` from within a stream, without the token."""
        return error_of(code, status, secret=self._credential.token)


async def _refusal(response: aiohttp.ClientResponse, credential: Credential, request: _Request) -> ClusterError:
    async with response:
        status = decode_status(await response.read())
    return error_of(
        response.status,
        status,
        retry_after=response.headers.get("Retry-After", ""),
        secret=credential.token,
        values=() if request.body is None else tuple(values_of(decode(request.body))),
    )


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

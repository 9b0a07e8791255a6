"""A visitor who opens the address of an environment (``ports.Visitor``), with aiohttp.

It asks what anybody would see, and reads no more than the headers: what an environment sends is not ours to trust.
"""

from __future__ import annotations

import socket
import ssl
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from greenroom import __version__
from greenroom.model.errors import VisitFailed

COMMIT_HEADER = "X-Greenroom-Commit"
TIMEOUT = 5.0
"""Seconds for the whole visit."""
_LOOPBACK = "127.0.0.1"


class HttpVisitor:
    """An async context manager. Names under ``.localhost`` are this machine (RFC 6761, section 6.3), whatever the
    system's resolver says.

    ``via`` is a gateway, as ``host:port``, to connect to whatever the address: a Service inside the cluster, where the
    public name may not resolve, or leads through a proxy that wants a login. The request, and the certificate that is
    asked for, name the host of the address all the same. Certificates are verified against ``tls``, by default against
    the system's authorities.
    """

    _session: aiohttp.ClientSession

    def __init__(self, *, via: str = "", tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT) -> None:
        host, _, port = via.rpartition(":")
        self._via, self._port = host, int(port) if via else None
        self._tls = tls
        self._timeout = timeout

    async def __aenter__(self) -> HttpVisitor:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._via),
            ssl=self._tls if self._tls is not None else True,
            force_close=True,  # the next visit is to go where a new visitor would
            use_dns_cache=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"greenroom/{__version__}", "Accept": "text/html"},
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def commit_at(self, url: str) -> str:
        """See ``ports.Visitor``. Redirects are answers, too: they are not followed."""
        try:
            address = URL(url)
            if address.scheme not in ("http", "https") or not address.host:
                raise VisitFailed(f"{url[:200]!r} is no address that can be visited")
            async with self._session.get(
                address.with_port(self._port) if self._port else address,
                headers={"Host": address.host_port_subcomponent or ""},
                allow_redirects=False,
            ) as response:
                return response.headers.get(COMMIT_HEADER, "")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise VisitFailed(f"{url[:200]} does not answer: {str(error) or type(error).__name__}") from error


class _Resolver(AbstractResolver):
    """Finds everything at ``via``, if that is given."""

    def __init__(self, via: str) -> None:
        self._via = via
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(self._via or _place(host), port, family)
        return [{**each, "hostname": host} for each in found]

    async def close(self) -> None:
        await self._system.close()


def _place(host: str) -> str:
    is_here = host.rstrip(".").lower().endswith(".localhost")
    return _LOOPBACK if is_here else host

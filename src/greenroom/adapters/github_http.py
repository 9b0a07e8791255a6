"""Requests to GitHub's API: one session, JSON in and out, and every failure as a ``ForgeError``.

Nothing is asked twice here but what is harmless: credentials that were refused are renewed once, a repository that has
moved is followed, what is known already is asked for by its ETag. All else is for the caller to decide.
``adapters.github`` says what to ask for.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TypeVar, cast

import aiohttp
import msgspec
from yarl import URL

from greenroom import __version__
from greenroom.adapters.github_address import Server
from greenroom.adapters.github_credentials import Credential, Credentials
from greenroom.adapters.github_errors import Answer, error_of, is_throttled, scrubbed, wait_of
from greenroom.adapters.github_known import Key, Known, Memory, Page
from greenroom.adapters.github_limits import Throttles, WriteBudget
from greenroom.model.errors import ForgeError, ForgeThrottled, ForgeUnavailable
from greenroom.ports import Clock

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
"""Seconds to open a TCP connection."""

ANSWER_LIMIT = 64 * 2**20
"""Bytes. A page of a hundred pull requests with the longest texts that GitHub takes is half of that."""

REDIRECTS = 3
"""How many are followed: a repository can be moved more than once, and GitHub leads to its id at once."""

CONNECTIONS = 32
"""Requests at once. GitHub takes a hundred, of all that ask in the same name."""

PAGES = 100
"""How many pages a listing may have, which is 10,000 entries. Beyond that it is refused, not cut."""

PER_PAGE = 100
"""The most that GitHub gives on a page."""

HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": f"greenroom/{__version__}",
}


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: URL
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.url.raw_path}"


class Api:
    """A session with the API of ``server``; ``timeout`` bounds each request, in seconds."""

    _session: aiohttp.ClientSession

    def __init__(self, server: Server, clock: Clock, *, timeout: float, budget: WriteBudget) -> None:
        self._server = server
        self._clock = clock
        self._timeout = timeout
        self._budget = budget
        self._throttles = Throttles()
        self._memory = Memory()

    async def __aenter__(self) -> Api:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS), headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(
        self, path: str, shape: type[T], credentials: Credentials, *, params: Mapping[str, str] | None = None
    ) -> T:
        """What is at ``path``, which is quoted already, decoded as ``shape``."""
        return (await self.page(self.url(path, params), shape, credentials)).value

    async def write(
        self, method: str, path: str, credentials: Credentials, body: object = None, *, paced: bool = True
    ) -> Answer:
        """Write, when the budget has room, and answer a success; ``paced`` is off for what GitHub does not count."""
        content = None if body is None else msgspec.json.encode(body)
        self._throttles.check((await credentials.current()).owner)  # before it counts as written
        async with self._turn(paced):
            return await self._asked(_Request(method, self._server.url(path), content), credentials)

    def url(self, path: str, params: Mapping[str, str] | None = None) -> URL:
        return self._server.url(path).with_query(params)

    async def page(self, url: URL, shape: type[T], credentials: Credentials) -> Page[T]:
        """One page, from memory when GitHub says that it is still the same."""
        request = _Request("GET", url)
        key: Key = ((await credentials.current()).owner, url, shape)
        known = self._memory.find(key)
        if known is not None:
            request = replace(request, headers={"If-None-Match": known.etag})
        answer = await self._asked(request, credentials)
        if known is None or answer.status != 304:
            page = Page(self.decoded(answer, shape), answer.next_url)
            known = Known(answer.headers.get("ETag", ""), page, len(answer.body))
        self._memory.keep(key, known)
        return cast("Page[T]", known.page)

    async def pages(
        self, path: str, shape: type[T], credentials: Credentials, *, params: Mapping[str, str] | None = None
    ) -> Sequence[T]:
        """All pages of the listing at ``path``, of which each has a ``page`` number. Never a part of them."""
        found: list[T] = []
        promised = False
        for number in range(1, PAGES + 1):
            url = self.url(path, {**(params or {}), "per_page": str(PER_PAGE), "page": str(number)})
            page = await self.page(url, shape, credentials)
            entries = len(_entries(page.value))
            if promised and not entries:
                raise ForgeUnavailable(f"{self._server}: GET {url.raw_path}: page {number} of the listing is empty")
            found.append(page.value)
            if page.next_url is None and entries < PER_PAGE:
                return found
            promised = self._is_next(page.next_url, url, number + 1)
        raise ForgeUnavailable(f"{self._server}: GET {url.raw_path}: there are more than {PAGES} pages")

    def decoded(self, answer: Answer, shape: type[T]) -> T:
        """Raises ForgeUnavailable for what is not JSON of this shape: it was cut, or something else answered."""
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            reason = scrubbed(str(error))
        raise ForgeUnavailable(f"{self._server}: {answer.url.raw_path}: the answer is not what GitHub sends: {reason}")

    def check_led_to(self, url: URL) -> None:
        """Raises ForgeUnavailable when it is not of the API: nobody else gets to see our credentials."""
        if not self._server.is_api(url):
            raise ForgeUnavailable(f"{self._server} leads to {url.host}, where it is not followed")

    def _is_next(self, told: URL | None, url: URL, number: int) -> bool:
        """Whether the listing told of a next page. Raises ForgeUnavailable when that is not page ``number``.

        A full page that tells of none is not trusted to be the last: a proxy may have dropped the header.
        """
        if told is None:
            return False
        self.check_led_to(told)
        if told.query.get("page") != str(number):
            raise ForgeUnavailable(f"{self._server}: GET {url.raw_path}: page {number} of the listing is left out")
        return True

    def _turn(self, paced: bool) -> AbstractAsyncContextManager[None]:
        return self._budget.turn() if paced else nullcontext()

    async def _asked(self, request: _Request, credentials: Credentials) -> Answer:
        """The successful answer; a 401 is taken back once when there are other credentials to show."""
        credential = await credentials.current()
        answer = await self._allowed(request, credential)
        if answer.status == 401:
            renewed = await credentials.renewed(credential)
            if renewed is not None:
                credential = renewed
                answer = await self._allowed(request, credential)
        if answer.status >= 300 and not (answer.status == 304 and "If-None-Match" in request.headers):
            raise self._refusal(answer, request, credential)
        return answer

    async def _allowed(self, request: _Request, credential: Credential) -> Answer:
        """An answer, unless GitHub said that it does not want to be asked."""
        self._throttles.check(credential.owner)
        answer = await self._followed(request, credential)
        if is_throttled(answer):
            raise self._throttled(answer, request, credential)
        self._throttles.passed(credential.owner)
        if answer.headers.get("x-ratelimit-remaining") == "0" and (wait := self._wait(answer)):
            self._throttles.hold(credential.owner, wait)  # that was the last one
        return answer

    async def _followed(self, request: _Request, credential: Credential) -> Answer:
        """The answer where a redirect leads to. A write is only followed to where GitHub sends for a former name."""
        for _ in range(REDIRECTS + 1):
            answer = await self._sent(request, credential)
            location = answer.headers.get("Location", "")
            if answer.status not in (301, 302, 307, 308) or not location:
                return answer
            target = self._target(answer, location)
            if request.method != "GET" and not self._server.is_renamed(target):
                return answer
            request = replace(request, url=target)
        raise ForgeUnavailable(f"{self._server}: {request}: it leads from one place to another without an end")

    def _target(self, answer: Answer, location: str) -> URL:
        try:
            target = answer.url.join(URL(location, encoded=True))
        except ValueError:
            raise ForgeUnavailable(f"{self._server}: it leads to what is no address") from None
        self.check_led_to(target)
        return target

    async def _sent(self, request: _Request, credential: Credential) -> Answer:
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=None if request.body is None else io.BytesIO(request.body),
                headers=_headers(request, credential),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT),
                allow_redirects=False,
            ) as response:
                return await _read(response)
        except TimeoutError:
            trouble = "did not answer in time"
        except aiohttp.ClientPayloadError:
            trouble = "cut its answer off"
        except (aiohttp.ClientError, OSError) as error:
            trouble = f"no connection: {_reason(error)}"
        except ValueError as error:
            trouble = str(error)
        # Outside of the block, so that nothing hangs on to aiohttp's error: its repr has the headers, and the token.
        raise ForgeUnavailable(f"{self._server}: {request}: {scrubbed(trouble, credential.secret)}")

    def _wait(self, answer: Answer) -> float | None:
        return wait_of(answer, now=self._clock.now())

    def _refusal(self, answer: Answer, request: _Request, credential: Credential) -> ForgeError:
        asked = f"{self._server}: {request}"
        return error_of(answer, asked, now=self._clock.now(), secret=credential.secret)

    def _throttled(self, answer: Answer, request: _Request, credential: Credential) -> ForgeThrottled:
        seconds = self._throttles.hold(credential.owner, self._wait(answer))
        return ForgeThrottled(str(self._refusal(answer, request, credential)), retry_after=seconds)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    """The whole answer. Raises ValueError when it is larger than any that GitHub sends, or its links are no URLs."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > ANSWER_LIMIT:
            raise ValueError(f"the answer is larger than {ANSWER_LIMIT} bytes")
    following = response.links.get("next")
    next_url = None if following is None else URL(str(following["url"]), encoded=True)
    return Answer(response.status, response.headers, b"".join(chunks), response.url, next_url)


def _headers(request: _Request, credential: Credential) -> dict[str, str]:
    content = {} if request.body is None else {"Content-Type": "application/json"}
    return {**request.headers, **content, "Authorization": f"Bearer {credential.secret}"}


def _reason(error: Exception) -> str:
    """Without the request, which some errors of aiohttp carry."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: {error.message}"
    return str(error) or type(error).__name__


def _entries(value: object) -> Sequence[object]:
    """The entries of a page: the page itself, or what a struct counts as such by being iterable."""
    return value if isinstance(value, list) else tuple(getattr(value, "entries", ()))

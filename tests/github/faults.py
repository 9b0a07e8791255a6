"""What can go wrong between GitHub and who asks it: refusals, slowness, cut connections and cut answers.

A fault gets the request, and ``perform``, which does what was asked for and makes the answer. Whether it calls that is
part of what goes wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

Perform = Callable[[], web.Response]
Fault = Callable[[web.Request, Perform], Awaitable[web.StreamResponse]]


@dataclass
class Planned:
    """A fault, for requests of this kind, so many times; ``method`` and ``template`` are ``""`` for any."""

    fault: Fault
    method: str = ""
    template: str = ""
    when: Callable[[web.Request], bool] = lambda _: True
    times: int = 10**9

    def strikes(self, request: web.Request, template: str) -> bool:
        wanted = self.method in ("", request.method) and self.template in ("", template)
        return self.times > 0 and wanted and self.when(request)


def on_page(number: int) -> Callable[[web.Request], bool]:
    """For ``Planned.when``: requests for this page of a listing."""
    return lambda request: request.query.get("page", "1") == str(number)


def refused(status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Fault:
    async def fault(_: web.Request, __: Perform) -> web.Response:
        return web.json_response({"message": message}, status=status, headers=headers)

    return fault


def answered(status: int, body: object) -> Fault:
    """Nothing is done."""

    async def fault(_: web.Request, __: Perform) -> web.Response:
        return web.Response(status=204) if status == 204 else web.json_response(body, status=status)

    return fault


def meanwhile(happens: Callable[[], object]) -> Fault:
    """All is well, but something happens before it is answered."""

    async def fault(_: web.Request, perform: Perform) -> web.Response:
        happens()
        return perform()

    return fault


def throttled(seconds: int) -> Fault:
    return refused(429, "Too many requests", {"Retry-After": str(seconds)})


def spent(seconds: float) -> Fault:
    """The hour's requests are used up for so many seconds from when it is asked."""

    async def fault(request: web.Request, perform: Perform) -> web.StreamResponse:
        reset = str(int(time.time() + seconds))
        limits = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        return await refused(403, "API limit", limits)(request, perform)

    return fault


def secondary() -> Fault:
    """The one that does not say how long it lasts."""
    return refused(403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")


def proxy_error() -> Fault:
    """Something in between answers."""

    async def fault(_: web.Request, __: Perform) -> web.Response:
        return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")

    return fault


def redirected(location: str, status: int = 301) -> Fault:
    return refused(status, "Moved Permanently", {"Location": location})


def slow(seconds: float) -> Fault:
    async def fault(_: web.Request, perform: Perform) -> web.Response:
        await asyncio.sleep(seconds)
        return perform()

    return fault


def reset() -> Fault:
    """The connection ends without an answer."""

    async def fault(request: web.Request, _: Perform) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    return fault


def cut() -> Fault:
    """It is done, and the connection ends in the middle of the answer."""

    async def fault(request: web.Request, perform: Perform) -> web.StreamResponse:
        whole = perform()
        body = whole.body if isinstance(whole.body, bytes) else b""
        response = web.StreamResponse(status=whole.status, headers={**whole.headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    return fault


def shortened() -> Fault:
    """An answer that ends in the middle and looks whole: something in between has a limit."""
    return _changed(lambda body: body[: len(body) // 2])


def emptied() -> Fault:
    """A page of a listing with nothing on it."""
    return _changed(lambda _: b"[]")


def skipping() -> Fault:
    """A page of a listing that leads to the one after the next."""

    async def fault(request: web.Request, perform: Perform) -> web.Response:
        answer = perform()
        following = int(request.query.get("page", "1")) + 1
        answer.headers["Link"] = answer.headers["Link"].replace(f"&page={following}>", f"&page={following + 1}>")
        return answer

    return fault


def without_links() -> Fault:
    """A proxy drops the header that leads to the next page."""

    async def fault(_: web.Request, perform: Perform) -> web.Response:
        answer = perform()
        answer.headers.popall("Link", None)
        return answer

    return fault


def linking(url: str) -> Fault:
    """The next page is said to be there."""

    async def fault(_: web.Request, perform: Perform) -> web.Response:
        answer = perform()
        answer.headers["Link"] = f'<{url}>; rel="next"'
        return answer

    return fault


def _changed(change: Callable[[bytes], bytes]) -> Fault:
    async def fault(_: web.Request, perform: Perform) -> web.Response:
        answer = perform()
        headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
        body = answer.body if isinstance(answer.body, bytes) else b""
        return web.Response(status=answer.status, headers=headers, body=change(body))

    return fault

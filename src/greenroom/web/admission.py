"""Admission webhooks: ``POST /mutate-pods`` and ``POST /validate-appmesh``, asked by the API server over TLS.

The API server waits for each answer, and so does whoever writes. When a question cannot be decided it is answered yes,
with a warning, and never with an error: what that would stop has its own ``failurePolicy``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import web

from greenroom.core.admission import Answer, judge, review, warned
from greenroom.model.manifest import Json, Manifest, table, text
from greenroom.web.body import Bodies

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes: an object and what it was before, each of at most 3 MiB, as the API server takes them."""
SECONDS = 1.0
"""How long to look at an object, and how long a question waits to be read, and to come."""

Reviewer = Callable[[Manifest], Awaitable[Answer]]
"""Answers the ``request`` of an AdmissionReview."""

log = structlog.get_logger(__name__)


def make_app(pods: Reviewer) -> web.Application:
    app = web.Application()
    bodies = Bodies(limit=BODY_LIMIT, seconds=SECONDS, patience=SECONDS)  # whoever asks need not be the API server
    app.router.add_post("/mutate-pods", _Webhook(pods, bodies).answer)
    app.router.add_post("/validate-appmesh", _Webhook(_judge, bodies).answer)
    return app


async def _judge(request: Manifest) -> Answer:
    return judge(request)


class _Webhook:
    def __init__(self, reviewer: Reviewer, bodies: Bodies) -> None:
        self._reviewer = reviewer
        self._bodies = bodies

    async def answer(self, http: web.Request) -> web.Response:
        async with self._bodies.of(http) as body:
            request = _request(body)
        answer = await self._review(request)
        return web.json_response(
            review(text(request, "uid"), answer), dumps=lambda each: msgspec.json.encode(each).decode()
        )

    async def _review(self, request: Manifest) -> Answer:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reviewer(request)
        except TimeoutError:
            return warned("Greenroom did not look at this object: it took too long")
        except Exception:
            log.exception("an admission request cannot be judged")
            return warned("Greenroom did not look at this object: its log says why")


def _request(body: bytes) -> Manifest:
    """Raises the answer to what is no AdmissionReview: without a UID there is nobody to answer."""
    try:
        content: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    if not text(content, "request", "uid"):
        raise web.HTTPBadRequest(text="send an AdmissionReview of admission.k8s.io/v1\n")
    return table(content, "request")

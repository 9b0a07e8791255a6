"""The webhook: limits and verifies a delivery, and answers when it is done.

====  ===================================================================
200   done, or nothing to do; the body says what and why
400   not what GitHub sends; the body names the field
401   not signed with our secret; nothing was parsed, nothing was done
408   the body did not come
413   the body is larger than GitHub's limit
503   the cluster could not do it now, or too much came at once; ``Retry-After`` says when to redeliver
====  ===================================================================

GitHub shows every answer but 2xx as a failed delivery, with a button to redeliver it. ``flows.intake`` does the work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Mapping, Sequence

import structlog
from aiohttp import web

from greenroom.core.payloads import Content, Ignored
from greenroom.core.webhook import BODY_LIMIT, SIGNATURE_HEADER, BadSignature, Malformed, Secrets, parse, verify
from greenroom.flows.builds import Builds
from greenroom.flows.commands import Commands
from greenroom.flows.intake import Intake, Outcome
from greenroom.model.errors import ClusterError
from greenroom.model.manifest import Json
from greenroom.model.pull import Build, Command, Move, PullEvent
from greenroom.web.body import Bodies

DELIVERY_HEADER = "X-GitHub-Delivery"
BODY_SECONDS = 30.0
ROOM_SECONDS = 5.0
"""How long a delivery waits to be read. GitHub gives up after ten seconds."""
RETRY_SECONDS = 10
"""What ``Retry-After`` says when the cluster named no time."""

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_DELIVERY = re.compile(r"[^0-9A-Za-z-]")

log = structlog.get_logger(__name__)


def make_app(intake: Intake, commands: Commands, builds: Builds, *, secrets: Sequence[bytes]) -> web.Application:
    """Serves ``POST /webhooks``, ``GET /healthz`` (alive) and ``GET /readyz`` (deliveries can be handled).

    Raises InvalidInput when there is no secret, or an empty one.
    """
    receiver = _Receiver(intake, commands, builds, Secrets(tuple(secrets)))
    app = web.Application()
    app.router.add_get("/", _index)
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", receiver.ready)
    app.router.add_post("/webhooks", receiver.receive)
    return app


async def _index(_: web.Request) -> web.Response:
    return web.Response(text="Greenroom. Webhooks are received at POST /webhooks.\n")


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


class _Receiver:
    def __init__(self, intake: Intake, commands: Commands, builds: Builds, secrets: Secrets) -> None:
        self._intake = intake
        self._commands = commands
        self._builds = builds
        self._secrets = secrets
        self._bodies = Bodies(limit=BODY_LIMIT, seconds=BODY_SECONDS, patience=ROOM_SECONDS)

    async def ready(self, _: web.Request) -> web.Response:
        try:
            await self._intake.synced()
        except ClusterError as error:
            return _unavailable(error)
        return web.Response(text="ok\n")

    async def receive(self, request: web.Request) -> web.Response:
        delivery = _DELIVERY.sub("", request.headers.get(DELIVERY_HEADER, ""))[:64]
        with structlog.contextvars.bound_contextvars(delivery=delivery):
            try:
                content = await self._content(request)
            except BadSignature as error:
                log.warning("delivery refused", error=str(error))
                return _answer(401, error=str(error))
            return await self._handle(content)

    async def _content(self, request: web.Request) -> Content | Malformed:
        """Raises BadSignature: without reading anything, where no body could have the signature that is given."""
        if not _SIGNATURE.fullmatch(request.headers.get(SIGNATURE_HEADER, "")):
            verify(self._secrets, request.headers, b"")
        async with self._bodies.of(request) as body:
            verify(self._secrets, request.headers, body)
            return parse(request.headers, body)

    async def _handle(self, content: Content | Malformed) -> web.Response:
        match content:
            case Ignored(reason):
                log.debug("delivery ignored", reason=reason)
                return _answer(200, ignored=reason)
            case Malformed(path, message):
                log.warning("delivery malformed", path=path, problem=message)
                return _answer(400, error=message, path=path)
            case PullEvent():
                what = {"action": content.action.value, "commit": content.pull.head[:7]}
                named = f"{content.pull.repository}/pull/{content.pull.number}"
                with structlog.contextvars.bound_contextvars(pull_request=named):
                    return await _done(self._intake.handle(content), content.pull.repository, what)
            case Move():
                return await _done(self._intake.move(content), content.former, {"moved_to": content.repository})
            case Command():
                what = {"command": content.word or "preview"}
                named = f"{content.repository}/pull/{content.number}"
                with structlog.contextvars.bound_contextvars(pull_request=named):
                    return await _done(self._commands.handle(content), content.repository, what)
            case Build():
                what = {"commit": content.commit[:7], "build": "succeeded" if content.succeeded else "failed"}
                return await _done(self._builds.handle(content), content.repository, what)


async def _done(work: Awaitable[Sequence[Outcome]], repository: str, what: Mapping[str, str]) -> web.Response:
    try:
        outcomes = await work
    except ClusterError as error:
        log.warning("delivery failed", **what, error=str(error))
        return _unavailable(error)
    if not outcomes:
        log.info("delivery wanted by no ReviewApp", **what, repository=repository)
        return _answer(200, ignored=f"no ReviewApp is for {repository}")
    log.info("delivery handled", **what, results=[outcome.result.value for outcome in outcomes])
    return _answer(200, results=[_told(outcome) for outcome in outcomes])


def _told(outcome: Outcome) -> Json:
    app = outcome.review_app
    told: dict[str, Json] = {"reviewApp": f"{app.namespace}/{app.name}", "result": outcome.result.value}
    return {**told, "message": outcome.message} if outcome.message else told


def _answer(status: int, **content: Json) -> web.Response:
    return web.json_response(content, status=status)


def _unavailable(error: ClusterError) -> web.Response:
    seconds = math.ceil(error.retry_after) or RETRY_SECONDS
    return web.json_response({"error": str(error)}, status=503, headers={"Retry-After": str(seconds)})

"""Health, for the kubelet: ``/healthz`` (alive) and ``/readyz`` (may be sent requests); 503 comes with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

Check = Callable[[], Iterable[str]]
"""What is wrong now, a line each, for a person."""


def make_app(*, alive: Check, ready: Check) -> web.Application:
    app = web.Application()
    for path, check in (("/healthz", alive), ("/readyz", ready)):
        app.router.add_get(path, _Answer(check).get)
    return app


class _Answer:
    def __init__(self, check: Check) -> None:
        self._check = check

    async def get(self, _: web.Request) -> web.Response:
        troubles = list(self._check())
        return web.Response(status=503 if troubles else 200, text="\n".join(troubles or ["ok"]) + "\n")

"""The API server of the one-machine cluster: any ``ports.Cluster`` as Kubernetes REST, for one machine and user.

The command line uses it through ``adapters.kube``, as it would a real cluster. It serves what that asks for: aggregated
discovery, get, list, watch, server-side apply, merge patches of status and finalizers, delete and pods' logs. Whatever
else is asked for is refused, with the reason. kubectl cannot use it: without TLS it sends no bearer token.

It listens on 127.0.0.1 only and wants a bearer token, because every user of the machine, and every page in a browser
on it, can reach that address. A page whose host name was pointed here (DNS rebinding) gives itself away by its Host
header. The handlers are in ``api.handlers``.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import yaml
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from greenroom.local.api import discovery
from greenroom.local.api.errors import Refused, error_status, refused_status, respond
from greenroom.local.api.handlers import Handlers, LogSource, answer
from greenroom.local.api.streams import Streams
from greenroom.local.files import write_private
from greenroom.model.errors import ClusterError
from greenroom.ports import Cluster

__all__ = ["LogSource", "make_app", "running", "write_kubeconfig"]

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request's body, as in kube-apiserver."""

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that a stopping server waits for answers in progress."""

_HOSTS = ("127.0.0.1", "localhost")

log = structlog.get_logger(__name__)


def make_app(cluster: Cluster, *, token: str, logs: LogSource) -> web.Application:
    """The API server's application; ``running`` serves it."""
    streams = Streams()
    app = web.Application(middlewares=[_errors_as_status, _guard(token)], client_max_size=BODY_LIMIT)
    app.add_routes([*_discovery_routes(cluster), *_object_routes(Handlers(cluster, logs, streams))])
    app.on_shutdown.append(streams.end)
    return app


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; answers the server's URL."""
    # A watch whose client has gone would wait for an event, maybe for ever, if the disconnect did not cancel it.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def write_kubeconfig(path: Path, *, server: str, token: str, namespace: str) -> None:
    """Write the way to reach this server, readable by its owner only. An older file is replaced as a whole."""
    name = "greenroom"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False))


def _object_routes(handlers: Handlers) -> list[web.RouteDef]:
    routes = [
        web.get("/api/{version:v1}/namespaces/{namespace}/{plural:pods}/{name}/log", handlers.logs, allow_head=False)
    ]
    routes.append(web.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", handlers.review_access))
    for root in ("/api/{version}", "/apis/{group}/{version}"):
        for collection in (f"{root}/{{plural}}", f"{root}/namespaces/{{namespace}}/{{plural}}"):
            one = f"{collection}/{{name}}"
            routes += [
                web.patch(f"{one}/status", handlers.patch_status),
                web.get(one, handlers.get, allow_head=False),
                web.patch(one, handlers.patch),
                web.delete(one, handlers.delete),
                web.get(collection, handlers.list, allow_head=False),
            ]
    return routes


def _discovery_routes(cluster: Cluster) -> list[web.RouteDef]:
    async def core(_: web.Request) -> web.StreamResponse:
        found = [resource for resource in await cluster.resources() if not resource.kind.group]
        return answer(discovery.aggregated(found), content_type=discovery.AGGREGATED)

    async def groups(_: web.Request) -> web.StreamResponse:
        found = [resource for resource in await cluster.resources() if resource.kind.group]
        return answer(discovery.aggregated(found), content_type=discovery.AGGREGATED)

    return [web.get("/api", core), web.get("/apis", groups)]


def _guard(token: str) -> Middleware:
    """Let in only who knows the token, and speaks to this machine by its own name."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host.partition(":")[0].lower() not in _HOSTS:
            raise Refused(403, "this server answers to 127.0.0.1 and localhost only")
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, expected):
            raise Refused(401, "a bearer token is needed: use the kubeconfig in Greenroom's state folder")
        return await handler(request)

    return guard


@web.middleware
async def _errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    path = request.match_info
    try:
        return await handler(request)
    except ClusterError as error:
        status = error_status(error, path.get("plural", ""), path.get("name", ""))
        return respond(status, retry_after=error.retry_after)
    except Refused as error:
        return respond(refused_status(error.code, str(error)))
    except web.HTTPException as error:
        return respond(refused_status(error.status, f"{request.method} {request.path}: {error.reason}"))
    except ConnectionError:  # the client has gone: there is nobody to tell
        raise
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        if request.writer.output_size:  # in the middle of an answer: cut it off
            raise
        return respond(refused_status(500, "an error in Greenroom, see its log"))

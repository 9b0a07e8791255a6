"""The API server of the one-machine cluster: any ``ports.Cluster`` as Kubernetes REST, for one machine and user.

The command line uses it through ``adapters.kube``, as it would a real cluster; kubectl works with the same kubeconfig
(writing with ``apply --server-side --validate=false``). It serves discovery, get, list, watch, create, server-side
apply, merge patches of status, delete and pods' logs; whatever else is asked for is refused, with the reason.

It listens on 127.0.0.1 only and wants a bearer token, because every user of the machine, and every page in a browser
on it, can reach that address. A page whose host name was pointed here (DNS rebinding) gives itself away by its Host
header. The handlers are in ``local.api_handlers``.
"""

from __future__ import annotations

import base64
import hmac
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import yaml
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from greenroom.local import api_discovery as discovery
from greenroom.local.api_errors import Refused, error_status, refused_status, respond
from greenroom.local.api_handlers import Handlers, LogSource, answer
from greenroom.local.api_streams import Streams
from greenroom.model.errors import ClusterError, UnknownKind
from greenroom.model.watch import Resource
from greenroom.ports import Cluster

__all__ = ["LogSource", "make_app", "running", "write_kubeconfig"]

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request's body, as in kube-apiserver."""

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that a stopping server waits for answers in progress."""

_USER = "greenroom"
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
    """Write the way to reach this server, readable by its owner only. An older file is replaced as a whole.

    The token is in it twice: kubectl sends no bearer token without TLS, but it sends what stands in the URL.
    """
    name = _USER
    scheme, _, address = server.partition("://")
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": f"{scheme}://{_USER}:{token}@{address}"}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file, sort_keys=False)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _object_routes(handlers: Handlers) -> list[web.RouteDef]:
    routes = [
        web.get("/api/{version:v1}/namespaces/{namespace}/{plural:pods}/{name}/log", handlers.logs, allow_head=False)
    ]
    for root in ("/api/{version}", "/apis/{group}/{version}"):
        # The order matters: ".../namespaces/a/status" is the status of a Namespace, not a collection in it.
        for collection in (f"{root}/{{plural}}", f"{root}/namespaces/{{namespace}}/{{plural}}"):
            one = f"{collection}/{{name}}"
            routes += [
                web.patch(f"{one}/status", handlers.patch_status),
                web.get(f"{one}/status", handlers.get, allow_head=False),
                web.get(one, handlers.get, allow_head=False),
                web.patch(one, handlers.apply),
                web.delete(one, handlers.delete),
                web.get(collection, handlers.list, allow_head=False),
                web.post(collection, handlers.create),
            ]
    return routes


def _discovery_routes(cluster: Cluster) -> list[web.RouteDef]:
    async def version(_: web.Request) -> web.StreamResponse:
        return answer(discovery.VERSION)

    async def core(request: web.Request) -> web.StreamResponse:
        found = [resource for resource in await cluster.resources() if not resource.kind.group]
        return _aggregated(found) if _wants_aggregated(request) else answer(discovery.core_versions(found))

    async def groups(request: web.Request) -> web.StreamResponse:
        found = [resource for resource in await cluster.resources() if resource.kind.group]
        return _aggregated(found) if _wants_aggregated(request) else answer(discovery.groups(found))

    async def resources(request: web.Request) -> web.StreamResponse:
        api_version = "/".join(request.match_info.values())
        found = [one for one in await cluster.resources() if one.kind.api_version == api_version]
        if not found:
            raise UnknownKind(f"nothing is served of {api_version}")
        return answer(discovery.resource_list(api_version, found))

    return [
        web.get("/version", version),
        web.get("/api", core),
        web.get("/apis", groups),
        web.get("/api/{version}", resources),
        web.get("/apis/{group}/{version}", resources),
    ]


def _wants_aggregated(request: web.Request) -> bool:
    return discovery.AGGREGATED in request.headers.get("Accept", "").replace(" ", "")


def _aggregated(resources: Sequence[Resource]) -> web.Response:
    return answer(discovery.aggregated(resources), content_type=discovery.AGGREGATED)


def _guard(token: str) -> Middleware:
    """Let in only who knows the token, and speaks to this machine by its own name."""
    expected = f"Bearer {token}".encode(), b"Basic " + base64.b64encode(f"{_USER}:{token}".encode())

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host.partition(":")[0].lower() not in _HOSTS:
            raise Refused(403, "this server answers to 127.0.0.1 and localhost only")
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not any(hmac.compare_digest(given, one) for one in expected):
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

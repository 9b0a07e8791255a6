"""What an account may do, asked of the API server (SelfSubjectAccessReview) before something is done.

Most rights are found out by trying. What is asked for here is a right that the request itself would not need: to take
over an object that is there takes ``patch`` only, and is to take what making it would.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import ClusterError, Forbidden
from greenroom.model.manifest import Manifest, get, text
from greenroom.model.permission import Permission
from greenroom.model.watch import Resource

GRANTED_SECONDS = 60.0
"""How old a yes may be: many environments ask the same at once. A no is asked again, for a person may just have granted
the right."""
_ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Rights:
    """What was granted lately, to whichever account of a session."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._granted: dict[tuple[str, str, str, str, str], float] = {}  # until when it counts

    async def check(self, server: ApiServer, verb: str, resource: Resource, namespace: str) -> None:
        """Raises Forbidden when the account in whose name ``server`` asks may not, and when it may not ask."""
        key = (server.user, verb, resource.kind.group, resource.plural, namespace)
        if self._now() < self._granted.get(key, -math.inf):
            return
        if missing := await _missing(server, verb, resource, namespace):
            raise Forbidden(f"{missing.user or 'Greenroom'} may not {verb} {resource.plural}", permission=missing)
        now = self._now()
        self._granted = {each: until for each, until in self._granted.items() if now < until}
        self._granted[key] = now + GRANTED_SECONDS


async def _missing(server: ApiServer, verb: str, resource: Resource, namespace: str) -> Permission | None:
    group = resource.kind.group
    asked: Manifest = {"verb": verb, "group": group, "resource": resource.plural, "namespace": namespace}
    review: Manifest = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await server.request("POST", _ACCESS, body=review)
    if get(answer, "status", "allowed") is True:
        return None
    return Permission(server.user or await _own_name(server), verb, group, resource.plural, namespace)


async def _own_name(server: ApiServer) -> str:
    """``""`` when the API server does not tell."""
    review: Manifest = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        return text(await server.request("POST", _SELF, body=review), "status", "userInfo", "username")
    except ClusterError:
        return ""

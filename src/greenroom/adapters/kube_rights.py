"""What an account may do, asked of the API server (SelfSubjectAccessReview) before something is done.

Most rights are found out by trying. What is asked for here is a right that the request itself would not need: to take
over an object that is there takes ``patch`` only, and is to take what making it would.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from greenroom.adapters.kube_http import ApiServer
from greenroom.model.errors import ClusterError, Forbidden
from greenroom.model.manifest import Manifest, get, text
from greenroom.model.permission import Permission
from greenroom.model.watch import Resource

GRANTED_SECONDS = 60.0
REFUSED_SECONDS = 10.0
"""How old an answer may be. Many environments ask the same at once, also while each is refused."""
_ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Rights:
    """The answers so far, to whichever account of a session."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._answers: dict[tuple[str, str, str, str, str], tuple[float, Permission | None]] = {}

    async def check(self, server: ApiServer, verb: str, resource: Resource, namespace: str) -> None:
        """Raises Forbidden when the account in whose name ``server`` asks may not, and when it may not ask."""
        key = (server.user, verb, resource.kind.group, resource.plural, namespace)
        until, missing = self._answers.get(key, (0.0, None))
        if self._now() >= until:
            missing = await _missing(server, verb, resource, namespace)
            self._answers[key] = (self._now() + (REFUSED_SECONDS if missing else GRANTED_SECONDS), missing)
            self._forget()
        if missing is not None:
            raise Forbidden(f"{missing.user or 'Greenroom'} may not {verb} {resource.plural}", permission=missing)

    def _forget(self) -> None:
        now = self._now()
        self._answers = {key: answer for key, answer in self._answers.items() if now < answer[0]}


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

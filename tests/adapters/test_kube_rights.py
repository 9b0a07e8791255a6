"""What an account may do, as the API server is asked before something is taken over."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from tests.adapters.standin import StandIn

from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_http import ApiServer
from greenroom.adapters.kube_rights import GRANTED_SECONDS, Rights
from greenroom.model.errors import Forbidden
from greenroom.model.manifest import Kind, get
from greenroom.model.permission import Permission
from greenroom.model.watch import Resource

ROUTES = Resource(Kind("appmesh.k8s.aws", "v1beta2", "GatewayRoute"), "gatewayroutes", namespaced=True)


class Authorizer:
    """Answers for a group of accounts whether they are ``allowed``; ``asked`` are the reviews, by account."""

    def __init__(self) -> None:
        self.allowed = True
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        if review["kind"] == "SelfSubjectReview":
            return web.json_response({"status": {"userInfo": {"username": "greenroom's own"}}})
        self.asked.append((request.headers.get("Impersonate-User", ""), get(review, "spec", "resourceAttributes")))
        return web.json_response({**review, "status": {"allowed": self.allowed}}, status=201)


async def test_an_account_is_asked_for_once_a_minute_and_its_own_name_is_told_when_it_may_not() -> None:
    authorizer, seconds = Authorizer(), 0.0
    rights = Rights(now=lambda: seconds)
    async with StandIn(authorizer.answer).served() as url, ApiServer(Connection(url, Credential()), timeout=5) as own:
        previews = own.impersonating("previews")
        for _ in range(3):
            await rights.check(own, "create", ROUTES, "shop")
            await rights.check(previews, "create", ROUTES, "shop")
        attributes = {"verb": "create", "group": "appmesh.k8s.aws", "resource": "gatewayroutes", "namespace": "shop"}
        assert authorizer.asked == [("", attributes), ("previews", attributes)]

        authorizer.allowed = False
        seconds += GRANTED_SECONDS
        for server, user in ((own, "greenroom's own"), (previews, "previews")):
            with pytest.raises(Forbidden) as refused:
                await rights.check(server, "create", ROUTES, "shop")
            missing = Permission(user, "create", "appmesh.k8s.aws", "gatewayroutes", "shop")
            assert refused.value.permission == missing

        authorizer.allowed = True
        await rights.check(own, "create", ROUTES, "shop")
        await rights.check(own, "create", ROUTES, "another")
        assert len(authorizer.asked) == 6  # a right that was granted meanwhile is known at once

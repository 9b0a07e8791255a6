"""A GitHub over HTTP, in memory, for tests: pull requests and what is said of them, webhooks, an App.

::

    standin = StandIn()
    standin.token("secret")
    pull = standin.open_pull(standin.repository("acme/shop"))
    async with standin.served() as server: ...  # the address for GitHub(server=...)

It is a GitHub Enterprise Server, with its API below ``/api/v3``. What people do is done by the methods of
``tests.github.state.World``, what goes wrong is planned by ``fail``. Each request and each answer is compared with
GitHub's published description; what differs fails the test when ``served`` is left.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import jwt
from aiohttp import web
from tests.github.answers import HANDLERS, Call, Refused, Reply
from tests.github.faults import Fault, Planned
from tests.github.openapi import Match, Operation, published
from tests.github.shapes import event_shape
from tests.github.state import Pull, Repository, User, World, system_time

API = "/api/v3"


class StandIn(World):
    """``checked`` is for the comparison with the description, which takes its time for many large answers."""

    def __init__(self, *, now: Callable[[], datetime] = system_time, checked: bool = True) -> None:
        super().__init__(now)
        self.site = ""
        self.calls: Counter[Operation] = Counter()
        """How often each operation was asked for."""
        self.unchanged: Counter[Operation] = Counter()
        """How many of these were answered by 304."""
        self.authorizations: list[str] = []
        self.wrong: list[str] = []
        """Where requests or answers differ from the description."""
        self._checked = checked
        self._faults: list[Planned] = []

    def address(self, repository: Repository) -> str:
        """As people open it."""
        return f"{self.site}/{repository.full_name}"

    def event(self, pull: Pull, action: str, *, sender: str = "mona", **fields: Any) -> dict[str, Any]:
        """What a webhook would tell of ``pull`` now; ``fields`` are those of this action, such as ``before``."""
        return event_shape(self.site, pull, action, sender, **fields)

    def fail(
        self,
        fault: Fault,
        method: str = "",
        template: str = "",
        *,
        when: Callable[[web.Request], bool] = lambda _: True,
        times: int = 10**9,
    ) -> Planned:
        """From now on requests of this kind meet ``fault``, so many times."""
        planned = Planned(fault, method, template, when, times)
        self._faults.append(planned)
        return planned

    def heal(self) -> None:
        self._faults.clear()

    @property
    def writes(self) -> int:
        """How often something was to be changed; tokens of installations do not count."""
        return sum(
            count for (method, path), count in self.calls.items() if method != "GET" and "access_tok" not in path
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve on a free port; answers the address. Raises AssertionError in the end for what was ``wrong``."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.site = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.site
        finally:
            await runner.cleanup()
        assert not self.wrong, "\n".join(self.wrong[:20])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        match = self._match(request)
        if match is None:
            self.wrong.append(f"{request.method} {request.rel_url}: no such operation")
            return web.json_response({"message": "Not Found"}, status=404)
        self.calls[match.operation] += 1
        self.authorizations.append(request.headers.get("Authorization", ""))
        self._check_request(request, match, content)

        def perform() -> web.Response:
            return self._performed(request, match, content)

        for planned in self._faults:
            if planned.strikes(request, match.operation[1]):
                planned.times -= 1
                return await planned.fault(request, perform)
        return perform()

    def _match(self, request: web.Request) -> Match | None:
        """Of the path below the API's, in which a repository may be named by its id."""
        path = request.rel_url.raw_path.removeprefix(API)
        first, _, rest = path.removeprefix("/repositories/").partition("/")
        repository = self.repositories.get(int(first)) if first.isdecimal() else None
        if path.startswith("/repositories/") and repository is not None:
            path = f"/repos/{repository.full_name}/{rest}"
        return published().match(request.method, path) if request.rel_url.raw_path.startswith(API) else None

    def _check_request(self, request: web.Request, match: Match, content: bytes) -> None:
        headers = request.headers
        wrong = published().wrong_request(match, request.query, json.loads(content) if content else None)
        if headers.get("Accept") != "application/vnd.github+json" or "X-GitHub-Api-Version" not in headers:
            wrong.append("the headers do not say which version is meant")
        if not headers.get("User-Agent", "").startswith("greenroom/"):
            wrong.append("GitHub refuses who does not say who he is")
        self.wrong += [f"{match.operation}: request: {error}" for error in wrong]

    def _performed(self, request: web.Request, match: Match, content: bytes) -> web.Response:
        try:
            moved = self._moved(request, match)
            if moved is not None:
                return moved
            call = Call(
                self,
                self.site,
                match.operation,
                match.names,
                request.query,
                json.loads(content) if content else None,
                self._user(request, match.operation),
            )
            return self._response(request, call, HANDLERS[match.operation](call))
        except Refused as refusal:
            self._check_answer(match.operation, refusal.status, refusal.body)
            return web.json_response(refusal.body, status=refusal.status, headers=self._limits())

    def _moved(self, request: web.Request, match: Match) -> web.Response | None:
        """To where the repository is led that has been renamed."""
        full_name = f"{match.names.get('owner')}/{match.names.get('repo')}"
        found = self.moved(full_name)
        if found is None or self.find(full_name) is not None:
            return None
        rest = request.rel_url.raw_path_qs.removeprefix(f"{API}/repos/").split("/", 2)[2]
        url = f"{self.site}{API}/repositories/{found.id}/{rest}"
        status = 301 if request.method == "GET" else 307
        return web.json_response({"message": "Moved Permanently"}, status=status, headers={"Location": url})

    def _response(self, request: web.Request, call: Call, reply: Reply) -> web.Response:
        headers = self._limits()
        body = reply.body
        if reply.entries is not None:
            page, headers["Link"] = self._page(request, reply)
            body = reply.whole(page)
        self._check_answer(call.operation, reply.status, body)
        if body is None:
            return web.Response(status=reply.status, headers=self._limits())
        if not headers.get("Link"):
            headers.pop("Link", None)
        text = json.dumps(body, separators=(",", ":"))
        if call.operation[0] == "GET":
            headers["ETag"] = f'W/"{hashlib.sha256((text + headers.get("Link", "")).encode()).hexdigest()}"'
            if request.headers.get("If-None-Match") == headers["ETag"]:
                self.unchanged[call.operation] += 1
                return web.Response(status=304, headers=headers)
        return web.json_response(text=text, status=reply.status, headers=headers)

    def _page(self, request: web.Request, reply: Reply) -> tuple[Sequence[Any], str]:
        """What is on the page that was asked for, and the header that leads to the next."""
        assert reply.entries is not None
        size = int(request.query.get("per_page", "30"))
        name = "cursor" if reply.cursor else "page"
        prefix = "v1_" if reply.cursor else ""
        number = int(request.query.get(name, f"{prefix}1").removeprefix(prefix))
        page = reply.entries[(number - 1) * size : number * size]
        if number * size >= len(reply.entries):
            return page, ""
        query = {key: value for key, value in request.query.items() if key != name}
        url = request.url.with_query({**query, name: f"{prefix}{number + 1}"})
        return page, f'<{url}>; rel="next", <{url}>; rel="last"'

    def _check_answer(self, operation: Operation, status: int, body: Any) -> None:
        if self._checked:
            wrong = published().wrong_answer(operation, status, body)
            self.wrong += [f"{operation}: answer {status}: {error}" for error in wrong]

    def _limits(self) -> dict[str, str]:
        reset = int((self.now() + timedelta(hours=1)).timestamp())
        return {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": str(reset)}

    def _user(self, request: web.Request, operation: Operation) -> User | None:
        """Who asks. Raises Refused for who may not."""
        secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
        path = operation[1]
        if path.startswith("/app") or path.endswith("/installation"):
            self._check_assertion(secret)
            return None
        if secret in self.tokens:
            return self.tokens[secret]
        if self.app is not None and secret in self.app.tokens and self.app.tokens[secret][1] > self.now():
            return User(f"{self.app.slug}[bot]", is_bot=True)
        raise Refused(401, "Bad credentials")

    def _check_assertion(self, secret: str) -> None:
        if self.app is None:
            raise Refused(404, "Not Found")
        try:
            claims = jwt.decode(
                secret, self.app.key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.PyJWTError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        now = self.now().timestamp()
        if claims["iss"] not in (str(self.app.id), self.app.client_id):
            raise Refused(404, "Integration not found")
        if not claims["iat"] <= now < claims["exp"] <= now + 600:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")

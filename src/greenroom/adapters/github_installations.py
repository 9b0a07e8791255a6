"""What a GitHub App shows for a repository: a token of its installation there, good for an hour.

"Authenticating as a GitHub App installation". The token is renewed before it ends, by one request however many wait
for it, and taken for the next repository of the same installation.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from greenroom.adapters.github_address import Repository
from greenroom.adapters.github_credentials import App, Credential, Credentials
from greenroom.adapters.github_http import Api
from greenroom.model.errors import ForgeForbidden, ForgeNotFound
from greenroom.ports import Clock

MARGIN = timedelta(minutes=5)
"""How long before its end a token is no longer used."""


class _Installation(msgspec.Struct):
    id: int


class _AccessToken(msgspec.Struct):
    token: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]

    def __repr__(self) -> str:
        return "_AccessToken(…)"


class Itself:
    """The App, asking in its own name."""

    def __init__(self, app: App, clock: Clock) -> None:
        self._app, self._clock = app, clock

    async def current(self) -> Credential:
        return self._app.assertion(self._clock.now())

    async def renewed(self, refused: Credential) -> Credential | None:
        found = self._app.assertion(self._clock.now(), anew=True)  # with the key that is stored now
        return found if found != refused else None


class Installations:
    """All installations of an App, as far as they were asked for."""

    def __init__(self, api: Api, app: App, clock: Clock) -> None:
        self.itself = Itself(app, clock)
        self._api, self._clock = api, clock
        self._ids: dict[str, int] = {}
        self._tokens: dict[int, _AccessToken] = {}
        self._asking: defaultdict[str | int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, repository: Repository) -> Credentials:
        """What to show for ``repository``."""
        return _Installed(self, repository)

    async def id(self, repository: Repository) -> int:
        """Which installation it is. Raises ForgeForbidden when there is none."""
        async with self._asking[repository.key]:
            if repository.key not in self._ids:
                self._ids[repository.key] = await self._find(repository)
            return self._ids[repository.key]

    async def credential(self, repository: Repository) -> Credential:
        installation = await self.id(repository)
        async with self._asking[installation]:
            token = self._tokens.get(installation)
            if token is None or token.expires_at - self._clock.now() < MARGIN:
                token = self._tokens[installation] = await self._token(repository, installation)
        return Credential(f"installation {installation}", token.token)

    def forget(self, repository: Repository, refused: Credential) -> None:
        """Its credential was refused: the token may be revoked, the App installed anew."""
        installation = self._ids.get(repository.key)
        if installation is None:
            return
        token = self._tokens.get(installation)
        if token is not None and token.token == refused.secret:  # else another has renewed it meanwhile
            del self._tokens[installation]
            del self._ids[repository.key]

    async def _find(self, repository: Repository) -> int:
        path = f"{repository.path}/installation"
        try:
            return (await self._api.get(path, _Installation, self.itself)).id
        except ForgeNotFound as error:
            # Not ForgeNotFound: that the App may not look says nothing of what is there.
            raise ForgeForbidden(f"the GitHub App is not installed on {repository}: {error}") from error

    async def _token(self, repository: Repository, installation: int) -> _AccessToken:
        path = f"/app/installations/{installation}/access_tokens"
        try:
            answer = await self._api.write("POST", path, self.itself, paced=False)  # it makes nothing that is counted
        except ForgeNotFound as error:
            self._ids.pop(repository.key, None)
            raise ForgeForbidden(f"the GitHub App is no longer installed on {repository}: {error}") from error
        return self._api.decoded(answer, _AccessToken)


class _Installed:
    """The App, asking as its installation on a repository."""

    def __init__(self, installations: Installations, repository: Repository) -> None:
        self._installations, self._repository = installations, repository

    async def current(self) -> Credential:
        return await self._installations.credential(self._repository)

    async def renewed(self, refused: Credential) -> Credential | None:
        self._installations.forget(self._repository, refused)
        return await self._installations.credential(self._repository)

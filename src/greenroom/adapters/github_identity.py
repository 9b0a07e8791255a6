"""Who we are on GitHub, what we show for a repository, and which of its webhooks we may look into.

The two are alike in what they answer: whoever has a token, and a GitHub App.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from greenroom.adapters.github_address import Repository
from greenroom.adapters.github_credentials import App, Credential, Credentials, Token
from greenroom.adapters.github_deliveries import Log
from greenroom.adapters.github_http import Api
from greenroom.adapters.github_installations import Installations
from greenroom.adapters.github_messages import AppItself, Hook, HookConfig, User
from greenroom.model.errors import ForgeForbidden, ForgeNotFound
from greenroom.ports import Clock


class Identity(Protocol):
    """All methods may raise ``ForgeError``."""

    def shown(self, repository: Repository) -> Credentials:
        """What to show for ``repository``."""

    async def login(self) -> str:
        """Under which name we write; ``""`` when GitHub does not tell."""

    async def logs(self, repository: Repository, webhook: str) -> Sequence[Log]:
        """Where deliveries about ``repository`` to the address ``webhook`` are listed."""


class Holder:
    """Whoever holds a token."""

    def __init__(self, api: Api, token: Token) -> None:
        self._api, self._token = api, token
        self._known: tuple[Credential, str] | None = None

    def shown(self, repository: Repository) -> Credentials:
        return self._token

    async def login(self) -> str:
        """Asked once for each token. That of a workflow belongs to no user who could be asked for."""
        credential = await self._token.current()
        if self._known is None or self._known[0] != credential:
            try:
                self._known = credential, (await self._api.get("/user", User, self._token)).login
            except (ForgeForbidden, ForgeNotFound):
                self._known = credential, ""
        return self._known[1]

    async def logs(self, repository: Repository, webhook: str) -> Sequence[Log]:
        return await _repository_logs(self._api, repository, self._token, webhook)


LOOK_AGAIN = timedelta(minutes=50)
"""How long the deliveries of an App are not looked at again, whichever of its repositories is asked about."""


class AppIdentity:
    """A GitHub App, which is somebody else in each of its installations."""

    def __init__(self, api: Api, app: App, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._installations = Installations(api, app, clock)
        self._itself = self._installations.itself
        self._login = ""
        self._looked_at: datetime | None = None

    def shown(self, repository: Repository) -> Credentials:
        return self._installations.of(repository)

    async def login(self) -> str:
        if not self._login:
            slug = (await self._api.get("/app", AppItself, self._itself)).slug
            self._login = f"{slug}[bot]" if slug else ""
        return self._login

    async def logs(self, repository: Repository, webhook: str) -> Sequence[Log]:
        """Of the App's own webhook, which serves all repositories, and so is looked at for one of them only, now and
        then; where that goes elsewhere, the repository's."""
        if await self._own_webhook() == webhook:
            now = self._clock.now()
            if self._looked_at is not None and timedelta() <= now - self._looked_at < LOOK_AGAIN:
                return []
            self._looked_at = now
            return [Log("/app/hook/deliveries", self._itself)]
        return await _repository_logs(self._api, repository, self.shown(repository), webhook)

    async def _own_webhook(self) -> str:
        try:
            return (await self._api.get("/app/hook/config", HookConfig, self._itself)).url
        except ForgeNotFound:  # it has none
            return ""


async def _repository_logs(api: Api, repository: Repository, credentials: Credentials, webhook: str) -> Sequence[Log]:
    path = f"{repository.path}/hooks"
    pages = await api.pages(path, list[Hook], credentials)
    hooks = {hook.id for page in pages for hook in page if hook.active and hook.config.url == webhook}
    return [Log(f"{path}/{hook}/deliveries", credentials) for hook in sorted(hooks)]

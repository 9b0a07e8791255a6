"""The side of the program that talks with a forge, where it has credentials: without them nothing of this is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from greenroom.adapters.github import GitHub
from greenroom.adapters.github_credentials import App, Token
from greenroom.adapters.visitor import HttpVisitor
from greenroom.core.remembered import refused_message
from greenroom.flows.intake import Intake
from greenroom.flows.report import Reports
from greenroom.flows.sweep import Sweep
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import REVIEW_APP, Manifest, Ref, text
from greenroom.ports import Clock, Cluster, Logs
from greenroom.runtime.informer import Informers

GITHUB = "https://github.com"
_OURSELVES = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ForgeSettings:
    """Credentials for GitHub, by their files: a token, or the private key of the App ``app_id``.

    ``server`` is the address people open. ``webhook`` is the address that GitHub delivers to, so that failed deliveries
    can be asked for; ``""`` leaves them. ``via`` is ``host:port`` of a gateway through which environments are visited,
    where their own addresses cannot be reached from here.
    """

    token_file: Path | None = None
    app_id: str = ""
    key_file: Path | None = None
    server: str = GITHUB
    webhook: str = ""
    via: str = ""

    @classmethod
    def of(
        cls, token_file: Path | None, app_id: str, key_file: Path | None, server: str, webhook: str, via: str
    ) -> ForgeSettings | None:
        """None without credentials. Raises InvalidInput when they are neither one thing nor the other."""
        if token_file is not None and (app_id or key_file is not None):
            raise InvalidInput("a token and an App are both given", path="--github-token-file", cure="leave out one")
        if bool(app_id) != (key_file is not None):
            missing = "--github-app-key-file" if app_id else "--github-app-id"
            raise InvalidInput("is missing", path=missing, cure="an App takes its id and its private key")
        if token_file is None and not app_id:
            return None
        address = urlsplit(server)
        if address.scheme == "http" and address.hostname not in _OURSELVES:
            cure = "write https://"
            raise InvalidInput("credentials would travel for everybody to read", path="--github-url", cure=cure)
        host, _, port = via.rpartition(":")
        if via and not (host and port.isascii() and port.isdecimal()):
            raise InvalidInput(f"{via!r} is not an address", path="--visit-via", cure="write it as host:port")
        return cls(token_file, app_id, key_file, server, webhook, via)


class ForgeService:
    """What is asked of a forge, and told to it. ``forge`` is for others to use, too."""

    def __init__(self, settings: ForgeSettings, forge: GitHub, visitor: HttpVisitor) -> None:
        self._settings = settings
        self.forge = forge
        self._visitor = visitor

    async def keep(
        self,
        cluster: Cluster,
        informers: Informers,
        intake: Intake,
        clock: Clock,
        *,
        namespace: str = "",
        logs: Logs | None = None,
        visits: bool = True,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """Until cancelled, and by one replica. Without ``visits`` an address is not asked what it shows: so where
        gateways that are not ours serve it, which do not say."""
        reports = Reports(
            cluster,
            informers,
            self.forge,
            self._visitor if visits else None,
            clock,
            namespace=namespace,
            logs=logs,
            leads=leads,
            why_removed=lambda pr: _why_removed(informers, pr),
        )

        async def clear(repository: str) -> None:
            await reports.clear_left_behind(repository)

        sweep = Sweep(
            cluster,
            informers,
            intake,
            self.forge,
            clock,
            namespace=namespace,
            webhook=self._settings.webhook,
            clear=clear,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(reports.run())
            group.create_task(sweep.run())


@asynccontextmanager
async def forging(settings: ForgeSettings | None, clock: Clock) -> AsyncIterator[ForgeService | None]:
    """Raises InvalidInput when the server's address is none."""
    if settings is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        credentials = Token(settings.token_file) if settings.token_file else _app(settings)
        forge = await stack.enter_async_context(GitHub(credentials, clock, server=settings.server))
        visitor = await stack.enter_async_context(HttpVisitor(via=settings.via))
        yield ForgeService(settings, forge, visitor)


def _app(settings: ForgeSettings) -> App:
    if settings.key_file is None:  # pragma: no cover - ForgeSettings.of lets no such thing through
        raise InvalidInput("is missing", path="--github-app-key-file")
    return App(settings.app_id, settings.key_file)


def _why_removed(informers: Informers, pr: Manifest) -> str:
    app = Ref(REVIEW_APP, text(pr, "metadata", "namespace"), text(pr, "spec", "parentReviewApp"))
    return refused_message(informers.get(app) or {}, text(pr, "spec", "prNumber"))

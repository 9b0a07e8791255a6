"""What the forge says of a pull request, for those who decide. Where it cannot be asked, nothing is known from it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from greenroom.model.errors import ForgeError
from greenroom.model.pull import PullEvent, PullRequest
from greenroom.ports import Forge
from greenroom.runtime.joined import Joined

ASK_SECONDS = 4.0
"""How long a delivery waits for the forge's answer, of the 10 seconds that GitHub waits for ours."""
PATHS_KEPT = 1000

log = structlog.get_logger(__name__)


class Pulls:
    """Asks ``forge``; None asks nobody. Deliveries of one pull request that come together share an answer."""

    def __init__(self, forge: Forge | None) -> None:
        self._forge = forge
        self._present: Joined[tuple[str, int], None, PullEvent | None] = Joined(lambda key, _: self._ask(*key))
        self._paths: OrderedDict[tuple[str, int, str, str], frozenset[str]] = OrderedDict()

    async def present(self, repository: str, number: int) -> PullEvent | None:
        """The pull request as it is now; None where that is not known."""
        return await self._present((repository, number), None)

    async def changed_paths(self, pull: PullRequest) -> frozenset[str] | None:
        """The paths that it changes, from its base branch to its head; None where that is not known."""
        base = pull.traits.base if pull.traits is not None else ""
        key = (pull.repository, pull.number, base, pull.head)
        if key not in self._paths:
            forge = self._of(pull.repository)
            if forge is None:
                return None
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    self._paths[key] = await forge.changed_paths(pull.repository, pull.number)
            except (ForgeError, TimeoutError) as error:
                _say("the changed paths are not known", error)
                return None
            if len(self._paths) > PATHS_KEPT:
                self._paths.popitem(last=False)
        return self._paths[key]

    async def may_write(self, repository: str, user: str) -> bool | None:
        """Whether ``user`` may push; None where that is not known."""
        forge = self._of(repository)
        if forge is None:
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await forge.may_write(repository, user)
        except (ForgeError, TimeoutError) as error:
            _say("whether somebody may push is not known", error)
            return None

    def can_ask(self, repository: str) -> bool:
        return self._of(repository) is not None

    async def _ask(self, repository: str, number: int) -> PullEvent | None:
        forge = self._of(repository)
        if forge is None:
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await forge.pull(repository, number)
        except (ForgeError, TimeoutError) as error:
            _say("the forge was not asked, and the delivery is taken at its word", error)
            return None

    def _of(self, repository: str) -> Forge | None:
        return self._forge if self._forge is not None and self._forge.has_credentials(repository) else None


def _say(what: str, error: Exception) -> None:
    log.info(what, error=str(error) or f"no answer within {ASK_SECONDS:g} s")

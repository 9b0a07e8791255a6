"""Whether the address of an environment answers with the commit that it should.

It is asked only once the cluster says that all is ready, and until it has answered: the last word on "ready" is that of
whoever opens the address.
"""

from __future__ import annotations

import asyncio

import structlog

from greenroom.core.phases import is_up
from greenroom.model.errors import VisitFailed
from greenroom.model.forge import DeploymentState
from greenroom.model.manifest import Manifest, text, uid_of
from greenroom.model.report import Report
from greenroom.ports import Visitor
from greenroom.runtime.backoff import Backoff

RETRY = Backoff(base=1.0, cap=60.0)

log = structlog.get_logger(__name__)


class Visits:
    """Without a ``visitor`` no address is asked, and what the cluster says is enough: a gateway that is not ours names
    no commit."""

    def __init__(self, visitor: Visitor | None) -> None:
        self._visitor = visitor
        self._answered: dict[str, str] = {}  # by UID, the commit
        self._waiting: dict[str, tuple[int, float]] = {}  # by UID, failures and when to ask again

    async def answered(self, pr: Manifest) -> tuple[bool, float | None]:
        """Whether there is nothing more to wait for, and after how many seconds to ask again if there is."""
        url, uid = text(pr, "status", "url"), uid_of(pr)
        if not is_up(pr):
            self.forget(uid)
            return False, None
        if self._visitor is None or not url or self._is_known(pr):
            return True, None
        return await self._ask(self._visitor, url, pr)

    def forget(self, uid: str) -> None:
        self._answered.pop(uid, None)
        self._waiting.pop(uid, None)

    def _is_known(self, pr: Manifest) -> bool:
        """From before, or from before a restart."""
        commit, told = text(pr, "spec", "headCommitRef"), Report.of(pr).deployment
        return self._answered.get(uid_of(pr)) == commit or (
            told.commit == commit and told.said == DeploymentState.SUCCESS.value
        )

    async def _ask(self, visitor: Visitor, url: str, pr: Manifest) -> tuple[bool, float | None]:
        uid, now = uid_of(pr), asyncio.get_running_loop().time()
        failures, due = self._waiting.get(uid, (0, now))
        if due > now:
            return False, due - now
        if await _shows(visitor, url, pr):
            self._waiting.pop(uid, None)
            self._answered[uid] = text(pr, "spec", "headCommitRef")
            return True, None
        wait = RETRY.delay(failures + 1)
        self._waiting[uid] = (failures + 1, asyncio.get_running_loop().time() + wait)
        return False, wait


async def _shows(visitor: Visitor, url: str, pr: Manifest) -> bool:
    """An environment without Deployments has no commit to answer with: that it answers is enough."""
    try:
        answer = await visitor.commit_at(url)
    except VisitFailed as error:
        log.debug("the address does not answer", error=str(error))
        return False
    shown = text(pr, "status", "shownCommit")
    return not shown or answer == shown

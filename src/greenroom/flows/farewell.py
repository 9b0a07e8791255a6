"""What is said last of an environment: its comment tells that it is gone, its deployments are inactive, and the forge
forgets the environment.

The PR object is gone, and its record with it. So what was done is kept in memory, and whoever starts anew finds the
rest by the names of the environments that the forge still has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import structlog

from greenroom.core.comment import comment
from greenroom.core.phases import Phase
from greenroom.core.relations import pull_number
from greenroom.flows.answers import Answers, Place
from greenroom.flows.forge_turns import ForgeTurns
from greenroom.model.errors import ForgeForbidden, ForgeInvalid, ForgeNotFound
from greenroom.model.forge import DeploymentState
from greenroom.model.manifest import Manifest, ref_of
from greenroom.model.report import Report
from greenroom.ports import Forge

WRITE_PULLS = "let the credentials write pull requests"
WRITE_DEPLOYMENTS = "let the credentials write deployments"
ADMINISTER = "let the credentials administer the repository, or remove the environment by hand"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Gone:
    """A PR object as it was last seen. ``left_behind`` tells that none of us saw it go: nothing is known of what was
    said of it. ``deployments`` are None until they were asked for; ``done`` names what was written."""

    pr: Manifest
    repository: str
    left_behind: bool = False
    deployments: tuple[int, ...] | None = None
    done: set[str] = field(default_factory=set)


class Farewells:
    """``why_removed`` answers why an environment was removed while its pull request is open, ``""`` when it is not."""

    def __init__(
        self, answers: Answers, forge: Forge, turns: ForgeTurns, why_removed: Callable[[Manifest], str]
    ) -> None:
        self._answers = answers
        self._forge = forge
        self._turns = turns
        self._why_removed = why_removed

    async def clear(self, gone: Gone, host: str) -> float | None:
        """Answers the seconds until the next write may be done, None when all is done. Nothing that is forbidden stops
        the rest, or is tried again here. Raises ForgeThrottled, ForgeUnavailable, and ClusterError."""
        ref = ref_of(gone.pr)
        place = Place.of(ref, gone.repository, pull_number(gone.pr))
        if gone.deployments is None and (only := _only_active(gone)):
            gone.deployments = (only,)
        if gone.deployments is None:
            await self._tried(WRITE_DEPLOYMENTS, partial(self._look, place, gone))
        for name, cure, write in self._writes(place, gone):
            if name in gone.done:
                continue
            if (wait := self._turns.wait(host, ref, name, "")) > 0:
                return wait
            await self._tried(cure, write)
            self._turns.listens(host)
            gone.done.add(name)
        return None

    def _writes(self, place: Place, gone: Gone) -> Iterator[tuple[str, str, Callable[[], Awaitable[None]]]]:
        body = comment(gone.pr, Phase.REMOVED, why=self._why_removed(gone.pr))
        told = Report.of(gone.pr).comment
        yield "last words", WRITE_PULLS, partial(self._answers.close, place, told, body)
        for deployment in gone.deployments or ():
            yield f"deployment {deployment}", WRITE_DEPLOYMENTS, partial(self._answers.deactivate, place, deployment)
        yield "environment", ADMINISTER, partial(self._answers.remove_environment, place)

    async def _look(self, place: Place, gone: Gone) -> None:
        found = await self._forge.deployments(place.repository, place.environment)
        gone.deployments = tuple(each.id for each in found)

    async def _tried(self, cure: str, doing: Callable[[], Awaitable[None]]) -> None:
        try:
            await doing()
        except ForgeForbidden as error:
            log.warning("what is gone cannot be cleared on the forge", error=str(error), cure=cure)
        except (ForgeInvalid, ForgeNotFound) as error:
            log.info("what is gone is not cleared on the forge", error=str(error))


def _only_active(gone: Gone) -> int:
    """The deployment by whose success the forge made all earlier ones inactive; 0 where it was another's turn."""
    told = Report.of(gone.pr).deployment
    return told.id if told.said == DeploymentState.SUCCESS.value and not told.deleted else 0

"""An edited gate is asked again, of every pull request that is known: those with an environment and those without.

Deliveries and readings ask it by themselves (``flows.intake``).
"""

from __future__ import annotations

from typing import TypeAlias

import structlog

from greenroom.core.standing import Told, known_numbers, repository_of
from greenroom.flows.intake import Intake, Result
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, get, ref_of, text
from greenroom.model.watch import Scope
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

_Key: TypeAlias = "tuple[Ref, int]"

log = structlog.get_logger(__name__)


class Gatekeeper:
    """For the ReviewApps of ``namespace``, by default of all. To be run by one replica."""

    def __init__(self, intake: Intake, informers: Informers, *, namespace: str = "") -> None:
        self._intake = intake
        self._informers = informers
        self._apps, self._prs = Scope(REVIEW_APP, namespace), Scope(PR, namespace)
        self._controller: Controller[_Key] = Controller("gatekeeper", self._ask, describe=_named)

    async def run(self) -> None:
        """Until cancelled, and once only."""
        await self._informers.synced(self._apps, self._prs)
        self._informers.subscribe(self._apps, self._app_changed)
        try:
            await self._controller.run()
        finally:
            self._informers.unsubscribe(self._app_changed)

    def _app_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """At the start every ReviewApp is new: it may have been edited while nobody looked."""
        if new is None or (old is not None and _gate(old) == _gate(new)):
            return
        app, repository = ref_of(new), repository_of(new)
        prs = self._informers.list(PR, namespace=text(new, "metadata", "namespace"))
        for number in known_numbers(new, prs):
            if not self._intake.is_settled(app, Told(repository, number)):
                self._controller.add((app, number))

    async def _ask(self, key: _Key) -> None:
        outcome = await self._intake.ask_again(*key)
        if outcome is not None and outcome.result is not Result.UNCHANGED:
            log.info("the edited gate was asked", result=outcome.result.value, message=outcome.message)


def _gate(app: Manifest) -> object:
    return get(app, "spec", "gate")


def _named(key: _Key) -> dict[str, str]:
    app, number = key
    return {"review_app": f"{app.namespace}/{app.name}", "number": str(number)}

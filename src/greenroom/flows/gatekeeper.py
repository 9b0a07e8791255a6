"""An edited gate is asked again, of every pull request that is known: those with an environment and those without.

Deliveries and readings ask it by themselves (``flows.intake``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import structlog

from greenroom.core.gate import Admission, Refusal, decide, question
from greenroom.core.ordering import OBSERVED
from greenroom.core.remembered import refused_numbers
from greenroom.core.standing import State, Told, pr_ref, repository_of, state_of
from greenroom.flows.intake import Intake, Result
from greenroom.model.gate import Gate
from greenroom.model.manifest import PR, REVIEW_APP, Manifest, Ref, annotations_of, get, ref_of, text
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
        app = ref_of(new)
        for number in self._numbers(new):
            if self._differs(new, number, was_edited=old is not None):
                self._controller.add((app, number))

    def _numbers(self, app: Manifest) -> Iterator[int]:
        yield from refused_numbers(app)
        for pr in self._informers.list(PR, namespace=text(app, "metadata", "namespace")):
            key = text(pr, "spec", "prNumber")
            is_ours = text(pr, "spec", "parentReviewApp") == ref_of(app).name and OBSERVED in annotations_of(pr)
            if is_ours and key.isascii() and key.isdigit():
                yield int(key)

    def _differs(self, app: Manifest, number: int, *, was_edited: bool) -> bool:
        """Whether the gate seems to say something else than what was done."""
        told = Told(repository_of(app), number)
        pr = self._informers.get(pr_ref(ref_of(app), told))
        state = state_of(app, pr, told)
        if state is None or not isinstance(state.gate, Gate | None):
            return False
        answer = decide(question(state.pull, state.gate, state.known))
        if isinstance(answer, Admission | Refusal):
            return (pr is not None) != isinstance(answer, Admission)
        return was_edited and _asks_the_forge(state)

    async def _ask(self, key: _Key) -> None:
        outcome = await self._intake.ask_again(*key)
        if outcome is not None and outcome.result is not Result.UNCHANGED:
            log.info("the edited gate was asked", result=outcome.result.value, message=outcome.message)


def _gate(app: Manifest) -> object:
    return get(app, "spec", "gate")


def _asks_the_forge(state: State) -> bool:
    return isinstance(state.gate, Gate) and state.gate.needs_paths


def _named(key: _Key) -> dict[str, str]:
    app, number = key
    return {"review_app": f"{app.namespace}/{app.name}", "number": str(number)}

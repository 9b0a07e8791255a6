"""``/preview`` in a comment -> what was asked for, a reaction, and the answer in the one comment on the pull request.

Whoever may push to the repository may ask. What takes time, and the answer where there is an environment, is left to
the replica that leads (``flows.report``): the question waits in an annotation of the PR object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

import structlog

from greenroom.core import asking
from greenroom.core.comment import Answer, comment
from greenroom.core.explanation import explanation
from greenroom.core.gate import DESTROY, PREVIEW, canonical
from greenroom.core.phases import Phase
from greenroom.core.standing import Told, pr_ref
from greenroom.flows.annotating import annotate
from greenroom.flows.answers import Place
from greenroom.flows.intake import Intake, Outcome, Result
from greenroom.flows.pulls import Pulls
from greenroom.model.errors import ForgeError, InvalidInput, NotFound, Unavailable
from greenroom.model.forge import Reaction
from greenroom.model.manifest import Manifest, Ref, name_of, text
from greenroom.model.pull import TEAM, Command, Mark
from greenroom.ports import Cluster, Forge
from greenroom.runtime.informer import Informers

_WISHES = {asking.PREVIEW: PREVIEW, asking.DESTROY: DESTROY}
RETRY_SECONDS = 5.0
ANSWER_SECONDS = 3.0
"""How long a delivery waits for the forge to take an answer, of the 10 seconds that GitHub waits for ours."""
REFUSALS = 5
REFUSALS_SECONDS = 3600.0
"""How many strangers are told in each repository, and in which time: GitHub counts each reaction, and whoever comments
often enough would use up what is left for everybody else."""

log = structlog.get_logger(__name__)


class Commands:
    """``forge`` is None without credentials: then what is asked for is done, and nobody is answered."""

    def __init__(self, cluster: Cluster, informers: Informers, intake: Intake, forge: Forge | None) -> None:
        self._cluster = cluster
        self._informers = informers
        self._intake = intake
        self._forge = forge
        self._pulls = Pulls(forge)
        self._turns: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()  # two would write two comments
        self._refusals: dict[str, list[float]] = {}  # by repository: when a stranger was told

    async def handle(self, command: Command) -> Sequence[Outcome]:
        """What was done at each ReviewApp. Raises ClusterError when it is to be delivered again."""
        if not await self._intake.wanted_by(command.repository):
            return []
        if not await self._may_ask(command):
            await self._turn_away(command)
            return self._refused(command, f"{command.author} may not push to {command.repository}")
        try:
            outcomes = await self._do(command)
        except InvalidInput as error:
            await self._react(command, Reaction.CONFUSED)
            await self._answer_all(command, note=str(error))
            return self._refused(command, str(error))
        answered = await self._answer_all(command)
        # What is destroyed is gone, however often that is asked for.
        is_done = command.word == asking.DESTROY or any(each.result is not Result.REFUSED for each in answered)
        await self._react(command, Reaction.DONE if is_done else Reaction.REFUSED)
        return outcomes or answered

    async def _may_ask(self, command: Command) -> bool:
        if not self._pulls.can_ask(command.repository):
            return command.association in TEAM
        may_write = await self._pulls.may_write(command.repository, command.author)
        if may_write is None:
            raise Unavailable(f"whether {command.author} may push is not known now", retry_after=RETRY_SECONDS)
        return may_write

    async def _turn_away(self, stranger: Command) -> None:
        now, repository = asyncio.get_running_loop().time(), canonical(stranger.repository)
        lately = [at for at in self._refusals.get(repository, ()) if now - at < REFUSALS_SECONDS]
        self._refusals[repository] = lately
        if len(lately) >= REFUSALS:
            log.debug("a stranger is not answered, as others were not long ago", repository=repository)
            return
        lately.append(now)
        await self._react(stranger, Reaction.REFUSED)

    async def _do(self, command: Command) -> Sequence[Outcome]:
        """Raises InvalidInput for what cannot be understood."""
        if command.word not in asking.WORDS:
            known = ", ".join(line for line, _ in asking.USAGE)
            raise InvalidInput(f"{command.word[:40]!r} is not known", cure=f"one of {known}")
        if command.word == asking.EXTEND:
            asking.kept_until(command)  # though there may be nothing to keep
        if command.word in _WISHES:
            wish = Mark(command.at, _WISHES[command.word], by=command.author, id=command.id)
            return await self._intake.wish(command.repository, command.number, wish)
        for app in self._intake.review_apps_of(command.repository):
            pr = await self._pr(app, command)
            if pr is not None and (orders := asking.orders(command, pr)):
                await self._annotate(pr, orders, manager=f"greenroom-{command.word}")
        return ()

    async def _answer_all(self, command: Command, *, note: str = "") -> Sequence[Outcome]:
        return [await self._answer(command, app, note) for app in self._intake.review_apps_of(command.repository)]

    async def _answer(self, command: Command, app: Ref, note: str) -> Outcome:
        pr = await self._pr(app, command)
        if pr is None:
            return await self._answer_without(command, app, note)
        asked = asking.asked(command, pr, note=note)
        if asked is None:
            return Outcome(app, Result.UNCHANGED)
        await self._annotate(pr, {asking.ASKED_ANNOTATION: str(asked)}, manager="greenroom-asked")
        return Outcome(app, Result.UPDATED)

    async def _answer_without(self, command: Command, app: Ref, note: str) -> Outcome:
        """Where there is no environment nobody else would answer."""
        manifest = self._informers.get(app) or {}
        lines = explanation(manifest, None, command.number)
        ref = pr_ref(app, Told(command.repository, command.number))
        stub: Manifest = {"metadata": {"name": ref.name, "namespace": ref.namespace}}
        told = Answer(command.word, command.author, note, lines)
        if command.word != asking.DESTROY:
            await self._write(Place.of(ref, command.repository, command.number), comment(stub, Phase.NONE, answer=told))
        return Outcome(app, Result.UPDATED if command.word == asking.EXPLAIN else Result.REFUSED, lines[0])

    async def _write(self, place: Place, body: str) -> None:
        """Worth a try, and no more: what was asked for is done."""
        forge = self._forge
        if forge is None or not self._pulls.can_ask(place.repository):
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turns.setdefault(place, asyncio.Lock()):
                await _say(forge, place, body)
        except (ForgeError, TimeoutError) as error:
            log.info("a question was not answered", error=str(error) or type(error).__name__)

    async def _react(self, command: Command, reaction: Reaction) -> None:
        if self._forge is None or not self._pulls.can_ask(command.repository):
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._forge.react(command.repository, command.id, reaction)
        except (ForgeError, TimeoutError) as error:
            log.info("a comment got no reaction", reaction=reaction.value, error=str(error) or type(error).__name__)

    async def _annotate(self, pr: Manifest, annotations: Manifest, *, manager: str) -> None:
        if not await annotate(self._cluster, pr, annotations, manager=manager):
            log.info("a PR object is gone before it could be told", name=name_of(pr))

    async def _pr(self, app: Ref, command: Command) -> Manifest | None:
        try:
            found = await self._cluster.get(pr_ref(app, Told(command.repository, command.number)))
        except NotFound:
            return None
        return None if text(found, "metadata", "deletionTimestamp") else found

    def _refused(self, command: Command, why: str) -> Sequence[Outcome]:
        return [Outcome(app, Result.REFUSED, why) for app in self._intake.review_apps_of(command.repository)]


async def _say(forge: Forge, place: Place, body: str) -> None:
    """In the one comment, new or edited."""
    written = await forge.comments(place.repository, place.number)
    ours = next((each for each in written if each.body.startswith(place.mark)), None)
    if ours is None:
        await forge.comment(place.repository, place.number, body)
    elif ours.body.strip() != body.strip():
        await forge.edit_comment(place.repository, ours.id, body)

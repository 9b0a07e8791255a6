"""``/preview`` in a comment -> what was asked for, a reaction, and the answer in the one comment on the pull request.

Whoever may push to the repository may ask. What takes time, and the answer where there is an environment, is left to
the replica that leads (``flows.report``): the question waits in an annotation of the PR object.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from greenroom.core import asking
from greenroom.core.comment import Answer, comment
from greenroom.core.explanation import explanation
from greenroom.core.gate import DESTROY, PREVIEW
from greenroom.core.phases import Phase
from greenroom.core.standing import Told, pr_ref
from greenroom.flows.answers import Place
from greenroom.flows.intake import Intake, Outcome, Result
from greenroom.flows.pulls import Pulls
from greenroom.model.environment import RESTARTED_ANNOTATION
from greenroom.model.errors import Conflict, ForgeError, InvalidInput, NotFound, Unavailable
from greenroom.model.forge import Reaction
from greenroom.model.manifest import PR, Manifest, Ref, name_of, ref_of, text, timestamp, uid_of
from greenroom.model.pull import TEAM, Command, Mark
from greenroom.ports import Cluster, Forge
from greenroom.runtime.informer import Informers

_WISHES = {asking.PREVIEW: PREVIEW, asking.DESTROY: DESTROY}
RETRY_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Commands:
    """``forge`` is None without credentials: then what is asked for is done, and nobody is answered."""

    def __init__(self, cluster: Cluster, informers: Informers, intake: Intake, forge: Forge | None) -> None:
        self._cluster = cluster
        self._informers = informers
        self._intake = intake
        self._forge = forge
        self._pulls = Pulls(forge)

    async def handle(self, command: Command) -> Sequence[Outcome]:
        """What was done at each ReviewApp. Raises ClusterError when it is to be delivered again."""
        if not self._intake.review_apps_of(command.repository):
            return []
        if not await self._may_ask(command):
            await self._react(command, Reaction.REFUSED)
            return self._refused(command, f"{command.author} may not push to {command.repository}")
        try:
            outcomes = await self._do(command)
        except InvalidInput as error:
            await self._react(command, Reaction.CONFUSED)
            await self._answer_all(command, note=str(error))
            return self._refused(command, str(error))
        is_done = any(outcome.result is not Result.REFUSED for outcome in outcomes)
        await self._react(command, Reaction.DONE if is_done else Reaction.REFUSED)
        return outcomes

    async def _may_ask(self, command: Command) -> bool:
        if not self._pulls.can_ask(command.repository):
            return command.association in TEAM
        may_write = await self._pulls.may_write(command.repository, command.author)
        if may_write is None:
            raise Unavailable(f"whether {command.author} may push is not known now", retry_after=RETRY_SECONDS)
        return may_write

    async def _do(self, command: Command) -> Sequence[Outcome]:
        """Raises InvalidInput for what cannot be understood."""
        if command.word not in asking.WORDS:
            known = ", ".join(line for line, _ in asking.USAGE)
            raise InvalidInput(f"{command.word[:40]!r} is not known", cure=f"one of {known}")
        kept = asking.kept_until(command) if command.word == asking.EXTEND else ""
        outcomes: Sequence[Outcome] = ()
        if command.word in _WISHES:
            wish = Mark(command.at, _WISHES[command.word], by=command.author, id=command.id)
            outcomes = await self._intake.wish(command.repository, command.number, wish)
        if command.word == asking.REDEPLOY:
            await self._annotate_all(command, RESTARTED_ANNOTATION, timestamp(command.at))
        if kept:
            await self._annotate_all(command, asking.KEEP_ANNOTATION, kept)
        answered = await self._answer_all(command)
        return outcomes or answered

    async def _answer_all(self, command: Command, *, note: str = "") -> Sequence[Outcome]:
        return [await self._answer(command, app, note) for app in self._intake.review_apps_of(command.repository)]

    async def _answer(self, command: Command, app: Ref, note: str) -> Outcome:
        pr = await self._pr(app, command)
        if pr is None:
            return await self._answer_without(command, app, note)
        asked = asking.asked(command, text(pr, "spec", "headCommitRef"), note=note)
        await self._annotate(pr, asking.ASKED_ANNOTATION, str(asked), manager="greenroom-asked")
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
        if self._forge is None or not self._pulls.can_ask(place.repository):
            return
        try:
            written = await self._forge.comments(place.repository, place.number)
            ours = next((each.id for each in written if each.body.startswith(place.mark)), None)
            if ours is None:
                await self._forge.comment(place.repository, place.number, body)
            else:
                await self._forge.edit_comment(place.repository, ours, body)
        except ForgeError as error:
            log.info("a question was not answered", error=str(error))

    async def _react(self, command: Command, reaction: Reaction) -> None:
        if self._forge is None or not self._pulls.can_ask(command.repository):
            return
        try:
            await self._forge.react(command.repository, command.id, reaction)
        except ForgeError as error:
            log.info("a comment got no reaction", reaction=reaction.value, error=str(error))

    async def _annotate_all(self, command: Command, name: str, value: str) -> None:
        for app in self._intake.review_apps_of(command.repository):
            pr = await self._pr(app, command)
            if pr is not None:
                await self._annotate(pr, name, value, manager=f"greenroom-{command.word}")

    async def _annotate(self, pr: Manifest, name: str, value: str, *, manager: str) -> None:
        """By a field manager of its own, so that nothing else that is applied takes it away."""
        metadata: Manifest = {
            "name": name_of(pr),
            "namespace": ref_of(pr).namespace,
            "uid": uid_of(pr),
            "annotations": {name: value},
        }
        try:
            await self._cluster.apply(
                {"apiVersion": PR.api_version, "kind": PR.name, "metadata": metadata}, manager=manager
            )
        except (Conflict, NotFound):
            log.info("a PR object is gone before it could be told", name=name_of(pr))

    async def _pr(self, app: Ref, command: Command) -> Manifest | None:
        try:
            found = await self._cluster.get(pr_ref(app, Told(command.repository, command.number)))
        except NotFound:
            return None
        return None if text(found, "metadata", "deletionTimestamp") else found

    def _refused(self, command: Command, why: str) -> Sequence[Outcome]:
        return [Outcome(app, Result.REFUSED, why) for app in self._intake.review_apps_of(command.repository)]

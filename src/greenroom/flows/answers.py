"""What is written to a forge for one environment, and recorded in its PR object: the comment and the deployment.

A write and its record are two steps, and the process may die in between. So before something is made it is looked for:
the comment by its mark, the deployment by its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from greenroom.core.comment import marker
from greenroom.core.report import environment_name
from greenroom.model.errors import Conflict, ForgeNotFound, NotFound, Unavailable
from greenroom.model.forge import Comment, DeploymentState
from greenroom.model.manifest import Manifest, Ref, ref_of, text, timestamp, uid_of, version_of
from greenroom.model.report import Report, Told
from greenroom.ports import Clock, Cluster, Forge
from greenroom.runtime.informer import Informers

ATTEMPTS = 8
"""To record what was written, while the status is written by others."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an environment is told of. ``repository`` is the ReviewApp's, ``environment`` the forge's name for it."""

    repository: str
    number: int
    environment: str
    mark: str

    @classmethod
    def of(cls, ref: Ref, repository: str, pull_number: int) -> Place:
        return cls(repository, pull_number, environment_name(ref), marker(ref))


class Answers:
    """Writes, while ``leads`` answers True. Every method may raise ForgeError and ClusterError, and Unavailable when
    another replica leads."""

    def __init__(
        self, cluster: Cluster, informers: Informers, forge: Forge, clock: Clock, *, leads: Callable[[], bool]
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._forge = forge
        self._clock = clock
        self._leads = leads
        self._sure: set[str] = set()  # UIDs of PR objects in which all is recorded that was written
        self._begun: set[str] = set()  # UIDs of those whose last deployment is recorded, too
        self._touched: set[str] = set()  # UIDs of those of which something was written, recorded or not

    async def comment(self, place: Place, pr: Manifest, body: str, *, commit: str, gist: str) -> None:
        """Write it anew, or edit it. One that somebody deleted stays deleted."""
        told = Report.of(pr).comment
        looked_for = not told.id or uid_of(pr) not in self._sure
        self._sure.discard(uid_of(pr))
        self._touched.add(uid_of(pr))
        found = await self._find(place, told.id) if looked_for else None
        id_ = await self._put(place, told, found, body)
        told = told.wrote(commit, gist, self._clock.now(), id_=id_) if id_ else replace(told, deleted=True)
        await self.record(pr, lambda report: replace(report, comment=told))
        self._sure.add(uid_of(pr))

    async def begin(self, place: Place, pr: Manifest, *, commit: str) -> None:
        """Begin a deployment of the commit. One of an earlier commit that was never finished is over."""
        told = Report.of(pr).deployment
        self._touched.add(uid_of(pr))
        if told.id and not told.said and not told.deleted:
            await self._set(place, told.id, DeploymentState.INACTIVE)
        found = 0 if uid_of(pr) in self._begun else await self._find_begun(place, pr, commit)
        self._begun.discard(uid_of(pr))
        if not found:
            self._check()
            found = await self._forge.deploy(
                place.repository, commit, place.environment, f"preview of pull request {place.number}"
            )
        begun = told.wrote(commit, "", self._clock.now(), id_=found)
        await self.record(pr, lambda report: replace(report, deployment=begun))
        self._begun.add(uid_of(pr))

    async def finish(self, place: Place, pr: Manifest, state: DeploymentState, *, description: str) -> None:
        """Say what became of the deployment that was begun last."""
        told = Report.of(pr).deployment
        url = text(pr, "status", "url")
        if await self._set(place, told.id, state, url=url, description=description):
            told = told.wrote(told.commit, state.value, self._clock.now(), id_=told.id)
        else:
            told = replace(told, deleted=True)
        await self.record(pr, lambda report: replace(report, deployment=told))

    async def record(self, pr: Manifest, change: Callable[[Report], Report]) -> None:
        """Change what ``pr`` says that was told; nothing when it is gone, or another of its name is there now."""
        ref, present = ref_of(pr), self._informers.get(ref_of(pr)) or pr
        for _ in range(ATTEMPTS):
            report = Report.of(present)
            wanted = change(report)
            if uid_of(present) != uid_of(pr) or wanted == report:
                return
            try:
                version = version_of(present)
                self._informers.observe(await self._cluster.patch_status(ref, wanted.patch(), resource_version=version))
            except NotFound:
                return
            except Conflict:
                present = await self._read(ref)
            else:
                return
        raise Unavailable(f"{ref}: its status is being written all the time")

    async def close(self, place: Place, told: Told, body: str) -> None:
        """Let the comment, if there is one, say that there is nothing any more."""
        if not told.deleted:
            found = None if told.id else await self._find(place, 0)
            if told.id or found is not None:
                await self._put(place, told, found, body)

    async def deactivate(self, place: Place, deployment: int) -> None:
        await self._set(place, deployment, DeploymentState.INACTIVE)

    async def remove_environment(self, place: Place) -> None:
        self._check()
        await self._forge.remove_environment(place.repository, place.environment)

    def has_said(self, pr: Manifest) -> bool:
        """Whether anything was told of a PR object, as far as it says, or this process remembers."""
        report = Report.of(pr)
        return bool(report.comment.id or report.deployment.id or uid_of(pr) in self._touched)

    def doubt(self, uid: str) -> None:
        """Another replica may write, and die before it records that."""
        self._sure.discard(uid)
        self._begun.discard(uid)

    def forget(self, uid: str) -> None:
        self.doubt(uid)
        self._touched.discard(uid)

    async def _put(self, place: Place, told: Told, found: Comment | None, body: str) -> int:
        """Answers the comment's id, 0 when it was deleted."""
        if found is not None and found.body.strip() == body.strip():
            return found.id  # written before the record of it was lost
        known = told.id or (found.id if found is not None else 0)
        self._check()
        if not known:
            return await self._forge.comment(place.repository, place.number, body)
        try:
            await self._forge.edit_comment(place.repository, known, body)
        except ForgeNotFound:
            if await self._is_listed(place, known):
                raise
            return 0
        return known

    async def _is_listed(self, place: Place, comment: int) -> bool:
        """A repository that is out of reach for a while answers as if all in it were deleted; a listing then fails."""
        return any(each.id == comment for each in await self._forge.comments(place.repository, place.number))

    async def _find(self, place: Place, known: int) -> Comment | None:
        """The comment of this environment, by its id or its mark. Should there be several, the oldest."""
        written = await self._forge.comments(place.repository, place.number)
        ours = [each for each in written if each.id == known or each.body.startswith(place.mark)]
        return next((each for each in ours if each.id == known), ours[0] if ours else None)

    async def _find_begun(self, place: Place, pr: Manifest, commit: str) -> int:
        """The deployment of the commit, when it was begun and not recorded. One from before the PR object was of an
        environment that is gone: the pull request was closed, and reopened."""
        since = text(pr, "metadata", "creationTimestamp")
        made = await self._forge.deployments(place.repository, place.environment)
        return next((each.id for each in made if each.commit == commit and timestamp(each.at) >= since), 0)

    async def _set(
        self, place: Place, deployment: int, state: DeploymentState, *, url: str = "", description: str = ""
    ) -> bool:
        """Answers whether the deployment is there."""
        self._check()
        try:
            await self._forge.set_deployment(place.repository, deployment, state, url=url, description=description)
        except ForgeNotFound:
            made = await self._forge.deployments(place.repository, place.environment)  # see _is_listed
            if any(each.id == deployment for each in made):
                raise
            return False
        return True

    async def _read(self, ref: Ref) -> Manifest:
        try:
            return await self._cluster.get(ref)
        except NotFound:
            return {}

    def _check(self) -> None:
        if not self._leads():
            raise Unavailable("another replica leads now")

"""The PR object -> the objects of its environment, and what became of them -> its status.

The steps: fill in the template (``core.template``), apply and prune (``flows.children``), look at what the children
say (``core.health``), and last write the status (``core.status``), if it says something new. Whatever changes, a PR
object, its ReviewApp, a child or a pod, ends in the key of a PR object here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from greenroom.core import status
from greenroom.core.events import events_of
from greenroom.core.health import assess, shown_commit
from greenroom.core.ordering import OBSERVED, Knowledge, join
from greenroom.core.plan import inventory_of
from greenroom.core.status import Findings, Problem
from greenroom.core.template import Rendered, render
from greenroom.flows.children import MANAGER, Children, Kinds, Settled
from greenroom.model.environment import Environment
from greenroom.model.errors import ClusterError, Invalid, InvalidInput, NotFound, Unavailable
from greenroom.model.manifest import (
    POD,
    PR,
    REPLICA_SET,
    REVIEW_APP,
    Json,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    controller_of,
    is_deleting,
    kind_of,
    name_of,
    number,
    owner_reference,
    ref_of,
    table,
    text,
    uid_of,
)
from greenroom.model.reviewapp import ReviewApp
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import UNWATCHED, Monitor
from greenroom.runtime.pace import Pace

WORKERS = 8
RESYNC_SECONDS = 600.0
"""How often an environment is looked at though nothing seems to have changed."""
REFUSED_SECONDS = 60.0
"""When to try again what the cluster refused for a reason that is not in the object: a missing CRD, right or quota."""
EDITS_PER_SECOND = 5.0
EDITS_AT_ONCE = 10
"""How fast an edited template reaches the environments that live, so that the cluster is not asked to start them all
anew in one moment. Pushes and new pull requests wait for none of this."""
OWNER_CHAIN = 8
"""Owners to follow from an object up to a PR object. Nothing stops people from writing a circle."""

log = structlog.get_logger(__name__)


class Reconcile:
    """Keeps every environment as its PR object and ReviewApp say. ``url_of`` makes the URL that reaches a host.

    ``routed`` tells whether a gateway of ours serves the routes, so that an environment waits for it.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        clock: Clock,
        *,
        url_of: Callable[[str], str],
        routed: bool = True,
        monitor: Monitor = UNWATCHED,
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._url_of = url_of
        self._routed = routed
        self._children = Children(cluster, informers, self._part_changed)
        self._controller: Controller[Ref] = Controller(
            "environments", self.reconcile, workers=WORKERS, describe=_named, monitor=monitor
        )
        self._edits: Pace[Ref] = Pace(self._controller.add, rate=EDITS_PER_SECOND, burst=EDITS_AT_ONCE)

    async def run(self) -> None:
        """Until cancelled, and once only."""
        self._informers.subscribe(PR, self._pr_changed)
        self._informers.subscribe(REVIEW_APP, self._review_app_changed)
        for kind in (REPLICA_SET, POD):
            self._informers.subscribe(kind, self._part_changed)
        try:
            await self._controller.run()
        finally:
            self._edits.close()
            for handler in (self._pr_changed, self._review_app_changed, self._part_changed):
                self._informers.unsubscribe(handler)

    def is_stuck(self) -> bool:
        """Whether the environments are not kept any more, though this runs."""
        return self._controller.is_stuck()

    async def reconcile(self, ref: Ref) -> float | None:
        """Answers when to look again, in seconds. Raises ClusterError for what to try again soon."""
        await self._informers.synced(PR, REVIEW_APP)
        if not self._informers.has_listed(PR, REVIEW_APP):
            raise Unavailable("the ReviewApps are not known yet")
        pr = self._informers.get(ref)
        if pr is None or is_deleting(pr):
            await self._children.clear(ref, uid_of(pr) if pr is not None else "")
            return None
        if self._is_closed(pr):
            await self._delete_closed(ref)
            return None
        findings, errors = await self._settle(pr)
        await self._write_status(pr, findings)
        return _again(errors)

    def _is_closed(self, pr: Manifest) -> bool:
        """Whether the ReviewApp remembers the pull request as closed since the PR object was written.

        ``flows.intake`` died, or another replica of it was faster, between remembering and deleting.
        """
        app = self._informers.get(_parent(pr))
        recorded = Knowledge.parse(annotations_of(pr).get(OBSERVED, ""))
        buried = Knowledge.parse(text(app, "status", "closed", text(pr, "spec", "prNumber")))
        return recorded is not None and buried is not None and not join(recorded, buried).is_open

    async def _delete_closed(self, ref: Ref) -> None:
        try:
            pr = await self._cluster.get(ref)  # ours may be a copy from before it was reopened
            if self._is_closed(pr):
                await self._cluster.delete(ref, uid=uid_of(pr))
        except NotFound:
            return

    async def _settle(self, pr: Manifest) -> tuple[Findings, list[ClusterError]]:
        known = inventory_of(table(pr, "status"), text(pr, "metadata", "namespace"))
        await self._children.watch(ref.kind for ref in known)
        desired = await self._desired(pr)
        if isinstance(desired, Problem):
            # Nothing is known of what should be, so everything stays as it is.
            return self._findings(pr, Settled([*known.values()], [desired])), []
        environment, rendered, kinds = desired
        settled = await self._children.settle(environment, rendered.manifests, known, kinds)
        return self._findings(pr, settled, rendered.left), settled.errors

    async def _desired(self, pr: Manifest) -> tuple[Environment, Rendered, Kinds] | Problem:
        """What the environment should hold, and its kinds, which are being watched then."""
        try:
            environment = Environment.parse(pr)
        except InvalidInput as error:
            return Problem(status.INVALID_PR, f"{name_of(pr)}: {error}")
        app = self._informers.get(_parent(pr))
        if app is None:
            namespace = environment.ref.namespace
            message = f"{name_of(pr)}: namespace {namespace} has no ReviewApp {environment.review_app!r}"
            return Problem(status.REVIEW_APP_NOT_FOUND, message)
        try:
            review_app = ReviewApp.parse(app)
            kinds = await self._children.watch(map(kind_of, review_app.resources))
            return environment, render(environment, review_app, owner_reference(pr), kinds.is_namespaced), kinds
        except InvalidInput as error:
            return Problem(status.INVALID_TEMPLATE, f"ReviewApp {name_of(app)}: {error}")

    def _findings(self, pr: Manifest, settled: Settled, left: tuple[str, ...] = ()) -> Findings:
        owned = self._informers.owned
        found = (self._informers.get(record.ref) for record in settled.records)
        children = [child for child in found if child is not None]
        return Findings(
            generation=number(pr, "metadata", "generation"),
            commit=text(pr, "spec", "headCommitRef"),
            shown_commit=shown_commit(children, owned),
            url=status.address_of(children, self._url_of),
            problems=tuple(settled.problems),
            healths=tuple(assess(child, owned, routed=self._routed) for child in children),
            records=tuple(settled.records),
            left=left,
        )

    async def _write_status(self, pr: Manifest, findings: Findings) -> None:
        now = self._clock.now()
        wanted = status.status_of(findings, pr, now)
        change = status.patch(table(pr, "status"), wanted)
        if not change:
            return
        for event in events_of(pr, wanted, now):
            await self._tell(event)
        try:
            self._informers.observe(await self._cluster.patch_status(ref_of(pr), change))
        except NotFound:
            return  # deleted meanwhile; the deletion brings the key here again

    async def _tell(self, event: Manifest) -> None:
        """An Event is worth a try, and no more: the status says the same."""
        try:
            await self._cluster.apply(event, manager=MANAGER)
        except ClusterError as error:
            log.info("event was not written", event_name=name_of(event), error=str(error))

    def _pr_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """Our own writes to the status are no reason to look again: a back-off would never last longer than a write."""
        if old is None or new is None or _asked_for(old) != _asked_for(new):
            self._controller.add(ref_of(new or old or {}))

    def _review_app_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """An edit concerns all of its environments; that a pull request was closed, only its own."""
        app = new or old or {}
        is_new = old is None or new is None
        edited = is_new or table(old, "spec") != table(new, "spec")
        look = self._controller.add if is_new else self._edits.add
        before, after = table(old, "status", "closed"), table(new, "status", "closed")
        for pr in self._informers.list(PR, namespace=text(app, "metadata", "namespace")):
            number_ = text(pr, "spec", "prNumber")
            if _parent(pr) != ref_of(app):
                continue
            if before.get(number_) != after.get(number_):
                self._controller.add(ref_of(pr))
            elif edited:
                look(ref_of(pr))

    def _part_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for pr in {self._environment_of(manifest) for manifest in (old, new) if manifest is not None}:
            if pr is not None:
                self._controller.add(pr)

    def _environment_of(self, part: Manifest | None) -> Ref | None:
        """The PR object at the end of the chain of owners: pod, ReplicaSet, Deployment, PR."""
        for _ in range(OWNER_CHAIN):
            if part is None:
                break
            controller, namespace = controller_of(part), text(part, "metadata", "namespace")
            kind = Kind.of(text(controller, "apiVersion"), text(controller, "kind"))
            owner = Ref(kind, namespace, text(controller, "name"))
            if kind == PR:
                return owner
            part = self._informers.get(owner)
        return None


def _named(ref: Ref) -> dict[str, str]:
    return {"environment": f"{ref.namespace}/{ref.name}"}


def _parent(pr: Manifest) -> Ref:
    return Ref(REVIEW_APP, text(pr, "metadata", "namespace"), text(pr, "spec", "parentReviewApp"))


def _asked_for(pr: Manifest) -> tuple[Json, ...]:
    metadata = table(pr, "metadata")
    marks = (metadata.get(field) for field in ("uid", "annotations", "deletionTimestamp"))
    return (table(pr, "spec"), *marks)


def _again(errors: Iterable[ClusterError]) -> float:
    """Raises the first error that may pass by itself, for the controller's back-off."""
    refused = [error for error in errors if not isinstance(error, Invalid)]
    for error in refused:
        if error.retryable:
            raise error
    return REFUSED_SECONDS if refused else RESYNC_SECONDS

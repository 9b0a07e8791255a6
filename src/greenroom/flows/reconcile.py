"""The PR object -> the objects of its environment, and what became of them -> its status.

The steps: fill in the template (``core.template``), apply and prune (``flows.children``), look at what the children
say (``core.health``), and last tell it (``flows.telling``), if it is something new. Whatever changes, a PR object, its
ReviewApp, a child or a pod, ends in the key of a PR object here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from greenroom.core import status
from greenroom.core.build import explained, overdue_pods
from greenroom.core.gate import Admission, Undecided
from greenroom.core.health import Health, absent, assess, shown_commit
from greenroom.core.http_route_health import gateways_of, is_programmed
from greenroom.core.plan import Record, digest, inventory_of
from greenroom.core.relations import address_of_pull, asked_for, kinds_used, review_app_of, user_of
from greenroom.core.standing import answer_of, is_refused, may_run
from greenroom.core.status import Findings, Problem
from greenroom.core.template import render
from greenroom.flows.children import Children, Writer
from greenroom.flows.settled import Kinds, Settled
from greenroom.flows.telling import Teller
from greenroom.model.environment import Environment
from greenroom.model.errors import ClusterError, Invalid, InvalidInput, NotFound, Unavailable
from greenroom.model.gateway import GATEWAY, HTTP_ROUTE
from greenroom.model.manifest import (
    PR,
    REVIEW_APP,
    Kind,
    Manifest,
    Ref,
    controller_of,
    get,
    is_deleting,
    kind_of,
    name_of,
    number,
    owner_reference,
    ref_of,
    table,
    text,
    uid_of,
    version_of,
)
from greenroom.model.reviewapp import ReviewApp
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.lull import Lull
from greenroom.runtime.monitor import Monitors, unwatched
from greenroom.runtime.pace import Pace

WORKERS = 500
"""Environments that are looked at at once. Most of them wait for a lull."""
SETTLING = 16
LULL_SECONDS = 10.0
"""Of so many environments of a ReviewApp at once the objects are written, and only when there are none to write, or
after so many seconds, what became of them is told: when many pull requests come together, what their authors wait for
comes first. Whatever the controllers of the cluster did meanwhile is told with it."""
PARTS_SECONDS = 0.1
"""Changes of an environment's objects come in bursts. Those within so many seconds are looked at together."""
CLOSING_SECONDS = 5.0
"""How long whoever remembered a pull request as closed has to delete its PR object, before it is done here."""
RESYNC_SECONDS = 600.0
"""How often an environment is looked at though nothing seems to have changed."""
REFUSED_SECONDS = 60.0
"""When to try again what the cluster refused for a reason that is not in the object: a missing CRD, right or quota, or
another's object of the name, which is not watched."""
EDITS_PER_SECOND = 5.0
EDITS_AT_ONCE = 10
"""How fast an edited template reaches the environments that live, so that the cluster is not asked to start them all
anew in one moment. Pushes and new pull requests wait for none of this."""
FORGET_SECONDS = 60.0
"""How often to look for watches that are of no use any more."""
OWNER_CHAIN = 8
"""Owners to follow from an object up to a PR object. Nothing stops people from writing a circle."""

_ALL = "all"

log = structlog.get_logger(__name__)


class Reconcile:
    """Keeps every environment of ``namespace``, by default of all, as its PR object and ReviewApp say.

    ``url_of`` makes the URL that reaches a host. ``routed`` tells whether a gateway of ours serves the routes, so that
    an environment waits for it. ``impersonating`` answers the cluster as a user may write to it: where a ReviewApp
    names a service account, the environments' objects are written in its name.
    """

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        clock: Clock,
        *,
        url_of: Callable[[str], str],
        namespace: str = "",
        routed: bool = True,
        impersonating: Callable[[str], Cluster] | None = None,
        monitors: Monitors = unwatched,
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._teller = Teller(cluster, informers, clock)
        self._url_of = url_of
        self._apps, self._prs = Scope(REVIEW_APP, namespace), Scope(PR, namespace)
        self._routed = routed
        self._impersonating = impersonating
        self._settling: dict[Ref, asyncio.Timeout] = {}  # each expires when the PR object goes
        self._gone: dict[Ref, Manifest] = {}  # PR objects as they were last seen, until their objects are deleted, too
        self._children = Children(cluster, informers, changed=self._part_changed, turned=self._sight_turned)
        self._controller: Controller[Ref] = Controller(
            "environments", self.reconcile, workers=WORKERS, describe=self._named, monitor=monitors("environments")
        )
        self._lull: Lull[Ref] = Lull(slots=SETTLING, longest=LULL_SECONDS)
        self._edits: Pace[Ref] = Pace(rate=EDITS_PER_SECOND, burst=EDITS_AT_ONCE)
        self._scopes = Controller("scopes", self._forget_unused, workers=1, monitor=monitors("scopes"))

    async def run(self) -> None:
        """Until cancelled, and once only."""
        self._informers.subscribe(self._prs, self._pr_changed)
        self._informers.subscribe(self._apps, self._review_app_changed)
        if self._routed:
            self._informers.subscribe(Scope(GATEWAY), self._gateway_changed)
        self._scopes.add(_ALL, after=FORGET_SECONDS)
        try:
            async with asyncio.TaskGroup() as group:
                for controller in (self._controller, self._scopes):
                    group.create_task(controller.run())
        finally:
            self._children.close()
            for handler in (self._pr_changed, self._review_app_changed, self._gateway_changed):
                self._informers.unsubscribe(handler)

    async def reconcile(self, ref: Ref) -> float | None:
        """Answers when to look again, in seconds. Raises ClusterError for what to try again soon."""
        await self._informers.synced(self._prs, self._apps)
        if not self._informers.has_listed(self._prs, self._apps):
            raise Unavailable("the ReviewApps are not known yet")
        pr = self._informers.get(ref)
        if pr is None or is_deleting(pr):
            self._edits.forget(ref)
            await self._clear(ref, pr)
            return None
        self._gone.pop(ref, None)
        if is_refused(self._informers.get(review_app_of(pr)) or {}, pr):
            await self._delete_refused(ref)
            return None
        if not may_run(self._informers.get(review_app_of(pr)) or {}, pr):
            return REFUSED_SECONDS  # flows.gatekeeper, or the next delivery, has it deleted
        gone = self._settling[ref] = asyncio.timeout(None)
        try:
            async with gone:
                findings, errors, again = await self._settle(pr)
                if findings is not None:
                    await self._teller.tell(pr, findings)
                    await self._replace_overdue(pr, findings)
        except TimeoutError:
            if not gone.expired():
                raise
            return None  # it is to be looked at again already
        finally:
            self._settling.pop(ref, None)
        return _again(errors, again)

    async def _clear(self, ref: Ref, pr: Manifest | None) -> None:
        """Of a PR object that was gone before we came nothing is known: its objects are the garbage collector's."""
        last = pr or self._gone.get(ref)
        if last is not None:
            app = review_app_of(last)
            # What is deleted waits neither for what is made, which may hang, nor for another ReviewApp's.
            writer = self._writer(user_of(self._informers.get(app)), (app, "deleting"))
            async with self._lull.urgent(writer.share):
                await self._children.clear(uid_of(last), writer)
            self._gone.pop(ref, None)

    def _writer(self, user: str, share: Hashable) -> Writer:
        other = self._impersonating(user) if user and self._impersonating is not None else None
        return Writer(other or self._cluster, share)

    async def _forget_unused(self, _: str) -> float:
        """Watch no kind in a namespace where no template names it, and no environment has an object of it."""
        apps, prs = (self._informers.list(kind) for kind in (REVIEW_APP, PR))
        self._children.keep_watching(each for manifest in (*apps, *prs) for each in kinds_used(manifest))
        return FORGET_SECONDS

    async def _delete_refused(self, ref: Ref) -> None:
        """``flows.intake`` died, or another replica of it was faster, between remembering and deleting."""
        try:
            pr = await self._cluster.get(ref)  # ours may be a copy from before it was reopened
            if is_refused(self._informers.get(review_app_of(pr)) or {}, pr):
                await self._cluster.delete(ref, resource_version=version_of(pr))
        except NotFound:
            return

    async def _settle(self, pr: Manifest) -> tuple[Findings | None, list[ClusterError], float]:
        """What to tell, the errors of which some want another try, and after how many seconds to look again."""
        namespace = text(pr, "metadata", "namespace")
        known = inventory_of(table(pr, "status"), namespace)
        template = self._template(pr)
        resources = () if isinstance(template, Problem) else template.app.resources
        kinds = await self._children.watch(namespace, {*map(kind_of, resources), *(ref.kind for ref in known)})
        if isinstance(template, Problem):
            return self._left_alone(pr, known, template, kinds), [], RESYNC_SECONDS
        try:
            rendered = render(template.environment, template.app, owner_reference(pr), kinds.is_namespaced)
        except InvalidInput as error:
            return self._left_alone(pr, known, _invalid(template.app.name, error), kinds), [], RESYNC_SECONDS
        if turn := self._turn(pr, rendered.manifests, known, kinds):
            untouched = self._findings(pr, Settled.untouched(known, kinds), template.app.user, rendered.left)
            # Whatever kept the objects from being as they should has not passed by waiting.
            return untouched if status.is_applied(pr) else None, [], turn
        # The account is that of the template: of the ReviewApp as it is by now nothing may be left.
        writer = self._writer(template.app.user, review_app_of(pr))
        async with self._lull.urgent(writer.share):
            settled = await self._children.settle(uid_of(pr), rendered.manifests, known, kinds, writer)
        if asked_for(self._informers.get(ref_of(pr)) or {}) == asked_for(pr):
            await self._lull.come(ref_of(pr))
        return self._findings(pr, settled, template.app.user, rendered.left), settled.errors, settled.again

    async def _replace_overdue(self, pr: Manifest, findings: Findings) -> None:
        """Worth a try, and no more: the kubelet looks for the image by itself, too."""
        found = (self._informers.get(record.ref) for record in findings.records)
        for pod, uid in overdue_pods(pr, [child for child in found if child is not None], self._informers.owned):
            try:
                await self._cluster.delete(pod, uid=uid)
                log.info("a pod that waited for its image is replaced, since that is there", pod=pod.name)
            except ClusterError as error:
                log.info("a pod that waits for its image was not replaced", pod=pod.name, error=str(error))

    def _turn(self, pr: Manifest, desired: Sequence[Manifest], known: Mapping[Ref, Record], kinds: Kinds) -> float:
        """Seconds until it is the environment's turn to follow an edited template; 0.0 is now.

        Told from what there is, so that edits that were made while nobody looked are paced, too. An object that is
        missing waits for no turn, and nor does what comes with it.
        """
        recorded = (ref for ref in map(ref_of, desired) if ref in known and ref.kind not in kinds.failures)
        missing = any(self._informers.get(ref) is None and not absent(ref).ready for ref in recorded)
        if status.is_edit(pr, desired, known) and not missing:
            return self._edits.wait(ref_of(pr), digest(desired))
        self._edits.forget(ref_of(pr))
        return 0.0

    def _template(self, pr: Manifest) -> _Template | Problem:
        """What the environment is made from."""
        try:
            environment = Environment.parse(pr)
        except InvalidInput as error:
            return Problem(status.INVALID_PR, f"{name_of(pr)}: {error}")
        app = self._informers.get(review_app_of(pr))
        if app is None:
            namespace = environment.ref.namespace
            message = f"{name_of(pr)}: namespace {namespace} has no ReviewApp {environment.review_app!r}"
            return Problem(status.REVIEW_APP_NOT_FOUND, message)
        try:
            return _Template(environment, ReviewApp.parse(app))
        except InvalidInput as error:
            return _invalid(environment.review_app, error)

    def _left_alone(self, pr: Manifest, known: Mapping[Ref, Record], problem: Problem, kinds: Kinds) -> Findings:
        """Nothing is known of what should be, so everything stays as it is."""
        user = user_of(self._informers.get(review_app_of(pr)))
        return self._findings(pr, Settled.untouched(known, kinds, problem), user)

    def _findings(self, pr: Manifest, settled: Settled, writer: str, left: tuple[str, ...] = ()) -> Findings:
        found = (self._informers.get(record.ref) for record in settled.records)
        children = [child for child in found if child is not None]
        return Findings(
            generation=number(pr, "metadata", "generation"),
            commit=text(pr, "spec", "headCommitRef"),
            shown_commit=shown_commit(children, self._informers.owned),
            url=status.address_of(children, self._url_of),
            writer=writer,
            problems=tuple(settled.problems),
            unseen=tuple(settled.unseen),
            healths=explained(pr, [self._health(record.ref) for record in settled.records]),
            records=tuple(settled.records),
            left=left,
            unkept=tuple(settled.unkept),
            contested=self._children.contested(record.ref for record in settled.records),
            admission=self._admission(pr),
        )

    def _admission(self, pr: Manifest) -> Admission | None:
        app = self._informers.get(review_app_of(pr)) or {}
        answer = answer_of(app, pr) if get(app, "spec", "gate") is not None else None
        if isinstance(answer, Undecided):
            return Admission("Undecided", answer.message)
        return answer if isinstance(answer, Admission) else None

    def _health(self, ref: Ref) -> Health:
        child = self._informers.get(ref)
        if child is None:
            return absent(ref)
        return assess(child, self._informers.owned, look=self._informers.get, routed=self._routed)

    def _pr_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """Our own writes to the status are no reason to look again: a back-off would never last longer than a write."""
        if old is not None and new is None:
            self._gone[ref_of(old)] = old
        if new is None or is_deleting(new):
            self._give_up(ref_of(new or old or {}))
        if old is None or new is None or asked_for(old) != asked_for(new):
            self._lull.hurry(ref_of(new or old or {}))
            self._controller.add(ref_of(new or old or {}))

    def _give_up(self, ref: Ref) -> None:
        """Its deletion is not to wait for writes, which may hang."""
        if (settling := self._settling.pop(ref, None)) is not None:
            settling.reschedule(asyncio.get_running_loop().time())

    def _named(self, ref: Ref) -> dict[str, str]:
        """For each line of the log that is about the environment."""
        pr = self._informers.get(ref) or self._gone.get(ref)
        pull = address_of_pull(self._informers.get(review_app_of(pr or {})), pr)
        return {"environment": f"{ref.namespace}/{ref.name}", **({"pull_request": pull} if pull else {})}

    def _review_app_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """An edit concerns all of its environments; that a pull request was closed or refused, only its own."""
        app = new or old or {}
        edited = old is None or new is None or table(old, "spec") != table(new, "spec")
        before, after = ({**table(each, "status", "closed"), **table(each, "status", "refused")} for each in (old, new))
        for pr in self._informers.list(PR, namespace=text(app, "metadata", "namespace")):
            number_ = text(pr, "spec", "prNumber")
            if review_app_of(pr) != ref_of(app):
                continue
            if before.get(number_) != after.get(number_):
                self._controller.add(ref_of(pr), after=CLOSING_SECONDS)
            elif edited:
                self._controller.add(ref_of(pr))

    def _part_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for pr in {self._environment_of(manifest) for manifest in (old, new) if manifest is not None}:
            if pr is not None:
                self._controller.add(pr, after=PARTS_SECONDS)

    def _gateway_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """An HTTPRoute leads nowhere while its Gateway is not served."""
        if is_programmed(old) == is_programmed(new):
            return
        gateway = ref_of(new or old or {})
        for route in self._informers.list(HTTP_ROUTE):
            if gateway in gateways_of(route):
                self._part_changed(None, route)

    def _sight_turned(self, namespace: str) -> None:
        """A right was granted or taken away, which may concern all the environments there are."""
        for pr in self._informers.list(PR, namespace=namespace):
            self._controller.add(ref_of(pr))

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


@dataclass(frozen=True, slots=True)
class _Template:
    environment: Environment
    app: ReviewApp


def _invalid(app: str, error: InvalidInput) -> Problem:
    return Problem(status.INVALID_TEMPLATE, f"ReviewApp {app}: {error}")


def _again(errors: Iterable[ClusterError], sooner: float) -> float:
    """Raises the first error that may pass by itself, for the controller's back-off."""
    refused = [error for error in errors if not isinstance(error, Invalid)]
    for error in refused:
        if error.retryable:
            raise error
    return min(sooner, REFUSED_SECONDS if refused else RESYNC_SECONDS)

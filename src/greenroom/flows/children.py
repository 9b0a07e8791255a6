"""The objects of environments: their kinds watched, each applied, pruned, deleted. ``flows.reconcile`` says which."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import structlog

from greenroom.core.autoscaling import KEEPER, to_keep
from greenroom.core.plan import (
    Action,
    Apply,
    Blocked,
    Delete,
    Record,
    digest,
    holds_data,
    is_repair,
    obstacle,
    plan,
    rank,
    replacement,
)
from greenroom.core.unkept import unkept
from greenroom.flows.settled import Deleted, Kinds, Result, Settled, Unwatched, account, parts
from greenroom.model.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    Immutable,
    Invalid,
    NotFound,
    Unavailable,
    UnknownKind,
)
from greenroom.model.manifest import (
    ENVIRONMENT_LABEL,
    POD,
    REPLICA_SET,
    Kind,
    Manifest,
    Ref,
    controller_of,
    is_deleting,
    kind_of,
    ref_of,
    text,
    uid_of,
)
from greenroom.model.watch import Scope
from greenroom.ports import Cluster, Resource
from greenroom.runtime.backoff import Backoff
from greenroom.runtime.informer import Handler, Informers
from greenroom.runtime.repeats import Repeats
from greenroom.runtime.shares import Shares

MANAGER = "greenroom"
FORMER = "manager"
"""The field manager of KubeTempura: the name of its program, for it gives none."""
PARALLEL = 8
"""Writes at once for one environment."""
SHARE = 24
"""Writes at once for all environments of a ReviewApp. Twice as many are shared by all ReviewApps. Those are fewer than
``adapters.kube_http`` has under way at once, so that writes that hang leave it room for all else."""
SYNC_SECONDS = 10.0
"""How long to wait for the first list of a kind before the objects of other kinds go on without it. A refusal is not
waited for."""
REPAIRS_AT_ONCE = 5
REPAIR_BACKOFF = Backoff(base=1.0, cap=60.0)
PEACE_SECONDS = 180.0
"""An object that somebody else changes is put right at once so many times, then ever more slowly, so that no two
controllers write against each other without end. When it was left alone for so many seconds, that is forgotten."""

_UNLABELLED = frozenset({POD, REPLICA_SET})
"""Made by Kubernetes from a workload's pod template. A label of ours in there would start every pod anew whenever an
environment of KubeTempura's is taken over, so that these are found by their owners."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Writer:
    """Through which cluster an environment's objects are written, and in whose share of what is written at once."""

    cluster: Cluster
    share: Hashable


class Children:
    """``changed`` is called with the old and the new object whenever an object that is watched here changes,
    ``turned`` with a namespace where a kind cannot be seen any more, or can be now."""

    def __init__(
        self, cluster: Cluster, informers: Informers, *, changed: Handler, turned: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._changed = changed
        self._writing = False
        self._turned = turned
        self._scopes: set[Scope] = set()
        self._unused: set[Scope] = set()
        self._places: Shares[Hashable] = Shares(SHARE)
        self._repairs: Repeats[Ref] = Repeats(free=REPAIRS_AT_ONCE, backoff=REPAIR_BACKOFF, quiet=PEACE_SECONDS)

    async def watch(self, namespace: str, kinds: Iterable[Kind]) -> Kinds:
        """Watch the kinds in a namespace from now on, and wait until what there is of them is known.

        Beside them, whatever tells of their health is watched.
        """
        scopes = sorted(_scopes(namespace, kinds), key=lambda scope: scope.kind)
        answers = await asyncio.gather(*map(self._watch, scopes))
        found = {scope.kind: answer for scope, answer in zip(scopes, answers, strict=True)}
        return Kinds(
            {kind: answer for kind, answer in found.items() if isinstance(answer, Resource)},
            {kind: answer for kind, answer in found.items() if isinstance(answer, ClusterError)},
        )

    async def _watch(self, scope: Scope) -> Resource | ClusterError:
        try:
            resource = await self._cluster.resource(scope.kind)
        except ClusterError as error:
            return error
        if not resource.namespaced:
            return resource
        if scope not in self._scopes:
            self._scopes.add(scope)
            self._informers.subscribe(scope, self._seen, turned=partial(self._turned, scope.namespace))
        if not self._informers.has_listed(scope):
            with suppress(TimeoutError):
                async with asyncio.timeout(SYNC_SECONDS):
                    await self._informers.answered(scope)
        return self._trouble(scope) or resource

    def _trouble(self, scope: Scope) -> ClusterError | None:
        """Why the copy of a scope is of no use. One that cannot be followed for a moment is."""
        error = self._informers.failure(scope)
        if self._informers.has_listed(scope):
            return None if error is None or error.retryable else error
        return error or Unavailable(f"{scope}: not listed yet")

    def keep_watching(self, used: Iterable[tuple[str, Kind]]) -> None:
        """Watch only these kinds, each in its namespace. What was of no use last time, too, is forgotten."""
        wanted = {scope for namespace, kind in set(used) for scope in _scopes(namespace, [kind])}
        unused = self._scopes - wanted
        for scope in unused & self._unused:
            self._stop(scope)
        self._unused = unused & self._scopes

    def close(self) -> None:
        """Watch nothing any more."""
        for scope in tuple(self._scopes):
            self._stop(scope)

    def _seen(self, old: Manifest | None, new: Manifest | None) -> None:
        """Whoever wrote a child looks at it afterwards anyway."""
        if not self._writing:
            self._changed(old, new)

    def _stop(self, scope: Scope) -> None:
        self._scopes.remove(scope)
        self._informers.leave(scope, self._seen)

    async def settle(
        self, uid: str, desired: Sequence[Manifest], known: Mapping[Ref, Record], kinds: Kinds, writer: Writer
    ) -> Settled:
        """Make the cluster hold the desired objects, and no others of the PR object with this UID. One that fails stops
        no other.

        ``known`` is the inventory so far; ``kinds`` are those of the desired objects and of the inventory. All is
        written through ``writer``.
        """
        actions = plan(desired, self._informers.get, self._informers.owned(uid), known)
        possible = [action for action in actions if action.ref.kind not in kinds.failures]
        settled = Settled()
        results = await self._repair(possible, writer, known, settled)
        for ref in dict.fromkeys([*map(ref_of, desired), *_unseen(known, kinds)]):
            failure = kinds.failures.get(ref.kind)
            if failure is not None:
                settled.failed(ref, failure)
                settled.keep(known.get(ref))
            else:
                account(settled, ref, results.pop(ref, None), known.get(ref))
        for ref, result in results.items():
            if isinstance(result, ClusterError):
                account(settled, ref, result, known.get(ref))
        # Of what is yet to be applied, too: a person is to learn at once of all rights that are missing.
        settled.look(dict.fromkeys([*map(ref_of, desired), *(record.ref for record in settled.records)]), kinds)
        settled.unkept += self._unkept(desired, settled.records)
        return settled

    def _unkept(self, desired: Sequence[Manifest], records: Iterable[Record]) -> Iterator[str]:
        applied = {record.ref: record.rendered for record in records}
        for manifest in desired:
            stored = self._informers.get(ref_of(manifest))
            told = unkept(manifest, stored) if stored is not None else []
            if told and applied.get(ref_of(manifest)) == digest(manifest):
                yield from told

    async def _repair(
        self, actions: Sequence[Action], writer: Writer, known: Mapping[Ref, Record], settled: Settled
    ) -> dict[Ref, Result]:
        """Carry out the actions, without those that were carried out in vain too often."""
        repairs = {action.ref for action in actions if is_repair(action, known.get(action.ref))}
        waits = {ref: wait for ref in repairs if (wait := self._repairs.wait(ref))}
        results = await self._carry_out([each for each in actions if each.ref not in waits], writer, known)
        for ref in repairs:
            if isinstance(results.get(ref), Record | Deleted):
                self._repairs.done(ref)
        lasting = (seconds for ref in known if (seconds := self._repairs.lasting(ref)))
        settled.again = min((*waits.values(), *lasting), default=settled.again)
        return results

    def contested(self, refs: Iterable[Ref]) -> tuple[Ref, ...]:
        """Those that somebody else changes back whenever they are put right."""
        return tuple(ref for ref in sorted(refs) if self._repairs.lasting(ref))

    async def clear(self, uid: str, writer: Writer) -> None:
        """Delete the objects of a PR object that goes, or is gone: the one of this UID.

        The garbage collector would, too, at its own pace, and has to where we may not. Raises ClusterError when one
        could not be deleted for another reason.
        """
        owned = self._informers.owned(uid)
        deletes = [Delete(ref_of(child), uid_of(child)) for child in owned if not is_deleting(child)]
        for ref, result in (await self._carry_out(deletes, writer)).items():
            match result:
                case Conflict():
                    pass  # another object has the name now: the one to be deleted is gone
                case Forbidden():
                    log.info("left to the garbage collector", object=str(ref), error=str(result))
                case ClusterError():
                    raise result

    async def _carry_out(
        self, actions: Sequence[Action], writer: Writer, known: Collection[Ref] = ()
    ) -> dict[Ref, Result]:
        """Deletes first, all at once, then applies, rank by rank. Not known is what somebody else may have made."""
        slots = asyncio.Semaphore(PARALLEL)
        results: dict[Ref, Result] = {}
        for _, batch in groupby(actions, key=_batch):
            async with asyncio.TaskGroup() as group:
                tasks = [
                    (action.ref, group.create_task(self._do(action, writer, slots, is_known=action.ref in known)))
                    for action in batch
                ]
            results |= {ref: task.result() for ref, task in tasks}
        return results

    async def _do(self, action: Action, writer: Writer, slots: asyncio.Semaphore, *, is_known: bool) -> Result:
        async with slots, self._places.place(writer.share):
            try:
                match action:
                    case Apply(manifest):
                        return await self._apply(manifest, writer.cluster, is_known=is_known)
                    case Delete(ref, uid):
                        await writer.cluster.delete(ref, uid=uid)
                        return Deleted(f"{ref} of an earlier environment is being deleted")
                    case Blocked():
                        return action
            except (NotFound, UnknownKind) as error:  # with its kind, an object is gone, too
                return Deleted(f"{action.ref} is gone") if isinstance(action, Delete) else error
            except ClusterError as error:
                return error

    async def _apply(
        self, manifest: Manifest, writer: Cluster, *, is_known: bool
    ) -> Record | Deleted | Blocked | Unwatched:
        # A StatefulSet that is there may take its claims along, whatever the template says.
        if not is_known and (holds_data(manifest) or kind_of(manifest).name == "StatefulSet"):
            blocked = await self._belongs_to_others(manifest)
            if blocked is not None:
                return blocked
        if not self._is_own(manifest):
            # An object that is there is written over with ``patch``, which we may have where we may make nothing: the
            # chart grants it of App Mesh's kinds everywhere. It would become the environment's, and go with it.
            await writer.authorize("create", kind_of(manifest), ref_of(manifest).namespace)
        try:
            if is_known:
                await self._keep_replicas(manifest, writer)
                stored = await writer.apply(manifest, manager=MANAGER)
            else:
                stored = await writer.adopt(manifest, manager=MANAGER, former=FORMER)
        except Invalid as error:
            return await self._overcome(manifest, error, writer)
        self._writing = True
        try:
            self._informers.observe(stored)
        finally:
            self._writing = False
        return Record.of(manifest, stored)

    async def _keep_replicas(self, manifest: Manifest, writer: Cluster) -> None:
        kept = to_keep(manifest, self._informers.get(ref_of(manifest)))
        if kept is not None:
            with suppress(Conflict):  # somebody else decides already, or it is another object: nothing would be lost
                await writer.apply(kept, manager=KEEPER, force=False)

    def _is_own(self, manifest: Manifest) -> bool:
        """Whether it is there as an object of its environment."""
        owner = controller_of(self._informers.get(ref_of(manifest)) or {})
        return bool(owner) and text(owner, "uid") == text(controller_of(manifest), "uid")

    async def _belongs_to_others(self, manifest: Manifest) -> Unwatched | None:
        """Whether the name is taken. Of other kinds the API server tells when it is; here that would be too late."""
        try:
            match obstacle(manifest, await self._cluster.get(ref_of(manifest))):
                case Blocked() as blocked:
                    return Unwatched(blocked)
        except NotFound:
            pass
        return None

    async def _overcome(self, manifest: Manifest, refusal: Invalid, writer: Cluster) -> Deleted | Blocked | Unwatched:
        """What to do about a refusal, which is raised again when there is nothing.

        An object of somebody else, which carries no label of ours, is seen only now: it cannot have two controllers.
        One that cannot become what is desired is deleted. Its deletion brings the environment here again.
        """
        ref = ref_of(manifest)
        watched = self._informers.get(ref) is not None
        if watched and not isinstance(refusal, Immutable):
            raise refusal  # the plan has seen what is there
        try:
            present = await self._cluster.get(ref)
        except NotFound:
            raise refusal from None
        way, message = obstacle(manifest, present), f"{ref} of an earlier environment is being deleted"
        if way is None and isinstance(refusal, Immutable):
            way = replacement(manifest, present, str(refusal))
            message = f"{ref} is made anew, for a field of it cannot be changed: {refusal}"
        match way:
            case Delete(ref, uid):
                await writer.delete(ref, uid=uid)
                result: Deleted | Blocked = Deleted(message)
            case Blocked():
                result = way
            case None:
                raise refusal
        return result if watched else Unwatched(result)


def _scopes(namespace: str, kinds: Iterable[Kind]) -> set[Scope]:
    """Where the kinds, and what tells of their health, are looked for: as little as will do."""
    wanted = {each for kind in kinds for each in (kind, *parts(kind))}
    return {Scope(kind, namespace, "" if kind in _UNLABELLED else ENVIRONMENT_LABEL) for kind in wanted}


def _unseen(known: Iterable[Ref], kinds: Kinds) -> Iterator[Ref]:
    """Objects of the inventory of which nobody knows now whether they are still there.

    Those of a kind that is not served any more are gone with it.
    """
    return (ref for ref in known if not isinstance(kinds.failures.get(ref.kind), UnknownKind | None))


def _batch(action: Action) -> int:
    return rank(action.manifest) if isinstance(action, Apply) else -1

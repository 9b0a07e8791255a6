"""The objects of environments: their kinds watched, each applied, pruned, deleted. ``flows.reconcile`` says which."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from greenroom.core.plan import REPLACING, Action, Apply, Blocked, Delete, Record, is_pr, plan, rank, replacement
from greenroom.core.status import APPLY_FAILED, Problem
from greenroom.model.environment import Environment
from greenroom.model.errors import ClusterError, Conflict, Immutable, NotFound, Unavailable
from greenroom.model.manifest import Kind, Manifest, Ref, controller_of, is_deleting, kind_of, ref_of, uid_of
from greenroom.ports import Cluster, Resource
from greenroom.runtime.informer import Handler, Informers

MANAGER = "greenroom"
PARALLEL = 8
"""Writes at once for one environment."""
SYNC_SECONDS = 10.0
"""How long to wait for the first list of a kind before the objects of other kinds go on without it."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the cluster answered about some kinds: how each is served, or why it cannot be used now."""

    resources: Mapping[Kind, Resource]
    failures: Mapping[Kind, ClusterError]

    def is_namespaced(self, kind: Kind) -> bool:
        """Of a kind that is not served nobody knows; trying to apply it tells more."""
        return kind not in self.resources or self.resources[kind].namespaced


@dataclass(slots=True)
class Settled:
    """What the cluster holds now, what it does not and why, and the errors, of which some want another try."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    errors: list[ClusterError] = field(default_factory=list)

    def failed(self, ref: Ref, error: ClusterError) -> None:
        self.problems.append(Problem(APPLY_FAILED, f"{ref}: {error}"))
        self.errors.append(error)

    def keep(self, record: Record | None) -> None:
        if record is not None:
            self.records.append(record)


class Children:
    """``changed`` is called with the old and the new object whenever an object of a watched kind changes."""

    def __init__(self, cluster: Cluster, informers: Informers, changed: Handler) -> None:
        self._cluster = cluster
        self._informers = informers
        self._changed = changed
        self._watched: dict[Kind, Resource] = {}

    async def watch(self, kinds: Iterable[Kind]) -> Kinds:
        """Watch the kinds from now on, and wait until what there is of them is known."""
        wanted = sorted(set(kinds))
        answers = await asyncio.gather(*(self._watch(kind) for kind in wanted))
        found = dict(zip(wanted, answers, strict=True))
        return Kinds(
            {kind: answer for kind, answer in found.items() if isinstance(answer, Resource)},
            {kind: answer for kind, answer in found.items() if isinstance(answer, ClusterError)},
        )

    async def _watch(self, kind: Kind) -> Resource | ClusterError:
        try:
            resource = self._watched.get(kind) or await self._cluster.resource(kind)
        except ClusterError as error:
            return error
        if kind not in self._watched:
            self._watched[kind] = resource
            self._informers.subscribe(kind, self._changed)
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._informers.synced(kind)
        except TimeoutError:
            return Unavailable(f"{kind} cannot be listed: may Greenroom list and watch it?")
        return resource

    async def settle(
        self, environment: Environment, desired: Sequence[Manifest], known: Mapping[Ref, Record], kinds: Kinds
    ) -> Settled:
        """Make the cluster hold the desired objects and no others of the environment. One that fails stops no other.

        ``known`` is the inventory so far, whose kinds are watched; ``kinds`` are those of the desired objects.
        """
        usable = [manifest for manifest in desired if kind_of(manifest) not in kinds.failures]
        owned = self._informers.owned(environment.uid)
        actions = plan(environment, usable, self._informers.get, owned, known)
        results = await self._carry_out(actions)
        settled = Settled()
        for manifest in desired:
            ref = ref_of(manifest)
            failure = kinds.failures.get(ref.kind)
            if failure is not None:
                settled.failed(ref, failure)
                settled.keep(known.get(ref))
            else:
                _account(settled, ref, results.pop(ref, None), known.get(ref))
        for ref, result in results.items():
            if isinstance(result, ClusterError):
                _account(settled, ref, result, known.get(ref))
        return settled

    async def clear(self, pr: Ref, uid: str) -> None:
        """Delete the objects of a PR object that goes (of this UID), or that is gone already (``""``).

        The garbage collector would, too, at its own pace. Raises ClusterError when one could not be deleted.
        """
        owned = self._informers.owned(uid) if uid else self._orphans(pr)
        results = await self._carry_out(
            [Delete(ref_of(child), uid_of(child)) for child in owned if not is_deleting(child)]
        )
        for result in results.values():
            # A conflict tells that another object has the name now: the one to be deleted is gone.
            if isinstance(result, ClusterError) and not isinstance(result, Conflict):
                raise result

    def _orphans(self, pr: Ref) -> Iterator[Manifest]:
        for kind in self._watched:
            for child in self._informers.list(kind, namespace=pr.namespace):
                if is_pr(controller_of(child), pr.name):
                    yield child

    async def _carry_out(self, actions: Sequence[Action]) -> dict[Ref, _Result]:
        """Deletes first, all at once, then applies, rank by rank."""
        slots = asyncio.Semaphore(PARALLEL)
        results: dict[Ref, _Result] = {}
        for _, batch in groupby(actions, key=_batch):
            async with asyncio.TaskGroup() as group:
                tasks = [(action.ref, group.create_task(self._do(action, slots))) for action in batch]
            results |= {ref: task.result() for ref, task in tasks}
        return results

    async def _do(self, action: Action, slots: asyncio.Semaphore) -> _Result:
        async with slots:
            try:
                match action:
                    case Apply(manifest):
                        return await self._apply(manifest)
                    case Delete(ref, uid):
                        await self._cluster.delete(ref, uid=uid)
                        return Deleted(f"{ref} of an earlier environment is being deleted")
                    case Blocked():
                        return action
            except NotFound as error:
                return Deleted(f"{action.ref} is gone") if isinstance(action, Delete) else error
            except ClusterError as error:
                return error

    async def _apply(self, manifest: Manifest) -> Record | Deleted | Blocked:
        """An object that cannot become what is desired is deleted. Its deletion brings the environment here again."""
        try:
            stored = await self._cluster.apply(manifest, manager=MANAGER)
        except Immutable as error:
            present = await self._cluster.get(ref_of(manifest))
            match replacement(manifest, present, str(error)):
                case Delete(ref, uid):
                    await self._cluster.delete(ref, uid=uid)
                    return Deleted(f"{ref} is made anew, for a field of it cannot be changed: {error}")
                case Blocked() as blocked:
                    return blocked
                case None:
                    raise
        self._informers.observe(stored)
        return Record.of(manifest, stored)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A desired object had to go first. ``message`` says why, for a person."""

    message: str


_Result = Record | Deleted | Blocked | ClusterError


def _batch(action: Action) -> int:
    return rank(action.manifest) if isinstance(action, Apply) else -1


def _account(settled: Settled, ref: Ref, result: _Result | None, known: Record | None) -> None:
    """Enter what became of one object. What failed may still be there as it was, so the inventory keeps it."""
    match result:
        case Record():
            settled.keep(result)
            return
        case ClusterError():
            settled.failed(ref, result)
        case Blocked():
            settled.problems.append(Problem(result.reason, result.message))
        case Deleted(message):
            settled.problems.append(Problem(REPLACING, message))
    settled.keep(known)

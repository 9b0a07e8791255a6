"""The object store of the one-machine cluster: a ``ports.Cluster`` in memory, written through to a SQLite file.

Memory is the authority for reads; a write is in the file before anybody hears of it, and if it cannot be written
nothing has changed. Objects are never changed in place, so the same mapping is handed to every reader.

An apply passes ``storage.admission`` (is it valid?), ``storage.apply`` (merge, field ownership), a
``storage.transaction`` with ``storage.garbage`` (what follows from it), ``storage.database``, and last the
``storage.history`` that watches read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from greenroom.local.storage import garbage
from greenroom.local.storage.admission import OBJECT_LIMIT, admit, check_controller, identify
from greenroom.local.storage.apply import Owners, plain, same
from greenroom.local.storage.apply import apply as merge
from greenroom.local.storage.database import Database
from greenroom.local.storage.history import History, Scope
from greenroom.local.storage.kinds import Kinds
from greenroom.local.storage.objects import Entry, Objects
from greenroom.local.storage.schema import ATOMIC, schema_of
from greenroom.local.storage.selector import Selector
from greenroom.local.storage.statelock import StateLock
from greenroom.local.storage.transaction import Transaction
from greenroom.model.errors import Conflict, Expired, Forbidden, Invalid, NotFound
from greenroom.model.manifest import (
    NAMESPACE,
    Json,
    Kind,
    Manifest,
    Ref,
    is_deleting,
    items,
    number,
    ref_of,
    table,
    text,
    timestamp,
    uid_of,
    version_of,
)
from greenroom.ports import Clock, Listing, Resource, WatchEvent

DEFAULT_NAMESPACE = "default"
HISTORY = 10_000
"""Changes of each kind that a watch can still be resumed from."""


class Store:
    """The cluster's objects. ``open`` one, use it from one event loop, and ``close`` it."""

    def __init__(self, database: Database, clock: Clock, history: int) -> None:
        """For ``open``."""
        self._held = ExitStack()
        self._database = database
        self._clock = clock
        self._history = history
        self._histories: dict[Kind, History] = {}
        self._objects = Objects()
        saved = database.load()
        self._version = self._opened = saved.version
        self._kinds = Kinds({ref.kind for ref in saved.entries})
        for ref, entry in saved.entries.items():
            self._objects.put(ref, entry)

    @classmethod
    def open(cls, path: Path, *, clock: Clock, history: int = HISTORY) -> Store:
        """Open, or create, the database at ``path``, in a folder of which one process at a time has the use.

        ``history`` is how many changes of each kind are kept for watches. Raises GreenroomError, with the cure: the
        folder is in use, the file is damaged, or it was written by a newer Greenroom.
        """
        with ExitStack() as held:
            held.callback(StateLock(path.parent).release)
            database = Database(path)
            held.callback(database.close)
            store = cls(database, clock, history)
            store._ensure_default_namespace()
            store._held = held.pop_all()
        return store

    def close(self) -> None:
        """End every watch, and let go of the file and its folder."""
        for history in self._histories.values():
            history.close()
        self._held.close()

    async def resources(self) -> Sequence[Resource]:
        return self._kinds.all()

    async def resource(self, kind: Kind) -> Resource:
        return self._kinds.resource(kind)

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        """Whoever is here may do everything."""
        self._kinds.resource(kind)

    async def get(self, ref: Ref) -> Manifest:
        return self._present(ref).object

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        self._kinds.resource(kind)
        scope = Scope(namespace, Selector.parse(labels))
        found = [manifest for manifest in self._objects.of_kind(kind, namespace) if scope.covers(manifest)]
        return Listing(found, str(self._version))

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        self._kinds.resource(kind)
        if not since.isdecimal():
            raise Invalid(f'resource version "{since[:100]}": must be one that a list or a watch answered')
        scope = Scope(namespace, Selector.parse(labels))
        if int(since) > self._version:  # given before the database was put back to an older state
            raise Expired(f"resource version {since} is ahead of the cluster's: list again")
        async with aclosing(self._history_of(kind).watch(int(since), scope)) as events:
            async for event in events:
                yield event

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        identify(manifest)
        ref = ref_of(manifest)
        given = admit(manifest, self._kinds.resource(ref.kind))
        entry = self._objects.find(ref)
        uid, version = (text(manifest, "metadata", field) for field in ("uid", "resourceVersion"))
        _check_preconditions(ref, entry, uid=uid, resource_version=version)
        if entry is None:
            self._check_namespace(ref.namespace)
        base = entry or Entry(_created(ref, self._now()), {})
        merged, owners = merge(
            base.object, base.owners, given, manager=manager, force=force, schema=schema_of(ref.kind)
        )
        check_controller(merged)
        if entry is None:
            return self._store(ref, merged, owners)
        if is_deleting(entry.object):
            _check_no_new_finalizer(entry.object, merged)
        if merged is entry.object and owners is entry.owners:
            return merged
        return self._store(ref, _next_generation(entry.object, merged), owners)

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        """Whoever writes here applies."""
        return await self.apply(manifest, manager=manager)

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        _check_preconditions(ref, self._present(ref), uid=uid, resource_version=resource_version)
        if ref == Ref(NAMESPACE, "", DEFAULT_NAMESPACE):
            raise Forbidden(f'the namespace "{DEFAULT_NAMESPACE}" cannot be deleted')
        with self._transaction() as transaction:
            garbage.delete(transaction, ref, grace_seconds)

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        ref = ref_of(manifest)
        entry = self._present(ref)
        _check_preconditions(ref, entry, uid=uid_of(manifest), resource_version=version_of(manifest))
        metadata = table(entry.object, "metadata")
        left = [each for each in items(metadata, "finalizers") if each not in finalizers]
        self._store(ref, {**entry.object, "metadata": {**metadata, "finalizers": left}}, entry.owners)

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        entry = self._present(ref)
        _check_preconditions(ref, entry, resource_version=resource_version)
        before = table(entry.object, "status")
        after = plain(_merge_patch(before, status), ATOMIC, ".status")
        if same(before, after):
            return entry.object
        return self._store(ref, {**entry.object, "status": after}, entry.owners)

    def _present(self, ref: Ref) -> Entry:
        self._kinds.resource(ref.kind)
        entry = self._objects.find(ref)
        if entry is None:
            raise NotFound(f'{ref.kind} "{ref.name}" not found{f" in {ref.namespace}" if ref.namespace else ""}')
        return entry

    def _check_namespace(self, namespace: str) -> None:
        """Raise unless something can be created there."""
        if not namespace:
            return
        entry = self._objects.find(Ref(NAMESPACE, "", namespace))
        if entry is None:
            raise NotFound(f'namespaces "{namespace}" not found: create the namespace first')
        if is_deleting(entry.object):
            raise NotFound(f'the namespace "{namespace}" is being deleted: nothing can be created in it')

    def _store(self, ref: Ref, manifest: Manifest, owners: Owners) -> Manifest:
        _check_size(ref, manifest)
        with self._transaction() as transaction:
            return transaction.put(ref, manifest, owners)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """What is changed in the block happens together with all that follows from it, or not at all."""
        transaction = Transaction(self._objects, self._version, self._now())
        try:
            yield transaction
            garbage.settle(transaction, self._kinds.serves)
            self._database.write(transaction.version, transaction.outcome())
        except BaseException:
            transaction.undo()
            raise
        self._publish(transaction)

    def _publish(self, transaction: Transaction) -> None:
        self._version = transaction.version
        for step in transaction.steps:
            self._kinds.remember(step.ref.kind)
            self._history_of(step.ref.kind).append(step.changed())

    def _history_of(self, kind: Kind) -> History:
        """A kind without one has not changed since the store was opened."""
        if kind not in self._histories:
            self._histories[kind] = History(self._opened, self._history)
        return self._histories[kind]

    def _now(self) -> datetime:
        return self._clock.now().astimezone(UTC)

    def _ensure_default_namespace(self) -> None:
        ref = Ref(NAMESPACE, "", DEFAULT_NAMESPACE)
        if self._objects.find(ref) is None:
            self._store(ref, _created(ref, self._now()), {})


def _created(ref: Ref, now: datetime) -> Manifest:
    """The part of a new object that nobody applies."""
    namespace: dict[str, Json] = {"namespace": ref.namespace} if ref.namespace else {}
    added: dict[str, Json] = {"uid": str(uuid4()), "generation": 1, "creationTimestamp": timestamp(now)}
    created: dict[str, Json] = {
        "apiVersion": ref.kind.api_version,
        "kind": ref.kind.name,
        "metadata": {"name": ref.name, **namespace, **added},
    }
    return {**created, "status": {"phase": "Active"}} if ref.kind == NAMESPACE else created


def _check_preconditions(ref: Ref, entry: Entry | None, *, uid: str = "", resource_version: str) -> None:
    """What is given of the UID and the resource version must be so.

    As in Kubernetes, an object that is not there has no resource version to differ from: only a UID keeps an object
    from being created anew.
    """
    for field, given in (("uid", uid), ("resourceVersion", resource_version if entry else "")):
        present = text(entry.object, "metadata", field) if entry else "none, it does not exist"
        if given and given != present:
            raise Conflict(f"{ref} has changed: metadata.{field} is {present}, not {given[:100]}: read it again")


def _check_no_new_finalizer(live: Manifest, merged: Manifest) -> None:
    present = items(live, "metadata", "finalizers")
    added = [finalizer for finalizer in items(merged, "metadata", "finalizers") if finalizer not in present]
    if added:
        raise Invalid(f"metadata.finalizers: the object is being deleted, {added[0]} cannot be added")


def _check_size(ref: Ref, manifest: Manifest) -> None:
    try:
        size = len(msgspec.json.encode(manifest))
    except UnicodeEncodeError as error:
        raise Invalid(f"{ref}: holds half of a surrogate pair, which is no text: {error}") from error
    if size > OBJECT_LIMIT:
        raise Invalid(f"{ref}: {size} bytes are too many for an object (limit {OBJECT_LIMIT}): split it")


def _next_generation(live: Manifest, merged: Manifest) -> Manifest:
    """``merged``, counted as a new generation if anything but metadata and status changed."""
    names = (live.keys() | merged.keys()) - {"metadata", "status"}
    if all(same(live.get(name), merged.get(name)) for name in names):
        return merged
    generation = number(live, "metadata", "generation") + 1
    return {**merged, "metadata": {**table(merged, "metadata"), "generation": generation}}


def _merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(table(target))
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge_patch(merged.get(name), value)
    return merged

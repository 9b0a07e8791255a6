"""The end of objects: deletion with grace and finalizers, and what goes with an object that is gone.

In Kubernetes the garbage collector and the namespace controller do the latter some time afterwards. Here it is part of
the transaction, so that a crash leaves no orphans.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from greenroom.local.storage.transaction import Transaction
from greenroom.model.manifest import (
    NAMESPACE,
    POD,
    Json,
    Kind,
    Manifest,
    Ref,
    is_deleting,
    items,
    number,
    table,
    text,
    timestamp,
    uid_of,
)

POD_GRACE_SECONDS = 30
"""How long a pod's processes have to end when its spec does not say; Kubernetes' default."""


def delete(transaction: Transaction, ref: Ref, grace_seconds: int | None) -> None:
    """Remove an object that is there, or mark it as being deleted for as long as something holds it."""
    entry = transaction.objects.find(ref)
    if entry is None:
        return
    grace = _grace(ref, entry.object, grace_seconds)
    if is_deleting(entry.object) and grace >= number(entry.object, "metadata", "deletionGracePeriodSeconds"):
        return
    marked = _marked(entry.object, timestamp(transaction.now + timedelta(seconds=grace)), grace)
    if not _held(transaction, ref, marked):
        transaction.remove(ref)
        return
    transaction.put(ref, marked, entry.owners)
    if ref.kind == NAMESPACE:
        for inside in transaction.objects.in_namespace(ref.name):
            delete(transaction, inside, None)


def settle(transaction: Transaction, known: Callable[[Kind], bool]) -> None:
    """Carry out what follows from the steps so far, and from those that this adds.

    Of the owners that an object names, only those of a ``known`` kind can be found missing.
    """
    for step in transaction.steps:  # grows meanwhile
        if step.after is not None:
            _collect(transaction, step.ref, known)
            _finish(transaction, step.ref)
        elif step.before is not None:
            for dependent in transaction.objects.dependents(uid_of(step.before.object)):
                _collect(transaction, dependent, known)
            _finish(transaction, Ref(NAMESPACE, "", step.ref.namespace))


def _grace(ref: Ref, manifest: Manifest, given: int | None) -> int:
    if ref.kind != POD:
        return 0
    if given is not None:
        return given
    return number(manifest, "spec", "terminationGracePeriodSeconds", default=POD_GRACE_SECONDS)


def _marked(manifest: Manifest, when: str, grace: int) -> Manifest:
    metadata = table(manifest, "metadata")
    deletion: dict[str, Json] = {"deletionTimestamp": when, "deletionGracePeriodSeconds": grace}
    generation = number(manifest, "metadata", "generation") + (0 if is_deleting(manifest) else 1)
    marked = {**manifest, "metadata": {**metadata, **deletion, "generation": generation}}
    if text(manifest, "kind") == "Namespace":
        marked["status"] = {**table(manifest, "status"), "phase": "Terminating"}
    return marked


def _held(transaction: Transaction, ref: Ref, manifest: Manifest) -> bool:
    """Whether an object that is being deleted must stay for now."""
    return bool(
        items(manifest, "metadata", "finalizers")
        or number(manifest, "metadata", "deletionGracePeriodSeconds")
        or (ref.kind == NAMESPACE and transaction.objects.in_namespace(ref.name))
    )


def _finish(transaction: Transaction, ref: Ref) -> None:
    """Remove an object that is being deleted when nothing holds it any more."""
    entry = transaction.objects.find(ref)
    if entry is not None and is_deleting(entry.object) and not _held(transaction, ref, entry.object):
        transaction.remove(ref)


def _collect(transaction: Transaction, ref: Ref, known: Callable[[Kind], bool]) -> None:
    """Delete an object all of whose owners are gone; if only some are, take their references out of it."""
    entry = transaction.objects.find(ref)
    references = items(entry.object, "metadata", "ownerReferences") if entry else ()
    present = [reference for reference in references if not _is_missing(transaction, ref, reference, known)]
    if entry is None or len(present) == len(references):
        return
    if present:
        metadata = {**table(entry.object, "metadata"), "ownerReferences": present}
        transaction.put(ref, {**entry.object, "metadata": metadata}, entry.owners)
    else:
        delete(transaction, ref, None)


def _is_missing(transaction: Transaction, ref: Ref, reference: Json, known: Callable[[Kind], bool]) -> bool:
    """Whether an owner is certainly not there. One in another namespace does not count: that cannot be."""
    owner = transaction.objects.with_uid(text(reference, "uid"))
    if owner is not None:
        return owner.namespace not in ("", ref.namespace)
    return known(Kind.of(text(reference, "apiVersion"), text(reference, "kind")))

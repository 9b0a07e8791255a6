"""What PR objects and ReviewApps say of each other, as they are written: right or wrong, there or gone."""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.model.manifest import REVIEW_APP, Json, Kind, Manifest, Ref, items, ref_of, table, text
from greenroom.model.reviewapp import ACCOUNT_NAME, ReviewApp


def review_app_of(pr: Manifest) -> Ref:
    return Ref(REVIEW_APP, text(pr, "metadata", "namespace"), text(pr, "spec", "parentReviewApp"))


def pull_number(pr: Manifest) -> int:
    """The number of its pull request; 0 when the PR object names none."""
    found = text(pr, "spec", "prNumber")
    return int(found) if found.isascii() and found.isdecimal() else 0


def user_of(app: Manifest | None) -> str:
    """In whose name the objects are deleted, even if the template is wrong; ``""`` is our own.

    Nobody knows the account of a ReviewApp that is gone.
    """
    ref = ref_of(app or {})
    account = text(app, "spec", "serviceAccountName")
    return ReviewApp(ref.namespace, ref.name, "", (), account if ACCOUNT_NAME.fullmatch(account) else "").user


def address_of_pull(app: Manifest | None, pr: Manifest | None) -> str:
    """Where people see the pull request, as a delivery names it; ``""`` when it is not known."""
    repository = text(app, "spec", "githubRepository").strip().rstrip("/").removesuffix(".git").rstrip("/")
    number = text(pr, "spec", "prNumber")
    return f"{repository}/pull/{number}" if repository and number else ""


def kinds_used(manifest: Manifest) -> Iterator[tuple[str, Kind]]:
    """The kinds that a ReviewApp's template names, or a PR object's inventory, with the namespace."""
    namespace = text(manifest, "metadata", "namespace")
    for item in (*items(manifest, "spec", "resources"), *items(manifest, "status", "inventory")):
        yield namespace, Kind.of(text(item, "apiVersion"), text(item, "kind"))


def asked_for(pr: Manifest) -> tuple[Json, ...]:
    """What of a PR object is others' wish, and no status of ours."""
    metadata = table(pr, "metadata")
    marks = (metadata.get(field) for field in ("uid", "annotations", "deletionTimestamp"))
    return (table(pr, "spec"), *marks)

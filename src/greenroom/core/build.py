"""What is known of the build of a commit, as an annotation of its PR object: that its image is there, or never will be.

Whoever builds tells it (``model.pull.Build``). So a pod that waits ever longer between its tries to pull the image need
not wait, and nobody waits for an image of which the build has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from greenroom.core.health import IMAGE_REASONS, Health, Owned
from greenroom.core.health import WAITING_FOR_IMAGE as WAITING
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    POD,
    Manifest,
    Ref,
    annotations_of,
    is_deleting,
    items,
    kind_of,
    ref_of,
    text,
    timestamp,
    uid_of,
)
from greenroom.model.pull import Build

BUILD_ANNOTATION = "greenroom.dev/build"
"""``succeeded`` or ``failed``, the commit, when it was heard of, when it ended, and the address of the build's page, if
it has one."""
BUILD_FAILED = "BuildFailed"

_OWNERS = 3
"""From an environment's object down to its pods: Deployment, ReplicaSet, Pod; CronJob, Job, Pod."""


def tells(app: Manifest, build: Build) -> bool:
    """Whether a build is one to heed.

    That any workflow of a commit has succeeded is reason enough to look for its image. That one has failed is none to
    say that there will be no image, unless it is the one that the ReviewApp names.
    """
    wanted = text(app, "spec", "buildWorkflow")
    if build.succeeded or not build.workflow:
        return True
    name, path = build.workflow
    return wanted != "" and wanted in (name, path, path.rpartition("/")[2])


def build_text(build: Build, heard: datetime) -> str:
    ended = build.at if _is_dated(build) else heard
    return " ".join(filter(None, [_word(build), build.commit, timestamp(heard), timestamp(ended), build.url]))


def is_news(pr: Manifest, build: Build) -> bool:
    """Whether it is more than what was told of the commit before: deliveries come twice, and late."""
    word, commit, _, ended, _ = _parts(pr)
    return commit != build.commit or not _is_dated(build) or (ended, word) < (timestamp(build.at), _word(build))


def failed_build(pr: Manifest) -> str | None:
    """The address of the build of the wanted commit, or ``""``, when it failed; None when it did not."""
    word, commit, _, _, url = _parts(pr)
    return url if word == "failed" and commit == text(pr, "spec", "headCommitRef") else None


def explained(pr: Manifest, healths: Iterable[Health]) -> tuple[Health, ...]:
    """``healths``, where those that wait for an image of a failed build say that."""
    url = failed_build(pr)
    if url is None:
        return tuple(healths)
    where = f": {url}" if url else ""
    message = f"the build of commit {text(pr, 'spec', 'headCommitRef')[:7]} failed{where}"
    return tuple(
        Health(each.ref, False, BUILD_FAILED, f"{each.ref.name}: {message}") if each.reason == WAITING else each
        for each in healths
    )


def overdue_pods(pr: Manifest, children: Iterable[Manifest], owned: Owned) -> list[tuple[Ref, str]]:
    """The pods, with their UIDs, that still wait for an image that is there by now: they were made before that was
    told. The kubelet asks again in up to five minutes; for a new pod it asks at once. Those of another commit wait for
    another image."""
    word, commit, heard, _, _ = _parts(pr)
    if word != "succeeded" or commit != text(pr, "spec", "headCommitRef"):
        return []
    pods = (pod for child in children for pod in _pods(child, owned, commit, _OWNERS))
    return [(ref_of(pod), uid_of(pod)) for pod in pods if _waits(pod) and _made(pod) < heard]


def _word(build: Build) -> str:
    return "succeeded" if build.succeeded else "failed"


def _is_dated(build: Build) -> bool:
    """Who tells by a call of his own need not say when it ended."""
    return build.at.timestamp() > 0


def _parts(pr: Manifest) -> tuple[str, str, str, str, str]:
    words = [*annotations_of(pr).get(BUILD_ANNOTATION, "").split(" "), *[""] * 4]
    return words[0], words[1], words[2], words[3], words[4]


def _pods(owner: Manifest, owned: Owned, commit: str, depth: int) -> Iterator[Manifest]:
    if kind_of(owner) == POD:
        yield owner
    elif depth > 0 and annotations_of(owner).get(COMMIT_ANNOTATION, commit) == commit:
        for child in owned(uid_of(owner)):
            yield from _pods(child, owned, commit, depth - 1)


def _waits(pod: Manifest) -> bool:
    statuses = (*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses"))
    reasons = {text(status, "state", "waiting", "reason") for status in statuses}
    return not is_deleting(pod) and not IMAGE_REASONS.isdisjoint(reasons)


def _made(pod: Manifest) -> str:
    return text(pod, "metadata", "creationTimestamp")

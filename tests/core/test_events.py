"""The Events that tell of an environment: what is news, and what is the same again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.test_status import LATER, NEW, NOW, OLD, PR_OBJECT, UP, ready, status, waiting

from greenroom.core.events import events_of
from greenroom.core.health import Health
from greenroom.core.status import Findings, Problem, status_of


def told(before: Any, after: Findings) -> list[tuple[Any, Any]]:
    return [(event["type"], event["reason"]) for event in events(before, after)]


def events(before: Any, after: Findings) -> list[Any]:
    pr = {**PR_OBJECT, **({"status": before} if before else {})}
    return events_of(pr, status_of(after, pr, LATER), LATER)


def test_events_tell_of_transitions_only() -> None:
    starting = replace(UP, shown_commit="", healths=(waiting("WaitingForImage"),))
    crashing = replace(UP, healths=(waiting("CrashLoopBackOff"),))
    assert told(None, starting) == [("Normal", "Created"), ("Normal", "WaitingForImage")]
    assert told(status(starting), starting) == []
    assert told(status(starting), UP) == [("Normal", "Ready")]
    assert told(status(UP), replace(UP, commit=OLD)) == [("Normal", "CommitChanged"), ("Normal", "RollingOut")]
    assert told(status(UP), crashing) == [("Warning", "CrashLoopBackOff")]


def in_trouble(reason: str, message: str) -> Findings:
    return replace(UP, healths=(Health(waiting(reason).ref, False, reason, message),))


def failing(*messages: str, reason: str = "ApplyFailed") -> Findings:
    return replace(UP, problems=tuple(Problem(reason, message) for message in messages))


QUOTA = "exceeded quota: q, requested: pods=1, used: pods={}, limited: pods=10"
NEWS = {
    "another object is refused": (failing("Service/db-1: no"), failing("Service/db-2: no")),
    "one more object is refused": (failing("Service/a: no"), failing("Service/a: no", "Service/b: no")),
    "an object is refused for another cause": (failing("Service/a: no"), failing("Service/a: name is too long")),
    "the template is wrong elsewhere": (
        failing("ReviewApp shop: spec.resources[0].kind: is missing", reason="InvalidTemplate"),
        failing("ReviewApp shop: spec.resources[0].apiVersion: is missing", reason="InvalidTemplate"),
    ),
    "another program crashes": (
        in_trouble("CrashLoopBackOff", "web: container app: back-off 10s restarting failed container"),
        in_trouble("CrashLoopBackOff", "web: container proxy: back-off 10s restarting failed container"),
    ),
    "the image of another commit is missing": (
        in_trouble("WaitingForImage", "web: waiting for image r.example.com:5000/shop:1a2b3c4: Back-off pulling image"),
        in_trouble("WaitingForImage", "web: waiting for image r.example.com:5000/shop:5d6e7f8: Back-off pulling image"),
    ),
    "another commit is shown": (replace(UP, commit=OLD, shown_commit=OLD), replace(UP, shown_commit=NEW)),
    "another commit is shown, and its name is a number": (
        replace(UP, commit="1234567", shown_commit="1234567"),
        replace(UP, commit="7654321", shown_commit="7654321"),
    ),
    "a refused object keeps another commit serving": (
        replace(failing("Service/a: no"), shown_commit="1234567"),
        replace(failing("Service/a: no"), shown_commit="7654321"),
    ),
    "the image of another day is missing": (
        in_trouble("WaitingForImage", "web: waiting for image 2048/shop:1.25: Back-off pulling image"),
        in_trouble("WaitingForImage", "web: waiting for image 2048/shop:1.26: Back-off pulling image"),
    ),
    "an image of another name is missing": (
        in_trouble("WaitingForImage", "web: waiting for image 2048: Back-off pulling image"),
        in_trouble("WaitingForImage", "web: waiting for image 4096: Back-off pulling image"),
    ),
    "another program crashes, and its name begins with a digit": (
        in_trouble("CrashLoopBackOff", "web: container 1st: back-off 10s restarting failed container"),
        in_trouble("CrashLoopBackOff", "web: container 2nd: back-off 10s restarting failed container"),
    ),
    "another Deployment finds no node, and its name is a number": (
        in_trouble("Unschedulable", "2048: 0/3 nodes are available: 3 Insufficient cpu."),
        in_trouble("Unschedulable", "4096: 0/3 nodes are available: 3 Insufficient cpu."),
    ),
    "another volume is not found": (
        failing("Deployment.apps/a: no volume 1a-data"),
        failing("Deployment.apps/a: no volume 2a-data"),
    ),
}
SAME_AGAIN = {
    "a back-off grows": (
        in_trouble("CrashLoopBackOff", "web: container app: back-off 10s restarting failed container=app pod=web-x1"),
        in_trouble("CrashLoopBackOff", "web: container app: back-off 1m20s restarting failed container=app pod=web-y2"),
    ),
    "a pull fails, and is waited for": (
        in_trouble("WaitingForImage", "web: waiting for image shop:1a2b3c4: rpc error: code = NotFound"),
        in_trouble("WaitingForImage", "web: waiting for image shop:1a2b3c4: Back-off pulling image"),
    ),
    "a node comes": (
        in_trouble("Unschedulable", "web: 0/3 nodes are available: 3 Insufficient cpu."),
        in_trouble("Unschedulable", "web: 0/4 nodes are available: 4 Insufficient cpu."),
    ),
    "others use a quota": (
        failing(f"Pod/a: {QUOTA.format(9)}"),
        failing(f"Pod/a: {QUOTA.format(10)}"),
    ),
    "more memory is asked for": (
        failing("Pod/a: exceeded quota: q, used: limits.memory=1500Mi, limited: limits.memory=2Gi"),
        failing("Pod/a: exceeded quota: q, used: limits.memory=900Mi, limited: limits.memory=2Gi"),
    ),
    "a server is waited for": (failing("Pod/a: no answer in 1m20s (of 30)"), failing("Pod/a: no answer in 40s (of 9)")),
    "a connection breaks again": (
        failing("Pod/a: read tcp 10.0.0.1:43512->10.96.0.5:443: connection reset"),
        failing("Pod/a: read tcp 10.0.0.1:50022->10.96.0.5:443: connection reset"),
    ),
    "a rollout goes on": (
        in_trouble("RollingOut", "web: 0 of 2 new replicas are ready"),
        in_trouble("RollingOut", "db: 1 of 2 replicas are ready"),
    ),
}


@pytest.mark.parametrize("change", NEWS)
def test_an_event_is_written_anew_when(change: str) -> None:
    before, after = NEWS[change]
    (event,) = (each for each in events(status(before), after) if each["reason"] != "CommitChanged")
    assert (event["reason"], event["message"]) == (ready(after)["reason"], ready(after)["message"])


@pytest.mark.parametrize("change", SAME_AGAIN)
def test_no_event_is_written_when(change: str) -> None:
    before, after = SAME_AGAIN[change]
    assert status(before)["conditions"] != status(after)["conditions"]
    assert told(status(before), after) == []


def test_an_event_belongs_to_its_pr_object_and_is_written_over_when_it_happens_again() -> None:
    pr = {**PR_OBJECT, "metadata": {**PR_OBJECT["metadata"], "name": "x" * 250}}
    first, second = (events_of(pr, status_of(UP, pr, now), now) for now in (NOW, LATER))
    assert [event["metadata"] for event in first] == [event["metadata"] for event in second]
    for event in first:
        metadata: Any = event["metadata"]
        assert len(metadata["name"]) <= 253
        assert metadata["ownerReferences"][0]["uid"] == "0123456789"
        assert metadata["ownerReferences"][0]["controller"] is False

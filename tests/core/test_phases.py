"""Of which commit "ready" is said, and whose log tells of a failure."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.test_comment import CRASH, NEW, OLD, pr
from tests.core.test_health import Objects, made, unready, waiting

from greenroom.core.culprit import culprit
from greenroom.core.phases import Phase, is_up, phase_of, reason_of


def test_ready_is_said_only_of_the_commit_that_is_wanted_now() -> None:
    assert is_up(pr("Ready", shown=NEW))
    assert is_up(pr("Ready", shown=""))  # no Deployment says which
    assert not is_up(pr("Ready", shown=OLD))
    assert not is_up(pr("Ready", shown=NEW, commit=OLD))
    assert not is_up(pr("Ready", shown=NEW, observedGeneration=1))
    assert not is_up(pr("RollingOut", shown=NEW))
    assert not is_up(pr())


def test_a_failure_of_the_commit_before_is_not_said_of_this_one() -> None:
    before = pr("CrashLoopBackOff", CRASH, commit=OLD, observedGeneration=1)
    assert phase_of(before, answered=False) is Phase.STARTING
    assert reason_of(before) == ""


@pytest.mark.parametrize("answered", [True, False])
def test_what_is_not_up_is_not_ready_whatever_the_address_answers(answered: bool) -> None:
    assert phase_of(pr("RollingOut", shown=NEW), answered=answered) is Phase.STARTING
    assert phase_of(pr("WaitingForImage"), answered=answered) is Phase.WAITING_FOR_IMAGE
    assert phase_of(pr("ApplyFailed"), answered=answered) is Phase.FAILED
    assert phase_of(pr("Replacing"), answered=answered) is Phase.STARTING


def test_what_is_being_deleted_is_being_removed() -> None:
    leaving = pr("Ready", shown=NEW)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert phase_of(leaving, answered=True) is Phase.REMOVING


# Whose log is shown


def environment(reason: str, *pods: dict[str, Any]) -> tuple[str, str] | None:
    objects = Objects()
    failed = pr(reason, CRASH)
    failed["metadata"]["uid"] = "uid-PR"
    child = objects.add(failed, "Deployment", "web")
    replica_set = objects.add(child, "ReplicaSet", "web-1")
    for number, status in enumerate(pods):
        objects.add(replica_set, "Pod", f"pod-{number}", status=status)
    return culprit(failed, objects.owned)


RUNNING = {"name": "app", "ready": True, "state": {"running": {}}}


def test_the_container_that_crashes_is_to_blame() -> None:
    fine = {"containerStatuses": [RUNNING]}
    sidecar = {"containerStatuses": [RUNNING, {**waiting("CrashLoopBackOff")["containerStatuses"][0], "name": "proxy"}]}
    assert environment("CrashLoopBackOff", fine, sidecar, fine) == ("pod-1", "proxy")


def test_an_init_container_may_be_to_blame() -> None:
    crashing = {"initContainerStatuses": [{"name": "migrate", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
    assert environment("CrashLoopBackOff", crashing) == ("pod-0", "migrate")


def test_the_container_of_a_job_that_ended_badly_is_to_blame() -> None:
    ended = {"containerStatuses": [{"name": "app", "state": {"terminated": {"exitCode": 1}}}]}
    well = {"containerStatuses": [{"name": "app", "state": {"terminated": {"exitCode": 0}}}]}
    assert environment("JobFailed", ended, well) == ("pod-0", "app")


def test_a_container_that_does_not_become_ready_is_to_blame() -> None:
    slow = {"containerStatuses": [RUNNING, {**RUNNING, "name": "slow", "ready": False}]}
    assert environment("ProgressDeadlineExceeded", slow) == ("pod-0", "slow")


def test_a_process_that_opens_no_port_is_to_blame() -> None:
    silent = {"conditions": [unready("NotListening", "no port")], "containerStatuses": [RUNNING]}
    assert environment("NotListening", silent) == ("pod-0", "app")


@pytest.mark.parametrize("reason", ["ApplyFailed", "WaitingForImage", "Unschedulable", "RollingOut"])
def test_who_never_ran_has_no_log(reason: str) -> None:
    assert environment(reason, waiting("CrashLoopBackOff")) is None


def test_nobody_is_to_blame_where_there_is_no_pod_or_all_run() -> None:
    assert environment("CrashLoopBackOff") is None
    assert environment("CrashLoopBackOff", {"containerStatuses": [RUNNING]}) is None
    assert environment("CrashLoopBackOff", {}) is None


def test_owners_that_own_each_other_end_nothing() -> None:
    failed = pr("CrashLoopBackOff", CRASH)
    failed["metadata"]["uid"] = "uid-Thing-a"
    thing = made("Thing", "a")
    assert culprit(failed, lambda _: [thing]) is None

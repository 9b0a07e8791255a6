"""What a person sees of an object in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from greenroom.cli.describing import describe_object
from greenroom.cli.printers import age_of, align, columns_for, rows
from greenroom.model.manifest import PR, Kind, Manifest, kind_of

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
POD: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-1", "namespace": "pr-env", "creationTimestamp": "2026-11-01T11:59:55Z"},
    "spec": {"containers": [{"name": "app", "image": "shop:pr1-abc"}, {"name": "side"}]},
    "status": {"phase": "Running", "containerStatuses": [{"name": "app", "ready": True, "restartCount": 2}]},
}


def pr(ready: str, reason: str = "", **status: str) -> Manifest:
    return {
        "apiVersion": "kubetempura.mercari.com/v1",
        "kind": "PR",
        "metadata": {
            "name": "shop-pr7",
            "namespace": "pr-env",
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "uid": "u",
        },
        "spec": {"prNumber": "7", "headCommitRef": "abcdef0123456789"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": f"it is {reason}"}],
            "inventory": [{"apiVersion": "v1", "kind": "Service", "name": "pr7"}],
            **status,
        },
    }


def shown(manifest: Manifest, *, wide: bool = False, namespaces: bool = False) -> list[list[str]]:
    return rows([manifest], columns_for(kind_of(manifest), wide=wide, namespaces=namespaces, now=lambda: NOW))


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (195, "3m15s"),
        (1800, "30m"),
        (4 * 3600 + 300, "4h5m"),
        (30 * 3600, "30h"),
    ],
)
def test_ages_read_as_in_kubectl(seconds: int, age: str) -> None:
    assert age_of((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == age


def test_an_age_that_is_no_timestamp_says_so() -> None:
    assert age_of("", NOW) == "<unknown>"


def test_a_pull_request_says_what_it_waits_for() -> None:
    titles, cells = shown(pr("False", "WaitingForImage", url="http://pr7.localhost"))
    assert dict(zip(titles, cells, strict=True)) == {
        "NAME": "shop-pr7",
        "PR": "7",
        "COMMIT": "abcdef0",
        "SHOWN": "-",
        "READY": "False",
        "WAITING FOR": "WaitingForImage",
        "URL": "http://pr7.localhost",
        "AGE": "120m",
    }


def test_a_ready_pull_request_waits_for_nothing() -> None:
    titles, cells = shown(pr("True", "Ready"))
    assert cells[titles.index("WAITING FOR")] == "-"


def test_a_pod_counts_its_ready_containers_and_restarts() -> None:
    assert shown(POD) == [["NAME", "READY", "STATUS", "RESTARTS", "AGE"], ["web-1", "1/2", "Running", "2", "5s"]]


def test_a_waiting_container_is_the_status_of_its_pod() -> None:
    waiting: Manifest = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    assert shown({**POD, "status": waiting})[1][2] == "ImagePullBackOff"


def test_wide_and_all_namespaces_add_columns() -> None:
    titles, _ = shown(pr("True"), wide=True, namespaces=True)
    assert titles[0] == "NAMESPACE"
    assert "MESSAGE" in titles


def test_an_unknown_kind_has_a_name_and_an_age() -> None:
    assert shown({**POD, "kind": "Teapot"})[0] == ["NAME", "AGE"]
    assert [
        column.title
        for column in columns_for(Kind("x.dev", "v1", "Teapot"), wide=True, namespaces=False, now=lambda: NOW)
    ]


def test_columns_keep_their_width_while_they_are_watched() -> None:
    first, widths = align([["NAME", "AGE"], ["a-long-name", "1s"]])
    second, _ = align([["b", "2s"]], widths)
    assert first[1].index("1s") == second[0].index("2s")


def test_describe_tells_conditions_resources_and_events() -> None:
    event: Manifest = {
        "type": "Normal",
        "reason": "Created",
        "message": "made it",
        "lastTimestamp": "2026-11-01T11:59:00Z",
    }
    described = describe_object(pr("False", "RollingOut"), [event], NOW)
    for part in (
        "Name:",
        "shop-pr7",
        PR.name,
        "RollingOut",
        "it is RollingOut",
        "service/pr7",
        "Created",
        "made it",
        "60s",
    ):
        assert part in described

"""What the operator tells of itself: metrics, health, and the fence before its writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, Counter

from greenroom.adapters.writes import Counted, Fenced
from greenroom.app.metrics import Latency, Metrics
from greenroom.cli import greenroom
from greenroom.core.status import REASONS
from greenroom.local.storage.store import Store
from greenroom.model.errors import Conflict, InvalidInput, NotFound, Unavailable, UnknownKind
from greenroom.model.manifest import CONFIG_MAP, PR, RECEIVED_ANNOTATION, Kind, Ref
from greenroom.runtime.monitor import Outcome
from greenroom.web import health, metrics

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 40
REF = Ref(CONFIG_MAP, "default", "one")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def pr(*, received: float | None = 0, wanted: str = A, commit: str = "", ready: str = "", applied: str = "") -> Any:
    """A PR object whose delivery was received so many seconds after the start."""
    found = {} if received is None else {RECEIVED_ANNOTATION: (START + timedelta(seconds=received)).isoformat()}
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready"}, {"type": "Applied", "status": applied}]
    return {
        "apiVersion": PR.api_version,
        "kind": PR.name,
        "metadata": {"name": "shop-pr7", "namespace": "default", "uid": "uid-7", "annotations": found},
        "spec": {"headCommitRef": wanted},
        "status": {"commit": commit, "conditions": conditions} if commit else {},
    }


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}, "data": data}


def value(found: Metrics, series: str, **labels: str) -> float | None:
    return found.registry.get_sample_value(series, labels)


# From webhook to effect


class Watch:
    """A Latency that is told of one PR object."""

    def __init__(self) -> None:
        self.metrics, self.clock = Metrics(), Clock()
        self._latency = Latency(self.metrics, self.clock)
        self._present: Any = None

    def see(self, manifest: Any, *, at: float) -> None:
        self.clock.seconds = at
        self._latency.changed(self._present, manifest)
        self._present = manifest

    @property
    def found(self) -> list[float | None]:
        """How many were applied and ready, and the seconds of those together."""
        names = ("applied_seconds_count", "applied_seconds_sum", "ready_seconds_count", "ready_seconds_sum")
        return [value(self.metrics, f"greenroom_webhook_to_{name}") for name in names]


def test_the_time_from_a_webhook_to_applied_and_to_ready_is_measured_once() -> None:
    watch = Watch()
    watch.see(pr(), at=0.1)
    watch.see(pr(commit=A, applied="True", ready="False"), at=2)
    watch.see(pr(commit=A, applied="True", ready="True"), at=30)
    assert watch.found == [1, 2, 1, 30]
    watch.see(pr(commit=A, applied="True", ready="False"), at=500)  # a pod crashed, and came back
    watch.see(pr(commit=A, applied="True", ready="True"), at=600)
    assert watch.found == [1, 2, 1, 30]


def test_a_push_is_measured_though_the_status_still_tells_of_the_commit_before() -> None:
    watch = Watch()
    watch.see(pr(received=None, commit=A, applied="True", ready="True"), at=0)
    watch.see(pr(received=100, wanted=B, commit=A, applied="True", ready="True"), at=100)
    assert watch.found == [0, 0, 0, 0]
    watch.see(pr(received=100, wanted=B, commit=B, applied="True", ready="True"), at=103)
    assert watch.found == [1, 3, 1, 3]


def test_environments_that_are_only_seen_again_are_not_measured() -> None:
    watch = Watch()
    watch.see(pr(commit=A, applied="True", ready="False"), at=5000)  # after a restart
    watch.see(pr(commit=A, applied="True", ready="True"), at=6000)
    watch.see(None, at=6001)
    assert watch.found == [0, 0, 0, 0]


@pytest.mark.parametrize("received", ["", "yesterday", "2026-01-31T12:00:00"])
def test_a_time_that_somebody_wrote_there_by_hand_is_not_measured(received: str) -> None:
    watch = Watch()
    manifest = pr()
    manifest["metadata"]["annotations"] = {RECEIVED_ANNOTATION: received}
    watch.see(manifest, at=0)
    watch.see(pr(received=None, commit=A, applied="True", ready="True"), at=1)
    assert watch.found == [0, 0, 0, 0]


# Counts


def test_environments_are_counted_by_the_leader_only_and_under_known_reasons() -> None:
    found, leads = Metrics(), True
    odd = pr(commit=A, ready="False")
    odd["status"]["conditions"][0]["reason"] = "SomethingThatSomebodyWrote"
    found.watch_environments(lambda: [pr(commit=A, ready="True"), pr(commit=A, ready="True"), odd, pr()], lambda: leads)
    assert value(found, "greenroom_environments", ready="True", reason="Ready") == 2
    assert value(found, "greenroom_environments", ready="False", reason="Other") == 1
    assert value(found, "greenroom_environments", ready="Unknown", reason="Other") == 1
    assert value(found, "greenroom_leader") == 1
    leads = False
    assert value(found, "greenroom_environments", ready="True", reason="Ready") is None
    assert value(found, "greenroom_leader") == 0


def test_the_reasons_are_few() -> None:
    assert len(REASONS) < 30


def test_a_controller_is_counted_under_its_name() -> None:
    found = Metrics()
    monitor = found.monitor("environments")
    monitor.added(waiting=1)
    monitor.began(0.5, waiting=0)
    monitor.ended(2.0, Outcome.ERROR)
    monitor.retried()
    name = {"name": "environments"}
    assert value(found, "greenroom_workqueue_adds_total", **name) == 1
    assert value(found, "greenroom_workqueue_depth", **name) == 0
    assert value(found, "greenroom_workqueue_retries_total", **name) == 1
    assert value(found, "greenroom_workqueue_queue_duration_seconds_sum", **name) == 0.5
    controller = {"controller": "environments"}
    assert value(found, "greenroom_controller_reconcile_total", **controller, result="error") == 1
    assert value(found, "greenroom_controller_reconcile_total", **controller, result="success") == 0
    assert value(found, "greenroom_controller_reconcile_errors_total", **controller) == 1
    assert value(found, "greenroom_controller_reconcile_time_seconds_sum", **controller) == 2


async def test_writes_are_counted_by_verb_kind_and_outcome(tmp_path: Path) -> None:
    counted: list[tuple[str, str, str]] = []
    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        cluster = Counted(store, lambda verb, kind, result: counted.append((verb, str(kind), result)))
        await cluster.apply(config_map(a="1"), manager="one")
        with pytest.raises(Conflict):
            await cluster.apply(config_map(a="2"), manager="two", force=False)
        await cluster.adopt(config_map(a="2"), manager="two", former="one")
        await cluster.delete(REF)
        with pytest.raises(NotFound):
            await cluster.delete(REF)
        with pytest.raises(UnknownKind):
            await cluster.delete(Ref(Kind("", "v1", "AnyNumberOfThese"), "default", "one"))
        await cluster.list(CONFIG_MAP)
    kind = str(CONFIG_MAP)
    assert counted == [
        ("apply", kind, "ok"),
        ("apply", kind, "Conflict"),
        ("apply", kind, "ok"),
        ("delete", kind, "ok"),
        ("delete", kind, "NotFound"),
    ]


async def test_a_fence_lets_nothing_be_written_by_one_who_leads_no_more(tmp_path: Path) -> None:
    may_write = True
    with closing(Store.open(tmp_path / "cluster.db", clock=Clock())) as store:
        cluster = Fenced(store, lambda: may_write)
        stored = await cluster.apply(config_map(a="1"), manager="one")
        may_write = False
        writes: list[Callable[[], Any]] = [
            lambda: cluster.apply(config_map(a="2"), manager="one"),
            lambda: cluster.adopt(config_map(a="2"), manager="one", former="two"),
            lambda: cluster.delete(REF),
            lambda: cluster.patch_status(REF, {"a": "b"}),
        ]
        for write in writes:
            with pytest.raises(Unavailable):
                await write()
        assert await cluster.get(REF) == stored


# Over HTTP


async def ask(app: web.Application, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    async with TestServer(app) as server, ClientSession() as session:
        answer = await session.get(server.make_url(path), headers={"Accept": accept})
        return answer.status, answer.content_type, await answer.text()


async def test_health_says_what_is_wrong() -> None:
    troubles: list[str] = []
    app = health.make_app(alive=lambda: (), ready=lambda: troubles)
    assert (await ask(app, "/readyz"))[::2] == (200, "ok\n")
    troubles += ["PR objects are not known yet", "another thing"]
    app = health.make_app(alive=lambda: (), ready=lambda: troubles)
    assert (await ask(app, "/readyz"))[::2] == (503, "PR objects are not known yet\nanother thing\n")
    app = health.make_app(alive=lambda: troubles, ready=lambda: ())
    assert (await ask(app, "/healthz"))[0] == 503


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text;version=1.0.0", "nonsense"])
async def test_metrics_are_given_as_prometheus_asks_for_them(accept: str) -> None:
    registry = CollectorRegistry()
    Counter("greenroom_things", "Things", registry=registry).inc()
    status, content_type, page = await ask(metrics.make_app(registry), "/metrics", accept)
    assert status == 200
    assert content_type == ("application/openmetrics-text" if "openmetrics" in accept else "text/plain")
    assert re.search(r"^greenroom_things_total 1.0$", page, re.MULTILINE)


# The command


def test_without_a_secret_it_does_not_start(tmp_path: Path) -> None:
    empty = tmp_path / "secret"
    empty.write_text("\n")
    for given in ([], ["--webhook-secret-file", str(empty)], ["--webhook-secret-file", str(tmp_path / "missing")]):
        result = CliRunner(env={"GREENROOM_WEBHOOK_SECRET": ""}).invoke(greenroom, ["serve", *given])
        assert isinstance(result.exception, InvalidInput), given


def test_the_address_that_kubernetes_puts_into_the_environment_for_a_service_is_no_port(tmp_path: Path) -> None:
    environment = {"GREENROOM_WEBHOOK_PORT": "tcp://10.96.0.7:3000", "GREENROOM_WEBHOOK_SECRET": "secret"}
    missing = ["--kubeconfig", str(tmp_path / "missing")]
    result = CliRunner(env=environment).invoke(greenroom, ["serve", *missing])
    assert isinstance(result.exception, InvalidInput)
    assert "no such kubeconfig" in str(result.exception)

"""What the operator counts and measures for Prometheus.

Names and labels are those of controller-runtime where it has them, with ``greenroom_`` in front. Every label has a
small set of values, whatever pull requests there are: kinds are those that the cluster serves.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from greenroom.core.status import APPLIED, READY, REASONS
from greenroom.model.manifest import (
    RECEIVED_ANNOTATION,
    Kind,
    Manifest,
    annotations_of,
    condition_of,
    text,
    uid_of,
)
from greenroom.ports import Clock
from greenroom.runtime.monitor import Monitor, Outcome

_WORK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 3600)


class Metrics:
    """All metrics of one process, in a ``registry`` of its own; and which of the loops that it watches are stuck."""

    def __init__(self) -> None:
        self._running: dict[str, Callable[[], bool]] = {}
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.depth = self._gauge("workqueue_depth", "Keys that wait to be handled", "name")
        self.adds = self._counter("workqueue_adds", "Keys added", "name")
        self.retries = self._counter("workqueue_retries", "Keys added again after a failure", "name")
        self.waited = self._histogram(
            "workqueue_queue_duration_seconds", "How long keys wait", "name", buckets=_WORK_BUCKETS
        )
        self.reconciles = self._counter("controller_reconcile", "Reconciles ended", "controller", "result")
        self.errors = self._counter("controller_reconcile_errors", "Reconciles failed", "controller")
        self.reconcile_seconds = self._histogram(
            "controller_reconcile_time_seconds", "How long reconciles take", "controller", buckets=_WORK_BUCKETS
        )
        self.writes = self._counter("api_writes", "Writes to the API server", "verb", "kind", "result")
        self.deliveries_to_applied = self._histogram(
            "webhook_to_applied_seconds",
            "From a webhook to all objects of its commit being applied",
            buckets=_LATENCY_BUCKETS,
        )
        self.deliveries_to_ready = self._histogram(
            "webhook_to_ready_seconds", "From a webhook to its commit being shown", buckets=_LATENCY_BUCKETS
        )

    def monitor(self, name: str) -> Monitor:
        """Counts for the controller of that name, and watches that it goes on. A name runs once at a time."""
        return _Counting(self, name)

    def stuck(self) -> Iterator[str]:
        """The names of loops that do not go on any more, though they run."""
        return (name for name, is_stuck in self._running.items() if is_stuck())

    @contextmanager
    def running(self, name: str, is_stuck: Callable[[], bool]) -> Iterator[None]:
        self._running[name] = is_stuck
        try:
            yield
        finally:
            del self._running[name]

    def wrote(self, verb: str, kind: Kind, result: str) -> None:
        self.writes.labels(verb, str(kind), result).inc()

    def watch_environments(self, prs: Callable[[], Iterable[Manifest]], leads: Callable[[], bool]) -> None:
        """Tell how many environments are in which state. Only the leader does, so that sums over replicas are right."""
        self.registry.register(_Environments(prs, leads))

    def watch_gateways(
        self,
        connected: Callable[[], Mapping[str, int]],
        refusals: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        """Tell how many Envoys of each gateway are connected here, and how often they refused what they were sent."""
        self.registry.register(_Gateways(connected, refusals))

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, namespace="greenroom", registry=self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, namespace="greenroom", registry=self.registry)

    def _histogram(self, name: str, help_: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_, labels, namespace="greenroom", registry=self.registry, buckets=buckets)


class _Counting(Monitor):
    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._depth = metrics.depth.labels(name)
        self._adds = metrics.adds.labels(name)
        self._retries = metrics.retries.labels(name)
        self._waited = metrics.waited.labels(name)
        self._seconds = metrics.reconcile_seconds.labels(name)
        self._errors = metrics.errors.labels(name)
        self._outcomes = {outcome: metrics.reconciles.labels(name, outcome.value) for outcome in Outcome}

    def running(self, is_stuck: Callable[[], bool]) -> AbstractContextManager[None]:
        return self._metrics.running(self._name, is_stuck)

    def added(self, *, waiting: int) -> None:
        self._adds.inc()
        self._depth.set(waiting)

    def retried(self) -> None:
        self._retries.inc()

    def began(self, waited: float, *, waiting: int) -> None:
        self._waited.observe(waited)
        self._depth.set(waiting)

    def ended(self, seconds: float, outcome: Outcome) -> None:
        self._seconds.observe(seconds)
        self._outcomes[outcome].inc()
        if outcome is Outcome.ERROR:
            self._errors.inc()


class _Environments(Collector):
    """Counts when asked, from the informers' copy."""

    def __init__(self, prs: Callable[[], Iterable[Manifest]], leads: Callable[[], bool]) -> None:
        self._prs = prs
        self._leads = leads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        leads = self._leads()
        yield GaugeMetricFamily("greenroom_leader", "1 for the replica that leads", value=float(leads))
        found = GaugeMetricFamily(
            "greenroom_environments", "Environments, by whether they are ready and why not", labels=("ready", "reason")
        )
        for state, count in Tally(map(_state, self._prs() if leads else ())).items():
            found.add_metric(state, count)
        yield found


class _Gateways(Collector):
    def __init__(
        self,
        connected: Callable[[], Mapping[str, int]],
        refusals: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._connected = connected
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        envoys = GaugeMetricFamily("greenroom_gateway_envoys", "Envoys that are connected", labels=("gateway",))
        for gateway, count in self._connected().items():
            envoys.add_metric((gateway,), count)
        yield envoys
        refused = CounterMetricFamily(
            "greenroom_gateway_refusals", "Configuration that Envoys refused", labels=("gateway", "type")
        )
        for (gateway, type_url), count in self._refusals().items():
            refused.add_metric((gateway, type_url.rpartition(".")[2]), count)
        yield refused


def _state(pr: Manifest) -> tuple[str, str]:
    condition = condition_of(pr, READY)
    reason = text(condition, "reason")
    return text(condition, "status") or "Unknown", reason if reason in REASONS else "Other"


class Latency:
    """Measures from webhooks to their effect, by what happens to PR objects. ``changed`` is an informer's handler.

    A delivery is timed from when it first is seen here with its commit not applied yet, so that neither a restart nor
    an environment that becomes ready a second time is counted.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._to_applied: dict[str, datetime] = {}  # when the delivery was received, by the UID of the PR object
        self._to_ready: dict[str, datetime] = {}

    def changed(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None:
            self._forget(uid_of(old or {}))
            return
        if _received(old) != (received := _received(new)) and received is not None and not _is_applied(new):
            self._to_applied[uid_of(new)] = self._to_ready[uid_of(new)] = received
        if _is_applied(new):
            self._observe(self._to_applied, uid_of(new), self._metrics.deliveries_to_applied)
        if _is_applied(new) and text(condition_of(new, READY), "status") == "True":
            self._observe(self._to_ready, uid_of(new), self._metrics.deliveries_to_ready)

    def _observe(self, pending: dict[str, datetime], uid: str, histogram: Histogram) -> None:
        received = pending.pop(uid, None)
        if received is not None:
            histogram.observe(max(0.0, (self._clock.now() - received).total_seconds()))

    def _forget(self, uid: str) -> None:
        self._to_applied.pop(uid, None)
        self._to_ready.pop(uid, None)


def _is_applied(pr: Manifest) -> bool:
    """Whether the cluster holds the commit that is wanted."""
    applied = text(condition_of(pr, APPLIED), "status") == "True"
    return applied and text(pr, "status", "commit") == text(pr, "spec", "headCommitRef")


def _received(pr: Manifest | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(annotations_of(pr or {}).get(RECEIVED_ANNOTATION, ""))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None

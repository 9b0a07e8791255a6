"""Both variants of xDS, with an Envoy that may be slow, refuse, wait, or connect again, in any order."""

from __future__ import annotations

from collections import deque
from typing import Generic

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.gateway.model_envoy import DeltaEnvoy, ModelEnvoy, SotwEnvoy

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Response, Snapshot, XdsResource
from greenroom.core.xds_channel import R
from greenroom.core.xds_delta import DeltaRequest, DeltaStream
from greenroom.core.xds_sotw import SotwRequest, SotwStream
from greenroom.core.xds_stream import Stream

CLUSTERS = ("a", "b", "c")
BAD = "bad"

versions = st.sampled_from(["1", "2", BAD])


def is_bad(_: str, resource: XdsResource) -> bool:
    return BAD in resource.version


def resource(name: str, version: str, body: str = "something") -> XdsResource:
    return XdsResource(name, version, body.encode())


class AnyInterleaving(RuleBasedStateMachine, Generic[R]):
    """Publish, answer, refuse, cut and restart in any order: in the end Envoy has the last snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Snapshot | None = None
        self.impatient = False

    def new_stream(self) -> Stream[R]:
        raise NotImplementedError

    def new_envoy(self, *, partly: bool, names: bool) -> ModelEnvoy[R]:
        raise NotImplementedError

    @initialize(partly=st.booleans(), names=st.booleans())
    def start(self, partly: bool, names: bool) -> None:
        self.envoy = self.new_envoy(partly=partly, names=names)
        self.connect()

    @rule(
        clusters=st.dictionaries(st.sampled_from(CLUSTERS), st.tuples(versions, versions)),
        listener=versions,
        routes=versions,
    )
    def publish(self, clusters: dict[str, tuple[str, str]], listener: str, routes: str) -> None:
        routed = ",".join(sorted(clusters))
        self.wanted = {
            CLUSTER: {name: resource(name, cluster) for name, (cluster, _) in clusters.items()},
            ENDPOINTS: {name: resource(name, endpoints) for name, (_, endpoints) in clusters.items()},
            LISTENER: {"listener": resource("listener", listener, "routes")},
            ROUTES: {"routes": resource("routes", f"{routed}-{routes}", routed)},
        }
        self.inbox.extend(self.stream.publish(self.wanted))

    @rule()
    def envoy_takes_a_response(self) -> None:
        if self.inbox:
            response = self.inbox.popleft()
            self.envoy.take(response)
            if response.type_url == ROUTES:
                self.check_routes()

    @rule()
    def envoy_is_heard(self) -> None:
        if self.envoy.requests:
            self.inbox.extend(self.stream.receive(self.envoy.requests.popleft()))

    @rule()
    def patience_ends(self) -> None:
        if held_by := self.stream.held_by:
            self.impatient = True
            self.inbox.extend(self.stream.release(held_by))

    @rule(kind=st.sampled_from([CLUSTER, LISTENER]))
    def what_was_refused_is_offered_again(self, kind: str) -> None:
        self.inbox.extend(self.stream.retry(kind))

    @rule()
    def endpoints_are_late(self) -> None:
        self.envoy.stop_waiting()

    @rule()
    def connect(self) -> None:
        """The connection is cut, or one of the two was restarted: Envoy connects again, and keeps what it has."""
        self.stream = self.new_stream()
        self.inbox: deque[Response] = deque()
        if self.wanted is not None:
            self.inbox.extend(self.stream.publish(self.wanted))
        self.envoy.connect()

    def check_routes(self) -> None:
        unknown = self.envoy.routed() - self.envoy.has[CLUSTER].keys()
        assert unknown <= self.envoy.refused_clusters or self.impatient, "routes came before their clusters"

    def teardown(self) -> None:
        if self.wanted is None:
            assert not self.inbox
            return
        for _ in range(1000):
            if self.inbox:
                self.envoy_takes_a_response()
            elif self.envoy.requests:
                self.envoy_is_heard()
            else:
                self.envoy.stop_waiting()
        assert not self.inbox, "there is no end to it"
        self.check_end(self.wanted)

    def check_end(self, wanted: Snapshot) -> None:
        standing = self.stream.standing()
        bad = {(kind, each.name) for kind in TYPES for each in wanted[kind].values() if BAD in each.version}
        assert standing.refused.keys() <= bad
        for kind in TYPES:
            for name, each in wanted[kind].items():
                if (kind, name) not in standing.missing:
                    assert self.envoy.has[kind].get(name) == each
                else:
                    assert standing.refused.keys() & self.needed_by(kind, name), "left out without a reason"
            if not self.envoy.unknown and not any(LISTENER in named or ROUTES in named for named in standing.refused):
                assert self.envoy.has[kind].keys() <= wanted[kind].keys(), "something old was left"

    @staticmethod
    def needed_by(kind: str, name: str) -> set[tuple[str, str]]:
        """Envoy does not ask for what belongs to something that it refused."""
        owners = {ENDPOINTS: (CLUSTER, name), ROUTES: (LISTENER, "listener")}
        return {(kind, name), owners.get(kind, (kind, name))}


class DeltaInterleaving(AnyInterleaving[DeltaRequest]):
    def new_stream(self) -> DeltaStream:
        return DeltaStream()

    def new_envoy(self, *, partly: bool, names: bool) -> DeltaEnvoy:
        return DeltaEnvoy(is_bad, partly=partly, names=names)


class SotwInterleaving(AnyInterleaving[SotwRequest]):
    def new_stream(self) -> SotwStream:
        return SotwStream()

    def new_envoy(self, *, partly: bool, names: bool) -> SotwEnvoy:
        return SotwEnvoy(is_bad, partly=partly, names=names)


def test_to_look_for_a_bad_cluster_takes_no_good_one_away_from_routes_that_ran_ahead() -> None:
    state = SotwInterleaving()
    state.start(partly=True, names=False)
    state.publish(clusters={"a": ("1", "1"), "b": ("1", "1"), "c": (BAD, "1")}, listener="1", routes="1")
    state.envoy_is_heard()
    state.patience_ends()
    state.teardown()
    assert state.envoy.has[CLUSTER].keys() == {"a", "b"}


def test_a_cluster_that_came_with_a_bad_one_stays_until_no_route_leads_to_it() -> None:
    state = SotwInterleaving()
    state.start(partly=True, names=True)
    state.publish(clusters={}, listener="1", routes="1")
    for _ in range(2):
        state.envoy_is_heard()
    state.envoy_takes_a_response()
    state.envoy_is_heard()
    state.envoy_takes_a_response()
    state.publish(clusters={"a": (BAD, "1"), "b": ("1", "1")}, listener="1", routes="1")
    state.envoy_is_heard()
    state.patience_ends()
    state.publish(clusters={"a": ("1", "1")}, listener="1", routes="1")
    state.teardown()
    assert state.envoy.has[CLUSTER].keys() == {"a"}


def test_a_cluster_that_was_refused_twice_in_a_row_is_sent_when_it_is_good_again() -> None:
    state = DeltaInterleaving()
    state.start(partly=False, names=False)
    state.envoy_is_heard()
    state.publish(clusters={"a": ("1", "1"), "b": (BAD, "1")}, listener="1", routes="1")
    state.patience_ends()
    state.publish(clusters={"a": (BAD, "1")}, listener="1", routes="1")
    state.publish(clusters={"a": ("1", "1")}, listener="1", routes="1")
    state.teardown()
    assert state.envoy.has[CLUSTER].keys() == {"a"}


OFTEN = settings(max_examples=150, stateful_step_count=40, deadline=None)
DeltaInterleaving.TestCase.settings = OFTEN
SotwInterleaving.TestCase.settings = OFTEN
TestDeltaInterleaving = DeltaInterleaving.TestCase
TestSotwInterleaving = SotwInterleaving.TestCase

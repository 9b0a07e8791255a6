"""The incremental xDS machine: what an Envoy has in the end, and what it is never told on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.gateway.model_envoy import ModelEnvoy

from greenroom.core.xds import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    TYPES,
    DeltaStream,
    Request,
    Response,
    Snapshot,
    XdsResource,
)

CLUSTERS = ("a", "b", "c")
BAD = "bad"


def resource(name: str, version: str = "1", body: str = "") -> XdsResource:
    return XdsResource(name, version, body.encode())


def snapshot(*clusters: str, version: str = "1", routes: Iterable[str] | None = None) -> Snapshot:
    """Clusters with their endpoints, a listener, and routes to all of the clusters."""
    routed = ",".join(clusters if routes is None else routes)
    return {
        CLUSTER: {name: resource(name) for name in clusters},
        ENDPOINTS: {name: resource(name, version) for name in clusters},
        LISTENER: {"listener": resource("listener", "1", "routes")},
        ROUTES: {"routes": resource("routes", f"{routed}-{version}", routed)},
    }


def described(responses: Iterable[Response]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (response.type_url, [each.name for each in response.resources], list(response.removed))
        for response in responses
    ]


class Talk:
    """A stream and an Envoy that takes everything, one step at a time."""

    def __init__(self) -> None:
        self.stream = DeltaStream()
        self.told: list[Response] = []

    def __call__(self, *requests: Request) -> list[tuple[str, list[str], list[str]]]:
        return self._told(response for request in requests for response in self.stream.receive(request))

    def publish(self, wanted: Snapshot) -> list[tuple[str, list[str], list[str]]]:
        return self._told(self.stream.publish(wanted))

    def ack(self, type_url: str) -> list[tuple[str, list[str], list[str]]]:
        return self(Request(type_url, nonce=self.last(type_url)))

    def nack(self, type_url: str) -> list[tuple[str, list[str], list[str]]]:
        return self(Request(type_url, nonce=self.last(type_url), error="because"))

    def last(self, type_url: str) -> str:
        return next(response.nonce for response in reversed(self.told) if response.type_url == type_url)

    def _told(self, responses: Iterable[Response]) -> list[tuple[str, list[str], list[str]]]:
        made = list(responses)
        self.told += made
        return described(made)


def connected(*clusters: str) -> Talk:
    """An Envoy that has taken these clusters, and routes to them."""
    talk = Talk()
    talk.publish(snapshot(*clusters))
    talk(Request(CLUSTER), Request(ENDPOINTS, subscribe=clusters), Request(LISTENER))
    for type_url in (ENDPOINTS, CLUSTER):
        talk.ack(type_url)
    talk.ack(LISTENER)
    talk(Request(ROUTES, subscribe=("routes",)))
    talk.ack(ROUTES)
    assert not talk.stream.standing().missing
    return talk


def test_nothing_is_answered_before_the_first_snapshot() -> None:
    talk = Talk()
    assert talk(Request(CLUSTER, initial_versions={"a": "1"}), Request(LISTENER)) == []


def test_an_envoy_that_asks_is_told_even_that_there_is_nothing() -> None:
    talk = Talk()
    talk.publish({})
    assert talk(Request(CLUSTER)) == [(CLUSTER, [], [])]


def test_routes_wait_until_their_clusters_are_warm() -> None:
    talk = connected("a")
    assert talk.publish(snapshot("a", "b")) == [(CLUSTER, ["b"], [])]
    assert talk(Request(ENDPOINTS, subscribe=("b",))) == [(ENDPOINTS, ["b"], [])]
    assert talk.ack(ENDPOINTS) == []
    assert talk.ack(CLUSTER) == [(ROUTES, ["routes"], [])]


def test_routes_do_not_wait_for_ever() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b"))
    held_by = talk.stream.held_by
    assert described(talk.stream.release(held_by)) == [(ROUTES, ["routes"], [])]
    assert talk.stream.held_by == ""
    assert talk.stream.release(held_by) == []


def test_more_clusters_are_sent_while_one_is_not_getting_warm() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b"))
    assert talk.publish(snapshot("a", "b", "c")) == []
    assert described(talk.stream.release(talk.stream.held_by))[0] == (CLUSTER, ["c"], [])


def test_clusters_go_after_the_routes_that_led_to_them() -> None:
    talk = connected("a", "b")
    assert talk.publish(snapshot("a")) == [(ENDPOINTS, [], ["b"]), (ROUTES, ["routes"], [])]
    talk.ack(ENDPOINTS)
    assert talk.ack(ROUTES) == [(CLUSTER, [], ["b"])]


def test_clusters_stay_when_envoy_refuses_the_routes_without_them() -> None:
    talk = connected("a", "b")
    talk.publish(snapshot("a"))
    assert talk.nack(ROUTES) == []
    assert talk.stream.standing().refused == {(ROUTES, "routes"): "because"}


def test_what_did_not_change_is_not_sent() -> None:
    talk = connected("a", "b")
    assert talk.publish(snapshot("a", "b")) == []
    changed = snapshot("a", "b", version="2")
    assert talk.publish({**changed, ROUTES: snapshot("a", "b")[ROUTES]}) == [(ENDPOINTS, ["a", "b"], [])]


def test_a_stale_nonce_is_no_answer() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b"))
    assert talk(Request(CLUSTER, nonce="1"), Request(CLUSTER, nonce="999", error="late")) == []
    assert (CLUSTER, "b") in talk.stream.standing().missing
    assert not talk.stream.standing().refused


def test_what_envoy_refuses_is_told_and_not_sent_again_until_it_changes() -> None:
    talk = connected("a")
    talk.publish({**snapshot("a"), LISTENER: {"listener": resource("listener", "2", "routes")}})
    assert talk.nack(LISTENER) == []
    assert talk.stream.standing().refused == {(LISTENER, "listener"): "because"}
    assert talk.publish({**snapshot("a"), LISTENER: {"listener": resource("listener", "2", "routes")}}) == []
    changed = {**snapshot("a"), LISTENER: {"listener": resource("listener", "3", "routes")}}
    assert talk.publish(changed) == [(LISTENER, ["listener"], [])]
    talk.ack(LISTENER)
    assert talk.stream.standing().refused == {}


def test_going_back_to_what_envoy_kept_sends_nothing() -> None:
    talk = connected("a")
    talk.publish({**snapshot("a"), LISTENER: {"listener": resource("listener", "2", "routes")}})
    talk.nack(LISTENER)
    assert talk.publish(snapshot("a")) == []
    assert not talk.stream.standing().missing
    assert not talk.stream.standing().refused


def test_a_refused_listener_is_offered_again_when_asked_to() -> None:
    talk = connected("a")
    talk.publish({**snapshot("a"), LISTENER: {"listener": resource("listener", "2", "routes")}})
    talk.nack(LISTENER)
    assert described(talk.stream.retry()) == [(LISTENER, ["listener"], [])]


def test_of_a_refused_group_the_good_ones_are_sent_one_by_one() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b", "c"))
    assert talk.nack(CLUSTER) == [(CLUSTER, ["b"], [])]
    assert talk.nack(CLUSTER) == [(CLUSTER, ["c"], [])]
    assert talk.ack(CLUSTER) == [(ROUTES, ["routes"], [])]
    assert talk.stream.standing().refused == {(CLUSTER, "b"): "because"}


def test_an_envoy_that_connects_again_gets_only_what_differs() -> None:
    talk = Talk()
    talk.publish(snapshot("a", "b"))
    told = talk(
        Request(CLUSTER, initial_versions={"a": "1", "gone": "1"}),
        Request(ENDPOINTS, subscribe=("a", "gone"), initial_versions={"a": "1", "gone": "1"}),
        Request(LISTENER, initial_versions={"listener": "1"}),
    )
    assert told == [(CLUSTER, ["b"], []), (ENDPOINTS, [], ["gone"])]


def test_a_changed_cluster_gets_its_endpoints_again() -> None:
    talk = connected("a")
    changed = {**snapshot("a"), CLUSTER: {"a": resource("a", "2")}}
    assert talk.publish(changed) == [(CLUSTER, ["a"], []), (ENDPOINTS, ["a"], [])]


def test_a_cluster_that_changed_while_envoy_was_away_gets_its_endpoints_again() -> None:
    talk = Talk()
    talk.publish(snapshot("a"))
    talk(Request(CLUSTER, initial_versions={"a": "old"}))
    endpoints = Request(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"})
    assert talk(endpoints) == [(ENDPOINTS, ["a"], [])]


def test_asking_for_a_name_again_gets_it_again() -> None:
    talk = connected("a")
    assert talk(Request(ENDPOINTS, subscribe=("a",))) == [(ENDPOINTS, ["a"], [])]


def test_a_name_that_does_not_exist_is_answered_too_so_that_envoy_does_not_wait() -> None:
    talk = connected("a")
    assert talk(Request(ENDPOINTS, subscribe=("nothing",))) == [(ENDPOINTS, [], ["nothing"])]


def test_types_that_we_do_not_have_are_not_answered() -> None:
    talk = connected("a")
    assert talk(Request("type.googleapis.com/envoy.service.runtime.v3.Runtime", subscribe=("x",))) == []


versions = st.sampled_from(["1", "2", BAD])


class AnyInterleaving(RuleBasedStateMachine):
    """Publish, answer, refuse, cut and restart in any order: in the end Envoy has the last snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Snapshot | None = None
        self.impatient = False

    @initialize(partly=st.booleans())
    def start(self, partly: bool) -> None:
        self.envoy = ModelEnvoy(lambda _, each: BAD in each.version, partly=partly)
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

    @rule()
    def endpoints_are_late(self) -> None:
        self.envoy.stop_waiting()

    @rule()
    def connect(self) -> None:
        """The connection is cut, or one of the two was restarted: Envoy connects again, and keeps what it has."""
        self.stream = DeltaStream()
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
        while self.inbox or self.envoy.requests or self.envoy.silent:
            if self.inbox:
                self.envoy_takes_a_response()
            elif self.envoy.requests:
                self.envoy_is_heard()
            else:
                self.envoy.stop_waiting()
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
            if not any(LISTENER in named or ROUTES in named for named in standing.refused):
                assert self.envoy.has[kind].keys() <= wanted[kind].keys(), "something old was left"

    @staticmethod
    def needed_by(kind: str, name: str) -> set[tuple[str, str]]:
        """Envoy does not ask for what belongs to something that it refused."""
        owners = {ENDPOINTS: (CLUSTER, name), ROUTES: (LISTENER, "listener")}
        return {(kind, name), owners.get(kind, (kind, name))}


AnyInterleaving.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyInterleaving = AnyInterleaving.TestCase

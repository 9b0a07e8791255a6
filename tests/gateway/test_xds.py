"""The incremental xDS machine: what an Envoy has in the end, and what it is never told on the way."""

from __future__ import annotations

from collections.abc import Iterable

from greenroom.core.xds import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTES,
    Response,
    Snapshot,
    XdsResource,
)
from greenroom.core.xds_delta import DeltaRequest, DeltaStream

CLUSTERS = ("a", "b", "c")
BAD = "bad"


def resource(name: str, version: str = "1", body: str = "something") -> XdsResource:
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

    def __call__(self, *requests: DeltaRequest) -> list[tuple[str, list[str], list[str]]]:
        return self._told(response for request in requests for response in self.stream.receive(request))

    def publish(self, wanted: Snapshot) -> list[tuple[str, list[str], list[str]]]:
        return self._told(self.stream.publish(wanted))

    def ack(self, type_url: str) -> list[tuple[str, list[str], list[str]]]:
        return self(DeltaRequest(type_url, nonce=self.last(type_url)))

    def nack(self, type_url: str) -> list[tuple[str, list[str], list[str]]]:
        return self(DeltaRequest(type_url, nonce=self.last(type_url), error="because"))

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
    talk(DeltaRequest(CLUSTER), DeltaRequest(ENDPOINTS, subscribe=clusters), DeltaRequest(LISTENER))
    for type_url in (ENDPOINTS, CLUSTER):
        talk.ack(type_url)
    talk.ack(LISTENER)
    talk(DeltaRequest(ROUTES, subscribe=("routes",)))
    talk.ack(ROUTES)
    assert not talk.stream.standing().missing
    return talk


def test_nothing_is_answered_before_the_first_snapshot() -> None:
    talk = Talk()
    assert talk(DeltaRequest(CLUSTER, initial_versions={"a": "1"}), DeltaRequest(LISTENER)) == []


def test_an_envoy_that_asks_is_told_even_that_there_is_nothing() -> None:
    talk = Talk()
    talk.publish({})
    assert talk(DeltaRequest(CLUSTER)) == [(CLUSTER, [], [])]


def test_routes_wait_until_their_clusters_are_warm() -> None:
    talk = connected("a")
    assert talk.publish(snapshot("a", "b")) == [(CLUSTER, ["b"], [])]
    assert talk(DeltaRequest(ENDPOINTS, subscribe=("b",))) == [(ENDPOINTS, ["b"], [])]
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
    assert talk(DeltaRequest(CLUSTER, nonce="1"), DeltaRequest(CLUSTER, nonce="999", error="late")) == []
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
    assert described(talk.stream.retry(LISTENER)) == [(LISTENER, ["listener"], [])]


def test_a_refused_cluster_is_offered_again_when_asked_to_and_nothing_else() -> None:
    talk = connected("a")
    talk.publish({**snapshot("a", "b"), LISTENER: {"listener": resource("listener", "2", "routes")}})
    talk.nack(CLUSTER)
    talk.nack(LISTENER)
    assert described(talk.stream.retry(CLUSTER)) == [(CLUSTER, ["b"], [])]
    talk.ack(CLUSTER)
    assert talk.stream.standing().refused == {(LISTENER, "listener"): "because"}


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
        DeltaRequest(CLUSTER, initial_versions={"a": "1", "gone": "1"}),
        DeltaRequest(ENDPOINTS, subscribe=("a", "gone"), initial_versions={"a": "1", "gone": "1"}),
        DeltaRequest(LISTENER, initial_versions={"listener": "1"}),
    )
    assert told == [(CLUSTER, ["b"], []), (ENDPOINTS, [], ["gone"])]


def test_a_changed_cluster_gets_its_endpoints_again() -> None:
    talk = connected("a")
    changed = {**snapshot("a"), CLUSTER: {"a": resource("a", "2")}}
    assert talk.publish(changed) == [(CLUSTER, ["a"], []), (ENDPOINTS, ["a"], [])]


def test_a_cluster_that_changed_while_envoy_was_away_gets_its_endpoints_again() -> None:
    talk = Talk()
    talk.publish(snapshot("a"))
    talk(DeltaRequest(CLUSTER, initial_versions={"a": "old"}))
    endpoints = DeltaRequest(ENDPOINTS, subscribe=("a",), initial_versions={"a": "1"})
    assert talk(endpoints) == [(ENDPOINTS, ["a"], [])]


def test_asking_for_a_name_again_gets_it_again() -> None:
    talk = connected("a")
    assert talk(DeltaRequest(ENDPOINTS, subscribe=("a",))) == [(ENDPOINTS, ["a"], [])]


def test_a_name_that_does_not_exist_is_answered_too_so_that_envoy_does_not_wait() -> None:
    talk = connected("a")
    assert talk(DeltaRequest(ENDPOINTS, subscribe=("nothing",))) == [(ENDPOINTS, [], ["nothing"])]


def test_types_that_we_do_not_have_are_not_answered() -> None:
    talk = connected("a")
    assert talk(DeltaRequest("type.googleapis.com/envoy.service.runtime.v3.Runtime", subscribe=("x",))) == []

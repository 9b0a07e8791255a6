"""The state-of-the-world machine: what is in a response, what is not, and which requests are no answer."""

from __future__ import annotations

from collections.abc import Iterable

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Response, Snapshot, XdsResource
from greenroom.core.xds_sotw import SotwRequest, SotwStream


def resource(name: str, version: str = "1") -> XdsResource:
    return XdsResource(name, version, b"something")


def snapshot(*clusters: str, endpoints: str = "1") -> Snapshot:
    return {
        CLUSTER: {name: resource(name) for name in clusters},
        ENDPOINTS: {name: resource(name, endpoints) for name in clusters},
        LISTENER: {"listener": resource("listener")},
        ROUTES: {"routes": resource("routes", ",".join(clusters))},
    }


class Talk:
    """A stream, and the last nonce of each type."""

    def __init__(self) -> None:
        self.stream = SotwStream()
        self.nonces: dict[str, str] = {}

    def publish(self, wanted: Snapshot) -> list[tuple[str, list[str]]]:
        return self._told(self.stream.publish(wanted))

    def ask(self, type_url: str, *names: str, nonce: str | None = None, error: str = "") -> list[tuple[str, list[str]]]:
        """A request with the last nonce seen, as an Envoy sends it."""
        nonce = self.nonces.get(type_url, "") if nonce is None else nonce
        return self._told(self.stream.receive(SotwRequest(type_url, nonce, error, names)))

    def _told(self, responses: Iterable[Response]) -> list[tuple[str, list[str]]]:
        made = list(responses)
        self.nonces |= {response.type_url: response.nonce for response in made}
        return [(response.type_url, sorted(each.name for each in response.resources)) for response in made]


def connected(*clusters: str) -> Talk:
    """An Envoy that has taken these clusters, and routes to them."""
    talk = Talk()
    talk.publish(snapshot(*clusters))
    talk.ask(CLUSTER)
    talk.ask(ENDPOINTS, *clusters)
    talk.ask(ENDPOINTS, *clusters)
    talk.ask(CLUSTER)
    talk.ask(LISTENER)
    talk.ask(LISTENER)
    talk.ask(ROUTES, "routes")
    talk.ask(ROUTES, "routes")
    assert not talk.stream.standing().missing
    return talk


def test_nothing_is_answered_before_the_first_snapshot() -> None:
    talk = Talk()
    assert talk.ask(CLUSTER) == talk.ask(LISTENER) == talk.ask(ENDPOINTS, "a") == []


def test_an_envoy_that_asks_is_told_even_that_there_is_nothing() -> None:
    talk = Talk()
    talk.publish({})
    assert talk.ask(CLUSTER) == [(CLUSTER, [])]


def test_all_clusters_come_with_a_new_one_and_the_routes_wait_for_them() -> None:
    talk = connected("a")
    assert talk.publish(snapshot("a", "b")) == [(CLUSTER, ["a", "b"])]
    assert talk.ask(ENDPOINTS, "a", "b") == [(ENDPOINTS, ["b"])]
    assert talk.ask(ENDPOINTS, "a", "b") == []
    assert talk.ask(CLUSTER) == [(ROUTES, ["routes"])]


def test_routes_to_clusters_that_are_still_to_come_wait_for_the_answer_to_those_that_came() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b"))
    assert talk.publish(snapshot("a", "b", "c")) == []
    assert talk.stream.release(talk.stream.held_by) == []
    talk.ask(ENDPOINTS, "a", "b")
    assert talk.ask(CLUSTER) == [(CLUSTER, ["a", "b", "c"])]


def test_a_cluster_stays_until_no_route_leads_to_it() -> None:
    talk = connected("a", "b")
    assert talk.publish({**snapshot("a", "c")}) == [(CLUSTER, ["a", "b", "c"])]
    talk.ask(ENDPOINTS, "a", "b", "c")
    assert talk.ask(CLUSTER) == [(ROUTES, ["routes"])]
    assert talk.ask(ROUTES, "routes") == [(CLUSTER, ["a", "c"])]


def test_only_endpoints_that_changed_come() -> None:
    talk = connected("a", "b")
    wanted = snapshot("a", "b")
    changed = {**wanted, ENDPOINTS: {"a": resource("a"), "b": resource("b", "2")}}
    assert talk.publish(changed) == [(ENDPOINTS, ["b"])]


def test_an_acknowledgement_is_not_answered_with_the_same() -> None:
    talk = connected("a")
    for type_url, names in ((CLUSTER, ()), (ENDPOINTS, ("a",)), (LISTENER, ()), (ROUTES, ("routes",))):
        assert talk.ask(type_url, *names) == []


def test_a_name_that_is_new_is_answered_though_nothing_changed() -> None:
    talk = connected("a", "b")
    assert talk.ask(ENDPOINTS, "a") == []
    assert talk.ask(ENDPOINTS, "a", "b") == [(ENDPOINTS, ["b"])]


def test_a_name_that_does_not_exist_is_answered_when_it_does() -> None:
    talk = connected("a")
    assert talk.ask(ENDPOINTS, "a", "later") == []
    assert talk.publish({**snapshot("a"), ENDPOINTS: {"a": resource("a"), "later": resource("later")}}) == [
        (ENDPOINTS, ["later"])
    ]


def test_a_stale_request_is_not_answered() -> None:
    talk = connected("a", "b")
    old = talk.nonces[ENDPOINTS]
    talk.publish(snapshot("a", "b", endpoints="2"))
    assert talk.ask(ENDPOINTS, "a", nonce=old) == []
    assert talk.ask(ENDPOINTS, "a", "b", nonce=old) == []
    assert talk.ask(ENDPOINTS, "a", "b") == []
    assert not talk.stream.standing().refused


def test_what_is_refused_is_not_sent_again_and_envoy_keeps_what_it_had() -> None:
    talk = connected("a")
    changed = {**snapshot("a"), CLUSTER: {"a": resource("a", "2")}}
    assert talk.publish(changed) == [(CLUSTER, ["a"]), (ENDPOINTS, ["a"])]
    talk.ask(ENDPOINTS, "a")
    assert talk.ask(CLUSTER, error="because") == []
    assert talk.stream.standing().refused == {(CLUSTER, "a"): "because"}
    assert talk.publish(snapshot("a")) == []
    assert not talk.stream.standing().missing


def test_what_was_to_go_with_a_refused_response_goes_all_the_same() -> None:
    talk = connected("a")
    assert talk.publish({**snapshot("a"), LISTENER: {"other": resource("other")}}) == [(LISTENER, ["other"])]
    assert talk.ask(LISTENER, error="wrong") == [(LISTENER, [])]
    assert talk.ask(LISTENER) == []


def test_of_refused_clusters_the_one_that_envoy_names_is_left_out_of_all_others() -> None:
    talk = connected("a")
    assert talk.publish(snapshot("a", "b", "c", "d")) == [(CLUSTER, ["a", "b", "c", "d"])]
    assert talk.ask(CLUSTER, error="Error adding/updating cluster(s) c: because") == [(CLUSTER, ["a", "b", "d"])]
    talk.ask(ENDPOINTS, "a", "b", "d")
    talk.ask(ENDPOINTS, "a", "b", "d")
    assert talk.ask(CLUSTER) == [(CLUSTER, ["a", "b", "c", "d"])]
    assert talk.ask(CLUSTER, error="c: because") == [(ROUTES, ["routes"])]
    assert talk.stream.standing().refused == {(CLUSTER, "c"): "c: because"}


def test_of_refused_clusters_of_which_envoy_names_none_the_bad_one_is_found_by_halves() -> None:
    talk = connected("a")
    talk.publish(snapshot("a", "b", "c", "d", "e"))
    tried: list[list[str]] = []
    for _ in range(10):
        bad = "d" in (last := tried[-1] if tried else ["a", "b", "c", "d", "e"])
        told = [names for kind, names in talk.ask(CLUSTER, error="wrong" if bad else "") if kind == CLUSTER]
        if not told:
            break
        tried += told
        assert last != tried[-1]
    assert tried == [["a", "b", "c"], ["a", "b", "c", "d", "e"], ["a", "b", "c", "d"], ["a", "b", "c", "e"]]
    assert talk.stream.standing().refused.keys() == {(CLUSTER, "d")}

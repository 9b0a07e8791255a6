from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from greenroom.core.listwatch import Delta, Key, ListWatch
from greenroom.model.manifest import Manifest, name_of, text, uid_of
from greenroom.model.watch import Change, Listing, WatchEvent


def pod(name: str = "web", version: int | str = 1, uid: str = "u1") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": str(version)},
    }


def added(manifest: Manifest) -> WatchEvent:
    return WatchEvent(Change.ADDED, manifest)


def modified(manifest: Manifest) -> WatchEvent:
    return WatchEvent(Change.MODIFIED, manifest)


def deleted(manifest: Manifest) -> WatchEvent:
    return WatchEvent(Change.DELETED, manifest)


def bookmark(version: int) -> WatchEvent:
    return WatchEvent(
        Change.BOOKMARK, {"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": str(version)}}
    )


def listed(*manifests: Manifest, version: int | str) -> ListWatch:
    machine = ListWatch()
    machine.listing(Listing(manifests, str(version)))
    return machine


def known(machine: ListWatch) -> list[Manifest]:
    return sorted(machine.objects.values(), key=name_of)


def test_it_begins_with_a_listing_and_watches_from_there() -> None:
    machine = ListWatch()
    assert machine.since is None

    deltas = machine.listing(Listing([pod("a", 3), pod("b", 4, "u2")], "7"))

    assert list(deltas) == [Delta(None, pod("a", 3)), Delta(None, pod("b", 4, "u2"))]
    assert machine.since == "7"


def test_each_event_is_one_step_of_one_object_and_moves_the_resume_point() -> None:
    machine = listed(version=1)

    assert list(machine.event(added(pod(version=2)))) == [Delta(None, pod(version=2))]
    assert list(machine.event(modified(pod(version=3)))) == [Delta(pod(version=2), pod(version=3))]
    assert list(machine.event(deleted(pod(version=4)))) == [Delta(pod(version=3), None)]
    assert machine.since == "4"
    assert known(machine) == []


def test_a_bookmark_moves_the_resume_point_and_nothing_else() -> None:
    machine = listed(pod(version=1), version=1)

    assert list(machine.event(bookmark(50))) == []
    assert machine.since == "50"
    assert known(machine) == [pod(version=1)]


def test_an_event_without_a_version_does_not_lose_the_resume_point() -> None:
    machine = listed(version=9)

    machine.event(WatchEvent(Change.BOOKMARK, {}))

    assert machine.since == "9"


def test_an_object_deleted_while_disconnected_is_reported_by_the_next_listing() -> None:
    machine = listed(pod("a", 1), pod("b", 2, "u2"), version=2)
    machine.expired()
    assert machine.since is None

    assert list(machine.listing(Listing([pod("b", 2, "u2")], "9"))) == [Delta(pod("a", 1), None)]
    assert machine.since == "9"


def test_an_unchanged_object_in_a_relist_is_no_news() -> None:
    machine = listed(pod(version=1), version=1)

    assert list(machine.listing(Listing([pod(version=1)], "5"))) == []


def test_a_replaced_object_goes_before_its_successor_comes() -> None:
    machine = listed(pod(version=1, uid="old"), version=1)

    deltas = machine.listing(Listing([pod(version=8, uid="new")], "9"))

    assert list(deltas) == [Delta(pod(version=1, uid="old"), None), Delta(None, pod(version=8, uid="new"))]


def test_an_event_older_than_the_object_is_ignored() -> None:
    machine = listed(pod(version=5), version=5)

    assert list(machine.event(modified(pod(version=4)))) == []
    assert known(machine) == [pod(version=5)]


def test_versions_compare_as_numbers_not_as_text() -> None:
    machine = listed(pod(version=9), version=9)

    assert list(machine.event(modified(pod(version=10)))) == [Delta(pod(version=9), pod(version=10))]


def test_a_relist_from_a_lagging_replica_takes_nothing_back() -> None:
    machine = listed(pod("kept", 5), pod("gone", 2, "u2"), version=5)
    machine.event(deleted(pod("gone", 6, "u2")))
    machine.event(added(pod("new", 7, "u3")))
    machine.expired()

    assert list(machine.listing(Listing([pod("kept", 1), pod("gone", 2, "u2")], "4"))) == []
    assert known(machine) == [pod("kept", 5), pod("new", 7, "u3")]


def test_a_lagging_replica_that_replays_the_past_takes_nothing_back() -> None:
    machine = listed(version=1)
    machine.event(added(pod(version=2)))
    machine.event(deleted(pod(version=9)))
    machine.expired()
    machine.listing(Listing([], "1"))

    assert list(machine.event(added(pod(version=2)))) == []
    assert list(machine.observe(pod(version=3))) == []
    assert known(machine) == []


def test_a_listing_heals_a_hole_in_the_copy() -> None:
    machine = listed(version=10)

    assert list(machine.listing(Listing([pod(version=3)], "10"))) == [Delta(None, pod(version=3))]


def test_a_deletion_that_carries_the_last_written_version_still_deletes() -> None:
    machine = listed(pod(version=5), version=8)

    assert list(machine.event(deleted(pod(version=5)))) == [Delta(pod(version=5), None)]


def test_our_own_write_is_read_before_the_watch_brings_it() -> None:
    machine = listed(pod(version=5), version=5)

    assert list(machine.observe(pod(version=6))) == [Delta(pod(version=5), pod(version=6))]
    assert list(machine.event(modified(pod(version=6)))) == []
    assert machine.since == "6"


def test_our_own_write_does_not_move_the_resume_point() -> None:
    machine = listed(version=5)

    machine.observe(pod(version=9))

    assert machine.since == "5"


def test_our_own_write_survives_a_listing_made_before_it() -> None:
    machine = listed(version=5)
    machine.observe(pod(version=9))

    assert list(machine.listing(Listing([], "8"))) == []
    assert known(machine) == [pod(version=9)]


def test_an_answer_that_arrives_after_the_deletion_brings_nothing_back() -> None:
    machine = listed(pod(version=5), version=5)
    machine.event(deleted(pod(version=7)))

    assert list(machine.observe(pod(version=6))) == []
    assert known(machine) == []


def test_an_answer_that_arrives_after_a_relist_without_it_brings_nothing_back() -> None:
    machine = listed(pod(version=5), version=5)
    machine.expired()
    machine.listing(Listing([], "8"))

    assert list(machine.observe(pod(version=6))) == []


def test_the_late_deletion_of_a_predecessor_leaves_the_successor() -> None:
    machine = listed(pod(version=5, uid="old"), version=5)
    machine.observe(pod(version=8, uid="new"))

    assert list(machine.event(deleted(pod(version=7, uid="old")))) == []
    assert known(machine) == [pod(version=8, uid="new")]


@pytest.mark.parametrize("version", ["b", "", "²", "-1"])
def test_with_versions_that_do_not_compare_the_watch_alone_decides(version: str) -> None:
    machine = listed(pod(version="z"), version="z")

    assert list(machine.observe(pod(version=version))) == []
    assert list(machine.event(modified(pod(version=version)))) == [Delta(pod(version="z"), pod(version=version))]


NAMES = st.sampled_from(["a", "b"])


class Interleavings(RuleBasedStateMachine):
    """A server with history and compaction, and one machine that lists, watches, is cut off and writes."""

    answers = Bundle("answers")

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.present: dict[str, Manifest] = {}
        self.history: list[WatchEvent] = []
        self.compacted = 0
        self.listings = [Listing([], "0")]
        self.machine = ListWatch()
        self.told: dict[Key, Manifest] = {}  # what a handler that follows the deltas knows
        self.gone: set[str] = set()

    @rule(target=answers, name=NAMES)
    def write(self, name: str) -> Manifest:
        """Create or update, and answer the stored object, which may be observed at any time from now on."""
        old = self.present.get(name)
        uid = uid_of(old) if old is not None else f"{name}@{self.version}"
        self.version += 1
        self.present[name] = pod(name, self.version, uid)
        self._record(added(self.present[name]) if old is None else modified(self.present[name]))
        return self.present[name]

    @rule(name=NAMES)
    def write_and_observe(self, name: str) -> None:
        self.observe(self.write(name))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        old = self.present.pop(name, None)
        if old is not None:
            self.version += 1
            self._record(deleted(pod(name, self.version, uid_of(old))))

    @rule()
    def compact(self) -> None:
        self.compacted = self.version

    @precondition(lambda self: self.machine.since is None)
    @rule(behind=st.integers(0, 4))
    def list_from_a_replica(self, behind: int) -> None:
        self._follow(self.machine.listing(self.listings[-1 - min(behind, self.version)]))

    @precondition(lambda self: self.machine.since is not None)
    @rule()
    def watch_one_event(self) -> None:
        since = int(self.machine.since or 0)
        if since < self.compacted:
            self.machine.expired()
        elif since < self.version:
            self._follow(self.machine.event(self.history[since]))
        else:
            self._follow(self.machine.event(bookmark(self.version)))

    @precondition(lambda self: self.machine.since is not None)
    @rule()
    def be_told_to_list_again(self) -> None:
        self.machine.expired()

    @rule(answer=answers)
    def observe(self, answer: Manifest) -> None:
        self._follow(self.machine.observe(answer))

    @invariant()
    def handlers_know_what_the_copy_knows(self) -> None:
        assert self.told == self.machine.objects

    def teardown(self) -> None:
        while int(self.machine.since or -1) < self.version:
            if self.machine.since is None:
                self.list_from_a_replica(0)
            else:
                self.watch_one_event()
        assert {key.name: manifest for key, manifest in self.machine.objects.items()} == self.present

    def _record(self, event: WatchEvent) -> None:
        self.history.append(event)
        self.listings.append(Listing(list(self.present.values()), str(self.version)))

    def _follow(self, deltas: Iterable[Delta]) -> None:
        """What every handler relies on: steps fit together, versions rise, and what is gone stays gone."""
        for old, new in deltas:
            manifest = new if new is not None else old
            assert manifest is not None
            key = Key("ns", name_of(manifest))
            assert self.told.pop(key, None) == old
            if new is None:
                self.gone.add(uid_of(manifest))
                continue
            assert uid_of(new) not in self.gone
            assert old is None or (uid_of(old) == uid_of(new) and _version(old) < _version(new))
            self.told[key] = new


def _version(manifest: Manifest) -> int:
    return int(text(manifest, "metadata", "resourceVersion"))


TestTheCopyEqualsTheServerAfterAnyInterleaving = Interleavings.TestCase
TestTheCopyEqualsTheServerAfterAnyInterleaving.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None
)

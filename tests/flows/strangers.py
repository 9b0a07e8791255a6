"""A model of GitHub for the property of ``test_forge_property``: pull requests to which things happen, and what a gate
would say of them.

``truth`` is what a gate would answer who saw everything at once; the webhooks that tell of it are handed out by whoever
plays with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.flows.forge import FakeForge
from tests.flows.patrol import HERE
from tests.flows.world import REPOSITORY, START, config_map, review_app

from greenroom.model.pull import APPROVED, Action, Mark, PullEvent, PullRequest, Traits

ON, SAFE = "pr-env", "safe"
GATES: Mapping[str, Any] = {
    "free": None,
    "labeled": {"labels": {"any": [ON]}, "drafts": False, "forks": "never"},
    "forks": {"forks": "approved", "approvalLabel": SAFE},
    "paths": {"forks": "always", "paths": {"any": ["web/**"]}},
}
WRITER, STRANGER = "bob", "mallory"


def review_apps(names: Sequence[str]) -> list[Any]:
    apps = [review_app(config_map(f"{name}{{{{PR_NUMBER}}}}"), name=name) for name in names]
    for app, name in zip(apps, names, strict=True):
        if GATES[name] is not None:
            app["spec"]["gate"] = GATES[name]
    return apps


@dataclass
class Pull:
    """``by_label`` tells that it is approved by a label, of which a lost webhook stays lost, and else by a review."""

    number: int
    by_label: bool
    traits: Traits
    head: str
    in_paths: bool
    is_open: bool = True
    label_approves: str = ""
    reviewed: frozenset[str] = frozenset()
    history: list[tuple[datetime, dict[str, bool]]] = field(default_factory=list)
    """From when on which gates admitted it."""
    ever_approved: set[str] = field(default_factory=set)

    def is_admitted(self, app: str) -> bool:
        traits, approved = self.traits, self.head in {self.label_approves, *self.reviewed}
        says = {
            "free": not traits.is_fork or traits.association == "MEMBER" or self.head in self.reviewed,
            "labeled": not traits.is_fork and not traits.is_draft and ON in traits.labels,
            "forks": not traits.is_fork or approved,
            "paths": self.in_paths,
        }
        return self.is_open and says[app]

    def may_run(self, app: str, head: str) -> bool:
        """Whether the code of ``head`` was ever to be trusted."""
        if not self.traits.is_fork or (app == "free" and self.traits.association == "MEMBER") or app == "paths":
            return True
        return app != "labeled" and head in self.ever_approved

    def is_on_the_safe_side(self, app: str) -> bool:
        """Whether it may have no environment though it should: a label approves what was heard of before it only, and
        what is heard of depends on what is lost."""
        return app == "forks" and self.by_label and self.traits.is_fork

    def was_refused_since(self, app: str, moment: datetime) -> bool:
        if self.is_on_the_safe_side(app):
            return True
        later = [*(begun for begun, _ in self.history[1:]), datetime.max.replace(tzinfo=START.tzinfo)]
        return any(ended >= moment and not says[app] for ended, (_, says) in zip(later, self.history, strict=True))


@dataclass
class Webhook:
    """``is_lasting`` ones come sooner or later: what they tell, nobody could find out otherwise."""

    event: PullEvent
    is_lasting: bool = False


class Truth:
    """What happens, at the whole second ``at``, and what GitHub answers who asks."""

    def __init__(self, random: Random, forge: FakeForge) -> None:
        self.random = random
        self.forge = forge
        self.pulls: dict[int, Pull] = {}
        self.at = START
        self._heads = 0
        forge.writers[HERE] = {WRITER}

    def happens(self) -> Webhook | None:
        """One more thing; None where it was nothing."""
        if len(self.pulls) < 2 or self.random.random() < 0.1:
            return self._open()
        pull = self.random.choice([*self.pulls.values()])
        if not pull.is_open:
            return None if pull.by_label else self._reopen(pull)
        # A push is the most common thing, and closing not so that nothing is open any more.
        doing = [self._push, self._push, self._toggle, self._toggle, self._draft, self._approve, self._approve]
        return self.random.choice([*doing, self._close])(pull)

    def passes(self, seconds: float) -> None:
        """Often less than a second, so that many things happen within one."""
        self.at += timedelta(seconds=seconds)

    @property
    def second(self) -> datetime:
        return self.at.replace(microsecond=0)

    def expected(self, apps: Sequence[str], found: Mapping[str, str]) -> dict[str, str]:
        """Of those that are not sure to be there, those that are ``found``."""
        named = [(f"{app}-pr{pull.number}", app, pull) for pull in self.pulls.values() for app in apps]
        return {
            name: pull.head
            for name, app, pull in named
            if pull.is_admitted(app) and (name in found or not pull.is_on_the_safe_side(app))
        }

    def _open(self) -> Webhook:
        is_fork = self.random.random() < 0.5
        traits = Traits(
            title="A title",
            branch="change",
            base="main",
            author=STRANGER,
            association=self.random.choice(["NONE", "CONTRIBUTOR", "MEMBER"]),
            is_draft=self.random.random() < 0.3,
            is_fork=is_fork,
            labels=frozenset([ON] if self.random.random() < 0.5 else []),
        )
        number = len(self.pulls) + 1
        in_paths = self.random.random() < 0.5
        pull = Pull(number, self.random.random() < 0.4, traits, self._head(), in_paths)
        self.pulls[number] = pull
        self.forge.paths[HERE, number] = frozenset(["web/app.py" if in_paths else "docs/index.md"])
        return self._told(pull, Action.OPENED)

    def _push(self, pull: Pull) -> Webhook:
        before, pull.head = pull.head, self._head()
        return self._told(pull, Action.SYNCHRONIZE, before=before)

    def _toggle(self, pull: Pull) -> Webhook:
        is_on = ON in pull.traits.labels
        pull.traits = replace(pull.traits, labels=pull.traits.labels ^ {ON})
        return self._told(pull, Action.UNLABELED if is_on else Action.LABELED, label=ON)

    def _draft(self, pull: Pull) -> Webhook:
        pull.traits = replace(pull.traits, is_draft=not pull.traits.is_draft)
        return self._told(pull, Action.CONVERTED_TO_DRAFT if pull.traits.is_draft else Action.READY_FOR_REVIEW)

    def _approve(self, pull: Pull) -> Webhook:
        self.at = self.second + timedelta(seconds=1)
        if not pull.by_label:
            pull.reviewed |= {pull.head}
            pull.ever_approved.add(pull.head)
            mark = Mark(self.second, APPROVED, pull.head, WRITER)
            return self._told(pull, Action.REVIEWED, approval=mark, sender=WRITER)
        sender, is_on = self.random.choice([WRITER, WRITER, STRANGER]), SAFE in pull.traits.labels
        pull.traits = replace(pull.traits, labels=pull.traits.labels ^ {SAFE})
        if is_on:
            pull.label_approves = ""
        elif sender == WRITER:
            pull.label_approves = pull.head
            pull.ever_approved.add(pull.head)
        return self._told(pull, Action.UNLABELED if is_on else Action.LABELED, label=SAFE, sender=sender, lasting=True)

    def _close(self, pull: Pull) -> Webhook:
        pull.is_open = False
        return self._told(pull, Action.CLOSED)

    def _reopen(self, pull: Pull) -> Webhook:
        pull.is_open = True
        return self._told(pull, Action.REOPENED)

    def _told(self, pull: Pull, action: Action, *, lasting: bool = False, **more: Any) -> Webhook:
        pull.history.append((self.at, {app: pull.is_admitted(app) for app in GATES}))
        shown = PullRequest(REPOSITORY, pull.number, pull.head, pull.is_open, pull.traits)
        event = PullEvent(action, shown, self.second, **more)
        self.forge.pulls[HERE, pull.number] = PullEvent(Action.SEEN, shown, self.second)
        self.forge.approved[HERE, pull.number] = pull.reviewed
        return Webhook(event, is_lasting=lasting)

    def _head(self) -> str:
        self._heads += 1
        return f"{self.random.getrandbits(144):036x}{self._heads:04x}"

"""What is known of one type of resource on one stream: what Envoy is to have, asked for, has, and refused.

What Envoy refuses is not sent again until it changes, or ``pardon`` is called, and Envoy keeps what it had. A response
with several resources that is refused is taken apart: those that Envoy names are sent one by one, behind the others;
where it names none, one half is sent after the other, until the bad ones are found.

To look for bad clusters takes no good one away, though a response that is complete leaves out all suspects: Envoy
takes good clusters and listeners of a refused response only where it names all others (``cds_api_helper.cc``,
``lds_api.cc``). Where it names none it could not read the response, and has what it had.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from greenroom.core.xds import CLUSTER, LISTENER, Request, Response, XdsResource

R = TypeVar("R", bound=Request)

ALL = "*"
_UNKNOWN = ""
"""The version of a resource of which it is not known what Envoy has."""
_NAME = re.compile(r"[^\s,:;'\"()\[\]]+")
_NONE: XdsResource = XdsResource("", _UNKNOWN, b"")


@dataclass(slots=True)
class _Sent:
    """What changed with a response without an answer yet, and what Envoy had ``before`` it of all these names."""

    changed: tuple[XdsResource, ...]
    removed: tuple[str, ...]
    before: dict[str, XdsResource]
    released: bool = False


class Channel(ABC, Generic[R]):
    """A change costs as much as it changes, however many resources there are."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self._is_complete = False
        """Whether each response has everything. Then no second one is sent before the first one is answered: it could
        be refused for what came with the first, and it would be hard to tell what Envoy has."""
        self._wanted: Mapping[str, XdsResource] = {}
        self._has: dict[str, XdsResource] = {}
        """What Envoy has, once it takes what was sent. Without a body where only the version is known."""
        self._differing: set[str] = set()
        """Names of which Envoy does not have what it is to have."""
        self._sent: dict[str, _Sent] = {}
        self._everything = False
        self._names: set[str] = set()
        self._answered = False
        self._refused: dict[str, tuple[str, str]] = {}  # name -> version, why
        self._suspects: list[tuple[str, ...]] = []

    @abstractmethod
    def hear(self, request: R) -> None:
        """Envoy asks or answers."""

    @abstractmethod
    def _response(self, nonce: str, changed: tuple[XdsResource, ...], removed: tuple[str, ...]) -> Response | None:
        """What tells Envoy that these ``changed``, of what it ``has`` now. None when there is no way to say it."""

    @property
    def awaited(self) -> str:
        """The nonce of the response whose answer is awaited, ``""`` when none is."""
        return next((nonce for nonce, sent in self._sent.items() if not sent.released), "")

    @property
    def is_free(self) -> bool:
        """Whether something may be sent."""
        return not (self._sent if self._is_complete else self.awaited)

    @property
    def is_ahead(self) -> bool:
        """Whether all that Envoy is to have was sent, and no answer is awaited."""
        return not self.awaited and (self.is_free or not self.changed())

    @property
    def waits_for_any(self) -> bool:
        """Envoy asked for everything there is, and starts no listener until it is told, even that there is nothing."""
        return self._everything and not self._answered

    @property
    def is_settled(self) -> bool:
        """Whether Envoy has all that it asked for, and nothing else."""
        return not (self._sent or self._stale() or self.removed())

    def want(self, wanted: Mapping[str, XdsResource]) -> None:
        """From now on this is what Envoy is to have."""
        before, self._wanted = self._wanted, wanted
        if before is not wanted:
            self._compare(name for name, resource in wanted.items() if before.get(name) is not resource)
            self._compare(before.keys() - wanted.keys())

    def changed(self) -> tuple[XdsResource, ...]:
        """What to send now. Suspects wait for the others, and for each other."""
        pending = {resource.name: resource for resource in self._stale() if not self._is_refused(resource)}
        suspects = {name for group in self._suspects for name in group}
        clear = tuple(resource for name, resource in pending.items() if name not in suspects)
        groups = (tuple(pending[name] for name in group if name in pending) for group in self._suspects)
        return clear or next(filter(None, groups), ())

    def removed(self) -> tuple[str, ...]:
        """What Envoy has and should not, and names it asked for that do not exist."""
        return tuple(sorted(name for name in self._differing if name not in self._wanted))

    def send(self, nonce: str, changed: tuple[XdsResource, ...], removed: tuple[str, ...]) -> Response | None:
        """Envoy is about to have this."""
        self._answered = True
        names = (*(resource.name for resource in changed), *removed)
        before = {name: self._has.get(name, _NONE) for name in names}
        for resource in changed:
            self._set(resource.name, resource)
        for name in removed:
            self._set(name, None)
        response = self._response(nonce, changed, removed)
        if response is not None:
            self._sent[nonce] = _Sent(changed, removed, before)
        return response

    def release(self, nonce: str) -> None:
        """The answer is awaited no longer."""
        if nonce in self._sent:
            self._sent[nonce].released = True

    def forget(self, names: Iterable[str]) -> None:
        """Send these again if Envoy asks, or has asked, for them."""
        for name in names:
            if name in self._names:
                self._doubt(name)

    def pardon(self) -> None:
        """Send again what was refused."""
        self._refused.clear()

    def missing(self) -> set[str]:
        """Names of what Envoy did not take, asked for or not."""
        unanswered = {resource.name for sent in self._sent.values() for resource in sent.changed}
        return (self._differing | unanswered) & self._wanted.keys()

    def refused(self) -> dict[str, str]:
        """Why Envoy refused what it is to have now."""
        found = ((name, why) for name, (_, why) in self._refused.items() if name in self._wanted)
        return {name: why for name, why in found if self._is_refused(self._wanted[name])}

    def _answer(self, nonce: str, error: str) -> None:
        """An ACK, or with an error a NACK. A nonce that is not known is stale, and nothing to act on."""
        sent = self._sent.pop(nonce, None)
        if sent is None:
            return
        names = {resource.name for resource in sent.changed}
        groups = (tuple(name for name in group if name not in names) for group in self._suspects)
        self._suspects = [group for group in groups if group]
        if not error:
            for name in names:
                self._refused.pop(name, None)
            return
        for name in sent.removed if sent.changed else ():
            if name not in self._has:  # it may still be there
                self._set(name, _doubtful(name, sent.before[name]))
        if len(sent.changed) == 1:
            (resource,) = sent.changed
            before = sent.before[resource.name]
            # It may be what was thought to be taken when others were named, and is not to be sent along for ever.
            guessed = before.version == _UNKNOWN and before.body is resource.body
            self._take_back(resource, _NONE if guessed else before)
            self._refused[resource.name] = (resource.version, error)
        else:
            named = _named(names, error)
            for resource in sent.changed:
                # What is not named where others are may have been taken all the same.
                maybe = resource if named and resource.name not in named else sent.before[resource.name]
                self._take_back(resource, _doubtful(resource.name, maybe))
            self._suspects += _groups(sorted(names), named)

    def _take_back(self, resource: XdsResource, before: XdsResource) -> None:
        """Envoy did not take ``resource`` and has what it had ``before``, until it takes what was sent meanwhile."""
        if self._has.get(resource.name) is resource:
            self._set(resource.name, None if before is _NONE else before)
        for later in self._sent.values():
            if later.before.get(resource.name) is resource:
                later.before[resource.name] = before

    def _doubt(self, name: str) -> None:
        """It is not known any more what Envoy has of this name."""
        self._set(name, _doubtful(name, self._has.get(name, _NONE)))

    def _set(self, name: str, resource: XdsResource | None) -> None:
        if resource is None:
            self._has.pop(name, None)
        else:
            self._has[name] = resource
        self._compare((name,))

    def _compare(self, names: Iterable[str]) -> None:
        for name in names:
            wanted, has = self._wanted.get(name), self._has.get(name)
            same = wanted is has is None or (wanted is not None and has is not None and wanted.version == has.version)
            (self._differing.discard if same else self._differing.add)(name)

    def _stale(self) -> list[XdsResource]:
        """What Envoy asked for and does not have."""
        asked = self._differing if self._everything else self._differing & self._names
        return [self._wanted[name] for name in sorted(asked) if name in self._wanted]

    def _is_refused(self, resource: XdsResource) -> bool:
        return resource.name in self._refused and self._refused[resource.name][0] == resource.version


def is_wildcard(type_url: str) -> bool:
    """Whether Envoy asks for all resources of the type by naming none."""
    return type_url in {CLUSTER, LISTENER}


def _doubtful(name: str, before: XdsResource) -> XdsResource:
    return XdsResource(name, _UNKNOWN, before.body)


def _named(names: set[str], error: str) -> set[str]:
    return names & {word.rstrip(".") for word in _NAME.findall(error)}


def _groups(names: list[str], named: set[str]) -> list[tuple[str, ...]]:
    """Who is to be looked at apart: each that Envoy names, else one half after the other."""
    half = len(names) // 2
    return [(name,) for name in sorted(named)] or [tuple(names[:half]), tuple(names[half:])]

"""The incremental xDS protocol on one stream, sans I/O: fed with requests and snapshots, it answers responses.

The rules are those of Envoy's ``xds_protocol.rst``, the order is our own. Envoy acknowledges clusters only when they
are warm, that is when their endpoints have come. So:

    clusters that are new -> their endpoints, as asked -> wait for the ACK -> listeners -> routes -> wait for the ACK
    -> take away the clusters that no route needs any more

and no request meets a route whose cluster is not ready. The wait is bounded: whoever drives the machine calls
``release`` after a while, so that one cluster that never warms up does not hold up all routes.

What Envoy refuses is not sent again until it changes, or ``retry`` is called, and Envoy keeps what it had. A response
with several resources that is refused is sent again one by one, because Envoy does not always tell which of them was
wrong. Nothing is answered before the first snapshot: a control plane that has just started must not take everything
away from an Envoy that is running. ``adapters.ads`` does the talking. The state-of-the-world variant of the protocol
is not spoken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_TYPE = "type.googleapis.com/envoy.config"
CLUSTER = f"{_TYPE}.cluster.v3.Cluster"
ENDPOINTS = f"{_TYPE}.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_TYPE}.listener.v3.Listener"
ROUTES = f"{_TYPE}.route.v3.RouteConfiguration"
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)

_ALL = "*"
_UNKNOWN = ""
"""The version of a resource of which it is not known what Envoy has."""


@dataclass(frozen=True, slots=True)
class XdsResource:
    """One resource, serialised. The version changes with the bytes and with nothing else."""

    name: str
    version: str
    body: bytes


Snapshot: TypeAlias = Mapping[str, Mapping[str, XdsResource]]
"""Type URL -> name -> resource: everything that one gateway is to have. It is never changed once published."""

Named: TypeAlias = tuple[str, str]
"""Type URL and name of a resource."""


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest. ``nonce`` is that of the response it answers; ``error`` tells why it was refused."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    resources: tuple[XdsResource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What one Envoy has of the present snapshot: all but ``missing``, of which it said no to ``refused``, and why."""

    missing: frozenset[Named]
    refused: Mapping[Named, str]


class DeltaStream:
    """One Envoy's stream."""

    def __init__(self) -> None:
        self._snapshot: Snapshot = {}
        self._published = False
        self._channels = {type_url: _Channel(type_url) for type_url in TYPES}
        self._nonces = 0

    def publish(self, snapshot: Snapshot) -> list[Response]:
        """From now on this is what Envoy is to have."""
        self._snapshot, self._published = snapshot, True
        return self._advance()

    def receive(self, request: Request) -> list[Response]:
        """Envoy asked for something, took something or refused it. Types that we do not have are not answered."""
        channel = self._channels.get(request.type_url)
        if channel is None:
            return []
        channel.subscribe(request)
        if request.nonce:
            channel.answered(request.nonce, request.error)
        return self._advance()

    @property
    def held_by(self) -> str:
        """The nonce of the clusters whose ACK the routes wait for, ``""`` when they do not."""
        return next((nonce for nonce, sent in self._channels[CLUSTER].sent.items() if not sent.released), "")

    def release(self, nonce: str) -> list[Response]:
        """Wait for the ACK of these clusters no longer, if it has not come yet."""
        sent = self._channels[CLUSTER].sent.get(nonce)
        if sent is None:
            return []
        sent.released = True
        return self._advance()

    def retry(self) -> list[Response]:
        """Send again what was refused: what stood in its way, a port that was taken, may be gone."""
        for channel in self._channels.values():
            channel.pardon()
        return self._advance()

    def standing(self) -> Standing:
        channels = [(channel, self._wanted(type_url)) for type_url, channel in self._channels.items()]
        missing = ((channel.type_url, name) for channel, wanted in channels for name in channel.missing(wanted))
        refused = {
            (channel.type_url, name): text
            for channel, wanted in channels
            for name, text in channel.refused_of(wanted).items()
        }
        return Standing(frozenset(missing), refused)

    def _advance(self) -> list[Response]:
        if not self._published:
            return []
        responses = self._send(CLUSTER, removals=False)
        responses += self._send(ENDPOINTS)
        if not self._channels[CLUSTER].busy:
            responses += self._send(LISTENER)
            responses += self._send(ROUTES)
            if self._settled(LISTENER) and self._settled(ROUTES):
                responses += self._send(CLUSTER)
        return responses

    def _send(self, type_url: str, *, removals: bool = True) -> list[Response]:
        channel, wanted = self._channels[type_url], self._wanted(type_url)
        changed = channel.changed(wanted)
        removed = channel.removed(wanted) if removals else ()
        if channel.busy or not (changed or removed or channel.waits_for_any):
            return []
        if type_url == CLUSTER:
            # A cluster that changes warms up again, for which it needs its endpoints although they are the same.
            self._channels[ENDPOINTS].forget(resource.name for resource in changed if resource.name in channel.has)
        self._nonces += 1
        response = Response(type_url, str(self._nonces), changed, removed)
        channel.sending(response)
        return [response]

    def _wanted(self, type_url: str) -> Mapping[str, XdsResource]:
        return self._snapshot.get(type_url, {})

    def _settled(self, type_url: str) -> bool:
        """Whether Envoy has what it should, so that nothing older still refers to clusters which are to go."""
        channel, wanted = self._channels[type_url], self._wanted(type_url)
        return not (channel.sent or channel.stale(wanted) or channel.removed(wanted))


@dataclass(slots=True)
class _Sent:
    """A response without an answer yet, and what Envoy had before it."""

    response: Response
    before: Mapping[str, str]
    released: bool = False


class _Channel:
    """One type of resource on one stream."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.has: dict[str, str] = {}
        """Name -> version of what Envoy has, once it takes what was sent."""
        self.sent: dict[str, _Sent] = {}
        self._begun = False
        self._everything = False
        self._answered = False
        self._names: set[str] = set()
        self._forgotten: set[str] = set()
        self._refused: dict[str, tuple[str, str]] = {}  # name -> version, why
        self._suspects: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return any(not sent.released for sent in self.sent.values())

    @property
    def waits_for_any(self) -> bool:
        """Envoy asked for everything there is, and starts no listener until it is told, even that there is nothing."""
        return self._everything and not self._answered

    def subscribe(self, request: Request) -> None:
        """An Envoy that connects again tells what it still has; asking for a name again means that it lost it."""
        first, self._begun = not self._begun, True
        if first:
            self.has = dict(request.initial_versions) | dict.fromkeys(self._forgotten, _UNKNOWN)
            self._everything = not request.subscribe and self.type_url in {CLUSTER, LISTENER}
        for name in request.subscribe:
            self._everything |= name == _ALL
            if name != _ALL:
                self._names.add(name)
                self.has[name] = self.has.get(name, _UNKNOWN) if first else _UNKNOWN
        for name in request.unsubscribe:
            self._everything &= name != _ALL
            self._names.discard(name)
            self.has.pop(name, None)

    def forget(self, names: Iterable[str]) -> None:
        """Send these again if Envoy asks, or has asked, for them."""
        if self._begun:
            self.has.update((name, _UNKNOWN) for name in names if name in self._names)
        else:
            self._forgotten.update(names)

    def changed(self, wanted: Mapping[str, XdsResource]) -> tuple[XdsResource, ...]:
        """What to send; while a refused response is looked into, its resources one by one."""
        pending = [resource for resource in self.stale(wanted) if not self._is_refused(resource)]
        suspects = [resource for resource in pending if resource.name in self._suspects]
        return tuple(suspects[:1] or pending)

    def stale(self, wanted: Mapping[str, XdsResource]) -> list[XdsResource]:
        """What Envoy asked for and does not have."""
        if self._everything:
            asked: Iterable[XdsResource] = wanted.values()
        else:
            asked = (wanted[name] for name in sorted(self._names) if name in wanted)
        return [resource for resource in asked if self.has.get(resource.name) != resource.version]

    def removed(self, wanted: Mapping[str, XdsResource]) -> tuple[str, ...]:
        """What Envoy has and should not, and names it asked for that do not exist."""
        return tuple(sorted(name for name in self.has if name not in wanted))

    def sending(self, response: Response) -> None:
        self._answered = True
        names = [resource.name for resource in response.resources]
        before = {name: self.has[name] for name in names if name in self.has}
        self.sent[response.nonce] = _Sent(response, before)
        self.has.update((resource.name, resource.version) for resource in response.resources)
        for name in response.removed:
            del self.has[name]

    def answered(self, nonce: str, error: str) -> None:
        """An ACK, or with an error a NACK. A nonce that is not known is stale, and nothing to act on."""
        sent = self.sent.pop(nonce, None)
        if sent is None:
            return
        resources = sent.response.resources
        names = {resource.name for resource in resources}
        self._suspects = [name for name in self._suspects if name not in names]
        if not error:
            for name in names:
                self._refused.pop(name, None)
        elif len(resources) == 1:
            self._take_back(resources[0], sent.before.get(resources[0].name))
            self._refused[resources[0].name] = (resources[0].version, error)
        else:
            # Some of them may have been taken all the same.
            for resource in resources:
                self._take_back(resource, _UNKNOWN)
            self._suspects += sorted(names)

    def pardon(self) -> None:
        self._refused.clear()

    def missing(self, wanted: Mapping[str, XdsResource]) -> set[str]:
        """Names of what Envoy did not take, asked for or not."""
        unanswered = {resource.name for sent in self.sent.values() for resource in sent.response.resources}
        stale = {name for name, resource in wanted.items() if self.has.get(name) != resource.version}
        return stale | (unanswered & wanted.keys())

    def refused_of(self, wanted: Mapping[str, XdsResource]) -> dict[str, str]:
        """Why Envoy refused what it is to have now."""
        return {name: self._refused[name][1] for name, resource in wanted.items() if self._is_refused(resource)}

    def _is_refused(self, resource: XdsResource) -> bool:
        return resource.name in self._refused and self._refused[resource.name][0] == resource.version

    def _take_back(self, resource: XdsResource, version: str | None) -> None:
        """Envoy did not take ``resource`` and has ``version``, unless something newer was sent meanwhile."""
        if self.has.get(resource.name) != resource.version:
            return
        if version is None:
            del self.has[resource.name]
        else:
            self.has[resource.name] = version

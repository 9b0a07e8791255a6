"""Envoy's side of incremental xDS, as a model: what it asks for, what it takes, and when it says so.

Bodies are plain text here: a listener's names its routes, those of routes name their clusters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Request, Response, XdsResource

Refuses = Callable[[str, XdsResource], bool]
"""Type URL and resource: whether it is wrong."""


class ModelEnvoy:
    """Takes responses in order. Clusters are acknowledged when all are warm, as Envoy does it."""

    def __init__(self, refuses: Refuses, *, partly: bool) -> None:
        """``partly``: whether the good resources of a response with a bad one are taken all the same."""
        self.has: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        self.refused_clusters: set[str] = set()
        """Clusters that routes may lead to though they are not there: it was not for want of sending them."""
        self.requests: deque[Request] = deque()
        self._refuses, self._partly = refuses, partly
        self._subscribed: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set()}
        self._warming: set[str] = set()
        self._unsaid: list[Request] = []

    def connect(self) -> None:
        """Begin a new stream: ask for everything, telling what is still there."""
        self.requests.clear()
        self._unsaid.clear()
        for type_url in TYPES:
            names = tuple(sorted(self._subscribed.get(type_url, ())))
            versions = {name: resource.version for name, resource in self.has[type_url].items()}
            if names or type_url in {CLUSTER, LISTENER}:
                self.requests.append(Request(type_url, subscribe=names, initial_versions=versions))

    def take(self, response: Response) -> None:
        bad = [each for each in response.resources if self._refuses(response.type_url, each)]
        if response.type_url == CLUSTER:
            self.refused_clusters |= {each.name for each in bad}
        good = [each for each in response.resources if each not in bad]
        if not bad or self._partly:
            for resource in good:
                self._accept(response.type_url, resource)
        for name in response.removed:
            self._remove(response.type_url, name)
        error = f"{', '.join(each.name for each in bad)}: refused" if bad else ""
        self._unsaid.append(Request(response.type_url, nonce=response.nonce, error=error))
        self._speak()

    @property
    def silent(self) -> bool:
        """Whether it waits for endpoints before it answers."""
        return bool(self._unsaid)

    def stop_waiting(self) -> None:
        """Endpoints did not come within ``initial_fetch_timeout``: Envoy goes on without them."""
        self._warming.clear()
        self._speak()

    def _accept(self, type_url: str, resource: XdsResource) -> None:
        if type_url == CLUSTER and self.has[CLUSTER].get(resource.name) != resource:
            self._warming.add(resource.name)
            self._subscribe(ENDPOINTS, resource.name)
        if type_url == ENDPOINTS:
            self._warming.discard(resource.name)
        if type_url == LISTENER:
            self._subscribe(ROUTES, resource.body.decode())
        self.has[type_url][resource.name] = resource

    def _remove(self, type_url: str, name: str) -> None:
        if type_url == CLUSTER:
            assert name not in self.routed(), "a cluster went while a route led to it"
            self._warming.discard(name)
            self._subscribed[ENDPOINTS].discard(name)
            self.has[ENDPOINTS].pop(name, None)
            self.requests.append(Request(ENDPOINTS, unsubscribe=(name,)))
        if type_url == ENDPOINTS:
            self._warming.discard(name)  # a cluster of which there are no endpoints is warm
        self.has[type_url].pop(name, None)

    def routed(self) -> set[str]:
        """The clusters that routes lead to now."""
        return {name for routes in self.has[ROUTES].values() for name in routes.body.decode().split(",") if name}

    def _subscribe(self, type_url: str, name: str) -> None:
        if name not in self._subscribed[type_url]:
            self._subscribed[type_url].add(name)
            self.requests.append(Request(type_url, subscribe=(name,)))

    def _speak(self) -> None:
        for each in list(self._unsaid):
            if each.type_url != CLUSTER or not self._warming:
                self._unsaid.remove(each)
                self.requests.append(each)

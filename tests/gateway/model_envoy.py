"""Envoy's side of xDS, as a model: what it asks for, what it takes, and when it says so.

Bodies are plain text here: a listener's names its routes, those of routes name their clusters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic

from greenroom.core.xds import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Response, XdsResource
from greenroom.core.xds_channel import R, is_wildcard
from greenroom.core.xds_delta import DeltaRequest
from greenroom.core.xds_sotw import SotwRequest

Refuses = Callable[[str, XdsResource], bool]
"""Type URL and resource: whether it is wrong."""


class ModelEnvoy(ABC, Generic[R]):
    """Takes responses in order. Clusters are acknowledged when all are warm, as Envoy does it."""

    def __init__(self, refuses: Refuses, *, partly: bool, names: bool) -> None:
        """``partly``: whether the good resources of a response with a bad one are taken all the same.

        ``names``: whether it tells which were bad. Of clusters and listeners it does when it takes the good ones.
        """
        self.has: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        self.refused_clusters: set[str] = set()
        """Clusters that routes may lead to though they are not there: it was not for want of sending them."""
        self.unknown = False
        """Whether it may have clusters of which it could not tell the control plane."""
        self.requests: deque[R] = deque()
        self._refuses, self._partly, self._names = refuses, partly, names
        self._subscribed: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set()}
        self._warming: set[str] = set()
        self._unsaid: list[tuple[Response, str]] = []

    @abstractmethod
    def _first(self, type_url: str) -> R:
        """The first request of a stream."""

    @abstractmethod
    def _ask(self, type_url: str, *, more: Iterable[str] = (), less: Iterable[str] = ()) -> None:
        """What it is subscribed to has changed."""

    @abstractmethod
    def _answer(self, response: Response, error: str) -> R: ...

    @abstractmethod
    def _left_out(self, response: Response) -> Iterable[str]:
        """What is gone with this response."""

    def connect(self) -> None:
        """Begin a new stream: ask for everything."""
        self.requests.clear()
        self._unsaid.clear()
        for type_url in TYPES:
            if self._subscribed.get(type_url) or type_url in {CLUSTER, LISTENER}:
                self.requests.append(self._first(type_url))

    def take(self, response: Response) -> None:
        bad = [each for each in response.resources if self._refuses(response.type_url, each)]
        if response.type_url == CLUSTER:
            self.refused_clusters |= {each.name for each in bad}
        if not bad or self._partly:
            for resource in response.resources:
                if resource not in bad:
                    self._accept(response.type_url, resource)
            for name in tuple(self._left_out(response)):
                self._remove(response.type_url, name)
        names = self._names or (self._partly and is_wildcard(response.type_url))
        told = ", ".join(each.name for each in bad) if names else "something"
        self._unsaid.append((response, f"{told}: refused" if bad else ""))
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
            assert self.unknown or name not in self.routed(), "a cluster went while a route led to it"
            self._warming.discard(name)
            self._subscribed[ENDPOINTS].discard(name)
            self.has[ENDPOINTS].pop(name, None)
            self._ask(ENDPOINTS, less=(name,))
        if type_url == ENDPOINTS:
            self._warming.discard(name)  # a cluster of which there are no endpoints is warm
        self.has[type_url].pop(name, None)

    def routed(self) -> set[str]:
        """The clusters that routes lead to now."""
        return {name for routes in self.has[ROUTES].values() for name in routes.body.decode().split(",") if name}

    def _subscribe(self, type_url: str, name: str) -> None:
        if name not in self._subscribed[type_url]:
            self._subscribed[type_url].add(name)
            self._ask(type_url, more=(name,))

    def _speak(self) -> None:
        for each in list(self._unsaid):
            if each[0].type_url != CLUSTER or not self._warming:
                self._unsaid.remove(each)
                self.requests.append(self._answer(*each))


class DeltaEnvoy(ModelEnvoy[DeltaRequest]):
    """An Envoy with ``api_type: DELTA_GRPC``. It tells what it still has when it connects again."""

    def _first(self, type_url: str) -> DeltaRequest:
        versions = {name: resource.version for name, resource in self.has[type_url].items()}
        names = tuple(sorted(self._subscribed.get(type_url, ())))
        return DeltaRequest(type_url, subscribe=names, initial_versions=versions)

    def _ask(self, type_url: str, *, more: Iterable[str] = (), less: Iterable[str] = ()) -> None:
        self.requests.append(DeltaRequest(type_url, subscribe=tuple(more), unsubscribe=tuple(less)))

    def _answer(self, response: Response, error: str) -> DeltaRequest:
        return DeltaRequest(response.type_url, nonce=response.nonce, error=error)

    def _left_out(self, response: Response) -> Iterable[str]:
        return response.removed


class SotwEnvoy(ModelEnvoy[SotwRequest]):
    """An Envoy with ``api_type: GRPC``. Each request says all that it wants, and the last nonce that it has seen."""

    def __init__(self, refuses: Refuses, *, partly: bool, names: bool) -> None:
        super().__init__(refuses, partly=partly, names=names)
        self._nonces: dict[str, str] = {}

    def connect(self) -> None:
        self.unknown = bool(self.has[CLUSTER])
        self._nonces.clear()
        super().connect()

    def take(self, response: Response) -> None:
        super().take(response)
        self._nonces[response.type_url] = response.nonce
        if response.type_url == CLUSTER:
            self.unknown &= any(self._refuses(CLUSTER, each) for each in response.resources)

    def _first(self, type_url: str) -> SotwRequest:
        return SotwRequest(type_url, names=self._wants(type_url), nonce=self._nonces.get(type_url, ""))

    def _ask(self, type_url: str, *, more: Iterable[str] = (), less: Iterable[str] = ()) -> None:
        self.requests.append(self._first(type_url))

    def _answer(self, response: Response, error: str) -> SotwRequest:
        names = self._wants(response.type_url)
        return SotwRequest(response.type_url, names=names, nonce=response.nonce, error=error)

    def _left_out(self, response: Response) -> Iterable[str]:
        told = {resource.name for resource in response.resources}
        return self.has[response.type_url].keys() - told if response.type_url in {CLUSTER, LISTENER} else ()

    def _wants(self, type_url: str) -> tuple[str, ...]:
        return tuple(sorted(self._subscribed.get(type_url, ())))

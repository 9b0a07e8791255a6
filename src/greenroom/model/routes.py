"""What a gateway serves, in its own words: the values between routing objects and Envoy's configuration.

``core.routing`` makes a RouteTable from whatever kinds describe routes; ``core.envoy`` makes resources of it. Every
value here is checked already: it leads to configuration that Envoy takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ANY_HOST = "*"


class PathKind(Enum):
    """In the order in which routes of the same priority are tried."""

    EXACT = 0
    REGEX = 1
    PREFIX = 2


@dataclass(frozen=True, slots=True)
class PathMatch:
    kind: PathKind
    value: str


EVERY_PATH = PathMatch(PathKind.PREFIX, "/")


class ValueKind(Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"
    RANGE = "range"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or a query parameter. ``start`` and ``end`` (exclusive) belong to a range, ``value`` to the others."""

    name: str
    kind: ValueKind = ValueKind.PRESENT
    value: str = ""
    start: int = 0
    end: int = 0
    invert: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    path: PathMatch = EVERY_PATH
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()

    @property
    def conditions(self) -> int:
        """How much is asked beyond the path."""
        return bool(self.method) + len(self.headers) + len(self.query)


@dataclass(frozen=True, slots=True)
class ReplacePrefix:
    """The matched prefix becomes ``value``. With ``value`` ``/`` this never gives a path with two leading slashes."""

    prefix: str
    value: str


@dataclass(frozen=True, slots=True)
class ReplacePath:
    """The whole path becomes ``value``; the query stays."""

    value: str


@dataclass(frozen=True, slots=True)
class Route:
    """``name`` is ``namespace/name`` of the object that asked for it. ``host`` replaces the Host header unless empty.

    ``timeout`` (whole request) and ``idle`` (without a byte) are seconds, 0 for no limit.
    """

    name: str
    match: Match
    cluster: str
    host: str
    path: ReplacePrefix | ReplacePath | None
    timeout: float
    idle: float


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A host name, ``*`` and what it must end with, or ANY_HOST; and its routes, the first match wins."""

    domain: str
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address that is ready, and the commit that answers there (``""`` when nothing says)."""

    address: str
    port: int
    commit: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of endpoints that serve the same; none when nothing is ready."""

    name: str
    http2: bool
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    port: int
    http2: bool = False
    access_log: str = ""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Everything that one gateway serves. No two hosts have the same domain; every route's cluster is there."""

    listener: Listener
    hosts: tuple[VirtualHost, ...] = ()
    clusters: tuple[Cluster, ...] = ()

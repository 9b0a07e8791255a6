"""What a gateway serves, in its own words: the values between routing objects and Envoy's configuration.

``core.routing`` makes a RouteTable from whatever kinds describe routes; ``core.envoy`` makes resources of it. Every
value here is checked already: it leads to configuration that Envoy takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address

ANY_HOST = "*"
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
"""A host name in lower case, as a virtual host can have it: no address of IPv6, no port."""


@lru_cache(16384)  # the same ones are asked about again at every change
def is_address(host: str) -> bool:
    """Whether it is an address of IPv4 or IPv6. One with a zone is none: it means something on one machine only."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


class PathKind(Enum):
    """In the order in which routes of the same priority are tried."""

    EXACT = 0
    REGEX = 1
    PREFIX = 2


@dataclass(frozen=True, slots=True)
class PathMatch:
    kind: PathKind
    value: str
    by_element: bool = False
    """For a prefix without a slash at its end: ``/a`` is one of ``/a`` and of ``/a/b``, not of ``/ab``."""


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
    """What a request must be like. The path is without its query, which is only ``:path`` among the headers."""

    path: PathMatch = EVERY_PATH
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    grpc: bool = False
    """Whether it must be a gRPC call."""

    @property
    def precedence(self) -> tuple[int, ...]:
        """The lower of two is tried first, when priority does not say: the more exact path, then more conditions."""
        conditions = bool(self.method) + len(self.headers) + len(self.query) + self.grpc
        return self.path.kind.value, -len(self.path.value), -conditions


@dataclass(frozen=True, slots=True)
class ReplacePrefix:
    """The matched prefix becomes ``value``, which takes the slash behind the prefix only if it ends with one itself.

    So with ``value`` ``/`` this never gives a path with two leading slashes.
    """

    prefix: str
    value: str


@dataclass(frozen=True, slots=True)
class ReplacePath:
    """The whole path becomes ``value``; the query stays."""

    value: str


@dataclass(frozen=True, slots=True)
class Retry:
    """``on`` are the words of Envoy's ``retry_on``, ``each`` the seconds that one attempt may take, 0 for no limit."""

    on: tuple[str, ...]
    times: int
    each: float = 0.0
    statuses: tuple[int, ...] = ()
    """Which answers are tried again, where ``on`` has ``retriable-status-codes``."""


DEFAULT_RETRY = Retry(
    on=("reset", "connect-failure", "refused-stream", "unavailable", "retriable-status-codes"),
    times=2,
    statuses=(503,),
)
"""App Mesh's, for every route that has none of its own (user guide, envoy-defaults.md)."""


@dataclass(frozen=True, slots=True, order=True)
class WeightedCluster:
    """``weight`` is a share of the sum, which is not 0."""

    name: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Forward:
    """To one of ``clusters``. ``host`` replaces the Host header unless empty.

    ``timeout`` (whole request) and ``idle`` (without a byte) are seconds, 0 for no limit.
    """

    clusters: tuple[WeightedCluster, ...]
    host: str
    path: ReplacePrefix | ReplacePath | None
    timeout: float
    idle: float
    retry: Retry = DEFAULT_RETRY


UNRESOLVED = "unresolved"
"""A cluster that no table has, for the share of requests whose backend is not there. They are answered with 500."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Envoy sends the visitor elsewhere. What is empty, and port 0, stays as it was asked for."""

    status: int
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: ReplacePrefix | ReplacePath | None = None


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Names and values: ``replaced`` whatever was there, ``added`` to it. ``removed`` are names."""

    replaced: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True, slots=True)
class Answer:
    """Envoy itself answers, with the page that belongs to ``status``."""

    status: int


@dataclass(frozen=True, slots=True)
class Route:
    """``name`` is that of the object that asked for it, which may have asked for several.

    It is ``namespace/name`` for a GatewayRoute; other kinds have their own in front.
    """

    name: str
    match: Match
    action: Forward | Answer | Redirect
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES


class State(Enum):
    """Why an environment does not answer."""

    BUILDING = "Building"
    STARTING = "Starting"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """What visitors of an environment are told while nothing answers there.

    ``environment`` is the name of its PR object, ``reason`` and ``message`` are those of the condition ``Ready``.
    """

    state: State
    environment: str
    namespace: str
    commit: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A host name, ``*`` and what it must end with, or ANY_HOST; and its routes, the first match wins.

    Envoy's own answers for the host show the ``notice``, if there is one.
    """

    domain: str
    routes: tuple[Route, ...]
    notice: Notice | None = None


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An address that is ready, and the commit that answers there (``""`` when nothing says)."""

    address: str
    port: int
    commit: str


class Protocol(Enum):
    """What is spoken on a port. ``TCP`` is for health checks only: a gateway serves requests."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"


class Resolution(Enum):
    """Who turns a cluster's host into addresses."""

    KNOWN = "known"
    """The control plane: it knows every endpoint."""
    ALL_ADDRESSES = "all"
    """Envoy, which asks a DNS server and uses all addresses of its answer."""
    ONE_ADDRESS = "one"
    """Envoy, which asks a DNS server and connects to one address of its answer."""


UNLIMITED = 2147483647
"""App Mesh's default for every limit (user guide, envoy-defaults.md)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much Envoy has under way to one cluster at once."""

    connections: int = UNLIMITED
    pending: int = UNLIMITED
    requests: int = UNLIMITED

    def within(self, other: Limits) -> Limits:
        """Of each limit the stricter one."""
        return Limits(
            min(self.connections, other.connections),
            min(self.pending, other.pending),
            min(self.requests, other.requests),
        )


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Envoy's own question whether an endpoint is well. Times are seconds, thresholds answers in a row."""

    protocol: Protocol
    path: str
    interval: float
    timeout: float
    healthy: int
    unhealthy: int


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """An endpoint with ``errors`` server errors in a row is left out for ``ejection`` seconds, and longer each time.

    Envoy looks every ``interval`` seconds, and leaves out at most ``max_percent`` of the endpoints.
    """

    errors: int
    interval: float
    ejection: float
    max_percent: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files where Envoy runs."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS to endpoints. ``trust`` is a PEM file where Envoy runs; empty: any certificate is taken, of any name.

    ``names`` are the subject alternative names of which the certificate must have one.
    """

    trust: str = ""
    names: tuple[str, ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS from visitors. ``optional`` serves plain text, too.

    With ``trust``, a PEM file where Envoy runs, a visitor needs a certificate; one that has one of ``names``, if any.
    """

    certificate: Certificate
    optional: bool = False
    trust: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upstream:
    """How Envoy talks to a cluster. ``host`` and ``port`` are what its VirtualNode names."""

    host: str = ""
    port: int = 0
    resolution: Resolution = Resolution.KNOWN
    limits: Limits = Limits()
    health_check: HealthCheck | None = None
    outliers: OutlierDetection | None = None
    tls: ClientTls | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of endpoints that serve the same; none when nothing is ready, or when Envoy finds them by itself."""

    name: str
    http2: bool
    endpoints: tuple[Endpoint, ...]
    upstream: Upstream = Upstream()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """A line for each request in the file ``path``, in the format ``text`` or ``json``; in Envoy's own with neither."""

    path: str
    text: str = ""
    json: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listener:
    port: int
    protocol: Protocol = Protocol.HTTP
    access_log: AccessLog | None = None
    tls: ServerTls | None = None


@dataclass(frozen=True, slots=True)
class ListenerRoutes:
    """A listener, and the hosts that it serves. No two of them have the same domain."""

    listener: Listener
    hosts: tuple[VirtualHost, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Everything that one gateway serves. No two listeners have the same port.

    Every route's cluster is there, but for UNRESOLVED.
    """

    listeners: tuple[ListenerRoutes, ...]
    clusters: tuple[Cluster, ...] = ()

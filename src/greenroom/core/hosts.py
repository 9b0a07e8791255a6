"""Routes that claim hosts -> virtual hosts that Envoy takes: each domain once, each with all routes that it needs.

Envoy looks a request up in one virtual host only and does not fall back to another. So routes for any host, and those
for a suffix, are copied into the more exact hosts behind their own routes; otherwise the first route with a host name
would take that host away from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from greenroom.core.memo import Each
from greenroom.model.manifest import Ref
from greenroom.model.mesh import Refused
from greenroom.model.routes import ANY_HOST, Match, Route, VirtualHost


@dataclass(frozen=True, slots=True)
class Claim:
    """What one GatewayRoute asks for, and its ``routes``, which share the requests of ``match`` in their order.

    ``age`` orders claims from the oldest to the youngest. ``port`` is that of a listener, 0 for all.
    """

    ref: Ref
    age: tuple[str, Ref]
    host: str
    port: int
    priority: int
    match: Match
    routes: tuple[Route, ...]

    def is_for(self, port: int) -> bool:
        """Whether it asks for requests that come in on ``port``."""
        return self.port in (0, port)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the claims to one host: those that stand, and why the others do not."""

    claims: tuple[Claim, ...]
    losers: Mapping[Ref, Refused]


def settle(claims: Iterable[Claim]) -> Settled:
    """Of claims to the same requests of a host the oldest wins; the others are told who won."""
    winners: dict[tuple[int, int, Match], Claim] = {}
    losers: dict[Ref, Refused] = {}
    for claim in sorted(claims, key=lambda each: each.age):
        winner = winners.setdefault((claim.port, claim.priority, claim.match), claim)
        if winner is not claim:
            name = f"GatewayRoute {winner.ref.namespace}/{winner.ref.name}"
            losers[claim.ref] = Refused("Conflict", f"{name} is older and has the same host and match")
    return Settled(tuple(winners.values()), losers)


def by_host(claims: Iterable[Claim]) -> Mapping[str, Sequence[Claim]]:
    found: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        found[claim.host].append(claim)
    return found


def virtual_hosts(claims: Iterable[Claim], port: int) -> tuple[VirtualHost, ...]:
    """Those of the listener on ``port``: one for each domain, in the order of their names."""
    return VirtualHosts(port).of(by_host(claims))


class VirtualHosts:
    """Makes those of the listener on ``port``. Unchanged ones are not made again, which is all that it remembers."""

    def __init__(self, port: int) -> None:
        self._routes = Each[str, Sequence[Claim], _Routes](lambda claims: _routes(claims, port))
        self._hosts = Each[str, tuple[str, tuple[_Routes, ...]], VirtualHost](_virtual_host)

    def of(self, claims: Mapping[str, Sequence[Claim]]) -> tuple[VirtualHost, ...]:
        """One for each domain, in the order of their names. ``claims`` are by host."""
        routes = {host: each for host, each in self._routes.of(claims).items() if each}
        # The longest suffix first, as Envoy itself would choose among them; then the routes for any host.
        wide = sorted((host for host in routes if host.startswith("*")), key=lambda host: (-len(host), host))
        hosts = {*routes, *(_bare(host) for host in wide)} - {""}
        parts = {host: (host, (routes.get(host, ()), *_wider(host, routes, wide))) for host in sorted(hosts)}
        return tuple(self._hosts.of(parts).values())


_Routes: TypeAlias = tuple[Route, ...]


def _routes(claims: Iterable[Claim], port: int) -> _Routes:
    asking = (claim for claim in claims if claim.is_for(port))
    return tuple(route for claim in sorted(asking, key=_precedence) for route in claim.routes)


def _virtual_host(parts: tuple[str, Iterable[_Routes]]) -> VirtualHost:
    domain, routes = parts
    return VirtualHost(domain, tuple(chain.from_iterable(routes)))


def _precedence(claim: Claim) -> tuple[int, tuple[int, ...], bool, tuple[str, Ref]]:
    """Priority first, as App Mesh documents; among equals the more exact match, then the older route."""
    return claim.priority, claim.match.precedence, claim.port == 0, claim.age


def _bare(host: str) -> str:
    """The host that a suffix which is one itself also means: Envoy's ``*`` is never empty. ``""`` for others."""
    suffix = host.removeprefix(ANY_HOST)
    return "" if suffix.startswith((".", "-")) else suffix


def _wider(host: str, routes: Mapping[str, _Routes], wide: Sequence[str]) -> Iterator[_Routes]:
    """What else is asked on ``host`` after its own routes."""
    return (routes[each] for each in wide if each != host and host.endswith(each.removeprefix(ANY_HOST)))

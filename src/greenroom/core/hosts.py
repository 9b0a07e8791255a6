"""Routes that claim hosts -> virtual hosts that Envoy takes: each domain once, each with all routes that it needs.

Envoy looks a request up in one virtual host only and does not fall back to another. So routes for any host, and those
for a suffix, are copied into the more exact hosts behind their own routes; otherwise the first route with a host name
would take that host away from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenroom.model.manifest import Ref
from greenroom.model.mesh import Refused
from greenroom.model.routes import ANY_HOST, Match, Route, VirtualHost


@dataclass(frozen=True, slots=True)
class Claim:
    """A route, and the host that it asks for. ``age`` orders claims from the oldest to the youngest."""

    ref: Ref
    age: tuple[str, Ref]
    host: str
    priority: int
    route: Route


def settle(claims: Iterable[Claim]) -> dict[Ref, Refused]:
    """Of claims to the same requests the oldest wins. Answers the losers, each told who won."""
    winners: dict[tuple[str, int, Match], Claim] = {}
    losers: dict[Ref, Refused] = {}
    for claim in sorted(claims, key=lambda each: each.age):
        winner = winners.setdefault((claim.host, claim.priority, claim.route.match), claim)
        if winner is not claim:
            name = f"GatewayRoute {winner.ref.namespace}/{winner.ref.name}"
            losers[claim.ref] = Refused("Conflict", f"{name} is older and has the same host and match")
    return losers


def virtual_hosts(claims: Iterable[Claim]) -> tuple[VirtualHost, ...]:
    """One for each domain, in the order of their names."""
    own: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        own[claim.host].append(claim)
    routes = {host: tuple(claim.route for claim in sorted(claims, key=_precedence)) for host, claims in own.items()}
    # The longest suffix first, as Envoy itself would choose among them; then the routes for any host.
    wide = sorted((host for host in routes if host.startswith("*")), key=lambda host: (-len(host), host))
    hosts = {*routes, *(_bare(host) for host in wide)} - {""}
    return tuple(VirtualHost(host, _with_wider(host, routes, wide)) for host in sorted(hosts))


def _precedence(claim: Claim) -> tuple[int, int, int, int, tuple[str, Ref]]:
    """Priority first, as App Mesh documents; among equals the more exact match, then the older route."""
    match = claim.route.match
    return claim.priority, match.path.kind.value, -len(match.path.value), -match.conditions, claim.age


def _bare(host: str) -> str:
    """The host that a suffix without a leading dot also means: Envoy's ``*`` is never empty. ``""`` for others."""
    suffix = host.removeprefix(ANY_HOST)
    return "" if suffix.startswith(".") else suffix


def _with_wider(host: str, routes: dict[str, tuple[Route, ...]], wide: Sequence[str]) -> tuple[Route, ...]:
    wider = [each for each in wide if each != host and host.endswith(each.removeprefix(ANY_HOST))]
    return sum((routes[each] for each in wider), routes.get(host, ()))

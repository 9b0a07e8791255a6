"""What PR objects say of themselves -> what their visitors are told while nothing answers.

A notice is put up only where it can be seen: on a host one of whose clusters is without a ready endpoint, and on one
that no route serves. So a pull request that serves changes nothing in Envoy by what it says, and when its first pod is
ready, the endpoints alone make it answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from greenroom.core import health
from greenroom.core.route_hosts import exact_hosts
from greenroom.core.status import FAILURES, READY
from greenroom.model.manifest import (
    Manifest,
    Ref,
    condition_of,
    controller_of,
    is_deleting,
    name_of,
    text,
    uid_of,
)
from greenroom.model.routes import (
    ANY_HOST,
    HOST,
    Answer,
    Forward,
    ListenerRoutes,
    Match,
    Notice,
    Resolution,
    Route,
    RouteTable,
    State,
    VirtualHost,
)


def notice_of(pr: Manifest) -> Notice | None:
    """None for one that is ready, or on its way out: of those there is nothing to say but that they do not answer."""
    ready = condition_of(pr, READY)
    if is_deleting(pr) or text(ready, "status") == "True":
        return None
    reason = text(ready, "reason")
    return Notice(
        state=_state(reason),
        environment=name_of(pr),
        namespace=text(pr, "metadata", "namespace"),
        commit=text(pr, "spec", "headCommitRef"),
        reason=reason,
        message=text(ready, "message") or "Greenroom has not looked at it yet",
    )


def notices(prs: Iterable[Manifest], routes: Iterable[Manifest]) -> dict[str, Notice]:
    """By host: the one in a PR object's status, and those of the routes that belong to it."""
    found: dict[str, Notice] = {}
    owners: dict[str, Notice] = {}
    for pr in prs:
        notice = notice_of(pr)
        if notice is not None:
            owners[uid_of(pr)] = notice
            found.setdefault(_host_of(text(pr, "status", "url")), notice)
    for route in routes if owners else ():
        notice = owners.get(text(controller_of(route), "uid"))
        if notice is not None:
            found.update({host.lower(): notice for host in exact_hosts(route)})
    return {host: notice for host, notice in found.items() if HOST.fullmatch(host)}


def announced(tables: Mapping[Ref, RouteTable], notices: Mapping[str, Notice]) -> dict[Ref, RouteTable]:
    """``tables`` with the notices put up. A host that no route names is announced by all gateways.

    A route for a suffix keeps its hosts on its own listener. One for every host does not: it names nobody, and whoever
    opens the address of an environment would take what answers there for the environment.
    """
    named = {host.domain for table in tables.values() for each in table.listeners for host in each.hosts if host.routes}
    unserved = {host: notice for host, notice in notices.items() if host not in named}
    return {ref: _announced(table, notices, unserved) for ref, table in tables.items()}


def _announced(table: RouteTable, notices: Mapping[str, Notice], unserved: Mapping[str, Notice]) -> RouteTable:
    silent = {each.name for each in table.clusters if not each.endpoints and each.upstream.resolution is _KNOWN}

    def listener(served: ListenerRoutes) -> ListenerRoutes:
        wide = _suffixes(served.hosts)
        more = {host: _unserved(host, notice) for host, notice in unserved.items() if not host.endswith(wide)}
        # Where a listener of Gateway API has this very host and no route, the page takes the place of nothing.
        hosts = [_noticed(host, notices, silent) for host in served.hosts if host.domain not in more]
        return replace(served, hosts=tuple(sorted([*hosts, *more.values()], key=lambda host: host.domain)))

    return replace(table, listeners=tuple(listener(served) for served in table.listeners))


def _suffixes(hosts: Iterable[VirtualHost]) -> tuple[str, ...]:
    """What the hosts end with that routes serve by their suffix."""
    wide = (host.domain.removeprefix(ANY_HOST) for host in hosts if host.routes and host.domain.startswith(ANY_HOST))
    return tuple(suffix for suffix in wide if suffix)


_KNOWN = Resolution.KNOWN


def _noticed(host: VirtualHost, notices: Mapping[str, Notice], silent: set[str]) -> VirtualHost:
    notice = notices.get(host.domain)
    if notice is None:
        return host
    actions = [route.action for route in host.routes]
    clusters = {each.name for action in actions if isinstance(action, Forward) for each in action.clusters}
    return replace(host, notice=notice) if not clusters or clusters & silent else host


def _unserved(host: str, notice: Notice) -> VirtualHost:
    """Every request gets the notice."""
    return VirtualHost(host, (Route(f"{notice.namespace}/{notice.environment}", Match(), Answer(503)),), notice)


def _state(reason: str) -> State:
    if reason in FAILURES:
        return State.FAILED
    return State.BUILDING if reason in {"", health.WAITING_FOR_IMAGE} else State.STARTING


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""

"""Which routes of a gateway are kept from its Envoys because they refuse them.

Envoy takes all routes of a listener or none: one that is wrong, and that our own checks let through, would freeze all
others. So the wrong one is looked for among those that are new or changed since Envoy last took all. The words of the
refusal often name it, or its host; where they do not, one half of the new routes is held back, and then the other.
Routes that are served are never taken away to find out: of a route that changed its last good form stays. What is
found is held until the object changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from greenroom.core.envoy_listener import routes_name
from greenroom.model.routes import Forward, ListenerRoutes, Route, RouteTable, VirtualHost

Content: TypeAlias = tuple[tuple[int, str, Route], ...]
"""Everything that one object asked for: ports, domains and routes."""

_NAME = re.compile(r"[^\s,:;'\"()\[\]]+")


@dataclass(frozen=True, slots=True)
class _Held:
    content: Content
    why: str
    """Empty while it is only suspected."""


class Quarantine:
    """Of one gateway. Routes are known by their names."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._shown: RouteTable | None = None
        self._good: RouteTable | None = None
        """What all Envoys took last."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why Envoy refused each of the routes that were found to be wrong."""
        return {name: held.why for name, held in self._held.items() if held.why}

    @property
    def suspects(self) -> frozenset[str]:
        """Routes held back until it is known which is wrong."""
        return frozenset(name for name, held in self._held.items() if not held.why)

    def passed(self, table: RouteTable) -> RouteTable:
        """What to publish of ``table``: all but what is held, unless it changed."""
        if self._held:
            contents = _contents(table.listeners)
            self._held = {name: held for name, held in self._held.items() if contents.get(name) == held.content}
        self._shown = _without(table, self._held.keys(), self._good) if self._held else table
        return self._shown

    def taken(self) -> bool:
        """Every Envoy took what was published last. Answers whether to publish again."""
        self._good = self._shown
        return self._release()

    def refused(self, resource: str, why: str, *, trusted: Iterable[str] = ()) -> bool:
        """An Envoy refused the route configuration ``resource``. Answers whether to publish again.

        ``trusted`` routes were served before this program started, as they are.
        """
        fresh = self._fresh(resource, why, trusted)
        if not fresh:
            return False
        if len(fresh) == 1:
            ((name, content),) = fresh.items()
            self._release()
            self._held[name] = _Held(content, why)
        else:
            self._held |= {name: _Held(fresh[name], "") for name in sorted(fresh)[len(fresh) // 2 :]}
        return True

    def _fresh(self, resource: str, why: str, trusted: Iterable[str]) -> dict[str, Content]:
        """The routes that may be wrong: those that Envoy names, if any, of those that it did not take before."""
        shown = self._shown.listeners if self._shown is not None else ()
        contents = _contents(each for each in shown if routes_name(each.listener) == resource)
        if self._good is not None:
            good = _contents(self._good.listeners)
            fresh = {name: content for name, content in contents.items() if good.get(name) != content}
        else:
            fresh = {name: contents[name] for name in contents.keys() - {*trusted}}
        words = {word.rstrip(".") for word in _NAME.findall(why)}
        named = {
            name: content
            for name, content in fresh.items()
            if name in words or any(domain in words for _, domain, _ in content)
        }
        return named or fresh

    def _release(self) -> bool:
        """Give the suspects another chance. Answers whether there are any."""
        suspects = self.suspects
        for name in suspects:
            del self._held[name]
        return bool(suspects)


def _contents(listeners: Iterable[ListenerRoutes]) -> dict[str, Content]:
    found: dict[str, list[tuple[int, str, Route]]] = {}
    for each in listeners:
        for host in each.hosts:
            for route in host.routes:
                found.setdefault(route.name, []).append((each.listener.port, host.domain, route))
    return {name: tuple(content) for name, content in found.items()}


def _without(table: RouteTable, held: Iterable[str], good: RouteTable | None) -> RouteTable:
    """``table``, with the last good form of what is held, as far as there is one in the same place."""
    served = _contents(good.listeners) if good is not None else {}
    old = {name: served.get(name, ()) for name in held}
    listeners = tuple(
        replace(each, hosts=tuple(_hosts(each.hosts, each.listener.port, old))) for each in table.listeners
    )
    known = {cluster.name: cluster for cluster in (good.clusters if good is not None else ())}
    known |= {cluster.name: cluster for cluster in table.clusters}
    return RouteTable(listeners, tuple(known[name] for name in sorted(_clusters(listeners, table)) if name in known))


def _hosts(hosts: Iterable[VirtualHost], port: int, old: Mapping[str, Content]) -> Iterable[VirtualHost]:
    for host in hosts:
        names = dict.fromkeys(route.name for route in host.routes)
        if names.keys().isdisjoint(old):
            yield host
            continue
        routes: list[Route] = []
        for name in names:
            content: Content = old.get(
                name, tuple((port, host.domain, each) for each in host.routes if each.name == name)
            )
            routes += [route for at, domain, route in content if (at, domain) == (port, host.domain)]
        if routes:
            yield replace(host, routes=tuple(routes))


def _clusters(listeners: Iterable[ListenerRoutes], table: RouteTable) -> set[str]:
    """Those of the table, and those that routes lead to now."""
    actions = (route.action for each in listeners for host in each.hosts for route in host.routes)
    used = {cluster.name for action in actions if isinstance(action, Forward) for cluster in action.clusters}
    return used | {cluster.name for cluster in table.clusters}

"""A store that says what of it is being watched, and refuses what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from tests.flows.world import NAMESPACE, World

from greenroom.local.storage.store import Store
from greenroom.model.errors import ClusterError, Forbidden
from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import ENVIRONMENT_LABEL, PR, REVIEW_APP, Kind, Manifest, Ref
from greenroom.model.permission import Permission
from greenroom.model.watch import Scope
from greenroom.ports import Listing, WatchEvent

OWN = "system:serviceaccount:greenroom:greenroom"
APP = Ref(REVIEW_APP, NAMESPACE, "shop")


def labelled(kind: Kind) -> Scope:
    return Scope(kind, NAMESPACE, ENVIRONMENT_LABEL)


class Watched(Store):
    """A store that says what of it is being watched, how often an object was read, and refuses what it is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.watches: list[Scope] = []
        self.refused: dict[Kind, ClusterError] = {}
        self.unwatchable: dict[Kind, ClusterError] = {}
        self.read = 0
        self.slow = 0.0  # seconds that a list in a namespace takes

    async def get(self, ref: Ref) -> Manifest:
        self.read += 1
        return await super().get(ref)

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing:
        if namespace:
            await asyncio.sleep(self.slow)
        if namespace and kind in self.refused:
            raise self.refused[kind]
        return await super().list(kind, namespace=namespace, labels=labels)

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = "", labels: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        scope = Scope(kind, namespace, labels)
        if namespace and kind in self.unwatchable:
            raise self.unwatchable[kind]
        self.watches.append(scope)
        try:
            async for change in super().watch(kind, since=since, namespace=namespace, labels=labels):
                yield change
        finally:
            self.watches.remove(scope)


def watched(here: World) -> Watched:
    assert isinstance(here.store, Watched)
    return here.store


def environments_watches(here: World) -> set[Scope]:
    return set(watched(here).watches) - {Scope(PR), Scope(REVIEW_APP), Scope(GATEWAY)}


def missing(verb: str, resource: str, group: str = "", user: str = OWN) -> Forbidden:
    permission = Permission(user, verb, group, resource, NAMESPACE)
    return Forbidden(f"{user} cannot {verb} {resource}", permission=permission)

"""What tests of the flows share: a real store, informers over it, and a ReviewApp that is applied to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from greenroom.flows.builds import Builds
from greenroom.flows.commands import Commands
from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.local.storage.store import Store
from greenroom.model.manifest import PR, REVIEW_APP, Kind, Manifest, Ref, name_of
from greenroom.model.pull import Action, PullEvent, PullRequest
from greenroom.model.watch import Scope
from greenroom.ports import Cluster, Forge
from greenroom.runtime.informer import Informers

REPOSITORY = "https://github.com/Shop/web"
NAMESPACE = "default"
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B, C = "a" * 40, "b" * 40, "c" * 40


class VirtualClock:
    """The time of the event loop, as wall time."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())


def config_map(name: str = "pr{{PR_NUMBER}}", **data: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data or {"commit": "{{COMMIT_REF}}"},
    }


def deployment(name: str = "pr{{PR_NUMBER}}") -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "app", "image": "shop:pr{{PR_NUMBER}}-{{COMMIT_REF}}"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def gateway_route(name: str = "pr{{PR_NUMBER}}") -> dict[str, Any]:
    spec = {"httpRoute": {"match": {"hostname": {"exact": f"{name}.localhost"}}}}
    metadata = {"name": name}
    return {"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "GatewayRoute", "metadata": metadata, "spec": spec}


def review_app(*resources: Any, name: str = "shop", repository: str = REPOSITORY) -> dict[str, Any]:
    return {
        "apiVersion": REVIEW_APP.api_version,
        "kind": "ReviewApp",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"githubRepository": repository, "resources": [*resources]},
    }


def pr_object(commit: str = A, number: int = 7, **spec: Any) -> dict[str, Any]:
    wanted = {"parentReviewApp": "shop", "prNumber": str(number), "headCommitRef": commit, **spec}
    metadata = {"name": f"shop-pr{number}", "namespace": NAMESPACE}
    return {"apiVersion": PR.api_version, "kind": "PR", "metadata": metadata, "spec": wanted}


def event(action: str, head: str = A, *, second: int = 0, number: int = 7, before: str = "") -> PullEvent:
    pull = PullRequest(REPOSITORY, number, head, open=action != "closed")
    return PullEvent(Action(action), pull, START + timedelta(seconds=second), before)


class World:
    """A cluster, and the flows that keep it."""

    def __init__(
        self,
        store: Store,
        informers: Informers,
        *,
        impersonating: Callable[[str], Cluster] | None = None,
        forge: Forge | None = None,
    ) -> None:
        self.store = store
        self.informers = informers
        self.intake = Intake(store, informers, VirtualClock(), forge=forge)
        self.commands = Commands(store, informers, self.intake, forge)
        self.builds = Builds(store, informers, VirtualClock())
        self.reconcile = Reconcile(
            store,
            informers,
            VirtualClock(),
            url_of=lambda host: f"http://{host}:8080",
            impersonating=impersonating,
        )

    async def apply(self, manifest: Any) -> Manifest:
        return await self.store.apply(
            {**manifest, "metadata": {"namespace": NAMESPACE, **manifest["metadata"]}}, manager="test"
        )

    async def objects(self, kind: str, api_version: str = "v1") -> dict[str, Any]:
        """The objects of a kind by their names."""
        found = await self.store.list(Kind.of(api_version, kind))
        return {name_of(each): each for each in found.items}

    async def pr(self, number: int = 7) -> Any:
        return await self.store.get(self.pr_ref(number))

    def pr_ref(self, number: int = 7) -> Ref:
        return Ref(PR, NAMESPACE, f"shop-pr{number}")

    async def prs(self) -> dict[str, str]:
        """The commits of the PR objects by their names."""
        return {name: pr["spec"]["headCommitRef"] for name, pr in (await self.objects("PR", PR.api_version)).items()}

    async def until(self, status: str, *, within: float = 300.0) -> Any:
        """The Ready condition, once it has this status."""
        async with asyncio.timeout(within):
            while (condition := await self.condition()).get("status") != status:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
        return condition

    async def condition(self, condition_type: str = "Ready", number: int = 7) -> Any:
        status = (await self.pr(number)).get("status", {})
        return next((each for each in status.get("conditions", []) if each["type"] == condition_type), {})

    async def writes(self, doing: Callable[[], Awaitable[object]]) -> int:
        """How many objects something wrote."""
        before = await self._version()
        await doing()
        return await self._version() - before

    async def _version(self) -> int:
        return int((await self.store.list(PR)).resource_version)

    async def report(self, ref: Ref, status: Mapping[str, Any]) -> None:
        """Write a status as the cluster's own controllers do."""
        await self.store.patch_status(ref, status)


@asynccontextmanager
async def world(
    folder: Path,
    *apps: Any,
    running: bool = False,
    opened: Callable[..., Store] = Store.open,
    impersonating: Callable[[Store, str], Cluster] | None = None,
    forge: Forge | None = None,
) -> AsyncIterator[World]:
    """``running`` runs the controller, too; ``opened`` opens another store than the ordinary one; ``impersonating``
    answers the store as a user may write to it."""
    with closing(opened(folder / "cluster.db", clock=VirtualClock())) as store:
        informers = Informers(store)
        made = World(store, informers, impersonating=impersonating and partial(impersonating, store), forge=forge)
        for app in apps:
            await made.apply(app)
        tasks = [asyncio.create_task(informers.run())]
        if running:
            tasks.append(asyncio.create_task(made.reconcile.run()))
        try:
            await informers.synced(Scope(REVIEW_APP), Scope(PR))
            yield made
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def settled() -> None:
    """Let everything that is under way come to its end, in virtual time."""
    await asyncio.sleep(5)


async def made(here: World, manifest: Any = None) -> None:
    """A PR object, and what comes of it."""
    await here.apply(manifest or pr_object())
    await settled()


async def push(here: World, commit: str) -> None:
    await here.apply(pr_object(commit))
    await settled()


async def names(here: World) -> set[str]:
    """Of the ConfigMaps."""
    return set(await here.objects("ConfigMap"))

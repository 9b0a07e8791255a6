"""The seams of the program: small protocols that flows use and adapters fill.

``local.storage.store`` and ``adapters.kube`` are a Cluster, ``adapters.ads`` a Gateway, ``runtime.informer`` a Reader,
``adapters.github`` a Forge, ``adapters.visitor`` a Visitor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from greenroom.core.xds import Snapshot, Standing
from greenroom.model.forge import Comment, Deployment, DeploymentState, Reaction
from greenroom.model.manifest import Kind, Manifest, Ref
from greenroom.model.pull import PullEvent
from greenroom.model.watch import Change, Listing, Resource, WatchEvent

__all__ = [
    "Change",
    "Clock",
    "Cluster",
    "Forge",
    "Gateway",
    "Listing",
    "Logs",
    "Reader",
    "Resource",
    "Visitor",
    "WatchEvent",
]


class Cluster(Protocol):
    """Kubernetes semantics, whoever provides them. Every method may raise ``ClusterError`` and its subclasses.

    ``namespace=""`` in list and watch means all namespaces. ``labels`` is a Kubernetes label selector of equality and
    existence terms (``a=b,c``).
    """

    async def resources(self) -> Sequence[Resource]:
        """Every kind that the cluster serves now."""

    async def resource(self, kind: Kind) -> Resource:
        """How ``kind`` is served. Raises UnknownKind."""

    async def authorize(self, verb: str, kind: Kind, namespace: str) -> None:
        """Raises Forbidden, with the permission, unless whoever asks may do ``verb`` to whatever objects of the kind
        there. The answer may be a minute old."""

    async def get(self, ref: Ref) -> Manifest:
        """Raises NotFound."""

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "") -> Listing: ...

    def watch(self, kind: Kind, *, since: str, namespace: str = "", labels: str = "") -> AsyncIterator[WatchEvent]:
        """Changes after ``since``, in order. Ends when the server ends it; raises Expired when ``since`` is too old."""

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        """Server-side apply: create or update exactly the fields given, as ``manager``; answers the stored object.

        Fields that ``manager`` applied before and no longer gives are removed. Raises Conflict when ``force`` is off
        and another manager holds a field, or when ``metadata.uid`` or ``metadata.resourceVersion`` is given and is not
        the present object's; Invalid when the object is wrong. A resource version alone does not keep an object that is
        gone from being created anew; a UID does. Applying the same again changes nothing, not even the version.
        ``status`` is ignored for kinds with a status subresource (see ``patch_status``). Of a variable or a port that a
        container is given twice the last counts; fields that the cluster does not know may be left out.
        """

    async def adopt(self, manifest: Manifest, *, manager: str, former: str) -> Manifest:
        """``apply``, with force, to an object that another program may have made.

        What ``former`` wrote without applying it counts as applied by ``manager`` before, as far as ``core.takeover``
        says, so that it goes unless it is given. An object that is new, or that ``former`` did not write, is applied.
        """

    async def delete(
        self, ref: Ref, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        """Delete, and (in the background) what it owns. Raises NotFound, and Conflict when ``uid`` or
        ``resource_version`` is given and is not the present object's.

        A Pod is only marked (``deletionTimestamp``) until its processes ended and ``grace_seconds=0`` is given; an
        object with finalizers until they are gone.
        """

    async def release(self, manifest: Manifest, finalizers: Collection[str]) -> None:
        """Take these finalizers from an object, whoever set them. Raises NotFound, and Conflict when the object is not
        the one that was read, or has changed since."""

    async def patch_status(self, ref: Ref, status: Manifest, *, resource_version: str = "") -> Manifest:
        """JSON merge patch (RFC 7396) of ``status``: only keys given change, None removes.

        Raises NotFound, and Conflict when ``resource_version`` is given and is not the present object's.
        """


class Reader(Protocol):
    """What informers know: a local, eventually consistent copy. Never raises for a missing object."""

    def get(self, ref: Ref) -> Manifest | None: ...

    def list(self, kind: Kind, *, namespace: str = "") -> Iterable[Manifest]: ...

    def owned(self, uid: str) -> Iterable[Manifest]:
        """Every known object whose controller owner reference carries this UID, of whatever kind."""


class Gateway(Protocol):
    """The control plane of all Envoys. Any number of Envoys may serve a gateway.

    It is named as ``core.gateway_names`` has it.
    """

    def serving(self, changed: Callable[[str], None]) -> AbstractContextManager[None]:
        """Take Envoys while this is entered. In the end they are sent away, and what was published is forgotten.

        ``changed`` is called with the name of a gateway whenever its standings may have changed. It must not block.
        """

    def publish(self, gateway: str, snapshot: Snapshot) -> None:
        """From now on the Envoys of ``gateway`` are to have this, and only this."""

    def withdraw(self, gateway: str) -> None:
        """The gateway is gone. Its Envoys keep what they have; those that come get nothing."""

    def standings(self, gateway: str) -> Sequence[Standing]:
        """What each connected Envoy has of the last published snapshot."""


class Forge(Protocol):
    """Where pull requests come from, read and written with credentials. Every method may raise ``ForgeError``.

    ``repository`` is the address people open in a browser; it is followed where the repository has moved.
    """

    def has_credentials(self, repository: str) -> bool:
        """Whether anything can be asked of ``repository`` at all. Without, every other method raises ForgeForbidden."""

    async def pull(self, repository: str, number: int) -> PullEvent:
        """The present state, as ``Action.SEEN``. Raises ForgeNotFound."""

    async def open_pulls(self, repository: str) -> Sequence[PullEvent]:
        """All that are open. Never a part of them: raises rather than answering a listing that was cut."""

    async def changed_paths(self, repository: str, number: int) -> frozenset[str]:
        """The paths that a pull request adds, changes, removes, or moves from or to.

        Raises ForgeInvalid when there are more than the forge tells.
        """

    async def may_write(self, repository: str, user: str) -> bool:
        """Whether ``user``, a login, may push to ``repository``."""

    async def approved_commits(self, repository: str, number: int) -> frozenset[str]:
        """Commits that a reviewer with the right to push approved, and has not asked to change since."""

    async def comments(self, repository: str, number: int) -> Sequence[Comment]:
        """Those that these credentials wrote on a pull request, oldest first."""

    async def comment(self, repository: str, number: int, body: str) -> int:
        """Write a comment, in Markdown; answers its id."""

    async def edit_comment(self, repository: str, comment: int, body: str) -> None:
        """Raises ForgeNotFound when it was deleted."""

    async def react(self, repository: str, comment: int, reaction: Reaction) -> None: ...

    async def deploy(self, repository: str, commit: str, environment: str, description: str) -> int:
        """Begin a deployment of ``commit`` to ``environment``, which is made if it is new; answers its id."""

    async def deployments(self, repository: str, environment: str) -> Sequence[Deployment]:
        """All deployments to ``environment``, newest first."""

    async def set_deployment(
        self, repository: str, deployment: int, state: DeploymentState, *, url: str = "", description: str = ""
    ) -> None:
        """What became of it. ``url`` is where it can be seen. Success makes earlier ones of its environment inactive.

        Raises ForgeNotFound when it was deleted.
        """

    async def environments(self, repository: str) -> Sequence[str]:
        """The names of all environments that there are."""

    async def remove_environment(self, repository: str, environment: str) -> None:
        """Does nothing when it is not there."""

    async def redeliver(self, repository: str, webhook: str, within: timedelta) -> int:
        """Have the deliveries to the address ``webhook`` sent again that failed ``within`` that time and were not
        received since; answers how many."""


class Visitor(Protocol):
    """Somebody who opens the address of an environment."""

    async def commit_at(self, url: str) -> str:
        """The commit that the answer says it comes from, in ``X-Greenroom-Commit``; ``""`` when it names none.

        Raises VisitFailed when there is no answer.
        """


Logs: TypeAlias = Callable[[str, str, str], Awaitable[Sequence[str]]]
"""The last lines that a container printed, by namespace, pod and container. Raises ClusterError."""


class Clock(Protocol):
    """Wall time, always with a time zone. Waiting is asyncio's business, and tests give it a virtual loop."""

    def now(self) -> datetime: ...

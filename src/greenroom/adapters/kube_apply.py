"""Server-side apply, and what comes with it where another program made the object.

The managed fields come with the answer to an apply, so that an object that is new costs one request, as always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from greenroom.adapters.kube_forgiven import Forgiven, forgiven
from greenroom.adapters.kube_http import ApiServer
from greenroom.core.plan import obstacle
from greenroom.core.takeover import handed_over
from greenroom.model.errors import Conflict, Forbidden, Invalid, NotFound
from greenroom.model.manifest import Kind, Manifest, controller_of, ref_of, text
from greenroom.model.permission import Permission

log = structlog.get_logger(__name__)

MERGE_PATCH = "application/merge-patch+json"
"""RFC 7396."""
ATTEMPTS = 5
"""How often to write who holds what, while a controller writes the status in between."""
FORGIVEN = 20
"""Mistakes of a manifest that are taken out of it. The API server may tell of each only when the one before is out."""
_BLOCKING = "cannot set blockOwnerDeletion"
"""How the admission plugin OwnerReferencesPermissionEnforcement begins, which OpenShift has on. Neither who was refused
nor the right that is missing is told."""


@dataclass(frozen=True, slots=True)
class Application:
    """What ``manager`` applies to the object at ``path``."""

    server: ApiServer
    path: str
    manifest: Manifest
    manager: str

    async def apply(self, *, force: bool = True) -> dict[str, Any]:
        """Answers the stored object, as ``adopt`` does. What creating it would forgive is left out, and logged."""
        manifest, left_out = self.manifest, list[str]()
        for _ in range(FORGIVEN):
            try:
                stored = await self._apply(manifest, force=force)
            except Invalid as refusal:
                match forgiven(manifest, str(refusal)):
                    case Forgiven(_, ()):
                        raise
                    case Forgiven(manifest, more):
                        left_out += more
            else:
                if left_out:
                    log.warning("fields were left out", object=str(ref_of(manifest)), fields=left_out)
                return stored
        return await self._apply(manifest, force=force)

    async def _apply(self, manifest: Manifest, *, force: bool) -> dict[str, Any]:
        try:
            return await self.server.request(
                "PATCH",
                self.path,
                params={"fieldManager": self.manager, "force": "true" if force else "false"},
                body=manifest,
                headers={"Content-Type": "application/apply-patch+yaml"},  # JSON is YAML
            )
        except Forbidden as refusal:
            if _BLOCKING not in str(refusal):
                raise
            raise Forbidden(str(refusal), permission=_to_block(manifest, self.server.user)) from refusal

    async def adopt(self, former: str) -> dict[str, Any]:
        try:
            stored = await self.apply()
        except Invalid:  # perhaps for what it would keep of the former manager's
            present = await self._present()
            if obstacle(self.manifest, present) or not await self._hand_over(former, present):
                raise
        else:
            if not await self._hand_over(former, stored):
                return stored
        return await self.apply()

    async def _hand_over(self, former: str, stored: Manifest) -> bool:
        """Whether there was anything to hand over."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._hand_over_once(former, stored)
            except Conflict:
                stored = await self._present()
        return await self._hand_over_once(former, stored)

    async def _hand_over_once(self, former: str, stored: Manifest) -> bool:
        fields = handed_over(stored, self.manifest, former=former, manager=self.manager)
        if fields is None:
            return False
        version = text(stored, "metadata", "resourceVersion")
        change: Manifest = {"metadata": {"managedFields": fields, "resourceVersion": version}}
        await self.server.request("PATCH", self.path, body=change, headers={"Content-Type": MERGE_PATCH})
        return True

    async def _present(self) -> dict[str, Any]:
        """An empty object when there is none."""
        try:
            return await self.server.request("GET", self.path)
        except NotFound:
            return {}


def _to_block(manifest: Manifest, user: str) -> Permission:
    """What lets ``user`` make the deletion of the owner wait for this object. It is a PR object or a ReviewApp."""
    owner = controller_of(manifest)
    kind = Kind.of(text(owner, "apiVersion"), text(owner, "kind"))
    namespace = text(manifest, "metadata", "namespace")
    return Permission(user, "update", kind.group, f"{kind.name.lower()}s/finalizers", namespace, text(owner, "name"))

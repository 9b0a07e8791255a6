"""Server-side apply, and what comes with it where another program made the object.

The managed fields come with the answer to an apply, so that an object that is new costs one request, as always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenroom.adapters.kube_http import ApiServer
from greenroom.core.plan import obstacle
from greenroom.core.takeover import handed_over
from greenroom.model.errors import Conflict, Invalid, NotFound
from greenroom.model.manifest import Manifest, text

MERGE_PATCH = "application/merge-patch+json"
"""RFC 7396."""
ATTEMPTS = 5
"""How often to write who holds what, while a controller writes the status in between."""


@dataclass(frozen=True, slots=True)
class Application:
    """What ``manager`` applies to the object at ``path``."""

    server: ApiServer
    path: str
    manifest: Manifest
    manager: str

    async def apply(self, *, force: bool = True) -> dict[str, Any]:
        """Answers the stored object, as ``adopt`` does."""
        return await self.server.request(
            "PATCH",
            self.path,
            params={"fieldManager": self.manager, "force": "true" if force else "false"},
            body=self.manifest,
            headers={"Content-Type": "application/apply-patch+yaml"},  # JSON is YAML
        )

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

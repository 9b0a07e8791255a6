"""What App Mesh's controller left on objects does not keep them from going."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from tests.flows.world import NAMESPACE, settled, world
from tests.virtual import virtual_time

from greenroom.flows.finalizers import Finalizers
from greenroom.model.manifest import Ref
from greenroom.model.mesh import GATEWAY_ROUTE

DEAD = "finalizers.appmesh.k8s.aws/aws-appmesh-resources"
GROUP = GATEWAY_ROUTE.api_version


@virtual_time
async def test_a_deleted_object_goes_although_the_old_controller_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        task = asyncio.create_task(Finalizers(here.store, here.informers).run())
        for name, finalizers in (("mine", [DEAD]), ("others", [DEAD, "example.com/backup"])):
            metadata = {"name": name, "namespace": NAMESPACE, "finalizers": finalizers}
            await here.apply({"apiVersion": GROUP, "kind": "GatewayRoute", "metadata": metadata, "spec": {}})
        await settled()
        routes = await here.objects("GatewayRoute", GROUP)
        assert routes["mine"]["metadata"]["finalizers"] == [DEAD]
        for name in ("mine", "others"):
            await here.store.delete(Ref(GATEWAY_ROUTE, NAMESPACE, name))
        await settled()
        routes = await here.objects("GatewayRoute", GROUP)
        assert {name: each["metadata"]["finalizers"] for name, each in routes.items()} == {
            "others": ["example.com/backup"]
        }
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

"""Pods that the API server is about to create: what has to be known of their namespace is read, then decided.

It is read from the API server itself: a copy may lag behind the gateway that was applied just before its
Deployment, and such pods are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from greenroom.core.admission import Answer
from greenroom.core.gateways import class_of, is_own_class
from greenroom.core.injection import GATEWAY_NAME, Injection, decide
from greenroom.model.errors import ClusterError, NotFound, UnknownKind
from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import NAMESPACE, Manifest, Ref, labels_of, table, text
from greenroom.model.mesh import VIRTUAL_GATEWAY
from greenroom.ports import Cluster

READ_SECONDS = 0.8

log = structlog.get_logger(__name__)


class PodAdmission:
    def __init__(self, cluster: Cluster, injection: Injection) -> None:
        self._cluster = cluster
        self._injection = injection

    async def review(self, request: Manifest) -> Answer:
        """``request`` is that of an AdmissionReview. Answers within a second."""
        pod, name = table(request, "object"), text(request, "namespace")
        namespace: Manifest = {}
        gateways: Sequence[Manifest] | None = None
        try:
            async with asyncio.timeout(READ_SECONDS):
                namespace = await self._cluster.get(Ref(NAMESPACE, "", name))
                gateways = [*await self._selecting(name), *await self._named(name, pod)]
        except (ClusterError, TimeoutError) as error:
            log.warning("a pod cannot be judged", namespace=name, error=str(error) or "no answer in time")
        answer = decide(self._injection, pod, namespace=namespace, gateways=gateways)
        if answer.patch:
            log.info("a pod becomes a gateway", namespace=name, pod=_told(pod))
        return answer

    async def _selecting(self, namespace: str) -> Sequence[Manifest]:
        """The VirtualGateways, which choose their pods."""
        try:
            return (await self._cluster.list(VIRTUAL_GATEWAY, namespace=namespace)).items
        except UnknownKind:
            return ()

    async def _named(self, namespace: str, pod: Manifest) -> Sequence[Manifest]:
        """The Gateway that the pod says it is of, if that is one of ours."""
        name = labels_of(pod).get(GATEWAY_NAME)
        if not name:
            return ()
        try:
            gateway = await self._cluster.get(Ref(GATEWAY, namespace, name))
            gateway_class = await self._cluster.get(class_of(gateway))
        except (NotFound, UnknownKind):
            return ()
        return (gateway,) if is_own_class(gateway_class) else ()


def _told(pod: Manifest) -> str:
    """Its name, or what that will begin with."""
    return text(pod, "metadata", "name") or text(pod, "metadata", "generateName")

"""The operator's gateways: every replica answers admission, the one that leads serves Envoys.

Only one process knows, then, what every Envoy has taken, which is what the conditions tell. Envoys that ask another
replica are sent on, and keep what they have until they find the one that leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from greenroom.adapters.ads import AdsServer
from greenroom.adapters.ads_tls import AdsTls
from greenroom.adapters.certificates import X509Mint
from greenroom.app.lifecycle import serving
from greenroom.app.metrics import Metrics
from greenroom.core.bootstrap import ControlPlane
from greenroom.core.injection import Injection
from greenroom.flows.admission import PodAdmission
from greenroom.flows.certificates import Certificates
from greenroom.flows.finalizers import Finalizers
from greenroom.flows.gateway_certificates import GatewayCertificates
from greenroom.flows.route import Routes
from greenroom.model.manifest import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, Ref
from greenroom.ports import Clock, Cluster
from greenroom.runtime.informer import Informers
from greenroom.web import admission
from greenroom.web.tls import ServerTls

_IPV4 = "0.0.0.0"  # noqa: S104 - a pod's own address is not known before
_BOTH = "::"
"""To gRPC, too, which listens on IPv4 alone where there is nothing else."""


def gateway_bind(pod_address: str) -> str:
    """Where Envoys listen in their pods, told by the first address of Greenroom's own, ``""`` if it is not known.

    Of both families only where the kubelet asks by IPv6, so that nothing else would do: Envoy cannot change the address
    of a port that it has, and where IPv4 comes first, running gateways have theirs.
    """
    return _BOTH if ":" in pod_address else _IPV4


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``release`` is the name of the webhook configurations, and begins those of the Services that lead here:
    ``<release>-ads`` and ``<release>-admission``. ``envoy_image`` takes the place of App Mesh's in gateways' pods."""

    release: str
    envoy_image: str
    pod_address: str = ""
    """The first address of this pod, as ``gateway_bind`` takes it."""
    ads_port: int = 18000
    admission_port: int = 9443


class GatewayService:
    """What serves VirtualGateways in a cluster. ``namespace`` is Greenroom's own; it listens on ``host``."""

    def __init__(
        self,
        settings: GatewaySettings,
        cluster: Cluster,
        informers: Informers,
        clock: Clock,
        metrics: Metrics,
        *,
        namespace: str,
        host: str | None,
    ) -> None:
        ads_host, admission_host = (f"{settings.release}-{part}.{namespace}.svc" for part in ("ads", "admission"))
        self._settings = settings
        self._informers = informers
        self._clock = clock
        self._metrics = metrics
        self._host = host
        self._mint = X509Mint()
        self._certificates = Certificates(
            cluster,
            clock,
            self._mint,
            namespace=namespace,
            names=[admission_host, ads_host],
            webhooks=[Ref(kind, "", settings.release) for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)],
            monitor=metrics.monitor("certificates"),
        )
        self._tls = ServerTls()
        self._certificates.subscribe(lambda identity: self._tls.show(identity.server))
        self._bind = gateway_bind(settings.pod_address)
        envoy = Injection(settings.envoy_image, ControlPlane(ads_host, settings.ads_port), self._bind)
        self._admission = admission.make_app(PodAdmission(cluster, envoy).review)
        self._ads: asyncio.Future[AdsServer] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def admitting(self) -> AsyncIterator[int]:
        """Answer the API server's questions; answers the port. Raises InvalidInput when it is taken."""
        port, context = self._settings.admission_port, self._tls.context
        async with serving(
            self._admission, port, option="--admission-port", host=self._host, ssl_context=context
        ) as port:
            yield port

    async def run(self) -> None:
        """On every replica, until cancelled: the certificates, and a server that takes Envoys while ``keep`` runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._certificates.run())
            identity = await self._certificates.known()
            tls = AdsTls(identity.server, identity.trust)
            self._certificates.subscribe(lambda each: tls.show(each.server, each.trust))
            async with AdsServer(self._host or _BOTH, self._settings.ads_port, tls=tls) as ads:
                self._metrics.watch_gateways(lambda: ads.connected, lambda: ads.refusals)
                self._ads.set_result(ads)
                await asyncio.Event().wait()

    async def keep(self, cluster: Cluster) -> None:
        """On the replica that leads, until cancelled. ``cluster`` holds back the writes of one that leads no more."""
        ads = await asyncio.shield(self._ads)
        monitors = self._metrics.monitor
        routes = Routes(cluster, self._informers, ads, self._clock, bind=self._bind, monitors=monitors)
        gateways = GatewayCertificates(cluster, self._informers, self._clock, self._mint, self._certificates, monitors)
        async with asyncio.TaskGroup() as group:
            for part in (routes, gateways, Finalizers(cluster, self._informers, monitors)):
                group.create_task(part.run())

    def missing(self) -> Iterator[str]:
        """Why admission is not answered yet."""
        if self._certificates.identity is None:
            yield f"certificates: {self._certificates.failure or 'not made yet'}"

"""The client certificates of gateways: a Secret beside each, which ``core.injection`` mounts.

It names the one gateway whose configuration its Envoys may ask for. The Secret belongs to the gateway, and goes with
it. One of type ``kubernetes.io/tls`` under the same name, made by cert-manager, is left as it is.
"""

from __future__ import annotations

from functools import partial

from greenroom.core.certificates import Keyring, Mint, kept_certificate
from greenroom.core.gateway_names import gateway_identity, gateway_secret
from greenroom.core.gateways import is_ours
from greenroom.flows.certificates import CHECK_SECONDS, Certificates, Identity, kept
from greenroom.model.gateway import GATEWAY, GATEWAY_CLASS
from greenroom.model.manifest import Manifest, Ref, get, is_deleting, kind_of, owner_reference, ref_of
from greenroom.model.mesh import VIRTUAL_GATEWAY
from greenroom.model.watch import Scope
from greenroom.ports import Clock, Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers
from greenroom.runtime.monitor import Monitors, unwatched

_GATEWAYS = (VIRTUAL_GATEWAY, GATEWAY)


class GatewayCertificates:
    """Only the replica that leads is to run this; two that do get into each other's way, and do no harm."""

    def __init__(
        self,
        cluster: Cluster,
        informers: Informers,
        clock: Clock,
        mint: Mint,
        certificates: Certificates,
        monitors: Monitors = unwatched,
    ) -> None:
        self._cluster = cluster
        self._informers = informers
        self._clock = clock
        self._mint = mint
        self._certificates = certificates
        self._controller = Controller("gateway-certificates", self._keep, monitor=monitors("gateway-certificates"))

    async def run(self) -> None:
        """Until cancelled."""
        await self._certificates.known()
        for kind in _GATEWAYS:
            self._informers.subscribe(Scope(kind), self._changed)
        self._informers.subscribe(Scope(GATEWAY_CLASS), self._class_changed)
        self._certificates.subscribe(self._trusted)
        try:
            await self._controller.run()
        finally:
            for handler in (self._changed, self._class_changed):
                self._informers.unsubscribe(handler)
            self._certificates.unsubscribe(self._trusted)

    def _changed(self, old: Manifest | None, new: Manifest | None) -> None:
        gateway = new or old
        if gateway is not None:
            self._controller.add(ref_of(gateway))

    def _class_changed(self, _old: Manifest | None, _new: Manifest | None) -> None:
        self._look_at_all()

    def _trusted(self, _: Identity) -> None:
        self._look_at_all()

    def _look_at_all(self) -> None:
        for kind in _GATEWAYS:
            for gateway in self._informers.list(kind):
                self._controller.add(ref_of(gateway))

    async def _keep(self, ref: Ref) -> float | None:
        """Answers the seconds until the Secret is looked at again: somebody may have deleted it."""
        gateway = self._informers.get(ref)
        if gateway is None or is_deleting(gateway) or not self._has_pods(gateway):
            return None
        identity = await self._certificates.known()
        wanted = partial(
            kept_certificate,
            names=[gateway_identity(ref)],
            ring=Keyring(identity.signer, identity.trust),
            mint=self._mint,
            now=self._clock.now(),
            server=False,
        )
        await kept(self._cluster, gateway_secret(ref), wanted, owner=owner_reference(gateway))
        return CHECK_SECONDS

    def _has_pods(self, gateway: Manifest) -> bool:
        """Without a podSelector no pod is this VirtualGateway."""
        is_selecting = kind_of(gateway) == GATEWAY or get(gateway, "spec", "podSelector") is not None
        return is_selecting and is_ours(gateway, self._informers)

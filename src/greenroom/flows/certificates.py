"""Greenroom's own certificates: an authority, and the certificate that its webhooks and control plane show.

Every replica keeps them: the first one that writes wins, and the others take over what it wrote. Secrets of type
``kubernetes.io/tls``, which cert-manager makes, are used and not written. Whoever trusts us is told in time: the
API server by the ``caBundle`` of our webhook configurations, here; gateways by ``flows.gateway_certificates``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from greenroom.core.certificates import (
    TRUST,
    Keyring,
    Mint,
    Pair,
    bundle,
    content,
    encoded,
    is_given,
    kept_authority,
    kept_certificate,
    keyring,
    pair_in,
    usable,
)
from greenroom.model.errors import Conflict, GreenroomError, InvalidInput, NotFound
from greenroom.model.manifest import SECRET, Json, Manifest, Ref, items, name_of, text, uid_of
from greenroom.ports import Clock, Cluster
from greenroom.runtime.monitor import UNWATCHED, Monitor
from greenroom.runtime.pulse import Pulse

AUTHORITY = "greenroom-authority"
SERVER = "greenroom-server"
"""The names of our Secrets, in Greenroom's own namespace."""
MANAGER = "greenroom"
CREATOR = "greenroom-create"

CHECK_SECONDS = 60.0
"""How often all is looked at: soon enough for what a person breaks, and for a certificate another replica renewed."""
RETRY_SECONDS = 5.0
KEEP_SECONDS = 240.0
"""A look that lasts longer does not go on any more: each of its requests would have ended by itself."""
ATTEMPTS = 5
"""How often a write is tried that another replica gets ahead of."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server of ours shows, and whom it trusts: ``trust`` is a PEM text. ``signer`` signs for gateways."""

    server: Pair
    trust: bytes
    signer: Pair


class Certificates:
    """``names`` are the DNS names by which webhooks and control plane are called; ``webhooks`` their configurations."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        mint: Mint,
        *,
        namespace: str,
        names: Sequence[str],
        webhooks: Sequence[Ref] = (),
        monitor: Monitor = UNWATCHED,
    ) -> None:
        self._monitor = monitor
        self._pulse = Pulse()
        self._cluster = cluster
        self._clock = clock
        self._mint = mint
        self._namespace = namespace
        self._names = names
        self._webhooks = webhooks
        self._identity: Identity | None = None
        self._known = asyncio.Event()
        self._failure: GreenroomError | None = None
        self._handlers: list[Callable[[Identity], None]] = []

    @property
    def identity(self) -> Identity | None:
        """None until it is known."""
        return self._identity

    @property
    def failure(self) -> GreenroomError | None:
        """What kept them from being kept the last time."""
        return self._failure

    async def known(self) -> Identity:
        """Wait until it is."""
        while self._identity is None:
            await self._known.wait()
        return self._identity

    def subscribe(self, handler: Callable[[Identity], None]) -> None:
        """Call ``handler`` with the identity now, if it is known, and whenever it changes."""
        self._handlers.append(handler)
        if self._identity is not None:
            handler(self._identity)

    def unsubscribe(self, handler: Callable[[Identity], None]) -> None:
        self._handlers.remove(handler)

    async def run(self) -> None:
        """Until cancelled."""
        with self._monitor.running(self._pulse.is_overdue):
            await self._run()

    async def _run(self) -> None:
        while True:
            self._pulse.beat(within=KEEP_SECONDS)
            try:
                await self.keep()
            except GreenroomError as error:
                # One line tells a person; the repetitions of the same trouble are for those who look closer.
                report = log.debug if str(error) == str(self._failure) else log.warning
                report("certificates cannot be kept, trying again", error=str(error))
                self._failure = error
            else:
                self._failure = None
            pause = RETRY_SECONDS if self._failure else CHECK_SECONDS
            self._pulse.beat(within=pause + KEEP_SECONDS)
            await asyncio.sleep(pause)

    async def keep(self) -> None:
        """Renew what is due. Raises GreenroomError."""
        now = self._clock.now()
        authority = await kept(self._cluster, self._ref(AUTHORITY), lambda data: kept_authority(data, self._mint, now))
        ring = keyring(authority, self._mint, now)
        secret = await kept(
            self._cluster,
            self._ref(SERVER),
            lambda data: kept_certificate(data, self._names, ring, self._mint, now, server=True),
        )
        self._take(self._identity_of(secret, ring))
        for webhook in self._webhooks:
            await self._tell(webhook)

    def _ref(self, name: str) -> Ref:
        return Ref(SECRET, self._namespace, name)

    def _identity_of(self, secret: Manifest, ring: Keyring) -> Identity:
        now, data = self._clock.now(), content(secret)
        server = pair_in(data)
        if server is None or usable(server, self._mint, now) is None:
            raise InvalidInput(
                "holds no valid certificate with its key (tls.crt, tls.key)",
                source=f"Secret {self._namespace}/{SERVER}",
                cure="let its issuer renew it, or delete it and Greenroom makes one",
            )
        return Identity(server, bundle(self._mint, now, ring.trust, data.get(TRUST, b"")), ring.signer)

    def _take(self, identity: Identity) -> None:
        if identity == self._identity:
            return
        log.info("certificates are ready" if self._identity is None else "certificates were renewed")
        self._identity = identity
        self._known.set()
        for handler in self._handlers:
            handler(identity)

    async def _tell(self, webhook: Ref) -> None:
        """Let the API server trust us, when it asks the webhooks of this configuration."""
        identity = await self.known()
        try:
            present = await self._cluster.get(webhook)
        except NotFound:
            return  # not installed
        change = _trusting(present, base64.b64encode(identity.trust).decode())
        if change is not None:
            await self._cluster.apply(change, manager=MANAGER)


async def kept(
    cluster: Cluster,
    ref: Ref,
    wanted: Callable[[Mapping[str, bytes]], Mapping[str, bytes]],
    *,
    owner: Mapping[str, Json] | None = None,
) -> Manifest:
    """The Secret ``ref``, holding what is ``wanted`` given what it holds; one that was given to us as it is.

    A Secret that is not there is made first, empty, by a field manager of its own, which takes no field from anybody.
    So of two replicas that write at once, one gets Conflict, and reads what the other wrote. Raises ClusterError.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await _kept_once(cluster, ref, wanted, owner)
        except Conflict:
            continue
    return await _kept_once(cluster, ref, wanted, owner)


async def _kept_once(
    cluster: Cluster,
    ref: Ref,
    wanted: Callable[[Mapping[str, bytes]], Mapping[str, bytes]],
    owner: Mapping[str, Json] | None,
) -> Manifest:
    bare: dict[str, Json] = {"apiVersion": ref.kind.api_version, "kind": ref.kind.name}
    named: dict[str, Json] = {"name": ref.name, "namespace": ref.namespace}
    try:
        present = await cluster.get(ref)
    except NotFound:
        present = await cluster.apply({**bare, "metadata": named}, manager=CREATOR)
    holds = content(present)
    data = wanted(holds) if not is_given(present) else holds
    if data == holds:
        return present
    log.info("writing a certificate", secret=ref.name, namespace=ref.namespace)
    named.update(
        labels={"app.kubernetes.io/managed-by": "greenroom"},
        uid=uid_of(present),
        resourceVersion=text(present, "metadata", "resourceVersion"),
        **({"ownerReferences": [owner]} if owner else {}),
    )
    return await cluster.apply({**bare, "metadata": named, "data": encoded(data)}, manager=MANAGER)


def _trusting(configuration: Manifest, authority: str) -> Manifest | None:
    """What to apply, so that each webhook trusts ``authority``; None when each does. The UID keeps it from creating."""
    webhooks = items(configuration, "webhooks")
    if all(text(webhook, "clientConfig", "caBundle") == authority for webhook in webhooks):
        return None
    trusting: Json = [{"name": text(each, "name"), "clientConfig": {"caBundle": authority}} for each in webhooks]
    return {
        "apiVersion": configuration["apiVersion"],
        "kind": configuration["kind"],
        "metadata": {"name": name_of(configuration), "uid": uid_of(configuration)},
        "webhooks": trusting,
    }

"""Greenroom's certificates over a store: made once by however many replicas, renewed in time, told to who trusts us."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.flows.world import VirtualClock
from tests.virtual import virtual_time

from greenroom.adapters.certificates import CERTIFICATE_LIFE, X509Mint
from greenroom.core.certificates import Pair, encoded
from greenroom.flows.certificates import AUTHORITY, CHECK_SECONDS, SERVER, Certificates, Identity
from greenroom.flows.gateway_certificates import GatewayCertificates
from greenroom.local.storage.store import Store
from greenroom.model.errors import NotFound
from greenroom.model.manifest import MUTATING_WEBHOOKS, NAMESPACE, SECRET, Manifest, Ref, get, text
from greenroom.model.mesh import VIRTUAL_GATEWAY
from greenroom.runtime.informer import Informers

MINT = X509Mint()
OWN, GATEWAYS = "greenroom", "pr-env"
NAMES = ("greenroom.greenroom.svc",)
GATEWAY_SECRET = Ref(SECRET, GATEWAYS, "greenroom-gateway-ingress-gw")
WEBHOOKS = Ref(MUTATING_WEBHOOKS, "", "greenroom")


class JumpingClock(VirtualClock):
    """The loop's time, and what was jumped over."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = JumpingClock()
        self.informers = Informers(store)
        self.certificates = self.replica()
        self.gateways = GatewayCertificates(store, self.informers, self.clock, MINT, self.certificates)

    def replica(self, cluster: Any = None) -> Certificates:
        return Certificates(cluster or self.store, self.clock, MINT, namespace=OWN, names=NAMES, webhooks=[WEBHOOKS])

    async def secret(self, name: str, namespace: str = OWN) -> Manifest:
        return await self.store.get(Ref(SECRET, namespace, name))

    async def version(self, name: str, namespace: str = OWN) -> str:
        return text(await self.secret(name, namespace), "metadata", "resourceVersion")

    async def give(self, ref: Ref, pair: Pair, trust: bytes) -> None:
        """A Secret as cert-manager makes it."""
        data = encoded({"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": trust})
        head: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data}
        named = {"name": ref.name, "namespace": ref.namespace}
        await self.store.apply({**head, "metadata": named}, manager="cert-manager")

    async def apply_gateway(self, **spec: Any) -> None:
        head = {"apiVersion": VIRTUAL_GATEWAY.api_version, "kind": VIRTUAL_GATEWAY.name}
        named = {"name": "ingress-gw", "namespace": GATEWAYS}
        chosen = {"podSelector": {"matchLabels": {"app": "ingress-gw"}}, **spec}
        await self.store.apply({**head, "metadata": named, "spec": chosen}, manager="test")


@asynccontextmanager
async def world(folder: Path, *, running: bool = True) -> AsyncIterator[World]:
    with closing(Store.open(folder / "cluster.db", clock=VirtualClock())) as store:
        for name in (OWN, GATEWAYS):
            manifest: Manifest = {"apiVersion": "v1", "kind": NAMESPACE.name, "metadata": {"name": name}}
            await store.apply(manifest, manager="test")
        made = World(store)
        runs = (made.informers.run, made.certificates.run, made.gateways.run) if running else ()
        tasks = [asyncio.create_task(run()) for run in runs]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def looked() -> None:
    """Let everything be looked at once more, in virtual time."""
    await asyncio.sleep(2 * CHECK_SECONDS)


def names_in(pem: bytes) -> frozenset[str]:
    return MINT.read(pem)[0].names


def certificate_in(secret: Manifest) -> bytes:
    return base64.b64decode(text(secret, "data", "tls.crt"))


@virtual_time
async def test_everything_is_made_when_there_is_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        identity = await here.certificates.known()
        assert names_in(identity.server.certificate) == set(NAMES)
        assert identity.trust == base64.b64decode(text(await here.secret(AUTHORITY), "data", "tls.crt"))


@virtual_time
async def test_nothing_is_written_while_nothing_is_due(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.apply_gateway()
        await looked()
        before = (await here.store.list(SECRET)).resource_version
        await asyncio.sleep(3600)
        assert (await here.store.list(SECRET)).resource_version == before


@virtual_time
async def test_replicas_that_start_together_agree(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        replicas = [here.replica(Slow(here.store)) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            for replica in replicas:
                group.create_task(replica.keep())
        assert len({replica.identity for replica in replicas}) == 1


class Slow:
    """A cluster far away: between a read and the write after it, others write."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        async def later(*args: Any, **options: Any) -> Any:
            await asyncio.sleep(0.1)
            return await getattr(self._store, name)(*args, **options)

        return later


@virtual_time
async def test_a_certificate_is_renewed_and_told(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        told: list[Identity] = []
        here.certificates.subscribe(told.append)
        await here.apply_gateway()
        await looked()
        gateway = certificate_in(await here.secret(GATEWAY_SECRET.name, GATEWAYS))
        here.clock.ahead = CERTIFICATE_LIFE * 2 / 3
        await looked()
        assert len(told) == 2
        assert told[0].server != told[1].server
        assert told[0].trust == told[1].trust
        assert certificate_in(await here.secret(GATEWAY_SECRET.name, GATEWAYS)) != gateway


@virtual_time
async def test_a_gateway_gets_a_certificate_that_names_it_and_goes_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.apply_gateway()
        await looked()
        secret = await here.secret(GATEWAY_SECRET.name, GATEWAYS)
        assert names_in(certificate_in(secret)) == {"greenroom://gateway/pr-env/ingress-gw"}
        assert base64.b64decode(text(secret, "data", "ca.crt")) == (await here.certificates.known()).trust
        await here.store.delete(Ref(VIRTUAL_GATEWAY, GATEWAYS, "ingress-gw"))
        await looked()
        assert not (await here.store.list(SECRET, namespace=GATEWAYS)).items


@virtual_time
async def test_a_gateway_without_pods_needs_no_certificate(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.apply_gateway(podSelector=None)
        await looked()
        assert not (await here.store.list(SECRET, namespace=GATEWAYS)).items


@virtual_time
async def test_what_somebody_deletes_is_made_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.apply_gateway()
        await looked()
        before = await here.certificates.known()
        for ref in (Ref(SECRET, OWN, AUTHORITY), Ref(SECRET, OWN, SERVER), GATEWAY_SECRET):
            await here.store.delete(ref)
        await looked()
        after = await here.certificates.known()
        assert after.signer != before.signer
        secret = await here.secret(GATEWAY_SECRET.name, GATEWAYS)
        assert base64.b64decode(text(secret, "data", "ca.crt")) == after.trust


@virtual_time
async def test_a_gateways_certificate_that_somebody_deletes_is_made_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.apply_gateway()
        await looked()
        await here.store.delete(GATEWAY_SECRET)
        await looked()
        assert await here.secret(GATEWAY_SECRET.name, GATEWAYS)


@virtual_time
async def test_what_cert_manager_made_is_used_and_never_written(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        now = VirtualClock().now()
        authority = MINT.authority(now)
        server = MINT.issue(authority, NAMES, now, server=True)
        gateway = MINT.issue(authority, ["greenroom://gateway/pr-env/ingress-gw"], now, server=False)
        await here.give(Ref(SECRET, OWN, SERVER), server, authority.certificate)
        await here.give(GATEWAY_SECRET, gateway, authority.certificate)
        await here.apply_gateway()
        versions = await here.version(SERVER), await here.version(GATEWAY_SECRET.name, GATEWAYS)
        tasks = [asyncio.create_task(run()) for run in (here.informers.run, here.certificates.run, here.gateways.run)]
        await looked()
        identity = await here.certificates.known()
        assert identity.server == server
        assert authority.certificate in identity.trust  # so that the API server trusts us, and we such gateways
        assert (await here.version(SERVER), await here.version(GATEWAY_SECRET.name, GATEWAYS)) == versions
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@virtual_time
async def test_an_authority_of_cert_managers_signs(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        authority = MINT.authority(VirtualClock().now())
        await here.give(Ref(SECRET, OWN, AUTHORITY), authority, authority.certificate)
        await here.certificates.keep()
        identity = await here.certificates.known()
        assert identity.signer == authority
        said = MINT.read(identity.server.certificate)[0]
        assert said.issuer_key == MINT.read(authority.certificate)[0].subject_key


@virtual_time
async def test_webhooks_trust_us_and_are_mended(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        bundle = {"clientConfig": {"service": {"name": "greenroom", "namespace": OWN}}}
        configuration = {
            "apiVersion": MUTATING_WEBHOOKS.api_version,
            "kind": MUTATING_WEBHOOKS.name,
            "metadata": {"name": WEBHOOKS.name},
            "webhooks": [{"name": "pods.greenroom.dev", **bundle}],
        }
        cluster = Configurations(here.store, configuration)
        certificates = here.replica(cluster)
        await certificates.keep()
        trust = base64.b64encode((await certificates.known()).trust).decode()
        assert cluster.trusted == [trust]
        await certificates.keep()
        assert cluster.trusted == [trust]
        cluster.configuration = configuration
        await certificates.keep()
        assert cluster.trusted == [trust, trust]


class Configurations:
    """A store with a webhook configuration, which keeps what its list entries are told, by their names."""

    def __init__(self, store: Store, configuration: Any) -> None:
        self._store = store
        self.configuration = configuration
        self.trusted: list[str] = []

    async def get(self, ref: Ref) -> Any:
        return self.configuration if ref == WEBHOOKS else await self._store.get(ref)

    async def apply(self, manifest: Any, *, manager: str) -> Any:
        if manifest["kind"] != MUTATING_WEBHOOKS.name:
            return await self._store.apply(manifest, manager=manager)
        (given,) = manifest["webhooks"]
        assert given["name"] == "pods.greenroom.dev"
        self.trusted.append(str(get(given, "clientConfig", "caBundle")))
        (present,) = self.configuration["webhooks"]
        merged = {**present, "clientConfig": {**present["clientConfig"], **given["clientConfig"]}}
        self.configuration = {**self.configuration, "webhooks": [merged]}
        return self.configuration


@virtual_time
async def test_what_is_wrong_with_a_given_secret_is_told_until_it_is_mended(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        now = here.clock.now()
        authority = MINT.authority(now)
        await here.give(Ref(SECRET, OWN, AUTHORITY), MINT.issue(authority, NAMES, now, server=True), b"")
        task = asyncio.create_task(here.certificates.run())
        await looked()
        assert "Secret greenroom/greenroom-authority: holds no valid authority" in str(here.certificates.failure)
        await here.give(Ref(SECRET, OWN, AUTHORITY), authority, authority.certificate)
        await looked()
        assert here.certificates.failure is None
        assert (await here.certificates.known()).signer == authority
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_a_configuration_that_is_not_installed_is_no_trouble(tmp_path: Path) -> None:
    async with world(tmp_path, running=False) as here:
        await here.certificates.keep()
        assert here.certificates.identity is not None
        with suppress(NotFound):
            assert not await here.store.get(WEBHOOKS)

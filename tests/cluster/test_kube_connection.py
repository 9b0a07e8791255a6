"""Each way to prove who we are, and its renewal, against a real Kubernetes."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.contract.suite import MANAGER, eventually, secret
from yarl import URL

from greenroom.adapters import kubeconfig
from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential, StoredCredentials
from greenroom.adapters.kube_default import default
from greenroom.adapters.kube_exec import ExecCredentials, Plugin
from greenroom.model.errors import Forbidden, Unavailable
from greenroom.model.manifest import SECRET, Kind, Manifest, Ref, name_of, text
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers

BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding")


async def user_of(connection: Connection) -> str:
    """Whom the API server takes us for, who may do nothing: it says so when it refuses."""
    async with KubeCluster(connection) as cluster:
        with pytest.raises(Forbidden) as caught:
            await cluster.list(SECRET)
    return str(caught.value).split('"')[1]


def written(path: Path, connection: Connection, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig of the server of ``connection`` with this user."""
    authority = base64.b64encode(connection.authority.encode()).decode()
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [
            {"name": "k", "cluster": {"server": connection.server, "certificate-authority-data": authority} | cluster}
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(frozen=True)
class Account:
    """A service account that may read Secrets everywhere, and tokens of it that can be revoked."""

    cluster: KubeCluster
    connection: Connection
    namespace: str

    async def token(self, name: str) -> str:
        """A new token."""
        annotations = {"kubernetes.io/service-account.name": "default"}
        wanted: Manifest = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.name,
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations},
            "type": "kubernetes.io/service-account-token",
        }
        await self.cluster.apply(wanted, manager=MANAGER)
        token = ""

        async def issued() -> bool:
            nonlocal token
            token = base64.b64decode(text(await self.cluster.get(self._ref(name)), "data", "token")).decode()
            return bool(token)

        await eventually("the token is issued", issued)
        return token

    async def revoke(self, name: str) -> None:
        """Returns when the API server does not accept it any more: it remembers for ten seconds what it accepted."""
        token = base64.b64decode(text(await self.cluster.get(self._ref(name)), "data", "token")).decode()
        await self.cluster.delete(self._ref(name))
        async with KubeCluster(replace(self.connection, credentials=Credential(token))) as bearer:

            async def refused() -> bool:
                try:
                    await bearer.resources()
                except Forbidden:
                    return True
                return False

            await eventually("the token is refused", refused)

    def _ref(self, name: str) -> Ref:
        return Ref(SECRET, self.namespace, name)


@pytest.fixture
async def account(kubernetes: Kubernetes, cluster: KubeCluster, namespace: str) -> AsyncIterator[Account]:
    binding: Manifest = {
        "apiVersion": BINDING.api_version,
        "kind": BINDING.name,
        "metadata": {"name": namespace},
        "roleRef": {"apiGroup": BINDING.group, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    await cluster.apply(binding, manager=MANAGER)
    yield Account(cluster, kubernetes.admin, namespace)
    await cluster.delete(Ref(BINDING, "", namespace))


# Client certificates


async def test_a_client_certificate_says_who_we_are(kubernetes: Kubernetes, tmp_path: Path) -> None:
    certificate, key = kubernetes.client_certificate("alice")
    files = written(
        tmp_path / "files", kubernetes.admin, {"client-certificate": str(certificate), "client-key": str(key)}
    )
    data = {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }
    assert await user_of(kubeconfig.load(files)) == "alice"
    assert await user_of(kubeconfig.load(written(tmp_path / "data", kubernetes.admin, data))) == "alice"


async def test_a_client_certificate_replaced_on_disk_is_used(kubernetes: Kubernetes, tmp_path: Path) -> None:
    async def user() -> str:
        with pytest.raises(Forbidden) as caught:
            await cluster.list(SECRET)
        return str(caught.value).split('"')[1]

    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    old, new = kubernetes.client_certificate("old"), kubernetes.client_certificate("new")
    certificate.write_bytes(old[0].read_bytes())
    key.write_bytes(old[1].read_bytes())
    credentials = StoredCredentials(certificate=certificate, key=key, reread_seconds=0.0)
    async with KubeCluster(replace(kubernetes.admin, credentials=credentials)) as cluster:
        assert await user() == "old"
        certificate.write_bytes(new[0].read_bytes())
        assert await user() == "old"  # the key does not fit yet
        key.write_bytes(new[1].read_bytes())
        assert await user() == "new"


async def test_an_exec_plugin_may_give_a_client_certificate(kubernetes: Kubernetes, tmp_path: Path) -> None:
    certificate, key = kubernetes.client_certificate("bob")
    status = {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()}
    path = written(tmp_path / "config", kubernetes.admin, {"exec": printing(tmp_path / "answer", status)})
    assert await user_of(kubeconfig.load(path)) == "bob"


def printing(answer: Path, status: dict[str, str]) -> dict[str, Any]:
    """An exec plugin that prints what is in the file ``answer``: to begin with, this status."""
    version = "client.authentication.k8s.io/v1beta1"  # what `aws eks update-kubeconfig` writes
    answer.write_text(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}))
    program = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
    return {"apiVersion": version, "command": sys.executable, "args": ["-S", "-c", program, str(answer)]}


# Tokens


async def test_informers_go_on_when_the_token_is_replaced_on_disk(
    kubernetes: Kubernetes, account: Account, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(await account.token("first"))
    connection = kubeconfig.load(written(tmp_path / "config", kubernetes.admin, {"tokenFile": str(path)}))
    async with KubeCluster(connection, watch_seconds=1) as follower:  # so that it has to prove itself anew, soon
        informers = Informers(follower)
        informers.start(Scope(SECRET))
        running = asyncio.create_task(informers.run())
        try:
            await informers.synced()
            path.write_text(await account.token("second"))
            await account.revoke("first")
            await cluster.apply(secret(namespace, "later"), manager=MANAGER)

            async def known() -> bool:
                return "later" in {name_of(found) for found in informers.list(SECRET, namespace=namespace)}

            await eventually("what came later is known", known)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_revoked_token_of_an_exec_plugin_is_replaced(
    kubernetes: Kubernetes, account: Account, namespace: str, tmp_path: Path
) -> None:
    answer = tmp_path / "answer"
    plugin = printing(answer, {"token": await account.token("first")})
    described = Plugin(plugin["command"], plugin["args"], api_version=plugin["apiVersion"])
    connection = replace(kubernetes.admin, credentials=ExecCredentials(described, interval=0.0))
    async with KubeCluster(connection) as cluster:
        await cluster.list(SECRET, namespace=namespace)
        printing(answer, {"token": await account.token("second")})
        await account.revoke("first")
        await cluster.list(SECRET, namespace=namespace)


async def test_a_pod_finds_its_cluster(kubernetes: Kubernetes, account: Account, tmp_path: Path) -> None:
    admin = kubernetes.admin
    (tmp_path / "token").write_text(await account.token("pod"))
    (tmp_path / "ca.crt").write_text(admin.authority)
    (tmp_path / "namespace").write_text(account.namespace)
    server = URL(admin.server)
    environment = {"KUBERNETES_SERVICE_HOST": str(server.host), "KUBERNETES_SERVICE_PORT": str(server.port)}
    connection = default(environment=environment, service_account=tmp_path)
    async with KubeCluster(connection) as cluster:
        listing = await cluster.list(SECRET, namespace=connection.namespace)
    assert [name_of(found) for found in listing.items] == ["pod"]


async def test_an_administrator_may_ask_in_the_name_of_another(kubernetes: Kubernetes) -> None:
    assert await user_of(replace(kubernetes.admin, impersonate="somebody")) == "somebody"


# TLS


async def test_the_name_in_the_servers_certificate_can_be_given(kubernetes: Kubernetes, tmp_path: Path) -> None:
    token = {"token": "x"}
    right = written(tmp_path / "right", kubernetes.admin, token, **{"tls-server-name": "kubernetes.default.svc"})
    wrong = written(tmp_path / "wrong", kubernetes.admin, token, **{"tls-server-name": "elsewhere.example"})
    async with KubeCluster(kubeconfig.load(right)) as cluster:
        with pytest.raises(Forbidden):  # so it was spoken to
            await cluster.resources()
    async with KubeCluster(kubeconfig.load(wrong)) as cluster:
        with pytest.raises(Unavailable, match="certificate"):
            await cluster.resources()


async def test_a_server_can_be_trusted_blindly(kubernetes: Kubernetes) -> None:
    async with KubeCluster(replace(kubernetes.admin, authority="", verify=False)) as cluster:
        assert await cluster.resources()


async def test_a_server_behind_a_proxy_is_reached_and_verified(kubernetes: Kubernetes) -> None:
    """The proxy is asked for a tunnel, and sees nothing of what goes through it."""
    seen: list[bytes] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            seen.append(chunk)
            writer.write(chunk)
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        host, port = seen[-1].split()[1].decode().split(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with KubeCluster(replace(kubernetes.admin, proxy=address)) as cluster:
            assert await cluster.resources()
    assert seen[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"Bearer" not in b"".join(seen)

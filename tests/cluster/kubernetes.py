"""A Kubernetes control plane of real programs: etcd, kube-apiserver and kube-controller-manager.

It has no node, so a pod is stored and never runs. All else is as in production: admission, RBAC, the watch cache, the
garbage collector, the namespace controller.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import secrets
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import yaml
from tests.cluster.programs import DEADLINE, Programs

from greenroom.adapters import kubeconfig
from greenroom.adapters.kube import KubeCluster
from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.model.manifest import PR, REVIEW_APP, Json, Kind
from greenroom.model.mesh import KINDS as MESH_KINDS

CRDS = Path(__file__).parents[2] / "deploy" / "chart" / "crds"
MANAGER = "cluster-tests"

SERVICES = "198.18.64.0/18"
"""Where Services get their addresses: of the block that is set aside for tests (RFC 2544), so that it hides nobody."""

UNCACHED = "leases.coordination.k8s.io"
"""The resource that the API server reads from etcd each time. All others have its watch cache in front."""


@contextmanager
def control_plane(folder: Path, binaries: Path, address: str = "127.0.0.1") -> Iterator[Kubernetes]:
    """One that runs, and serves Greenroom's kinds."""
    kubernetes = Kubernetes(folder, binaries, address)
    try:
        kubernetes.start()
        asyncio.run(_install_crds(kubernetes))
        kubernetes.start_controllers()
        yield kubernetes
    finally:
        kubernetes.stop()


class Kubernetes:
    """The control plane, with its files and logs in ``folder``; ``binaries`` holds Kubernetes' programs.

    The API server listens at ``address``, one of this machine.
    """

    def __init__(self, folder: Path, binaries: Path, address: str = "127.0.0.1") -> None:
        self._folder = folder
        self._address = address
        self._programs = Programs(folder, binaries)
        self._etcd_port, self._api_port = free_port("127.0.0.1"), free_port(address)
        self._admin, self._nobody = secrets.token_hex(16), secrets.token_hex(16)

    @property
    def kubeconfig(self) -> Path:
        """The file that tells who may do everything how to reach the API server."""
        return self._folder / "kubeconfig"

    @property
    def admin(self) -> Connection:
        """What it says."""
        return kubeconfig.load(self.kubeconfig)

    @property
    def nobody(self) -> Connection:
        """The same for who may do nothing."""
        return replace(self.admin, credentials=Credential(self._nobody))

    def client_certificate(self, user: str) -> tuple[Path, Path]:
        """Files with a certificate, which the API server takes for ``user``, and its key."""
        certificate, key = self._folder / f"{user}.crt", self._folder / f"{user}.key"
        authority = ("-CA", self._folder / "users.crt", "-CAkey", self._folder / "users.key")
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", key, "-subj", f"/CN={user}", *authority, "-out", certificate)
        return certificate, key

    def start(self) -> None:
        """Start etcd and the API server. ``start_controllers`` starts the rest."""
        self._write_credentials()
        url = f"http://127.0.0.1:{self._etcd_port}"
        self._programs.start(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            "--listen-peer-urls=http://127.0.0.1:0",
        )
        self._programs.wait("etcd", self._etcd_answers)
        self._start_api_server()
        self._wait_for_api_server()
        self._write_kubeconfig()

    @asynccontextmanager
    async def without_api_server(self) -> AsyncIterator[None]:
        """A block in which it is gone, cut off. Afterwards it is back on the same port, with the same data."""
        self._programs.end("kube-apiserver")
        try:
            yield
        finally:
            self._start_api_server()
            await asyncio.to_thread(self._wait_for_api_server)

    def with_silent_etcd(self) -> AbstractContextManager[None]:
        """A block in which etcd does not answer, so that the API server can neither read nor write."""
        return self._programs.suspended("etcd")

    def compact(self, version: str) -> None:
        """Make etcd forget what objects were like before this resource version."""
        self._etcd("kv/compaction", revision=version, physical=True)

    def delete_unseen(self, plural: str, namespace: str, name: str) -> None:
        """Take an object out of etcd, behind the API server's back."""
        key = base64.b64encode(f"/registry/{plural}/{namespace}/{name}".encode()).decode()
        if self._etcd("kv/deleterange", key=key).get("deleted") != "1":
            raise LookupError(f"etcd has no {plural} {namespace}/{name}")

    def _start_api_server(self) -> None:
        self._programs.start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self._address}",
            f"--advertise-address={self._address}",
            f"--secure-port={self._api_port}",
            f"--cert-dir={self._folder}",  # it makes itself a certificate there
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            f"--client-ca-file={self._folder / 'users.crt'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self._folder / 'accounts.key'}",
            f"--service-cluster-ip-range={SERVICES}",
            "--kubelet-preferred-address-types=InternalIP",  # no DNS server knows a node's name
            f"--watch-cache-sizes={UNCACHED}#0",
        )

    def _wait_for_api_server(self) -> None:
        self._programs.wait("kube-apiserver", self._api_server_is_ready)

    def start_controllers(self) -> None:
        """Start the controller manager. Kinds that are served by now it knows at once, others half a minute later."""
        self._programs.start(
            "kube-controller-manager",
            f"--kubeconfig={self._folder / 'kubeconfig'}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self._folder / 'accounts.key'}",
        )

    def stop(self) -> None:
        self._programs.end_all()

    def _etcd(self, method: str, **body: Json) -> Mapping[str, Json]:
        """Ask etcd, through its JSON gateway. Raises OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=DEADLINE)
        try:
            connection.request("POST", f"/v3/{method}", msgspec.json.encode(body))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"etcd answered {response.status}: {content[:200]!r}")
        return msgspec.json.decode(content, type=dict)

    def _etcd_answers(self) -> bool:
        try:
            return bool(self._etcd("maintenance/status"))
        except OSError:
            return False

    def _api_server_is_ready(self) -> bool:
        certificate = self._folder / "apiserver.crt"
        if not certificate.exists():
            return False
        connection = http.client.HTTPSConnection(
            self._address, self._api_port, timeout=DEADLINE, context=ssl.create_default_context(cafile=certificate)
        )
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self._admin}"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _write_credentials(self) -> None:
        (self._folder / "tokens.csv").write_text(
            f"{self._admin},admin,admin,system:masters\n{self._nobody},nobody,nobody\n"
        )
        _openssl("genrsa", "-out", self._folder / "accounts.key", "2048")
        users = ("-keyout", self._folder / "users.key", "-out", self._folder / "users.crt")
        _openssl("req", "-x509", *_NEW_KEY, "-subj", "/CN=users", *users)

    def _write_kubeconfig(self) -> None:
        authority = base64.b64encode((self._folder / "apiserver.crt").read_bytes()).decode()
        server = f"https://{self._address}:{self._api_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": self._admin}}],
        }
        (self._folder / "kubeconfig").write_text(yaml.safe_dump(config))


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


async def _install_crds(kubernetes: Kubernetes) -> None:
    async with KubeCluster(kubernetes.admin) as cluster:
        for file in CRDS.iterdir():
            await cluster.apply(yaml.safe_load(file.read_text()), manager=MANAGER)
        async with asyncio.timeout(DEADLINE):
            while not await _serves(cluster, REVIEW_APP, PR, *MESH_KINDS):  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0.05)


async def _serves(cluster: KubeCluster, *kinds: Kind) -> bool:
    return {resource.kind for resource in await cluster.resources()}.issuperset(kinds)


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port

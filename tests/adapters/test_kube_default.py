"""Which API server Greenroom takes when it is told little: on a laptop, in a pod, and where there is none."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from tests.adapters.test_kubeconfig import AUTHORITY

from greenroom.adapters.certificates import X509Mint
from greenroom.adapters.kube_connection import TlsContexts
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_default import default, in_cluster
from greenroom.model.errors import InvalidInput

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("account-token")
    (folder / "ca.crt").write_text(AUTHORITY)
    (folder / "namespace").write_text("greenroom")
    return folder


def kubeconfig(path: Path) -> Path:
    """A kubeconfig whose server is called as its file, with the context ``c``."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"https://{path.name}"}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


async def test_a_pod_uses_its_service_account(account: Path) -> None:
    connection = default(environment=POD, service_account=account)
    assert connection.server == "https://10.96.0.1:443"
    assert connection.authority == AUTHORITY
    assert connection.namespace == "greenroom"
    assert await connection.credentials.current() == Credential("account-token")


async def test_a_pod_follows_the_rotation_of_its_token(account: Path) -> None:
    credentials = in_cluster(environment=POD, service_account=account).credentials
    refused = await credentials.current()
    (account / "token").write_text("rotated")
    assert await credentials.renewed(refused) == Credential("rotated")


def test_a_server_with_an_ipv6_address_is_put_in_brackets(account: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert default(environment=environment, service_account=account).server == "https://[fd00::1]:6443"


@pytest.mark.parametrize("lost", ["token", "ca.crt", "namespace"])
def test_a_pod_without_an_account_is_told_so(account: Path, lost: str) -> None:
    (account / lost).unlink()
    with pytest.raises(InvalidInput, match=f"{lost}.*automountServiceAccountToken"):
        default(environment=POD, service_account=account)


def test_a_pod_with_a_broken_authority_is_told_so(account: Path) -> None:
    (account / "ca.crt").write_text("x")
    with pytest.raises(InvalidInput, match="service account cannot be used"):
        default(environment=POD, service_account=account)


def test_what_is_named_comes_before_the_pod_and_the_pod_before_the_home(account: Path, tmp_path: Path) -> None:
    flag, variable = kubeconfig(tmp_path / "flag"), kubeconfig(tmp_path / "variable")
    environment = {"HOME": str(tmp_path)}
    kubeconfig(tmp_path / ".kube" / "config")
    assert default(environment=environment).server == "https://config"
    environment |= POD
    assert default(environment=environment, service_account=account).server == "https://10.96.0.1:443"
    assert default(environment=environment, context="c").server == "https://config"
    environment |= {"KUBECONFIG": f"{tmp_path / 'none'}::{variable}"}
    assert default(environment=environment).server == "https://variable"
    assert default(kubeconfig_path=flag, environment=environment).server == "https://flag"


def test_the_home_comes_before_the_pod_where_it_is_wanted(account: Path, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), **POD}
    assert default(environment=environment, service_account=account, home_first=True).server == "https://10.96.0.1:443"
    kubeconfig(tmp_path / ".kube" / "config")
    assert default(environment=environment, service_account=account, home_first=True).server == "https://config"
    environment |= {"KUBECONFIG": str(kubeconfig(tmp_path / "variable"))}
    assert default(environment=environment, service_account=account, home_first=True).server == "https://variable"


def test_where_there_is_no_kubernetes_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no pod, KUBECONFIG is not set, and there is no ~/\.kube/config"):
        default(environment={"HOME": str(tmp_path)})


def trusted(context: ssl.SSLContext) -> list[int]:
    return sorted(int(str(each["serialNumber"]), 16) for each in context.get_ca_certs())


def serial(pem: str) -> int:
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_a_pod_trusts_the_clusters_new_authority_and_keeps_the_old_one_while_the_file_is_broken(account: Path) -> None:
    seconds, warnings = 0.0, list[str]()
    connection = in_cluster(environment=POD, service_account=account)
    contexts = TlsContexts(connection, warn=warnings.append, now=lambda: seconds)
    first = contexts.context(Credential())
    assert trusted(first) == [serial(AUTHORITY)]
    (account / "ca.crt").write_text("")
    seconds += 10
    assert contexts.context(Credential()) is first
    (account / "ca.crt").write_text("half a certifi")
    seconds += 10
    assert contexts.context(Credential()) is first
    assert len(warnings) == 1
    rotated = X509Mint().authority(datetime.now(UTC)).certificate.decode()
    (account / "ca.crt").write_text(AUTHORITY + rotated)
    seconds += 10
    assert trusted(contexts.context(Credential())) == sorted([serial(AUTHORITY), serial(rotated)])

"""Certificates as another implementation sees them: OpenSSL's strict verifier, which wants every field of RFC 5280."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenroom.adapters.certificates import X509Mint
from greenroom.core.certificates import Pair

MINT = X509Mint()
GATEWAY = "greenroom://gateway/pr-env/ingress-gw"


@pytest.fixture(scope="module")
def authority() -> Pair:
    return MINT.authority(datetime.now(UTC))


def verified(folder: Path, authority: Pair, pair: Pair, purpose: str) -> bool:
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "tls.crt").write_bytes(pair.certificate)
    checks = ("-x509_strict", "-purpose", purpose, "-CAfile", folder / "ca.crt", folder / "tls.crt")
    return subprocess.run(["openssl", "verify", *checks], capture_output=True, check=False).returncode == 0


def test_a_server_is_a_server_and_a_client_a_client(tmp_path: Path, authority: Pair) -> None:
    now = datetime.now(UTC)
    server = MINT.issue(authority, ["greenroom.greenroom.svc"], now, server=True)
    client = MINT.issue(authority, [GATEWAY], now, server=False)
    assert verified(tmp_path, authority, server, "sslserver")
    assert verified(tmp_path, authority, client, "sslclient")
    assert not verified(tmp_path, authority, server, "sslclient")
    assert not verified(tmp_path, authority, client, "sslserver")


def test_a_certificate_of_another_authority_is_not_verified(tmp_path: Path, authority: Pair) -> None:
    other = MINT.authority(datetime.now(UTC))
    server = MINT.issue(other, ["greenroom.greenroom.svc"], datetime.now(UTC), server=True)
    assert not verified(tmp_path, authority, server, "sslserver")


def test_what_is_made_can_be_read(authority: Pair) -> None:
    (said,) = MINT.read(MINT.issue(authority, ["a.svc", GATEWAY], datetime.now(UTC), server=False).certificate)
    (signer,) = MINT.read(authority.certificate)
    assert said.names == {"a.svc", GATEWAY}
    assert (signer.is_authority, said.is_authority) == (True, False)
    assert said.issuer_key == signer.subject_key

"""Credentials in files that change under us, as the kubelet and others replace them."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.adapters.kube_credentials import Credential, StoredCredentials
from greenroom.model.errors import Unavailable


class Watch:
    """A watch that is set by hand."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


async def test_a_new_token_is_taken_when_it_is_time_to_look(token: Path) -> None:
    watch = Watch()
    stored = StoredCredentials(token=token, reread_seconds=10.0, now=watch)
    assert await stored.current() == Credential("first")
    token.write_text("second")
    watch.time = 9.9
    assert await stored.current() == Credential("first")
    watch.time = 10.0
    assert await stored.current() == Credential("second")


async def test_a_refused_token_is_replaced_at_once_when_there_is_another(token: Path) -> None:
    stored = StoredCredentials(token=token, now=Watch())
    refused = await stored.current()
    assert await stored.renewed(refused) is None
    token.write_text("second")
    assert await stored.renewed(refused) == Credential("second")
    assert await stored.current() == Credential("second")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"two\nlines"])
async def test_a_token_that_cannot_be_read_any_more_leaves_the_one_before(token: Path, content: bytes | None) -> None:
    watch = Watch()
    stored = StoredCredentials(token=token, now=watch)
    await stored.current()
    token.unlink() if content is None else token.write_bytes(content)
    watch.time = 60.0
    assert await stored.current() == Credential("first")


@pytest.mark.parametrize("content", [b"hush\xff", b"hush\nhush"])
async def test_a_file_without_a_token_is_told_without_quoting_it(token: Path, content: bytes) -> None:
    token.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        await StoredCredentials(token=token).current()
    assert "hush" not in str(caught.value)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="none: No such file"):
        await StoredCredentials(token=tmp_path / "none").current()


async def test_certificates_change_with_their_files(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_text("certificate"), key.write_text("key")
    stored = StoredCredentials(certificate=certificate, key=key, reread_seconds=0.0)
    assert await stored.current() == Credential("", "certificate", "key")
    key.write_text("another")
    assert await stored.current() == Credential("", "certificate", "another")

"""When certificates are renewed, and that nobody ever meets one of an authority that it has not heard of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from greenroom.adapters import certificates
from greenroom.adapters.certificates import AUTHORITY_LIFE, CERTIFICATE_LIFE, X509Mint
from greenroom.core.certificates import (
    CERTIFICATE,
    KEY,
    OVERLAP,
    TRUST,
    Keyring,
    content,
    encoded,
    is_given,
    kept_authority,
    kept_certificate,
    keyring,
    pair_in,
)
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Manifest

MINT = X509Mint()
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAMES = ("greenroom.greenroom.svc",)
AUTHORITY = kept_authority({}, MINT, START)


def ring(data: dict[str, bytes], now: datetime = START) -> Keyring:
    return keyring({"data": encoded(data)}, MINT, now)


def kept(data: dict[str, bytes], now: datetime, authority: dict[str, bytes] = AUTHORITY) -> dict[str, bytes]:
    return kept_certificate(data, NAMES, ring(authority, now), MINT, now, server=True)


SERVER = kept({}, START)


def trusts(trust: bytes, certificate: bytes, now: datetime) -> bool:
    """Whether one of the authorities signed it, and both are valid."""
    (said, *_) = MINT.read(certificate)
    authorities = MINT.read(trust)
    return said.is_valid(now) and any(
        each.subject_key == said.issuer_key and each.is_authority and each.is_valid(now) for each in authorities
    )


def test_what_is_good_is_kept() -> None:
    later = START + CERTIFICATE_LIFE / 2
    assert kept_authority(AUTHORITY, MINT, later) == AUTHORITY
    assert kept(SERVER, later) == SERVER


def test_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() -> None:
    later = START + CERTIFICATE_LIFE * 2 / 3
    renewed = kept(SERVER, later)
    assert renewed[CERTIFICATE] != SERVER[CERTIFICATE]
    assert renewed[KEY] != SERVER[KEY]
    assert kept(renewed, later) == renewed


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {CERTIFICATE: SERVER[CERTIFICATE]},
        {**SERVER, CERTIFICATE: b"no certificate"},
        {**SERVER, KEY: b"no key"},
        {**SERVER, KEY: AUTHORITY[KEY]},
        {**SERVER, CERTIFICATE: AUTHORITY[CERTIFICATE], KEY: AUTHORITY[KEY]},
        {**SERVER, CERTIFICATE: b"", KEY: b""},
    ],
)
def test_what_cannot_be_used_is_made_anew(broken: dict[str, bytes]) -> None:
    made = kept(broken, START)
    assert trusts(made[TRUST], made[CERTIFICATE], START)
    assert MINT.read(made[CERTIFICATE])[0].names == set(NAMES)
    pair = pair_in(made)
    assert pair is not None
    assert MINT.matches(pair)


def test_other_names_need_another_certificate() -> None:
    names = ("other.greenroom.svc",)
    other = kept_certificate(SERVER, names, ring(AUTHORITY), MINT, START, server=True)
    assert MINT.read(other[CERTIFICATE])[0].names == set(names)


def test_nothing_outlives_its_authority() -> None:
    late = START + AUTHORITY_LIFE - timedelta(days=1)
    (said,) = MINT.read(kept({}, late)[CERTIFICATE])
    assert said.not_after <= MINT.read(AUTHORITY[CERTIFICATE])[0].not_after


def test_a_new_authority_is_trusted_by_all_before_it_signs_and_the_old_one_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two peers, of which one looks only every few days, over two lives of an authority, which are short here."""
    life = timedelta(days=365)
    monkeypatch.setattr(certificates, "AUTHORITY_LIFE", life)
    authority = kept_authority({}, MINT, START)
    server = client = kept({}, START, authority)
    now, signers, days = START, set(), 0
    while now < START + 2 * life:
        now, days = now + timedelta(days=1), days + 1
        authority = kept_authority(authority, MINT, now)
        server = kept(server, now, authority)
        assert trusts(client[TRUST], server[CERTIFICATE], now)
        assert trusts(server[TRUST], client[CERTIFICATE], now)
        if days % (OVERLAP.days - 1) == 0:
            client = kept(client, now, authority)
        signers.add(authority[CERTIFICATE])
    assert len(signers) == 3
    assert len(MINT.read(authority[TRUST])) <= 3


def test_a_certificate_of_an_authority_that_was_replaced_is_made_anew() -> None:
    made = kept(SERVER, START, kept_authority({}, MINT, START))
    assert trusts(made[TRUST], made[CERTIFICATE], START)


def test_an_authority_that_cannot_be_used_is_made_anew_and_the_old_still_trusted() -> None:
    made = kept_authority({**AUTHORITY, KEY: b"lost"}, MINT, START)
    assert trusts(made[TRUST], SERVER[CERTIFICATE], START)
    assert ring(made).signer.certificate != AUTHORITY[CERTIFICATE]


def test_an_authority_that_was_given_must_be_able_to_sign() -> None:
    given: Manifest = {"metadata": {"namespace": "greenroom", "name": "authority"}, "data": encoded(SERVER)}
    with pytest.raises(InvalidInput, match="Secret greenroom/authority: holds no valid authority"):
        keyring(given, MINT, START)


def test_only_a_secret_of_the_type_for_tls_was_given_by_somebody_else() -> None:
    assert is_given({"type": "kubernetes.io/tls"})
    assert not is_given({"type": "Opaque"})


def test_no_key_is_ever_shown() -> None:
    pair = pair_in(SERVER)
    assert pair is not None
    secret = SERVER[KEY].decode().splitlines()[1]
    assert secret not in repr(pair) + repr(Keyring(pair, b""))
    with pytest.raises(InvalidInput) as caught:
        MINT.read(SERVER[KEY])
    assert secret not in str(caught.value)


def test_what_is_not_base64_is_as_good_as_missing() -> None:
    assert content({"data": {"tls.crt": "%%%", "tls.key": 3, "ca.crt": "YQ=="}}) == {"ca.crt": b"a", "tls.key": b""}

"""What Greenroom's own certificates say, when they are renewed, and how Secrets hold them.

A certificate is renewed when two thirds of its life are over, as cert-manager does. An authority is followed by
another one in two steps: first all are told to trust the successor, a week later it signs. What was signed before is
trusted until it expires, so that at no time does anybody meet a certificate of an authority not heard of.
``adapters.certificates`` makes and reads certificates, ``flows.certificates`` keeps them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, Manifest, table, text

CERTIFICATE, KEY, TRUST = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type ``kubernetes.io/tls``, with the one that cert-manager adds."""
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"
"""In our authority's Secret: its successor, which is trusted and does not sign yet."""
OVERLAP = timedelta(days=7)
"""How long all others may take to hear of a new authority before it signs."""

_TLS = "kubernetes.io/tls"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both as PEM. The key is shown nowhere."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. ``names`` are its DNS names and URIs; ``subject_key`` and ``issuer_key`` tell keys."""

    not_before: datetime
    not_after: datetime
    names: frozenset[str]
    subject_key: str
    issuer_key: str
    is_authority: bool
    pem: bytes = field(repr=False)

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be renewed: two thirds of its life are over, or it has not begun."""
        return now < self.not_before or now >= self.not_before + (self.not_after - self.not_before) * 2 / 3

    def is_valid(self, now: datetime) -> bool:
        return self.not_before <= now < self.not_after


class Mint(Protocol):
    """Makes certificates and reads them."""

    def authority(self, now: datetime) -> Pair:
        """A new authority, signed by itself."""

    def issue(self, authority: Pair, names: Sequence[str], now: datetime, *, server: bool) -> Pair:
        """A certificate of these DNS names and URIs, for a server or else for a client, signed by ``authority``."""

    def read(self, pem: bytes) -> Sequence[Certificate]:
        """The certificates in a PEM text, in order. Raises InvalidInput, without the text."""

    def matches(self, pair: Pair) -> bool:
        """Whether the key is that of the (first) certificate."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """An authority that signs, and the certificates of all that are to be trusted, as one PEM text."""

    signer: Pair
    trust: bytes


def is_given(secret: Manifest) -> bool:
    """Whether somebody else, such as cert-manager, made this Secret: it is used as it is, and never written.

    Ours are of type Opaque. The API server lets nobody change a Secret's type.
    """
    return text(secret, "type") == _TLS


def content(secret: Manifest) -> dict[str, bytes]:
    """The decoded ``data``; what is not base64 is left out."""
    found: dict[str, bytes] = {}
    for name, value in table(secret, "data").items():
        try:
            found[name] = base64.b64decode(value if isinstance(value, str) else "", validate=True)
        except binascii.Error:
            continue
    return found


def encoded(data: Mapping[str, bytes]) -> dict[str, Json]:
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


def pair_in(data: Mapping[str, bytes], certificate: str = CERTIFICATE, key: str = KEY) -> Pair | None:
    """None when either half is missing."""
    found = Pair(data.get(certificate, b""), data.get(key, b""))
    return found if found.certificate and found.key else None


def usable(pair: Pair | None, mint: Mint, now: datetime) -> Certificate | None:
    """What ``pair`` says, if it can be used now."""
    if pair is None:
        return None
    found = _first(pair.certificate, mint)
    return found if found is not None and found.is_valid(now) and mint.matches(pair) else None


def bundle(mint: Mint, now: datetime, *texts: bytes) -> bytes:
    """The authorities in these PEM texts that have not expired, each once, in order."""
    found = (each for pem in texts for each in _read(pem, mint) if each.is_authority and now < each.not_after)
    return b"".join(dict.fromkeys(each.pem for each in found))


def kept_authority(data: Mapping[str, bytes], mint: Mint, now: datetime) -> dict[str, bytes]:
    """What the Secret of our authority is to hold, given what it holds."""
    signer, successor = pair_in(data), pair_in(data, NEXT_CERTIFICATE, NEXT_KEY)
    present, coming = usable(signer, mint, now), usable(successor, mint, now)
    if signer is None or present is None or not present.is_authority:
        signer, successor = mint.authority(now), None
    elif successor is None or coming is None:
        successor = mint.authority(now) if present.is_due(now) else None
    elif now >= coming.not_before + OVERLAP:
        signer, successor = successor, None
    told = [signer, *([successor] if successor else [])]
    trusted = bundle(mint, now, *(each.certificate for each in told), data.get(TRUST, b""))
    kept = {CERTIFICATE: signer.certificate, KEY: signer.key, TRUST: trusted}
    return {**kept, NEXT_CERTIFICATE: successor.certificate, NEXT_KEY: successor.key} if successor else kept


def keyring(secret: Manifest, mint: Mint, now: datetime) -> Keyring:
    """The authority in a Secret, ours or one that was given. Raises InvalidInput when it cannot sign."""
    data = content(secret)
    signer = pair_in(data)
    said = usable(signer, mint, now)
    if signer is None or said is None or not said.is_authority:
        raise InvalidInput(
            "holds no valid authority (tls.crt and tls.key of a certificate that may sign others)",
            source=f"Secret {text(secret, 'metadata', 'namespace')}/{text(secret, 'metadata', 'name')}",
            cure="let its issuer renew it, or delete it and Greenroom makes one",
        )
    return Keyring(signer, bundle(mint, now, signer.certificate, data.get(TRUST, b"")))


def kept_certificate(
    data: Mapping[str, bytes], names: Sequence[str], ring: Keyring, mint: Mint, now: datetime, *, server: bool
) -> dict[str, bytes]:
    """What a Secret with a certificate of ours is to hold, given what it holds."""
    pair, signer = pair_in(data), _first(ring.signer.certificate, mint)
    said = usable(pair, mint, now)
    fits = said is not None and said.names == frozenset(names) and not said.is_due(now)
    if pair is None or said is None or signer is None or not fits or said.issuer_key != signer.subject_key:
        pair = mint.issue(ring.signer, names, now, server=server)
    return {CERTIFICATE: pair.certificate, KEY: pair.key, TRUST: ring.trust}


def _first(pem: bytes, mint: Mint) -> Certificate | None:
    return next(iter(_read(pem, mint)), None)


def _read(pem: bytes, mint: Mint) -> Iterable[Certificate]:
    try:
        return mint.read(pem)
    except InvalidInput:
        return ()

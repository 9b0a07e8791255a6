"""X.509 certificates: made, and read (``core.certificates.Mint``). The keys are ECDSA over P-256.

The fields are those that RFC 5280 wants of authorities and of what they sign, so that OpenSSL, BoringSSL and Go's
verifier all agree. ``core.certificates`` says when one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from greenroom.core.certificates import Certificate, Pair
from greenroom.model.errors import InvalidInput

AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=90)
SKEW = timedelta(minutes=10)
"""A certificate begins this much before it is made, for peers whose clocks are behind."""


class X509Mint:
    def authority(self, now: datetime) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own: where several authorities are trusted, some verifiers look them up by name.
        name = _name(f"Greenroom authority {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        builder = _builder(key, name, name, now, now + AUTHORITY_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return _signed(builder, key, signer=key)

    def issue(self, authority: Pair, names: Sequence[str], now: datetime, *, server: bool) -> Pair:
        issuer = x509.load_pem_x509_certificate(authority.certificate)
        signer = load_pem_private_key(authority.key, password=None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise InvalidInput("the authority's key is not an elliptic curve key", cure="give it an ECDSA P-256 key")
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(now + CERTIFICATE_LIFE, issuer.not_valid_after_utc)
        builder = _builder(key, _name("Greenroom"), issuer.subject, now, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), False)
        known_as = x509.AuthorityKeyIdentifier(bytes.fromhex(_subject_key(issuer)), None, None)
        return _signed(builder.add_extension(known_as, critical=False), key, signer=signer)

    def read(self, pem: bytes) -> Sequence[Certificate]:
        if not pem:
            return ()
        try:
            return [_certificate(found) for found in x509.load_pem_x509_certificates(pem)]
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
            raise InvalidInput("not a PEM text with certificates") from error

    def matches(self, pair: Pair) -> bool:
        try:
            (certificate, *_), key = (
                x509.load_pem_x509_certificates(pair.certificate),
                load_pem_private_key(pair.key, password=None),
            )
            form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False  # and not a word of what it was


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(signer, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), private)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(found: x509.Certificate) -> Certificate:
    extensions = found.extensions
    names: set[str] = set()
    for alternatives in extensions:
        if isinstance(alternatives.value, x509.SubjectAlternativeName):
            names.update(alternatives.value.get_values_for_type(x509.DNSName))
            names.update(alternatives.value.get_values_for_type(x509.UniformResourceIdentifier))
    issuer = next((each.value for each in extensions if isinstance(each.value, x509.AuthorityKeyIdentifier)), None)
    return Certificate(
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        names=frozenset(names),
        subject_key=_subject_key(found),
        issuer_key=issuer.key_identifier.hex() if issuer is not None and issuer.key_identifier else "",
        is_authority=any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in extensions),
        pem=found.public_bytes(Encoding.PEM),
    )


def _subject_key(certificate: x509.Certificate) -> str:
    """What a certificate calls its key, in hex; a digest of the key where it says nothing."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return extension.value.digest.hex()
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()

"""Makes and reads X.509 certificates, with `cryptography`. It reads no clock and no file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_DAYS, SERVER_DAYS = 3_650, 90
BACKDATED_DAYS = 1  # clients whose clocks are behind accept a new certificate, too
_NAME_MAX = 64  # characters of a common name


class Unusable(ValueError):
    """Why a certificate or a key cannot be used. The text is a predicate, such as `is not PEM`."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. Instants are seconds since 1970."""

    subject: str
    issuer: str
    names: tuple[str, ...]  # names and addresses of the machine
    begins: float
    ends: float
    fingerprint: str  # SHA-256 of the certificate, as browsers and openssl show it
    pin: str  # SHA-256 of its public key, as curl's --pinnedpubkey takes it

    def is_valid(self, now: float) -> bool:
        """Whether clients with the right time accept it."""
        return self.begins <= now < self.ends

    @property
    def renewed_from(self) -> float:
        """When two thirds of its life are over."""
        return self.begins + (self.ends - self.begins) * 2 / 3


def new_key() -> bytes:
    """A new private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_root(key_pem: bytes, name: str, now: float) -> bytes:
    """The certificate of a new authority, PEM."""
    key = _ec_key(key_pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_NAME_MAX])])
    builder = _begun(subject, subject, key.public_key(), now, ROOT_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def make_server(key_pem: bytes, names: Iterable[str], root_pem: bytes, root_key_pem: bytes, now: float) -> bytes:
    """The certificate of a server with these names and addresses, PEM. It ends with the root's, if that ends first."""
    root, root_key, key = _leaf(root_pem), _ec_key(root_key_pem), _ec_key(key_pem)
    names = list(names)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_NAME_MAX])])
    builder = _begun(subject, root.subject, key.public_key(), now, SERVER_DAYS, at_most=root.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    own_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id)
    builder = builder.add_extension(issuer_id, critical=False)
    return builder.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def read(pem: bytes) -> Certificate:
    """The first certificate of a PEM text. Raises Unusable."""
    found = _leaf(pem)
    der = found.public_bytes(Encoding.DER)
    public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Certificate(
        found.subject.rfc4514_string(),
        found.issuer.rfc4514_string(),
        _names(found),
        found.not_valid_before_utc.timestamp(),
        found.not_valid_after_utc.timestamp(),
        ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest()),
        "sha256//" + base64.b64encode(hashlib.sha256(public).digest()).decode(),
    )


def check_key(pem: bytes, certificate_pem: bytes) -> None:
    """Raises Unusable unless `pem` is the private key of the first certificate."""
    if _public(_key(pem)) != _leaf(certificate_pem).public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise Unusable("is not the key of the certificate")


def is_issued_by(pem: bytes, root_pem: bytes) -> bool:
    """Whether the root signed the first certificate."""
    try:
        _leaf(pem).verify_directly_issued_by(_leaf(root_pem))
    except Exception:  # ValueError, TypeError, InvalidSignature: in each case it did not
        return False
    return True


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: float,
    days: int,
    at_most: datetime | None = None,
) -> x509.CertificateBuilder:
    begins = datetime.fromtimestamp(now, UTC) - timedelta(days=BACKDATED_DAYS)
    ends = begins + timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begins).not_valid_after(min(ends, at_most or ends))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


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


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = (str(address) for address in alternative.get_values_for_type(x509.IPAddress))
    return (*alternative.get_values_for_type(x509.DNSName), *addresses)


def _leaf(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise Unusable("holds no certificate in PEM") from error


def _key(pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise Unusable("is encrypted, and EGO cannot ask for the password") from error
    except ValueError as error:
        raise Unusable("holds no private key in PEM") from error


def _ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = _key(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unusable("holds another kind of key than EGO's")
    return key


def _public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]

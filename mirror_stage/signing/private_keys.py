"""Private Ed25519 keys. With two others it imports `cryptography`. It reads no clock and no file."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Unusable(ValueError):
    """A text that holds no private Ed25519 key in PEM."""


class PrivateKey:
    """A key that signs. `public` has 32 bytes."""

    def __init__(self, key: Ed25519PrivateKey):
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> PrivateKey:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, pem: bytes) -> PrivateKey:
        """The key of a PEM text. Raises Unusable."""
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Unusable("holds no private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Unusable("holds a key that is not Ed25519")
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The key as PEM, without a password."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes."""
        return self._key.sign(message)

"""The check of Ed25519 signatures, by the vectors of RFC 8032, against `cryptography`, and with forged input."""

from __future__ import annotations

import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror_stage.core import ed25519
from tests.faults import print_figures

# RFC 8032, section 7.1: key, message, signature.
VECTORS = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
    ("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
     "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
     "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"),
]  # fmt: skip
L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
# All points of small order in their encodings, also those that are not canonical (as libsodium lists them).
SMALL = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc_are_accepted(key: str, message: str, signature: str) -> None:
    assert ed25519.is_signed(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))
    assert not ed25519.is_signed(bytes.fromhex(key), bytes.fromhex(message) + b"x", bytes.fromhex(signature))


def by_the_library(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300))
def test_what_cryptography_signs_is_accepted(seed: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert ed25519.is_signed(key.public_key().public_bytes_raw(), message, key.sign(message))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    message=st.binary(min_size=1, max_size=50),
    place=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_a_changed_bit_is_refused_as_cryptography_refuses_it(seed: bytes, message: bytes, place: int, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    whole = bytearray(key.public_key().public_bytes_raw() + key.sign(message) + message)
    whole[place % len(whole)] ^= 1 << bit
    changed = bytes(whole[:32]), bytes(whole[96:]), bytes(whole[32:96])
    assert not ed25519.is_signed(*changed)
    assert not by_the_library(*changed)


@settings(max_examples=40, deadline=None)
@given(
    key=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=20),
    signature=st.binary(min_size=64, max_size=64),
)
def test_no_other_bytes_are_accepted(key: bytes, message: bytes, signature: bytes) -> None:
    assert not ed25519.is_signed(key, message, signature)


def test_it_refuses_a_key_and_a_signature_that_fit_every_message_where_the_library_does_not() -> None:
    nothing = bytes(32), b"any message", bytes(64)
    assert by_the_library(*nothing)
    assert not ed25519.is_signed(*nothing)


def test_a_number_of_the_signature_that_is_not_below_the_order_is_refused() -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[1])
    s = int.from_bytes(signature[32:], "little")
    assert ed25519.is_signed(key, message, signature)
    assert not ed25519.is_signed(key, message, signature[:32] + (s + L).to_bytes(32, "little"))


@pytest.mark.parametrize("small", SMALL)
def test_a_key_of_small_order_is_none(small: str) -> None:
    key = bytes.fromhex(small)
    assert not ed25519.is_key(key)
    # R = s B fits every message, if the key times anything is the neutral point
    assert not ed25519.is_signed(key, b"anything", bytes.fromhex(SMALL[1]) + bytes(32))


def test_a_signature_point_of_small_order_is_refused() -> None:
    key = bytes.fromhex(VECTORS[0][0])
    for small in SMALL:
        assert not ed25519.is_signed(key, b"", bytes.fromhex(small) + bytes(32))


@pytest.mark.parametrize("y", range(P, 2**255))
def test_an_encoding_that_is_not_the_only_one_is_refused(y: int) -> None:
    for sign in (0, 1 << 255):
        assert not ed25519.is_key((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_or_signature_of_another_length_is_refused(length: int) -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[0])
    assert not ed25519.is_key(bytes(length))
    assert not ed25519.is_signed(key[:length] if length < 32 else key + bytes(length - 32), message, signature)
    assert length == 64 or not ed25519.is_signed(key, message, (signature + bytes(33))[:length])


def test_a_check_takes_milliseconds() -> None:
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key().public_bytes_raw(), bytes(1_000)
    signature, took = key.sign(message), []
    for _ in range(20):
        began = time.process_time()
        assert ed25519.is_signed(public, message, signature)
        took.append(time.process_time() - began)
    print_figures("one Ed25519 check in Python", median_ms=1000 * sorted(took)[10])
    assert sorted(took)[10] < 0.1

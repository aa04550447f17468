"""The text form of tokens: `ms_<kind>_<id>_<secret><checksum>`. Pure.

The checksum tells a token that was mistyped or cut from one that EGO does not know. Only the SHA-256 of a token is stored:
its secret has 238 random bits, so nobody can guess a text with that hash.
"""

from __future__ import annotations

import hashlib
import re
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

USER: Final = "user"
AGENT: Final = "agent"
LINK: Final = "link"
ENROL: Final = "enroll"  # the code with which a host enrols
KINDS = (USER, AGENT, LINK, ENROL)

PREFIX = "ms_"
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 10, 40, 6
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(
    rf"ms_({'|'.join(KINDS)})_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)

Choose = Callable[[str], str]  # one character of a text at random: `secrets.choice`


@dataclass(frozen=True, slots=True)
class Token:
    """A token that has the right form. Whether EGO has made it, the database says."""

    kind: str
    id: str
    text: str


class Mistyped(ValueError):
    """A text that begins like a token and is none: a part is missing or wrong."""


def random_text(length: int, choose: Choose) -> str:
    """A text of base62 digits; each has 5.95 bits."""
    return "".join(choose(_ALPHABET) for _ in range(length))


def is_id(text: str) -> bool:
    """Whether a text can be the id of a token or a session."""
    return len(text) == ID_LENGTH and text.isascii() and text.isalnum()


def make(kind: str, choose: Choose) -> Token:
    """A new token."""
    id = random_text(ID_LENGTH, choose)
    body = f"{PREFIX}{kind}_{id}_{random_text(SECRET_LENGTH, choose)}"
    return Token(kind, id, body + _checksum(body))


def parse(text: str) -> Token:
    """The token of a text. Raises Mistyped."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise Mistyped("this is no whole token: it has the form ms_<kind>_<id>_<secret>; copy it again")
    if match[4] != _checksum(text[:-CHECKSUM_LENGTH]):
        raise Mistyped("the token is mistyped: its last characters do not fit the others; copy it again")
    return Token(match[1], match[2], text)


def sha256(text: str) -> str:
    """What EGO stores of a secret. Any text has one, also half of a surrogate pair that a client has sent."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits

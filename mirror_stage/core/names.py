"""Hostnames: the one form in which EGO and the agent write them."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache

HOSTNAME_MAX = 120
# Letters and marks that are drawn as nothing: two names that differ in them look alike. `str.isprintable` finds bidi
# marks and odd spaces, but not these.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
ESCAPED = re.compile(r"\\(?:u[0-9a-f]{4}|[bfnrt])")  # what `printable` writes


class BadField(ValueError):
    """A field with a value that is not allowed: `field` is its dotted path, `message` says what is wrong."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


def normalise_hostname(text: str) -> str:
    """The hostname, trimmed and in Unicode form NFC. Raises BadField with the reason if it is not a valid hostname."""
    trimmed = text.strip()
    name = trimmed.rstrip(" .") or trimmed  # `a.example.` (with the DNS root) is `a.example`
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
        if INVISIBLE.search(name):
            raise BadField("hostname", "has an invisible letter")
    if name and not name.isprintable():
        raise BadField("hostname", "has a control or bidi character, or a space other than the plain one")
    if not 1 <= len(name) <= HOSTNAME_MAX:
        raise BadField("hostname", f"must have 1 to {HOSTNAME_MAX} characters")
    if name in {".", ".."} or "/" in name or "\\" in name or "%" in name:
        raise BadField("hostname", "must not be . or .. nor contain / \\ %")
    return name


def is_printable(text: str) -> bool:
    """Whether every character is one that a person can see, or a plain space."""
    return text.isprintable() and (text.isascii() or INVISIBLE.search(text) is None)


def printable(text: str) -> str:
    """The text as a terminal or a browser may show it: every character that is not printable, and every invisible letter, is escaped.

    These are C0 and C1 controls, ESC, line separators, bidi marks, lone surrogates and invisible letters. Korean stays
    readable.
    """
    if is_printable(text):
        return text
    hidden = [char for char in set(text) if not is_printable(char)]
    return text.translate({ord(char): json.dumps(char)[1:-1] for char in hidden})


@lru_cache(maxsize=16_384)
def seen_as(name: str) -> str:
    """What a person takes a name for: without what is invisible or an escape for it, in small letters."""
    visible = INVISIBLE.sub("", ESCAPED.sub("", unicodedata.normalize("NFKC", name)))
    shown = "".join(c for c in visible if c.isprintable())
    return " ".join(shown.split()).casefold()

"""Hostnames: the one form in which EGO and the agent write them."""

from __future__ import annotations

import unicodedata

HOSTNAME_MAX = 120


class BadField(ValueError):
    """A field with a value that is not allowed: `field` is its dotted path, `message` says what is wrong."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


def normalise_hostname(text: str) -> str:
    """The hostname, trimmed and in Unicode form NFC. Raises BadField with the reason if it is not a valid hostname."""
    name = text.strip().rstrip(".") or text.strip()  # `a.example.` (with the DNS root) is `a.example`
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
        if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name):
            raise BadField("hostname", "has a control or bidi character")
    elif not name.isprintable():
        raise BadField("hostname", "has a control character")
    if not 1 <= len(name) <= HOSTNAME_MAX:
        raise BadField("hostname", f"must have 1 to {HOSTNAME_MAX} characters")
    if name in {".", ".."} or "/" in name or "\\" in name or "%" in name:
        raise BadField("hostname", "must not be . or .. nor contain / \\ %")
    return name

"""URLs of Redis that name sentinels: redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/MASTER[/DB]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEME = "redis+sentinel://"
PORT = 26_379  # of a sentinel, unless the URL says another

_URL = re.compile(r"redis\+sentinel://(?:([^/@]*)@)?([^/@?#]+)/([^/?#]+)(?:/(\d+))?")
_ADDRESS = re.compile(r"(\[[^\]]+\]|[^:\[\],]+)(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Sentinels:
    """The addresses of the sentinels, the name of the master, and how to sign in there."""

    addresses: tuple[tuple[str, int], ...]
    master: str
    database: int = 0
    user: str | None = None
    password: str | None = None


def parse_sentinels(url: str) -> Sentinels:
    """What such a URL says; name and password may be percent-encoded. Raises ValueError."""
    whole = _URL.fullmatch(url)
    addresses = [_ADDRESS.fullmatch(one) for one in whole[2].split(",")] if whole is not None else []
    if whole is None or None in addresses:
        raise ValueError("must be redis+sentinel://HOST:PORT,HOST:PORT/MASTER")
    user, _, password = (whole[1] or "").partition(":")
    return Sentinels(
        tuple((one[1].strip("[]"), int(one[2] or PORT)) for one in addresses if one is not None),
        whole[3],
        int(whole[4] or 0),
        unquote(user) or None,
        unquote(password) or None,
    )

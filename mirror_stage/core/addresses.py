"""The one form of a network address, whatever way it is written."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")


@lru_cache(maxsize=4096)
def normalise_address(text: str) -> str | None:
    """`10.1.2.3` for `10.1.2.3:51234` and `::ffff:10.1.2.3`, `fd00::1` for `[FD00:0::1]:80`; None for no address.

    A zone (`%eth0`) belongs to the machine that wrote it and is left out.
    """
    text = text.strip().strip('"')
    match = _WITH_PORT.fullmatch(text)
    name = (match[1] or match[2] or "") if match else text
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def network_of(text: str) -> Network:
    """The network that `10.0.0.0/8`, an address or `::ffff:10.0.0.0/104` names. Raises ValueError."""
    name, slash, length = text.strip().partition("/")
    address = normalise_address(name)
    if address is None:
        raise ValueError(f"{text!r} is neither an address nor a network")
    if slash and "." in address and ":" in name:  # a mapped one counts its bits from the front of IPv6
        length = str(int(length) - 96)
    return ipaddress.ip_network(address + slash + length, strict=False)

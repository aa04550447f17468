"""The one form of a network address, whatever way it is written; and the address of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import re
import socket
import struct
from functools import lru_cache
from typing import Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_SIOCGIFADDR = 0x8915  # Linux, netdevice(7): the IPv4 address of an interface
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


def lone_address(text: str) -> str:
    """An address of one machine in normal form, written without port and zone. Raises ValueError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError("must be an IP address, without a port") from error
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
        raise ValueError("must be the address of one machine, without a zone")
    return normalise_address(text) or text


def network_of(text: str) -> Network:
    """The network that `10.0.0.0/8`, an address or `::ffff:10.0.0.0/104` names. Raises ValueError."""
    name, slash, length = text.strip().partition("/")
    address = normalise_address(name)
    if address is None:
        raise ValueError(f"{text!r} is neither an address nor a network")
    if slash and "." in address and ":" in name:  # a mapped one counts its bits from the front of IPv6
        length = str(int(length) - 96)
    return ipaddress.ip_network(address + slash + length, strict=False)


def address_for_others() -> str | None:
    """The IPv4 address by which other machines most likely reach this one: that of its way out, else any but loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        with contextlib.suppress(OSError):
            asking.connect(
                ("198.51.100.1", 9)
            )  # sends nothing: the kernel only chooses the way (RFC 5737 has this address)
            return str(asking.getsockname()[0])
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if not answer[20:24].startswith(b"\x7f"):
                    return socket.inet_ntoa(answer[20:24])
    return None

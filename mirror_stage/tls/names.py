"""The names and addresses under which clients reach this machine: a certificate has to name them."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address

import psutil

from mirror_stage.core.addresses import normalise_address
from mirror_stage.core.config import Config
from mirror_stage.web.walls import own_names, parse_authority

NAMES_MAX = 100
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


def of_this_machine(config: Config) -> tuple[str, ...]:
    """Names first, then addresses. The order does not change while names and addresses stay."""
    allowed = [authority[0] for authority in map(parse_authority, config.allowed_hosts) if authority]
    given = [socket.gethostname().lower(), config.ego_hostname.lower(), *sorted(own_names()), "localhost", *allowed]
    names = [name for name in given if _NAME.fullmatch(name) and normalise_address(name) is None]
    texts = [*(name for name in given if normalise_address(name)), config.ego_primary_ip or "", *_addresses()]
    addresses = [address for address in map(normalise_address, texts) if address]
    return tuple(dict.fromkeys([*names, *addresses]))[:NAMES_MAX]


def _addresses() -> list[str]:
    """The addresses of all interfaces. Link-local ones are left out: no URL can name their interface."""
    found = ["127.0.0.1", "::1"]
    for interface in psutil.net_if_addrs().values():
        for entry in interface:
            address = normalise_address(entry.address) if entry.family in {socket.AF_INET, socket.AF_INET6} else None
            if address and not ip_address(address).is_link_local:
                found.append(address)
    return sorted(found, key=lambda address: (ip_address(address).version, ip_address(address)))

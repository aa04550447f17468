"""Which account of this machine is at the other end of a connection.

A header can be forged, and a proxy's connection comes from 127.0.0.1 like any other. The kernel knows who opened it:
each connection of this machine has two ends in its tables, and the client's end belongs to an account (uid). It is
asked once a connection. An end that nobody holds any more belongs to nobody (the kernel may say uid 0, its inode is
then 0), so a client that closes before EGO looks is not taken for root.
"""

from __future__ import annotations

import os
import socket
import struct
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from gevent import monkey

_Socket: Any = monkey.get_original("socket", "socket")  # the kernel answers at once: nothing here gives way
_UCRED = struct.Struct("=iII")  # pid, uid, gid: man 7 unix, SO_PEERCRED
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, seq, port
_ASKED = struct.Struct("=BBBBI")  # struct inet_diag_req_v2: family, protocol, extensions, padding, states; then the id
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # the end of struct inet_diag_sockid: any interface, no cookie
_OWNER = struct.Struct("=II")  # uid and inode
_PORTS_AT, _OWNER_AT = _HEADER.size + 4, _HEADER.size + 64  # in struct inet_diag_msg, which follows the header
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_ALL_STATES = 0xFFFFFFFF
_ALL_ACCOUNTS = ["0", "0", "4294967295"]  # first uid here, the same outside, how many
_MAPPED = b"\0" * 10 + b"\xff\xff"  # an IPv4 address in IPv6's form begins so

End = tuple[int, bytes, int]  # family, address, port
UidOf = Callable[[End, End], int | None]


def uid_by_netlink(client: End, here: End) -> int | None:
    """The account that holds a client's end of a TCP connection, by one question to the kernel: man 7 sock_diag."""
    family, address, port = client
    ports = struct.pack("!HH", port, here[2])
    ends = ports + address.ljust(16, b"\0") + here[1].ljust(16, b"\0")
    asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + ends + _ANY
    header = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with _Socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(header + asked, (0, 0))
        answer = kernel.recv(4096, socket.MSG_DONTWAIT)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY or answer[_PORTS_AT : _PORTS_AT + 4] != ports:
        return None  # no such connection; where somebody listens on the client's port the kernel tells of that
    uid, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    return int(uid) if inode else None


def uid_by_proc(client: End, here: End) -> int | None:
    """The same from `/proc/net/tcp` and `tcp6`: slower, because the kernel lists every connection."""
    ways = [("tcp6", lambda address: address)]
    if client[0] == socket.AF_INET:
        ways = [("tcp", lambda address: address), ("tcp6", lambda address: _MAPPED + address)]
    for table, form in ways:
        wanted = f" {_in_proc(form(client[1]), client[2])} {_in_proc(form(here[1]), here[2])} "
        for line in Path("/proc/net", table).read_text().splitlines():
            if wanted in line:
                fields = line.split()
                return int(fields[7]) if int(fields[9]) else None
    return None


def _in_proc(address: bytes, port: int) -> str:
    """`0100007F:0BB8`: the address as words in this machine's byte order."""
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(address) // 4}I", address)) + f":{port:04X}"


@cache
def means() -> UidOf | None:
    """How this process learns who opened a TCP connection: the first way that knows a connection of its own; or None."""
    for uid_of in (uid_by_netlink, uid_by_proc):
        try:
            with _Socket() as listener, _Socket() as client:
                listener.bind(("127.0.0.1", 0))
                listener.listen(1)
                client.connect(listener.getsockname())
                found = uid_of(_end_of(client.getsockname()), _end_of(client.getpeername()))
        except OSError:
            continue
        if found == os.geteuid():
            return uid_of
    return None


def own_uids() -> frozenset[int]:
    """The accounts that EGO trusts as itself: its own and root.

    In a user namespace all accounts from outside of it look like one and the same, which then is nobody's.
    """
    own = {0, os.geteuid()}
    if _uid_map().split() not in ([], _ALL_ACCOUNTS):
        own.discard(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return frozenset(own)


def _uid_map() -> str:
    """Which accounts this process can tell apart; empty where there is no such thing."""
    try:
        return Path("/proc/self/uid_map").read_text()
    except OSError:
        return ""


class Peers:
    """Remembers of each connection who opened it."""

    def __init__(self) -> None:
        self._seen: weakref.WeakKeyDictionary[Any, tuple[bool, int | None]] = weakref.WeakKeyDictionary()

    def opened(self, wire: Any) -> tuple[bool, int | None]:
        """Whether this machine can say who opens such a connection, and the account that opened this one, if known.

        Without a connection (a test client) it cannot say.
        """
        if wire is None:
            return False, None
        if wire not in self._seen:
            self._seen[wire] = _look(wire)
        return self._seen[wire]


def _look(wire: Any) -> tuple[bool, int | None]:
    try:
        if wire.family == socket.AF_UNIX:
            if not hasattr(socket, "SO_PEERCRED"):
                return False, None
            return True, int(_UCRED.unpack(wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1])
        uid_of = means()
        if uid_of is None:
            return False, None
        return True, uid_of(_end_of(wire.getpeername()), _end_of(wire.getsockname()))
    except OSError:
        return True, None  # the connection is gone already, or no file can be opened


def _end_of(name: tuple[Any, ...]) -> End:
    """One end of a connection; an IPv4 address in IPv6's form counts as IPv4."""
    if ":" not in name[0]:
        return socket.AF_INET, socket.inet_aton(name[0]), name[1]
    address = socket.inet_pton(socket.AF_INET6, name[0].partition("%")[0])
    if address.startswith(_MAPPED):
        return socket.AF_INET, address[12:], name[1]
    return socket.AF_INET6, address, name[1]

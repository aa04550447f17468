"""Finds the account (uid) of this machine that opened a connection.

A header can be forged, and a proxy's connection comes from 127.0.0.1 like any other. The kernel's table of sockets is
reliable: a connection within this machine has two sockets, and the client's socket belongs to an account. EGO asks the
kernel once for each connection. A closed socket has inode 0, and the kernel may give uid 0 for it. EGO treats that as
unknown, so it never takes a client that closed early for root.
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

_Socket: Any = monkey.get_original(
    "socket", "socket"
)  # not gevent's: the kernel answers at once, so nothing here has to yield
_UCRED = struct.Struct("=iII")  # pid, uid, gid: man 7 unix, SO_PEERCRED
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, seq, port
_ASKED = struct.Struct(
    "=BBBBI"
)  # struct inet_diag_req_v2: family, protocol, extensions, padding, states; the id follows
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # the end of struct inet_diag_sockid: any interface, no cookie
_UID_INODE = struct.Struct("=II")
_PORTS_AT, _UID_INODE_AT = _HEADER.size + 4, _HEADER.size + 64  # in struct inet_diag_msg, which follows the header
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_ALL_STATES = 0xFFFFFFFF
_ALL_ACCOUNTS = [
    "0",
    "0",
    "4294967295",
]  # /proc/self/uid_map of no namespace: first uid inside, first uid outside, how many
_MAPPED = b"\0" * 10 + b"\xff\xff"  # the prefix of an IPv4-mapped IPv6 address

End = tuple[int, bytes, int]  # family, address, port
UidOf = Callable[[End, End], int | None]


def uid_by_netlink(client: End, here: End) -> int | None:
    """The uid of the client's socket of a TCP connection, by one netlink request: man 7 sock_diag. None if unknown."""
    family, address, port = client
    ports = struct.pack("!HH", port, here[2])
    ends = ports + address.ljust(16, b"\0") + here[1].ljust(16, b"\0")
    asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + ends + _ANY
    header = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with _Socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(header + asked, (0, 0))
        answer = kernel.recv(4096, socket.MSG_DONTWAIT)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY or answer[_PORTS_AT : _PORTS_AT + 4] != ports:
        return None  # no such connection: the kernel answers with another socket if one listens on that port
    uid, inode = _UID_INODE.unpack_from(answer, _UID_INODE_AT)
    return int(uid) if inode else None


def uid_by_proc(client: End, here: End) -> int | None:
    """The same as `uid_by_netlink`, from `/proc/net/tcp` and `tcp6`. Slower: the kernel lists every connection."""
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
def uid_lookup() -> UidOf | None:
    """The function that finds the uid of a TCP client here; None if this system has none.

    It is the first one that finds this process's own uid for a connection that this process opens to itself.
    """
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

    In a user namespace the kernel shows all accounts from outside as one uid, the overflow uid. EGO never trusts that one.
    """
    own = {0, os.geteuid()}
    if _uid_map().split() not in ([], _ALL_ACCOUNTS):
        own.discard(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return frozenset(own)


def _uid_map() -> str:
    """The map of uids of this process's user namespace; empty on a system without one."""
    try:
        return Path("/proc/self/uid_map").read_text()
    except OSError:
        return ""


class Peers:
    """Remembers for each connection the account that opened it."""

    def __init__(self) -> None:
        self._seen: weakref.WeakKeyDictionary[Any, tuple[bool, int | None]] = weakref.WeakKeyDictionary()

    def opened(self, connection: Any) -> tuple[bool, int | None]:
        """Whether this machine can say which account opened such a connection, and the uid for this one, if known.

        (False, None) without a connection, as with Flask's test client.
        """
        if connection is None:
            return False, None
        if connection not in self._seen:
            self._seen[connection] = _look(connection)
        return self._seen[connection]


def _look(connection: Any) -> tuple[bool, int | None]:
    try:
        if connection.family == socket.AF_UNIX:
            if not hasattr(socket, "SO_PEERCRED"):
                return False, None
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            return True, int(_UCRED.unpack(credentials)[1])
        uid_of = uid_lookup()
        if uid_of is None:
            return False, None
        return True, uid_of(_end_of(connection.getpeername()), _end_of(connection.getsockname()))
    except OSError:
        return True, None  # the connection is closed already, or this process may open no more files


def _end_of(name: tuple[Any, ...]) -> End:
    """Family, address and port of a socket; an IPv4-mapped IPv6 address becomes IPv4."""
    if ":" not in name[0]:
        return socket.AF_INET, socket.inet_aton(name[0]), name[1]
    address = socket.inet_pton(socket.AF_INET6, name[0].partition("%")[0])
    if address.startswith(_MAPPED):
        return socket.AF_INET, address[12:], name[1]
    return socket.AF_INET6, address, name[1]

"""EGO finds the account that opened a connection, by netlink and by /proc alike, and takes nobody for another account."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask_socketio import SocketIO

from mirror_stage.access import accounts, gate, peers
from mirror_stage.access.accounts import Accounts
from mirror_stage.access.domain import ANONYMOUS, LOCAL, actor_of_field
from mirror_stage.access.gate import Gate
from mirror_stage.access.peers import Peers, UidOf, uid_by_netlink, uid_by_proc
from mirror_stage.core.config import Config
from tests.accounts import OTHER, as_account, needs_root

NO_PEOPLE: Any = None  # nobody shows a credential here
WAYS = pytest.mark.parametrize("uid_of", [uid_by_netlink, uid_by_proc])


def ends(connection: socket.socket) -> tuple[peers.End, peers.End]:
    return peers._end_of(connection.getpeername()), peers._end_of(connection.getsockname())


def ipv4() -> tuple[socket.socket, Callable[[socket.socket], None]]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, lambda client: client.connect(listener.getsockname())


def ipv6() -> tuple[socket.socket, Callable[[socket.socket], None]]:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    return listener, lambda client: client.connect(listener.getsockname()[:2])


def mapped_here() -> tuple[socket.socket, Callable[[socket.socket], None]]:
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return listener, lambda client: client.connect(("127.0.0.1", listener.getsockname()[1]))


def mapped_there() -> tuple[socket.socket, Callable[[socket.socket], None]]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, lambda client: client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))


FORMS = {
    "IPv4": (ipv4, socket.AF_INET),
    "IPv6": (ipv6, socket.AF_INET6),
    "IPv4 on IPv6": (mapped_here, socket.AF_INET),
    "IPv6 on IPv4": (mapped_there, socket.AF_INET6),
}


@WAYS
@pytest.mark.parametrize("form", FORMS)
def test_the_account_of_a_client(form: str, uid_of: UidOf) -> None:
    serve, family = FORMS[form]
    listener, connect = serve()
    with listener, socket.socket(family) as client:
        connect(client)
        connection, _ = listener.accept()
        with connection:
            assert uid_of(*ends(connection)) == os.geteuid()


@WAYS
@needs_root
def test_a_socket_belongs_to_the_account_that_opened_it(uid_of: UidOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        kept = []

        def connect_and_stay() -> int:
            kept.append(socket.create_connection(address))
            connection, _ = listener.accept()
            return uid_of(*ends(connection))  # type: ignore[return-value]

        assert as_account(OTHER, connect_and_stay) == OTHER


@WAYS
def test_a_client_that_has_closed_is_not_taken_for_root(uid_of: UidOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            client.shutdown(socket.SHUT_WR)
            assert uid_of(*ends(connection)) == os.geteuid()  # it has said all, and still reads
            client.close()
            assert uid_of(*ends(connection)) is None


@WAYS
def test_whoever_listens_on_the_clients_port_is_not_taken_for_it(uid_of: UidOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as someone, socket.create_server(("127.0.0.1", 0)) as here:
        client_end = peers._end_of(someone.getsockname())
        assert uid_of(client_end, peers._end_of(here.getsockname())) is None


def test_this_machine_can_tell() -> None:
    assert peers.uid_lookup() is uid_by_netlink


def test_a_connection_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(peers, "uid_lookup", lambda: lambda *_ends: looked.append(_ends) or 7)
    known = Peers()
    for _ in range(2):
        client_end, connection = socket.socketpair(socket.AF_UNIX)
        with client_end, connection:
            assert known.opened(connection) == known.opened(connection) == (True, os.geteuid())  # SO_PEERCRED
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert [known.opened(connection) for _ in range(3)] == [(True, 7)] * 3
    assert len(looked) == 1


def test_no_other_account_looks_like_ego_in_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert peers.own_uids() == {0, 65534}
    monkeypatch.setattr(peers, "_uid_map", lambda: "0 1000 1\n1 100000 65536\n")
    assert peers.own_uids() == {0}


def test_accounts_are_names_or_numbers_and_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(accounts, "elapsed_seconds", lambda: now[0])
    named = Accounts(("root", "4711", "no-such-account"))
    assert named.uids() == {0, 4711}
    assert named.unknown() == ["no-such-account"]
    monkeypatch.setattr(accounts, "uid_named", lambda name: 61_234 if name == "no-such-account" else None)
    assert named.uids() == {0, 4711}
    now[0] += 10.0
    assert named.uids() == {61_234}


def test_where_nobody_can_tell_the_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "uid_lookup", lambda: None)
    monkeypatch.setattr(peers, "uid_lookup", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            asks = Gate(
                Config(testing=True, local_users=("no-such-account",)),
                SocketIO(),
                NO_PEOPLE,
                partial(actor_of_field, None),
            )
            assert asks.actor_of({"gunicorn.socket": connection}).kind == LOCAL
            assert asks.actor_of({"gunicorn.socket": connection, "HTTP_X_FORWARDED_FOR": "10.0.0.7"}).kind == ANONYMOUS
    cannot_say, unknown = asks.notes()
    assert "does not say which account" in cannot_say
    assert unknown == "MIRROR_STAGE_LOCAL_USERS: this machine has no account no-such-account"

"""What a command of EGO's own machine tells the EGO that it asks, and what it shows of the answer."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror_stage.access.peers import Peers
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.runtime import asking
from mirror_stage.runtime.db_commands import say
from mirror_stage.runtime.steps import print_json
from tests.accounts import OTHER, needs_root


class Handler(http.server.BaseHTTPRequestHandler):
    """It keeps connections open, as EGO does."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of this account that answers like an EGO."""
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_token_goes_to_a_server_of_this_account(address: str, tmp_path: Path) -> None:
    asking._must_be_of_ego(address, Config(tls_dir=tmp_path))
    asking._must_be_of_ego("http://127.0.0.1:1", Config(tls_dir=tmp_path))  # nobody is there, and nobody gets it


@needs_root
def test_no_token_goes_to_a_server_of_another_account(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        child = os.fork()
        if child == 0:
            os.setuid(OTHER)  # the socket of each connection belongs to who accepts it
            server.serve_forever()
        try:
            with pytest.raises(BadSetting, match=f"uid {OTHER}"):
                asking._must_be_of_ego(f"http://127.0.0.1:{server.server_port}", Config(tls_dir=tmp_path))
            os.chown(tmp_path, OTHER, -1)  # EGO's own account
            asking._must_be_of_ego(f"http://127.0.0.1:{server.server_port}", Config(tls_dir=tmp_path))
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def test_no_token_goes_to_a_server_that_closes_the_connection_so_that_nobody_knows_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_at_once() -> None:
            client, _ = server.accept()
            client.recv(100)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            client.close()

        closing = threading.Thread(target=close_at_once)
        closing.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        look = Peers.opened

        def look_late(peers: Peers, connection: socket.socket) -> tuple[bool, int | None]:
            closing.join()
            return look(peers, connection)

        monkeypatch.setattr(Peers, "opened", look_late)
        with pytest.raises(BadSetting, match="uid unknown"):
            asking._must_be_of_ego(address, Config(tls_dir=tmp_path))


def test_what_others_say_turns_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"stdout": "a\x9b2J\u202eb"})
    say("the receiver says \x1b[2J\x9b2J", 1)
    shown = capsys.readouterr()
    assert "\\u009b2J\\u202eb" in shown.out
    assert "\\u001b[2J\\u009b2J" in shown.err

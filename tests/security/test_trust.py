"""Whom a client trusts over https, what it says where EGO is not trusted, and where its token goes."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.trust import Trust, is_private, pin_of, read_token
from mirror_stage.reflector import check as checks
from mirror_stage.reflector.agent import uplink_of
from mirror_stage.reflector.credential import Fixed
from mirror_stage.reflector.exchange import Exchange, Reply
from mirror_stage.reflector.family import environment_for
from mirror_stage.reflector.settings import settings_from
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink
from mirror_stage.tls import certificates
from tests.builders import make_sample, unique_hostname
from tests.command_line import forked
from tests.servers import ROOT, EgoServer, running_ego

DAY = 86_400
TOKEN = "ms_agent_1_0123456789abcdef"


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO with an authority of its own."""
    with running_ego(tmp_path_factory.mktemp("ego"), {"MIRROR_STAGE_TLS": "on"}) as server:
        yield server


class Server:
    """A server over TLS, with a certificate of an authority made for it. It keeps the headers that it is sent."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("127.0.0.1",), made: float = 0.0):
        now = time.time() + made
        root_key, key = certificates.new_key(), certificates.new_key()
        root = certificates.make_root(root_key, "another", now)
        self.root, self.chain, self.key = folder / "root.pem", folder / "chain.pem", folder / "key.pem"
        self.root.write_bytes(root)
        self.chain.write_bytes(certificates.make_server(key, names, root, root_key, now))
        self.key.write_bytes(key)
        self.seen: list[tuple[str, str | None]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self, *, with_tls: bool = True) -> Iterator[Server]:
        seen = self.seen

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        with Quiet(("127.0.0.1", 0), Handler) as server:
            if with_tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.chain, self.key)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def asked(url: str, trust: Trust, token: str | None = None) -> Answer:
    uplink = Uplink(url, trust, Fixed(token))
    try:
        return uplink.get("/api/info")
    finally:
        uplink.close()


def pin_in(pem: Path) -> str:
    return certificates.read(pem.read_bytes()).pin


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REFLECTOR_", "MIRROR_STAGE_"))}
    run = [sys.executable, "-m", "mirror_stage.runtime.cli", *words]
    environment = {**kept, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_pin_is_the_one_that_openssl_computes(ego: EgoServer) -> None:
    pem = Path(ego.trusted).read_text()
    public = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=pem.encode(), capture_output=True, check=True
    )
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=public.stdout, capture_output=True, check=True
    )
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-binary"], input=der.stdout, capture_output=True, check=True
    )
    base64 = subprocess.run(["openssl", "base64"], input=digest.stdout, capture_output=True, check=True)
    expected = f"sha256//{base64.stdout.decode().strip()}"
    assert pin_of(ssl.PEM_cert_to_DER_cert(pem)) == pin_in(Path(ego.trusted)) == expected


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_has_no_pin(der: bytes) -> None:
    assert pin_of(der) is None


@pytest.mark.parametrize("by", ["root file", "pin of the root", "pin of the server", "server file"])
def test_an_agent_reports_to_an_ego_that_it_trusts(ego: EgoServer, by: str, tmp_path: Path) -> None:
    root, chain = Path(ego.trusted), ego.folder / "ego.tls/server.pem"
    leaf = tmp_path / "server.pem"
    leaf.write_text(chain.read_text().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n")
    trust = {
        "root file": lambda: Trust(root),
        "server file": lambda: Trust(leaf),
        "pin of the root": lambda: Trust(pin=pin_in(root)),
        "pin of the server": lambda: Trust(pin=pin_in(chain)),
    }[by]()
    hostname = unique_hostname()
    uplink = Uplink(ego.url, trust)
    for _ in range(2):
        assert uplink.post_samples([json.dumps(make_sample(hostname)).encode()]).is_taken
        uplink.close()  # the next request makes a new connection
    assert ego.get(f"/api/hosts/{hostname}").status_code == 200


def test_a_man_in_the_middle_gets_nothing(ego: EgoServer, tmp_path: Path) -> None:
    with Server(tmp_path).running() as server:
        for trust in (Trust(), Trust(Path(ego.trusted)), Trust(pin=pin_in(Path(ego.trusted)))):
            answer = asked(server.url, trust, TOKEN)
            assert answer.meaning is Meaning.UNKNOWN
            assert "mirror-stage tls show" in answer.detail
        assert all(token is None for _, token in server.seen)
        assert {path for path, _ in server.seen} <= {"/api/tls/root.pem"}


@pytest.mark.parametrize(
    ("names", "made", "said"),
    [
        (("127.0.0.1",), -200 * DAY, "its certificate has expired, by this machine's clock, which says 20"),
        (("127.0.0.1",), 30 * DAY, "its certificate is not valid yet, by this machine's clock"),
        (("ego.example.org",), 0, "its certificate does not name 127.0.0.1: use an address"),
    ],
)
def test_a_certificate_that_does_not_fit_is_one_line_that_says_what_differs(
    names: tuple[str, ...], made: float, said: str, tmp_path: Path
) -> None:
    with Server(tmp_path, names, made).running() as server:
        answer = asked(server.url, Trust(server.root), TOKEN)
        assert answer.meaning is Meaning.UNKNOWN
        assert answer.detail.startswith(said)
        assert "\n" not in answer.detail
        assert server.seen == []


def test_a_clock_at_1970_is_named_as_the_cause(ego: EgoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirror_stage.core.trust.machine_seconds", lambda: 1000.0)
    answer = asked(ego.url, Trust())
    assert answer.detail.startswith("this machine's clock says 1970-01-01, so no certificate can be judged: set it")


def test_http_and_https_that_are_mixed_up_say_so(ego: EgoServer, tmp_path: Path) -> None:
    plainly = asked(ego.url.replace("https", "http"), Trust())
    assert plainly.meaning is Meaning.MISDIRECTED  # so the agent keeps its samples
    assert "write https://" in plainly.detail
    with Server(tmp_path).running(with_tls=False) as server:
        assert "it does not speak https there: write http://" in asked(server.url, Trust()).detail


def test_check_says_what_is_wrong_and_what_is_right(ego: EgoServer, tmp_path: Path) -> None:
    options = ("--state-dir", str(tmp_path / "state"), "--ego", ego.url)
    stranger = command("reflector", "check", *options)
    assert stranger.returncode == 1
    assert "its certificate comes from an authority that is not trusted here" in stranger.stdout
    fine = command("reflector", "check", *options, REFLECTOR_EGO_CA=ego.trusted)
    assert f"{ego.url} answers, version" in fine.stdout
    pinned = command("reflector", "check", *options, "--ego-pin", pin_in(Path(ego.trusted)))
    assert f"{ego.url} answers, version" in pinned.stdout
    wrong = command("reflector", "check", *options, "--ego-pin", "sha256//" + "A" * 43 + "=")
    assert "it has another key than the pin says" in wrong.stdout


def test_a_token_is_sent_over_https_and_not_in_the_clear(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    with Server(tmp_path).running() as server:
        check = command(
            "reflector", "check", "--ego", server.url, "--state-dir", str(tmp_path / "state"),
            REFLECTOR_TOKEN_FILE=str(token), REFLECTOR_EGO_CA=str(server.root),
        )  # fmt: skip
        assert ("/api/info", f"Bearer {TOKEN}") in server.seen, check.stdout + check.stderr


@pytest.mark.parametrize(("allowed", "said"), [("0", "it is not sent"), ("1", "it is sent in the clear")])
def test_over_plain_http_to_another_machine_a_token_is_sent_only_where_that_is_allowed(
    allowed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, ego = tmp_path / "token", "http://192.0.2.1:3000"
    token.write_text(TOKEN)
    token.chmod(0o600)
    settings = settings_from({"ego": ego}, {"REFLECTOR_TOKEN_FILE": str(token), "REFLECTOR_ALLOW_PLAIN": allowed})
    (finding,) = checks.token(settings, ego)
    assert finding.seen.startswith(said)
    sent = []

    def ask(_self: Exchange, *request: Any) -> Reply:
        sent.append(request[3].get("Authorization"))
        return Reply(200, {}, b"")

    monkeypatch.setattr(Exchange, "ask", ask)
    uplink_of(settings, ego).get("/")
    assert sent == [f"Bearer {TOKEN}" if allowed == "1" else None]


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://10.0.0.100", True), ("http://127.0.0.1:3000", True), ("http://[::1]:3000", True),
        ("http://localhost:3000", True), ("http://10.0.0.100:3000", False), ("http://ego", False),
        ("http://127.0.0.1.example.org", False), ("http://localhost.example.org", False),
    ],
)  # fmt: skip
def test_which_ways_are_private(url: str, private: bool) -> None:
    assert is_private(url) is private


def set_mode(file: Path) -> None:
    file.chmod(0o640)


@pytest.mark.parametrize(
    ("content", "change", "said"),
    [
        (TOKEN, set_mode, "can be read by other users; run: chmod 600"),
        (TOKEN + "\nmore", None, "must hold one token and nothing else"),
        ("", None, "must hold one token and nothing else"),
        (TOKEN, Path.unlink, "cannot be read: No such file"),
    ],
)
def test_a_token_file_that_is_not_right_is_refused_in_one_line(
    content: str, change: Callable[[Path], None] | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o600)
    if change is not None:
        change(file)
    with pytest.raises(BadSetting) as refused:
        read_token(file, {})
    assert said in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_a_token_that_systemd_loaded_may_have_an_acl(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o440)
    assert read_token(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == TOKEN


def test_the_token_reaches_no_child_and_no_argument() -> None:
    inherited = {"REFLECTOR_TOKEN_FILE": "/etc/token", "CREDENTIALS_DIRECTORY": "/run/credentials/x"}
    assert not inherited.keys() & environment_for("1", inherited).keys()
    refused = command("reflector", "check", "--ego", "http://127.0.0.1:9", REFLECTOR_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert "did you mean REFLECTOR_TOKEN_FILE?" in refused.stderr
    assert TOKEN not in refused.stderr


def test_the_simulator_and_hosts_forget_take_the_same_trust(ego: EgoServer, tmp_path: Path) -> None:
    short = ("simulate", "--ego", ego.url, "--hosts", "3", "--seconds", "2", "--json", "--no-commands")
    ran = command(*short, "--ca", ego.trusted)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["accepted"] > 0
    pinned = command(*short, "--pin", pin_in(Path(ego.trusted)))
    assert pinned.returncode == 0, pinned.stderr
    forgets = ("hosts", "forget", "--ego", ego.url, "--where", "is:simulated", "--yes")
    stranger = forked([*forgets], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert stranger.returncode == 1
    assert "its certificate comes from an authority that is not trusted here" in stranger.stderr
    assert command(*forgets, "--ca", ego.trusted).returncode == 0
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    in_the_clear = command(*short[:1], "--ego", "http://10.0.0.100:3000", "--token-file", str(token))
    assert in_the_clear.returncode == 2
    assert "--token-file: over plain http" in in_the_clear.stderr
